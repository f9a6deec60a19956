//! The verdict log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::gate::fuzzing::verdict_log;

fuzz_target!(|text: &[u8]| verdict_log(text));
