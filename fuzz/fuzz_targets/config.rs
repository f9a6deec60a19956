//! The text of a config.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tidegate::config::{Components, Loaded, Report, Surroundings, load, mermaid};

const SECRET: &str = "hunter2-hunter2";

fn read(text: &[u8], lenient: bool) -> Result<Loaded, Box<Report>> {
    let variable = |name: &str| (name == "SECRET").then(|| SECRET.to_owned());
    let directory = Path::new("/nonexistent");
    load::<Components>("t", text, Surroundings { variable: &variable, directory, lenient })
}

fuzz_target!(|text: &[u8]| {
    // What is in this machine's files is not for the fuzzer.
    if contains(text, b"file:/") {
        return;
    }
    let said = match (read(text, false), read(text, false)) {
        (Ok(loaded), Ok(again)) => {
            assert_eq!(loaded.config.hash, again.config.hash);
            assert_eq!(loaded.warnings.errors(), 0);
            mermaid(&loaded.config) + &loaded.warnings.render(true)
        }
        (Err(report), Err(_)) => {
            assert!(report.errors() > 0);
            report.render(true)
        }
        _ => panic!("one text, once good and once bad"),
    };
    assert!(!said.contains(SECRET) || contains(text, b"hunter2"), "{said}");
    drop(read(text, true));
});

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|found| found == part)
}
