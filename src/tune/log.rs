//! Flow logs: rows of other tools, each a flow, as the contacts that would have been told of it.

use std::{collections::HashMap, net::IpAddr};

use serde_json::Value;

use super::{ecs, eve, left_out::LeftOut, observe::Observer, rotated::Writer, zeek};
use crate::record::{Contact, ObservationPoint, Outcome, TcpFlags, Timestamp, Transport};

/// Ports whose connections are told with their end.
const FOLLOWED: [u16; 9] = [21, 22, 23, 80, 443, 3389, 5900, 8080, 8443];
/// How long an answer may take.
const ANSWER_NANOS: u64 = 3_000_000_000;
/// Longer rows are none.
pub(super) const MAX_ROW_BYTES: usize = 1 << 20;

/// A time above this is one in milliseconds: seconds come to it in the year 5138.
const MAX_SECONDS: i64 = 100_000_000_000;
/// Up to here a number with a fraction is exact.
const MAX_NUMBER: f64 = 9_007_199_254_740_992.0;

/// What came of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The responder took part.
    Success,
    /// It must have, for the source went on as though it had; what it sent was not seen.
    Unproven,
    /// It refused.
    Refused,
    /// It answered, and the source reset what was half open then: it asked, and wanted nothing.
    LeftOpen,
    /// It did not answer.
    TimedOut,
    /// Control bits that no sane stack sends.
    Odd(TcpFlags),
    /// A FIN, and nothing seen before it: odd, unless it closes a connection that is older than the log.
    Closing,
    /// Nobody can tell.
    Unknown,
}

/// A row of a log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    /// When the flow began.
    pub(super) start: Timestamp,
    /// How long it lasted, in nanoseconds.
    pub(super) duration_nanos: u64,
    /// Who began it.
    pub(super) source: IpAddr,
    /// The source's port, where it tells something; else 0.
    pub(super) source_port: u16,
    /// Whether the log says that the source is of the network that is watched.
    pub(super) is_local: bool,
    /// Who was addressed.
    pub(super) destination: IpAddr,
    /// The destination's port.
    pub(super) port: u16,
    /// The transport.
    pub(super) transport: Transport,
    /// What came of it.
    pub(super) state: State,
    /// Packets of the source.
    pub(super) packets: u64,
    /// IP bytes each way.
    pub(super) bytes: [u64; 2],
    /// Whether a label says that the source is malicious.
    pub(super) is_malicious: Option<bool>,
}

/// Something a row tells, at its time.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Contact(Contact),
    /// A FIN to what its source had not reached, as far as the row says.
    Closing(Contact),
    Packets(IpAddr, Timestamp, u64),
}

/// Reads rows of a log one by one.
#[derive(Debug, Default)]
pub(super) struct Rows {
    heading: zeek::Heading,
    writer: Option<Writer>,
    left_out: LeftOut,
}

// === impl Rows ===

impl Rows {
    /// The row in a line: `None` for lines that are no flows (headings, other events).
    ///
    /// # Errors
    /// Why it is none that can be read.
    pub(super) fn parse(&mut self, line: &[u8]) -> Result<Option<Row>, &'static str> {
        let text = str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
        // A mark begins each of the files that were put together to one.
        let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
        let object = text.trim();
        if object.is_empty() {
            return Ok(None);
        }
        if text.starts_with('#') {
            self.heading.line(text);
            return Ok(None);
        }
        if object.starts_with('{') {
            let row: Value =
                serde_json::from_str(object).map_err(|_| "it is no JSON object, or it is cut")?;
            // As exports of Elasticsearch have documents.
            return self.of_json(row.get("_source").unwrap_or(&row));
        }
        self.writer = Some(Writer::Zeek);
        self.heading.row(text, &mut self.left_out)
    }

    fn of_json(&mut self, row: &Value) -> Result<Option<Row>, &'static str> {
        // Not every log of Zeek's has addresses.
        let (writer, parsed) = if zeek::is_row(row) || row.get("_path").is_some() {
            (Writer::Zeek, zeek::of_json(row, &mut self.left_out))
        } else if row.get("event_type").is_some() {
            (Writer::Suricata, eve::of_json(row, &mut self.left_out))
        } else if row.get("@timestamp").is_some() || row.get("event").is_some() {
            (Writer::Shipper, ecs::of_json(row, &mut self.left_out))
        } else {
            return Err("it is a row of no log that is read");
        };
        self.writer = Some(writer);
        parsed
    }

    /// What has written the last row.
    pub(super) fn writer(&self) -> Option<Writer> {
        self.writer
    }

    /// What was not judged of the rows that could be read.
    pub(super) fn left_out(&self) -> &LeftOut {
        &self.left_out
    }
}

