//! Independent answers: what tshark itself prints of a capture, field by field.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use libtest_mimic::Failed;

/// The options that make tshark treat each packet by itself, as Tidegate's source does.
pub(crate) const EACH_PACKET_ALONE: [&str; 6] = [
    "-o",
    "ip.defragment:FALSE",
    "-o",
    "ipv6.defragment:FALSE",
    "-o",
    "tcp.desegment_tcp_streams:FALSE",
];

/// The first value of each field, a row for each packet; an absent field is the empty text.
///
/// A capture that is damaged at its end gives the packets before the damage.
///
/// # Errors
/// When tshark can't be started, or prints no packet and ends badly.
pub(crate) fn fields(capture: &Path, fields: &[&str]) -> Result<Vec<Vec<String>>, Failed> {
    let mut command = Command::new("tshark");
    command
        .args(["-n", "-T", "fields", "-E", "occurrence=f", "-E", "separator=/t"])
        .args(EACH_PACKET_ALONE)
        .arg("-r")
        .arg(capture)
        .stdin(Stdio::null());
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().map_err(|error| format!("can't start {command:?}: {error}"))?;
    if !output.status.success() && output.stdout.is_empty() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} ended with {}: {words}", output.status).into());
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| {
            let row: Vec<String> = line.split('\t').map(str::to_owned).collect();
            if row.len() == fields.len() {
                Ok(row)
            } else {
                Err(format!("a row of {} for {} fields: {line}", row.len(), fields.len()).into())
            }
        })
        .collect()
}
