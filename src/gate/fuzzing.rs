//! What `fuzz/` reaches of this module.

use std::io::BufReader;

use super::log;

/// Reads `text` as a verdict log; what can be read of it is written and read once more, and is the same then.
pub fn verdict_log(text: &[u8]) {
    let mut reader = BufReader::new(text);
    let mut bytes = 0;
    while let Ok(Some((line, taken))) = log::whole_line(&mut reader) {
        bytes += taken;
        let Some(read) = log::parse(&line) else { continue };
        let again = log::line(read.change, "gate", &read.entry, read.user.as_deref(), read.at);
        let again = log::parse(again.as_bytes()).expect("what is written can be read");
        assert_eq!(again, read);
    }
    assert!(bytes <= text.len() as u64);
}
