//! Zeek's `conn.log`, as text and as JSON.

use std::net::IpAddr;

use serde_json::Value;

use super::log::{Row, State, look, nanos, timestamp, transport};
use crate::record::{TcpFlags, Transport};

/// The states of a connection.
const KNOWN: [&str; 13] =
    ["S0", "S1", "S2", "S3", "SF", "REJ", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH"];

/// Where the columns are.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns(Vec<Box<str>>);

/// A row's values by their names.
trait Named {
    fn value(&self, name: &str) -> Option<String>;
}

/// What was seen of a connection, a letter each: capitals of the originator, small ones of the responder.
struct History<'a>(&'a str);

struct Text<'a>(&'a Columns, Vec<&'a str>);

// === impl Columns ===

impl Columns {
    pub(super) fn of(heading: &str) -> Self {
        Self(heading.split('\t').filter(|name| !name.is_empty()).map(Into::into).collect())
    }

    pub(super) fn row(&self, text: &str) -> Result<Row, &'static str> {
        // Before labels, tools have put blanks for tabs.
        let values: Vec<_> = text.split('\t').collect();
        of(&Text(self, values))
    }
}

impl Named for Text<'_> {
    fn value(&self, name: &str) -> Option<String> {
        let at = self.0.0.iter().position(|column| **column == *name)?;
        self.1.get(at).filter(|value| **value != "-").map(|value| (*value).to_owned())
    }
}

impl Named for Value {
    fn value(&self, name: &str) -> Option<String> {
        match look(self, name)? {
            Self::String(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

pub(super) fn of_json(row: &Value) -> Result<Row, &'static str> {
    of(row)
}

fn of(row: &impl Named) -> Result<Row, &'static str> {
    let address = |name| -> Option<IpAddr> { row.value(name)?.parse().ok() };
    let count = |name: &str| row.value(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let transport = transport(&row.value("proto").ok_or("it has no proto")?);
    let history = row.value("history").unwrap_or_default();
    let state = row.value("conn_state").ok_or("it has no conn_state, or is cut")?;
    let label = row.value("label");
    Ok(Row {
        start: row.value("ts").and_then(|ts| timestamp(&ts)).ok_or("it has no ts")?,
        duration_nanos: row.value("duration").and_then(|text| text.parse().ok()).map_or(0, nanos),
        source: address("id.orig_h").ok_or("it has no id.orig_h")?,
        destination: address("id.resp_h").ok_or("it has no id.resp_h")?,
        port: row
            .value("id.resp_p")
            .and_then(|text| text.parse().ok())
            .ok_or("it has no id.resp_p")?,
        transport,
        state: of_state(&state, &history, transport)?,
        packets: count("orig_pkts"),
        bytes: [count("orig_ip_bytes"), count("resp_ip_bytes")],
        is_malicious: label.map(|label| label.eq_ignore_ascii_case("malicious")),
    })
}

/// What a connection's state says of the contact, and its history where the state says less.
pub(super) fn of_state(
    state: &str,
    history: &str,
    transport: Transport,
) -> Result<State, &'static str> {
    let is_tcp = transport == Transport::TCP;
    // A caret says that Zeek has turned the connection round.
    let history = History(history.trim_start_matches('^'));
    Ok(match state {
        // A SYN with what never goes with one.
        _ if is_tcp && KNOWN.contains(&state) && history.begins_with('Q') => {
            State::Odd(TcpFlags(TcpFlags::SYN | TcpFlags::FIN))
        }
        "SH" | "OTH" | "RSTR" if is_tcp && history.is_lone_fin() => State::Closing,
        "RSTR" if is_tcp && history.is_refused() => {
            if history.begins_with('S') {
                State::Refused
            } else {
                State::Unknown
            }
        }
        "SF" | "S1" | "S2" | "S3" | "RSTO" | "RSTR" => State::Success,
        "S0" if is_tcp => history.conversation().unwrap_or(State::TimedOut),
        "REJ" if is_tcp => match history.conversation() {
            Some(reached) if history.is_answered() => reached,
            _ => State::Refused,
        },
        "REJ" => State::Refused,
        "S0" | "SH" | "SHR" | "OTH" | "RSTRH" | "RSTOS0" => State::Unknown,
        _ => return Err("its conn_state is none"),
    })
}

// === impl History ===

impl History<'_> {
    fn has(&self, letter: char) -> bool {
        self.0.contains(letter)
    }

    fn begins_with(&self, letter: char) -> bool {
        self.0.starts_with(letter)
    }

    /// Whether the responder sent nothing but an RST.
    fn is_refused(&self) -> bool {
        let mut answers = self.0.chars().filter(char::is_ascii_lowercase).peekable();
        answers.peek().is_some() && answers.all(|letter| letter == 'r')
    }

    /// Whether the originator sent nothing but FINs, and got an RST or nothing.
    fn is_lone_fin(&self) -> bool {
        self.begins_with('F') && self.0.chars().all(|letter| matches!(letter, 'F' | 'r'))
    }

    /// Whether the responder sent more than an RST, and more than the SYN-ACK that the originator asked for.
    fn is_answered(&self) -> bool {
        self.has('d') || self.has('a') || (self.has('h') && (self.has('A') || self.has('D')))
    }

    /// What came of a connection whose handshake Zeek did not see, by what was sent after it; `None` if nothing was.
    fn conversation(&self) -> Option<State> {
        if self.has('d') || self.has('h') {
            return Some(State::Success);
        }
        match (self.has('A') || self.has('a'), self.has('D')) {
            // The answers go another way: the originator goes on as though there had been one.
            (true, true) => Some(State::Unproven),
            (true, false) => Some(State::Unknown),
            (false, _) => None,
        }
    }
}
