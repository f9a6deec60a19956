//! A capture file: pcap, pcapng, gzip, zstd.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::capture::fuzzing::capture;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    capture(bytes, usize::from(piece) * 16);
});
