//! What `fuzz/` reaches of this module.

use super::{files, sessions};

/// Reads `text` as each file that is read of this host.
pub fn host_files(text: &str) {
    let lines = text.lines().count() + 1;
    for read in [files::local4, files::local6, files::gateways4, files::gateways6, files::resolvers]
    {
        assert!(read(text).len() <= lines, "no line has two addresses");
    }
    assert!(sessions::connections(text, &[22, 443]).len() <= lines);
}
