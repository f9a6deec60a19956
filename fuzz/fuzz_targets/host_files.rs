//! Files of procfs and resolv.conf.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::host::fuzzing::host_files;

fuzz_target!(|text: &str| host_files(text));
