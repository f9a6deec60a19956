//! The judge's snapshot.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::score::fuzzing::snapshot;

fuzz_target!(|bytes: &[u8]| snapshot(bytes));
