//! Independent answers: what tshark itself prints of a capture, field by field.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use libtest_mimic::Failed;

use super::{expected, shared::Shared};

/// The options that make tshark treat each packet by itself, as Tidegate's source does.
pub(crate) const EACH_PACKET_ALONE: [&str; 6] = [
    "-o",
    "ip.defragment:FALSE",
    "-o",
    "ipv6.defragment:FALSE",
    "-o",
    "tcp.desegment_tcp_streams:FALSE",
];

/// A display filter for whole packets in which no further IP, Ethernet or GRE header follows the first
/// IP header, unless an ICMP message quotes it.
pub(crate) const NEITHER_TUNNEL_NOR_FRAGMENT: &str = "!(frame.protocols matches \
    \"(^|:)(ip|ipv6)(:(?!icmp)[^:]*)*:(ip|ipv6|eth|gre)(:|$)\") \
    && !(ip.flags.mf == 1 || ip.frag_offset > 0 || ipv6.fraghdr)";

/// The first value of each of some fields, a row for each packet.
#[derive(Debug)]
pub(crate) struct Answers {
    names: Vec<&'static str>,
    /// As tshark printed them: there are hundreds of thousands.
    lines: Vec<String>,
}

/// Writes the packets of a capture that a display filter lets through.
///
/// # Errors
/// When tshark can't be started, or ends badly.
pub(crate) fn filtered(capture: &Path, filter: &str, out: &Path) -> Result<(), Failed> {
    let mut command = Command::new("tshark");
    command
        .args(["-n", "-Y", filter, "-w"])
        .arg(out)
        .args(EACH_PACKET_ALONE)
        .arg("-r")
        .arg(capture);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {words}", output.status).into())
}

/// The first value of each field, a row for each packet; an absent field is the empty text.
///
/// A capture that is damaged at its end gives the packets before the damage.
///
/// # Errors
/// When tshark can't be started, or prints no packet and ends badly.
pub(crate) fn fields(capture: &Path, fields: &[&str]) -> Result<Vec<Vec<String>>, Failed> {
    fields_with(capture, fields, &[])
}

/// What all cases together ask of the captures of the data folder, in one run of tshark a capture.
///
/// # Errors
/// As for [`fields`].
pub(crate) fn answers(capture: &Path) -> Result<Arc<Answers>, Failed> {
    static SHARED: Shared<Answers> = Shared::new();
    SHARED.get(capture, || {
        let names: Vec<_> = expected::FIELDS
            .into_iter()
            .chain(["frame.number", "_ws.col.Protocol", "communityid"])
            .collect();
        // A postdissector, off unless asked for.
        let lines = lines_with(capture, &names, &["--enable-protocol", "communityid"])?;
        Ok(Answers { names, lines })
    })
}

// === impl Answers ===

impl Answers {
    /// The values of these fields, a row for each packet.
    pub(crate) fn of(&self, fields: &[&str]) -> Vec<Vec<String>> {
        let column = |field| self.names.iter().position(|name| name == field);
        let columns: Vec<_> =
            fields.iter().map(|field| column(field).expect("asked of tshark")).collect();
        let pick = |line: &String| {
            let row: Vec<_> = line.split('\t').collect();
            columns.iter().map(|column| row[*column].to_owned()).collect()
        };
        self.lines.iter().map(pick).collect()
    }

    /// The values of a field by the number of the frame.
    ///
    /// # Errors
    /// When a frame has no number.
    pub(crate) fn by_number(&self, field: &str) -> Result<HashMap<u64, String>, Failed> {
        let rows = self.of(&["frame.number", field]).into_iter();
        rows.map(|mut row| Ok((row[0].parse()?, row.swap_remove(1)))).collect()
    }
}

/// The numbers of the frames whose IPv4 header has the length 0, as offloading leaves it.
///
/// # Errors
/// As for [`fields`].
pub(crate) fn without_ip_length(capture: &Path) -> Result<BTreeSet<u64>, Failed> {
    // Else it prints what the frame holds.
    let options = ["-o", "ip.tso_support:FALSE"];
    let rows = fields_with(capture, &["frame.number", "ip.len"], &options)?;
    let without = rows.iter().filter(|row| row[1] == "0");
    Ok(without.map(|row| row[0].parse()).collect::<Result<_, _>>()?)
}

fn fields_with(
    capture: &Path,
    fields: &[&str],
    options: &[&str],
) -> Result<Vec<Vec<String>>, Failed> {
    let lines = lines_with(capture, fields, options)?;
    Ok(lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// The values with tabs between, a line for each packet.
fn lines_with(capture: &Path, fields: &[&str], options: &[&str]) -> Result<Vec<String>, Failed> {
    let mut command = Command::new("tshark");
    command
        .args(options)
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
        .map(|line| match line.split('\t').count() {
            count if count == fields.len() => Ok(line.to_owned()),
            count => Err(format!("a row of {count} for {} fields: {line}", fields.len()).into()),
        })
        .collect()
}