/// The value at a dotted path, nested or written flat.
pub(super) fn look<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(flat) = row.get(path) {
        return Some(flat);
    }
    path.split('.').try_fold(row, |value, key| value.get(key))
}

/// A number, also where the writer made a text of it; `None` if there is no value.
///
/// # Errors
/// There is one, and it is none.
pub(super) fn number(value: Option<&Value>) -> Result<Option<u64>, &'static str> {
    let found = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if matches!(text.trim(), "" | "-") => return Ok(None),
        Some(Value::String(text)) => whole(text.trim()),
        Some(value) => value.as_u64().or_else(|| whole(&value.to_string())),
    };
    found.map(Some).ok_or("a number in it is none")
}

/// The number in a text, also where it is written as one with a fraction: `12.0`.
pub(super) fn whole(text: &str) -> Option<u64> {
    let is_whole = |float: &f64| (0.0..MAX_NUMBER).contains(float) && float.fract() == 0.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole")]
    let of_float = |float| float as u64;
    text.parse().ok().or_else(|| text.parse().ok().filter(is_whole).map(of_float))
}

/// A port; 0 for a transport without any.
///
/// # Errors
/// There is none, and its transport has ports; or it is none.
pub(super) fn port(
    value: Option<&Value>,
    transport: Transport,
    missing: &'static str,
) -> Result<u16, &'static str> {
    let has_ports = matches!(transport, Transport::TCP | Transport::UDP);
    match number(value).map_err(|_| missing)? {
        Some(port) => u16::try_from(port).map_err(|_| missing),
        None if has_ports => Err(missing),
        None => Ok(0),
    }
}

// === impl Row ===

impl Row {
    /// What it tells.
    pub(super) fn events(&self, out: &mut Vec<Event>) {
        let contact = |time, outcome| Contact {
            time,
            origin: ObservationPoint::default(),
            source: self.source,
            destination: self.destination,
            port: self.port,
            source_port: 0,
            transport: self.transport,
            outcome,
            path_proven: false,
        };
        let is_tcp = self.transport == Transport::TCP;
        let is_group = self.destination.is_multicast()
            || matches!(self.destination, IpAddr::V4(to) if to.is_broadcast() || to.octets()[3] == 255);
        if matches!(self.transport, Transport::ICMP | Transport::ICMPV6) {
            // Zeek has the type and the code where ports stand.
            out.push(Event::Packets(self.source, self.start, self.packets));
            return;
        }
        if !is_group {
            match self.state {
                State::Success => {
                    let reached = contact(self.start, Outcome::Success);
                    out.push(Event::Contact(Contact { path_proven: is_tcp, ..reached }));
                    self.tell_end(contact, out);
                }
                State::Unproven => out.push(Event::Contact(contact(self.start, Outcome::Success))),
                State::Refused => out.push(Event::Contact(contact(self.start, Outcome::Refused))),
                State::LeftOpen => {
                    let left = contact(self.start, Outcome::Refused);
                    let source_port = self.source_port;
                    out.push(Event::Contact(Contact { path_proven: true, source_port, ..left }));
                }
                State::TimedOut if is_tcp => {
                    let time = self.start.saturating_add(ANSWER_NANOS);
                    out.push(Event::Contact(contact(time, Outcome::TimedOut)));
                }
                State::Odd(flags) => {
                    out.push(Event::Contact(contact(self.start, Outcome::OddFlags(flags))));
                }
                State::Closing if self.is_without_options() => {
                    let flags = Outcome::OddFlags(TcpFlags(TcpFlags::FIN));
                    out.push(Event::Closing(contact(self.start, flags)));
                }
                State::TimedOut | State::Closing | State::Unknown => {}
            }
        }
        out.push(Event::Packets(self.source, self.start, self.packets));
    }

    /// When it was over.
    pub(super) fn end(&self) -> Timestamp {
        self.start.saturating_add(self.duration_nanos)
    }

