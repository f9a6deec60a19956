//! Flow logs of other tools.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::tune::fuzzing::flow_log;

fuzz_target!(|log: &[u8]| flow_log(log));
