//! Elasticsearch's answer to a bulk request; the first byte says of how many documents.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::sinks::elasticsearch::fuzzing::bulk_answer;

fuzz_target!(|input: (u8, &[u8])| {
    let (items, body) = input;
    bulk_answer(body, usize::from(items % 8));
});
