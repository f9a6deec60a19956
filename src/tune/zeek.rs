//! Zeek's `conn.log`, as text and as JSON.

use std::net::IpAddr;

use serde_json::Value;

use super::log::{Row, State, look, nanos, timestamp, transport};
use crate::record::{TcpFlags, Transport};

/// Where the columns are.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns(Vec<Box<str>>);

/// A row's values by their names.
trait Named {
    fn value(&self, name: &str) -> Option<String>;
}

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

/// What a connection's state says of the contact.
pub(super) fn of_state(
    state: &str,
    history: &str,
    transport: Transport,
) -> Result<State, &'static str> {
    Ok(match state {
        "SF" | "S1" | "S2" | "S3" | "RSTO" | "RSTR" => State::Success,
        "REJ" => State::Refused,
        // A SYN with what never goes with one, or a FIN to nothing.
        "S0" | "SH" if history.starts_with('Q') => {
            State::Odd(TcpFlags(TcpFlags::SYN | TcpFlags::FIN))
        }
        "SH" | "OTH" if history.starts_with('F') => State::Odd(TcpFlags(TcpFlags::FIN)),
        "S0" if transport == Transport::TCP => State::TimedOut,
        "S0" | "SH" | "SHR" | "OTH" | "RSTRH" | "RSTOS0" => State::Unknown,
        _ => return Err("its conn_state is none"),
    })
}