    /// Whether its packets are as short as those of tools that make them by hand; most systems send options, those of
    /// a connection that had none when it began do not.
    fn is_without_options(&self) -> bool {
        let least = if self.source.is_ipv4() { 40 } else { 60 };
        self.packets > 0 && self.bytes[0] == self.packets.saturating_mul(least)
    }

    fn tell_end(&self, contact: impl Fn(Timestamp, Outcome) -> Contact, out: &mut Vec<Event>) {
        if self.transport != Transport::TCP || !FOLLOWED.contains(&self.port) {
            return;
        }
        let [sent_bytes, received_bytes] = self.bytes;
        let outcome =
            Outcome::Ended { duration_nanos: self.duration_nanos, sent_bytes, received_bytes };
        let ended = contact(self.end(), outcome);
        out.push(Event::Contact(Contact { path_proven: true, ..ended }));
    }
}

// === impl Event ===

impl Event {
    pub(super) fn time(&self) -> Timestamp {
        match self {
            Self::Contact(contact) | Self::Closing(contact) => contact.time,
            Self::Packets(_, time, _) => *time,
        }
    }

    pub(super) fn tell(self, observer: &mut Observer) {
        match self {
            // What was resolved no row tells.
            Self::Contact(contact) | Self::Closing(contact) => observer.contact(contact, false),
            Self::Packets(source, time, packets) => observer.packets(source, time, packets),
        }
    }
}

/// Puts what a log told in the order of time, and leaves out the FINs of connections to what their source had
/// reached, before or after: who wakes up closes what it had open.
pub(super) fn in_order(events: &mut Vec<Event>) {
    let key = |contact: &Contact| (contact.source, contact.destination, contact.port);
    let closing = events.iter().filter_map(|event| match event {
        Event::Closing(contact) => Some((key(contact), false)),
        _ => None,
    });
    let mut closing: HashMap<_, bool> = closing.collect();
    if !closing.is_empty() {
        for event in &*events {
            if let Event::Contact(contact) = event
                && contact.outcome == Outcome::Success
                && let Some(is_reached) = closing.get_mut(&key(contact))
            {
                *is_reached = true;
            }
        }
        events.retain(|event| match event {
            Event::Closing(contact) => closing.get(&key(contact)) != Some(&true),
            _ => true,
        });
    }
    // Logs are written as flows end; what they tell came in another order.
    events.sort_by_key(Event::time);
}

/// A time in seconds, in milliseconds, or in RFC 3339.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    if text.contains('T') {
        let normal = match text.len().checked_sub(5).and_then(|at| text.split_at_checked(at)) {
            // Suricata's offsets have no colon.
            Some((date, zone))
                if matches!(zone.as_bytes()[0], b'+' | b'-') && !zone.contains(':') =>
            {
                let (hours, minutes) = zone.split_at_checked(3)?;
                format!("{date}{hours}:{minutes}")
            }
            _ => text.to_owned(),
        };
        let time: jiff::Timestamp = normal.parse().ok()?;
        return i64::try_from(time.as_nanosecond()).ok().map(Timestamp::from_nanos);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    let digits = fraction.get(..fraction.len().min(9))?;
    let fraction = if digits.is_empty() { 0 } else { digits.parse::<u32>().ok()? };
    let scale = 10_u32.checked_pow(9 - u32::try_from(digits.len()).ok()?)?;
    let fraction = fraction.checked_mul(scale)?;
    if whole > MAX_SECONDS {
        let (seconds, millis) = (whole / 1_000, u32::try_from(whole % 1_000).ok()?);
        return Timestamp::from_parts(seconds, millis * 1_000_000 + fraction / 1_000);
    }
    Timestamp::from_parts(whole, fraction)
}

/// Seconds with a fraction as nanoseconds; 0 for what is none.
pub(super) fn nanos(seconds: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|length| u64::try_from(length.as_nanos()).ok())
        .unwrap_or(0)
}

pub(super) fn transport(name: &str) -> Transport {
    let name = name.to_ascii_lowercase();
    let by_name = match name.as_str() {
        "ipv6-icmp" | "icmpv6" | "icmp6" => Some(Transport::ICMPV6),
        _ => (0..=u8::MAX).map(Transport).find(|known| known.keyword() == Some(name.as_str())),
    };
    by_name.or_else(|| name.parse().ok().map(Transport)).unwrap_or(Transport(0))
}
