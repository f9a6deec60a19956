//! A server's `Retry-After`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::{record::Timestamp, sinks::http::fuzzing::retry_after};

fuzz_target!(|text: &str| {
    for now in [i64::MIN, 0, 1_445_412_480_000_000_000, i64::MAX] {
        retry_after(text, Timestamp::from_nanos(now));
    }
});
