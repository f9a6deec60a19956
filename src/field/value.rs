//! A field's value, as the record holds it, and the forms it is written in.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr},
};

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use crate::record::{
    CommunityId, Extra, Flow, FlowTags, History, Id, MacAddress, Packet, TcpFlags, Timestamp,
    Transport, Weight,
};

/// A field's value.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// The record has none: the field is left out.
    Absent,
    /// A whole number.
    Number(u64),
    /// A whole number that may be below zero.
    Signed(i64),
    /// A number of nanoseconds, written as seconds.
    Seconds(u64),
    /// Yes or no.
    Bool(bool),
    /// A text that may hold anything.
    Text(&'a str),
    /// A text without quotes, backslashes and control characters.
    Plain(&'static str),
    /// A point in time, in RFC 3339.
    Time(Timestamp),
    /// An address.
    Address(IpAddr),
    /// A link-layer address, as ECS writes it.
    Mac(MacAddress),
    /// A link-layer address in lower case with colons, as the CIM has it.
    ColonMac(MacAddress),
    /// A flow in one line for people.
    FlowLine(&'a Flow),
    /// A packet in one line for people.
    PacketLine(&'a Packet),
    /// A number that is no quantity (a VLAN id, a protocol number): written as text.
    Label(u16),
    /// A transport by its name in upper case.
    Protocol(Transport),
    /// A record's id.
    Id(Id),
    /// The id of one report of a flow: the flow's and the report's number.
    ReportId(Id, u32),
    /// A Community ID.
    CommunityId(CommunityId),
    /// Several of them.
    CommunityIds(&'a [CommunityId]),
    /// A history, a letter an event.
    History(History),
    /// TCP control bits, a list of names.
    Flags(TcpFlags),
    /// Remarks, and whether the record is about others' traffic.
    Tags(FlowTags, bool),
    /// The names of the signals of an alert, a list.
    Signals(&'a [Weight]),
    /// A list of fixed texts.
    Words(&'static [&'static str]),
    /// A list of texts that may hold anything, in two parts.
    Texts([&'a [Box<str>]; 2]),
    /// A list of one or two addresses.
    Addresses(IpAddr, Option<IpAddr>),
    /// A list of addresses.
    AddressList(&'a [IpAddr]),
    /// Named lists of texts.
    Extra(&'a [Extra]),
    /// Named numbers.
    Counts(&'a [(&'static str, u64)]),
}

const FLAGS: [(u16, &str); 8] = [
    (TcpFlags::FIN, "FIN"),
    (TcpFlags::SYN, "SYN"),
    (TcpFlags::RST, "RST"),
    (TcpFlags::PSH, "PSH"),
    (TcpFlags::ACK, "ACK"),
    (TcpFlags::URG, "URG"),
    (TcpFlags::ECE, "ECE"),
    (TcpFlags::CWR, "CWR"),
];

/// Bytes at most of a text that is written for a comparison: a flow in one line.
const LONGEST: usize = 192;

/// Where a text is written to.
trait Bytes {
    fn push(&mut self, byte: u8);
    fn extend_from_slice(&mut self, bytes: &[u8]);
}

/// What a value is written as, on the stack.
#[derive(Debug)]
pub(crate) struct Written {
    bytes: [u8; LONGEST],
    len: usize,
}

/// Writes what `Display` says.
struct Displayed<'a, B>(&'a mut B);

// === impl Value ===

impl<'a> Value<'a> {
    /// The names of control bits.
    pub(super) fn flag_names(flags: TcpFlags) -> impl Iterator<Item = &'static str> {
        FLAGS.into_iter().filter(move |(bit, _)| flags.has(*bit)).map(|(_, name)| name)
    }

    /// A text, if there is one.
    pub(crate) fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }

    /// A fixed text, if there is one.
    pub(crate) fn plain(text: Option<&'static str>) -> Self {
        text.map_or(Self::Absent, Self::Plain)
    }

    /// A number, if there is one.
    pub(crate) fn number(number: Option<impl Into<u64>>) -> Self {
        number.map_or(Self::Absent, |number| Self::Number(number.into()))
    }

    /// A text of digits, if there is one.
    pub(crate) fn label(number: Option<u16>) -> Self {
        number.map_or(Self::Absent, Self::Label)
    }

    /// A list of the texts of both parts, unless there are none.
    pub(crate) fn texts(one: &'a [Box<str>], other: &'a [Box<str>]) -> Self {
        if one.is_empty() && other.is_empty() { Self::Absent } else { Self::Texts([one, other]) }
    }

    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// A member of an object.
    pub(crate) fn member(self, name: &str) -> Self {
        match self {
            Self::Extra(extra) => {
                let found = extra.iter().find(|extra| *extra.name == *name);
                found.map_or(Self::Absent, |extra| Self::Texts([&extra.values, &[]]))
            }
            Self::Counts(counts) => {
                Self::number(counts.iter().find(|(other, _)| *other == name).map(|(_, n)| *n))
            }
            _ => Self::Absent,
        }
    }

    /// The text of a value that is written as a text without anything to escape.
    #[inline]
    pub(crate) fn written(&self) -> Written {
        let mut written = Written { bytes: [0; LONGEST], len: 0 };
        self.append_plain(&mut written);
        written
    }

    /// Calls `look` with each text of a list, until one will do.
    pub(crate) fn any_text(&self, mut look: impl FnMut(&str) -> bool) -> bool {
        match *self {
            Self::Words(words) => words.iter().any(|word| look(word)),
            Self::Flags(flags) => Self::flag_names(flags).any(look),
            Self::Tags(tags, forwarded) => tags.written(forwarded).any(look),
            Self::Signals(signals) => signal_names(signals).any(look),
            Self::Texts(parts) => parts.into_iter().flatten().any(|text| look(text)),
            Self::CommunityIds(ids) => {
                ids.iter().any(|id| look(Value::CommunityId(*id).written().as_str()))
            }
            _ => false,
        }
    }

    /// Appends the value as JSON.
    #[inline]
    pub(crate) fn append_json(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Number(number) => append_number(number, out),
            Self::Seconds(nanos) => append_seconds(nanos, out),
            Self::Words(words) => append_words(words.iter().copied(), out),
            Self::Flags(flags) => append_words(Self::flag_names(flags), out),
            Self::Tags(tags, forwarded) => append_words(tags.written(forwarded), out),
            Self::Signals(signals) => append_words(signal_names(signals), out),
            Self::Addresses(one, other) => {
                out.extend_from_slice(b"[\"");
                append_address(one, out);
                if let Some(other) = other {
                    out.extend_from_slice(b"\",\"");
                    append_address(other, out);
                }
                out.extend_from_slice(b"\"]");
            }
            Self::Absent
            | Self::Signed(_)
            | Self::Bool(_)
            | Self::Text(_)
            | Self::Texts(_)
            | Self::Extra(_)
            | Self::AddressList(_)
            | Self::CommunityIds(_)
            | Self::Counts(_) => {
                serde_json::to_writer(out, self).expect("texts and numbers go into any vector");
            }
            _ => {
                out.push(b'"');
                self.append_plain(out);
                out.push(b'"');
            }
        }
    }

    /// Appends the text of a value that is written as a text without anything to escape.
    #[expect(clippy::inline_always, reason = "6 % of a short document; it has two callers")]
    #[inline(always)]
    fn append_plain(&self, out: &mut impl Bytes) {
        match *self {
            Self::Plain(text) => out.extend_from_slice(text.as_bytes()),
            Self::Time(time) => out.extend_from_slice(time.rfc3339().as_str().as_bytes()),
            Self::Address(address) => append_address(address, out),
            Self::Label(number) => append_number(number.into(), out),
            Self::Protocol(transport) => append_protocol(transport, out),
            Self::Id(id) => out.extend_from_slice(&id.hex()),
            Self::ReportId(id, sequence) => {
                out.extend_from_slice(&id.hex());
                out.push(b'-');
                append_number(sequence.into(), out);
            }
            Self::CommunityId(id) => out.extend_from_slice(&id.text()),
            Self::History(history) => {
                for letter in history.letters() {
                    out.push(u8::try_from(letter).unwrap_or(b'?'));
                }
            }
            Self::Mac(address) => append_display(address, out),
            Self::ColonMac(MacAddress(bytes)) => append_colon_mac(bytes, out),
            Self::FlowLine(flow) => append_flow(flow, out),
            Self::PacketLine(packet) => append_packet(packet, out),
            _ => debug_assert!(false, "{self:?} is not a plain text"),
        }
    }
}

impl From<Option<MacAddress>> for Value<'_> {
    fn from(address: Option<MacAddress>) -> Self {
        address.map_or(Self::Absent, Self::Mac)
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Absent => serializer.serialize_unit(),
            Self::Number(number) => serializer.serialize_u64(number),
            Self::Signed(number) => serializer.serialize_i64(number),
            #[expect(clippy::cast_precision_loss, reason = "exact below 104 days of nanoseconds")]
            Self::Seconds(nanos) => serializer.serialize_f64(nanos as f64 / 1e9),
            Self::Bool(bool) => serializer.serialize_bool(bool),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Flags(flags) => serializer.collect_seq(Self::flag_names(flags)),
            Self::Tags(tags, forwarded) => serializer.collect_seq(tags.written(forwarded)),
            Self::Signals(signals) => serializer.collect_seq(signal_names(signals)),
            Self::Words(words) => words.serialize(serializer),
            Self::Texts([one, other]) => {
                let mut list = serializer.serialize_seq(Some(one.len() + other.len()))?;
                one.iter().chain(other).try_for_each(|text| list.serialize_element(text))?;
                list.end()
            }
            Self::Addresses(one, other) => {
                let addresses = std::iter::once(one).chain(other);
                serializer.collect_seq(addresses.map(Self::Address))
            }
            Self::AddressList(addresses) => serializer.collect_seq(addresses),
            Self::CommunityIds(ids) => serializer.collect_seq(ids),
            Self::Counts(counts) => {
                serializer.collect_map(counts.iter().map(|(name, count)| (name, count)))
            }
            Self::Extra(extra) => {
                let mut map = serializer.serialize_map(Some(extra.len()))?;
                for field in extra {
                    map.serialize_entry(&*field.name, &field.values)?;
                }
                map.end()
            }
            _ => {
                let mut text = Vec::with_capacity(48);
                self.append_plain(&mut text);
                serializer.serialize_str(str::from_utf8(&text).unwrap_or_default())
            }
        }
    }
}

