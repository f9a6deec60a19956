//! A line of a dead-letter file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use tidegate::{
    codec::returned::{read_line, write_line},
    record::Timestamp,
};

fuzz_target!(|line: &[u8]| {
    let Ok((sink, letter)) = read_line(line) else { return };
    let written = write_line(Timestamp::default(), &sink, "a reason", &letter);
    assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 1);
    let (to, again) = read_line(&written).expect("what was written can be read");
    assert_eq!((to, again.kind, again.time), (sink, letter.kind, letter.time));
    assert_eq!(again.id, letter.id);
    let text = str::from_utf8(&letter.document);
    let is_json = serde_json::from_slice::<IgnoredAny>(&letter.document).is_ok();
    let same = again.document == letter.document
        || is_json && text.is_ok_and(|text| text.trim_ascii().as_bytes() == again.document);
    assert!(same, "{:?} became {:?}", letter.document, again.document);
});
