//! What a record of the `simple` schema must say, from tshark's own answers about each packet.

use std::{net::IpAddr, path::Path};

use libtest_mimic::Failed;

use super::tshark;

/// What it has to be asked.
pub(super) const FIELDS: [&str; 16] = [
    "frame.time_epoch",
    "frame.len",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.nxt",
    "ipv6.hopopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.fraghdr.nxt",
    "ipv6.dstopts.nxt",
    "tcp.dstport",
    "udp.dstport",
    "sctp.dstport",
];

/// Names of the protocols that occur in the captures (IANA, "Assigned Internet Protocol Numbers").
const PROTOCOLS: [(u8, &str); 18] = [
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPV4"),
    (6, "TCP"),
    (17, "UDP"),
    (41, "IPV6"),
    (43, "IPV6-ROUTE"),
    (44, "IPV6-FRAG"),
    (46, "RSVP"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (58, "ICMPV6"),
    (59, "IPV6-NONXT"),
    (60, "IPV6-OPTS"),
    (89, "OSPFIGP"),
    (103, "PIM"),
    (132, "SCTP"),
];

/// The lines of JSON that a replay must write: one for each packet with an IP layer, in their order.
///
/// # Errors
/// When tshark can't read the capture.
pub(crate) fn simple_json(capture: &Path) -> Result<Vec<String>, Failed> {
    lines(capture, &tshark::fields(capture, &FIELDS)?)
}

/// The same of a capture of the data folder.
///
/// # Errors
/// When tshark can't read the capture.
pub(crate) fn simple_json_of_data(capture: &Path) -> Result<Vec<String>, Failed> {
    lines(capture, &tshark::answers(capture)?.of(&FIELDS))
}

fn lines(capture: &Path, rows: &[Vec<String>]) -> Result<Vec<String>, Failed> {
    let mut lines = Vec::new();
    for row in rows {
        let line = line(row).map_err(|why| {
            format!("{}: {row:?}: {}", capture.display(), why.message().unwrap_or_default())
        })?;
        lines.extend(line);
    }
    Ok(lines)
}

/// `None` for a packet without an IP layer.
fn line(row: &[String]) -> Result<Option<String>, Failed> {
    let value = |name: &str| {
        let column = FIELDS.iter().position(|field| *field == name);
        row[column.expect("asked for")].as_str()
    };
    let outermost = value("frame.protocols").split(':').find(|name| ["ip", "ipv6"].contains(name));
    // A header that was cut off in its middle is no IP layer.
    let whole = |version: &&&str| {
        ["src", "dst"].iter().all(|end| !value(&format!("{version}.{end}")).is_empty())
    };
    let Some(version) = outermost.as_ref().filter(whole) else {
        return Ok(None);
    };
    let address = |end: &str| value(&format!("{version}.{end}")).parse::<IpAddr>();
    let protocol = if *version == "ip" {
        value("ip.proto").parse()?
    } else {
        let mut next: u8 = value("ipv6.nxt").parse()?;
        for (number, header) in [(0, "hopopts"), (60, "dstopts"), (43, "routing"), (44, "fraghdr")]
        {
            let behind = value(&format!("ipv6.{header}.nxt"));
            if next == number && !behind.is_empty() {
                next = behind.parse()?;
            }
        }
        next
    };
    let port = match protocol {
        6 => value("tcp.dstport"),
        17 => value("udp.dstport"),
        132 => value("sctp.dstport"),
        _ => "",
    };
    let port = if port.is_empty() { String::new() } else { format!("\"port\":{port},") };
    Ok(Some(format!(
        "{{\"timestamp\":\"{}\",\"source_ip\":\"{}\",\"destination_ip\":\"{}\",\
         \"protocol\":\"{}\",{port}\"packet_size\":{}}}",
        rfc3339(value("frame.time_epoch"))?,
        address("src")?,
        address("dst")?,
        name(protocol),
        value("frame.len"),
    )))
}

fn name(protocol: u8) -> String {
    PROTOCOLS
        .iter()
        .find(|(number, _)| *number == protocol)
        .map_or_else(|| protocol.to_string(), |(_, name)| (*name).to_owned())
}

/// Seconds since the epoch with 9 digits of fraction, as a date with the fewest of 0, 3, 6 or 9.
fn rfc3339(epoch: &str) -> Result<String, Failed> {
    let (seconds, fraction) = epoch.split_once('.').ok_or("a time has a fraction")?;
    let nanoseconds: i128 = format!("{seconds}{fraction:0<9}").parse()?;
    let time = jiff::Timestamp::from_nanosecond(nanoseconds)?;
    let digits =
        (0..=9).step_by(3).find(|digits| fraction.bytes().skip(*digits).all(|digit| digit == b'0'));
    let digits = digits.unwrap_or(9);
    Ok(format!("{time:.digits$}"))
}
