//! Which tshark this is.

use std::path::Path;

use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

use crate::task;

/// Major versions whose output was tested.
const TESTED: [u32; 2] = [3, 4];

/// Asks tshark for its version in the background, and warns if it is one we have not been tested with.
pub(in crate::sources::tshark) fn warn_unless_tested(tshark: &Path) -> AbortOnDropHandle<()> {
    let mut command = Command::new(tshark);
    command.arg("--version").env_clear().kill_on_drop(true);
    AbortOnDropHandle::new(task::spawn(async move {
        let Ok(output) = command.output().await else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text.lines().next().unwrap_or_default();
        match major(first) {
            Some(major) if TESTED.contains(&major) => tracing::debug!(version = first, "tshark"),
            _ => tracing::warn!(
                version = first,
                "this version of tshark was not tested: compare a replay's records with what tshark prints"
            ),
        }
    }))
}

/// The major version in `TShark (Wireshark) 4.0.17 (…)`.
pub(in crate::sources::tshark) fn major(line: &str) -> Option<u32> {
    line.strip_prefix("TShark")?
        .split(|c: char| !c.is_ascii_digit())
        .find(|part| !part.is_empty())?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_the_first_line() {
        for (line, expected) in [
            ("TShark (Wireshark) 4.0.17 (Git v4.0.17 packaged as …).", Some(4)),
            ("TShark 1.12.1 (Git Rev Unknown from unknown)", Some(1)),
            ("TShark (Wireshark) 10.2.0", Some(10)),
            ("dumpcap 4", None),
            ("", None),
        ] {
            assert_eq!(major(line), expected, "{line}");
        }
    }
}
