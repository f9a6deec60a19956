//! Records in the wire form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::codec::wire::{Reader, write};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::default();
    if reader.read(bytes).is_err() {
        assert!(reader.take().is_empty());
        return;
    }
    let read = reader.take();
    let [(observer, records)] = &read[..] else { panic!("one record makes one batch") };
    let mut written = Vec::new();
    write(records, 0, observer, &mut written).expect("what was read can be written");
    reader.read(&written).expect("what was written can be read");
    assert_eq!(format!("{:?}", reader.take()), format!("{read:?}"));
});
