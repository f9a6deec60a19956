//! What tshark, dumpcap and editcap write, but for the lines' content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::sources::tshark::fuzzing::child_output;

fuzz_target!(|input: (u8, &[u8])| {
    let (read_bytes, bytes) = input;
    child_output(bytes, usize::from(read_bytes));
});
