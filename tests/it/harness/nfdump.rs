//! Independent answers: what nfpcapd and nfdump make of a capture.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
};

use libtest_mimic::Failed;

/// A flow of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OneWay {
    /// IANA number; of an IPv6 packet with extension headers, that of the first of them.
    pub(crate) transport: u8,
    /// The sender, with its port; 0 where the transport is neither TCP nor UDP.
    pub(crate) source: (IpAddr, u16),
    /// The receiver, with its port.
    pub(crate) destination: (IpAddr, u16),
    /// Type and code of an ICMP or `ICMPv6` message.
    pub(crate) icmp: Option<(u8, u8)>,
    /// Packets.
    pub(crate) packets: u64,
    /// Their IP lengths.
    pub(crate) bytes: u64,
}

/// What nfdump prints of each record, with commas between.
const FORMAT: &str = "fmt:%pr,%sa,%sp,%da,%dp,%pkt,%byt";

/// The flows of a capture of so many packets, in one of libpcap's formats and not compressed;
/// `folder` is made for their files.
///
/// # Errors
/// When either program can't be started, or prints what this can't read.
pub(crate) fn flows(capture: &Path, packets: usize, folder: &Path) -> Result<Vec<OneWay>, Failed> {
    fs::create_dir_all(folder)?;
    let mut nfpcapd = Command::new("nfpcapd");
    // Room for a flow of each packet: with the usual half a million it takes seconds to start.
    nfpcapd.args(["-B", &(packets + 1024).to_string()]);
    // A file a day: times may lie far apart.
    nfpcapd.args(["-t", "86400", "-w"]).arg(folder).arg("-r").arg(capture);
    run(&mut nfpcapd)?;
    let mut nfdump = Command::new("nfdump");
    // Plain numbers, whole addresses, no summary.
    nfdump.args(["-q", "-N", "-6", "-o", FORMAT, "-R"]).arg(folder);
    let printed = run(&mut nfdump)?;
    fs::remove_dir_all(folder)?;
    printed
        .lines()
        .filter(|line| !line.is_empty() && *line != "No matching flows")
        .map(|line| one(line).ok_or_else(|| format!("nfdump: no flow: {line}").into()))
        .collect()
}

fn run(command: &mut Command) -> Result<String, Failed> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("can't start {command:?}: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} ended with {}: {words}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn one(line: &str) -> Option<OneWay> {
    let mut columns = line.split(',').map(str::trim);
    let mut next = || columns.next();
    let transport = next()?.parse().ok()?;
    let source = (next()?.parse().ok()?, next()?.parse().ok()?);
    let (destination, port) = (next()?.parse().ok()?, next()?);
    // Of ICMP the column is `type.code`.
    let (port, icmp) = match port.split_once('.') {
        Some((kind, code)) => (0, Some((kind.parse().ok()?, code.parse().ok()?))),
        None => (port.parse().ok()?, None),
    };
    let (packets, bytes) = (next()?.parse().ok()?, next()?.parse().ok()?);
    Some(OneWay { transport, source, destination: (destination, port), icmp, packets, bytes })
}
