//! Which tshark this is.

use std::path::Path;

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{programs::Privilege, question::Question};

/// Major versions whose output was tested.
const TESTED: [u32; 2] = [3, 4];

/// A tshark that is asked in the background.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Asked {
    task: AbortOnDropHandle<()>,
    stop: CancellationToken,
}

/// Asks tshark for its version, and warns if it is one we have not been tested with.
pub(in crate::sources::tshark) fn warn_unless_tested(tshark: &Path) -> Asked {
    let question = Question {
        program: tshark.to_owned(),
        arguments: vec!["--version".to_owned()],
        privilege: Privilege::None,
    };
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        let text = match question.ask(&asked).await {
            Ok(answer) => answer.text,
            Err(_) if asked.is_cancelled() => return,
            Err(error) => {
                tracing::warn!(%error, "the version of tshark is not known");
                return;
            }
        };
        let first = text.lines().next().unwrap_or_default();
        match major(first) {
            Some(major) if TESTED.contains(&major) => tracing::debug!(version = first, "tshark"),
            _ => tracing::warn!(
                version = first,
                "this version of tshark was not tested: compare a replay's records with what tshark prints"
            ),
        }
    }));
    Asked { task, stop }
}

/// The major version in `TShark (Wireshark) 4.0.17 (…)`.
pub(in crate::sources::tshark) fn major(line: &str) -> Option<u32> {
    line.strip_prefix("TShark")?
        .split(|c: char| !c.is_ascii_digit())
        .find(|part| !part.is_empty())?
        .parse()
        .ok()
}

// === impl Asked ===

impl Asked {
    /// Ends the tshark, unless it has answered.
    pub(in crate::sources::tshark) async fn end(self) {
        self.stop.cancel();
        drop(self.task.await);
    }
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