fn signal_names(signals: &[Weight]) -> impl Iterator<Item = &'static str> {
    signals.iter().map(|weight| weight.signal.name())
}

fn append_words<'w>(words: impl Iterator<Item = &'w str>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, word) in words.enumerate() {
        out.extend_from_slice(if at > 0 { b",\"" } else { b"\"" });
        out.extend_from_slice(word.as_bytes());
        out.push(b'"');
    }
    out.push(b']');
}

/// Appends the decimal digits, without the formatter: a flow has a dozen numbers.
fn append_number(number: u64, out: &mut impl Bytes) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends nanoseconds as seconds, in the fewest digits that lose nothing.
fn append_seconds(nanos: u64, out: &mut Vec<u8>) {
    append_number(nanos / 1_000_000_000, out);
    let fraction = nanos % 1_000_000_000;
    if fraction > 0 {
        let start = out.len();
        append_number(1_000_000_000 + fraction, out);
        if let Some(point) = out.get_mut(start) {
            *point = b'.';
        }
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn append_address(address: IpAddr, out: &mut impl Bytes) {
    match address {
        IpAddr::V4(address) => append_ipv4(address, out),
        IpAddr::V6(address) => append_display(address, out),
    }
}

/// Appends what `Display` writes, without the formatter: it is there many times in each record.
fn append_ipv4(address: Ipv4Addr, out: &mut impl Bytes) {
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

fn append_colon_mac(bytes: [u8; 6], out: &mut impl Bytes) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in bytes.into_iter().enumerate() {
        if at > 0 {
            out.push(b':');
        }
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// `tcp 192.0.2.10:51234 > 198.51.100.20:443, 9 packets, 1546 bytes`.
fn append_flow(flow: &Flow, out: &mut impl Bytes) {
    append_transport(flow.transport, out);
    out.push(b' ');
    append_end(flow.initiator.address, flow.initiator.port, out);
    out.extend_from_slice(b" > ");
    append_end(flow.responder.address, flow.responder.port, out);
    append_amount(flow.packets(), flow.bytes(), out);
    if flow.denied.is_some() {
        out.extend_from_slice(b", dropped");
    }
}

fn append_packet(packet: &Packet, out: &mut impl Bytes) {
    let header = &packet.outer;
    let ports = header.layer4.ports();
    append_transport(header.transport, out);
    out.push(b' ');
    append_end(header.source, ports.map(|ports| ports.source), out);
    out.extend_from_slice(b" > ");
    append_end(header.destination, ports.map(|ports| ports.destination), out);
    append_amount(1, packet.ip_bytes().into(), out);
}

fn append_transport(transport: Transport, out: &mut impl Bytes) {
    match transport.keyword() {
        Some(keyword) => out.extend_from_slice(keyword.as_bytes()),
        None => append_number(transport.0.into(), out),
    }
}

/// An address, and its port behind a colon (RFC 3986: IPv6 in brackets then).
fn append_end(address: IpAddr, port: Option<u16>, out: &mut impl Bytes) {
    let bracketed = port.is_some() && address.is_ipv6();
    if bracketed {
        out.push(b'[');
    }
    append_address(address, out);
    if bracketed {
        out.push(b']');
    }
    if let Some(port) = port {
        out.push(b':');
        append_number(port.into(), out);
    }
}

fn append_amount(packets: u64, bytes: u64, out: &mut impl Bytes) {
    out.extend_from_slice(b", ");
    append_number(packets, out);
    let word: &[u8] = if packets == 1 { b" packet, " } else { b" packets, " };
    out.extend_from_slice(word);
    append_number(bytes, out);
    out.extend_from_slice(b" bytes");
}

fn append_protocol(transport: Transport, out: &mut impl Bytes) {
    match transport {
        Transport::TCP => out.extend_from_slice(b"TCP"),
        Transport::UDP => out.extend_from_slice(b"UDP"),
        Transport::ICMP => out.extend_from_slice(b"ICMP"),
        transport => append_display(transport, out),
    }
}

fn append_display(value: impl fmt::Display, out: &mut impl Bytes) {
    write!(Displayed(out), "{value}").expect("all that is written is taken");
}

// === impl Bytes ===

impl Bytes for Vec<u8> {
    #[inline]
    fn push(&mut self, byte: u8) {
        self.push(byte);
    }

    #[inline]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Bytes for Written {
    fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        } else {
            debug_assert!(false, "a text has more than {LONGEST} bytes");
        }
    }
}

impl<B: Bytes> fmt::Write for Displayed<'_, B> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

// === impl Written ===

impl Written {
    pub(crate) fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: Value<'_>) -> String {
        let mut out = Vec::new();
        value.append_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn seconds_have_the_fewest_digits_that_lose_nothing() {
        let cases = [
            (0, "0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (2_000_000_000, "2"),
            (86_400_000_000_010, "86400.00000001"),
        ];
        for (nanos, text) in cases {
            assert_eq!(json(Value::Seconds(nanos)), text);
        }
    }

    proptest! {
        #[test]
        fn numbers_and_addresses_are_written_as_display_writes_them(number: u64, address: IpAddr) {
            prop_assert_eq!(json(Value::Number(number)), number.to_string());
            prop_assert_eq!(json(Value::Address(address)), format!("\"{address}\""));
        }

        #[test]
        fn both_ways_of_writing_agree(number: u64, address: IpAddr, text: String) {
            let values = [
                Value::Number(number), Value::Address(address), Value::Text(&text),
                Value::Addresses(address, Some(address)), Value::Label(7), Value::Plain("udp"),
                Value::Words(&["a", "b"]), Value::Flags(TcpFlags(0x12)), Value::Bool(true),
                Value::Tags(FlowTags(5), true), Value::Tags(FlowTags(5), false),
                Value::ColonMac(MacAddress([0, 0x16, 0x47, 0x9d, 0xf2, 0xc2])),
                Value::AddressList(&[address, address]),
            ];
            for value in values {
                prop_assert_eq!(json(value), serde_json::to_string(&value).unwrap());
            }
        }
    }
}
