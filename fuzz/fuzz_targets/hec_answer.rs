//! Answers of Splunk's collector, to a request or to a question, behind two bytes of status.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::sinks::splunk_hec::fuzzing::answer;

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    answer(100 + status % 500, body);
});
