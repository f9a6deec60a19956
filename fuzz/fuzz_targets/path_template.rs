//! The path of a file sink, behind two times.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::{record::Timestamp, sinks::file::fuzzing::path_template};

fuzz_target!(|input: (i64, i64, &str)| {
    let (first, second, text) = input;
    path_template(text, [first, second].map(Timestamp::from_nanos));
});
