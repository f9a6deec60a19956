//! Flows in the Elastic Common Schema: ours, Packetbeat's, and what Filebeat and the Elastic Agent make of Zeek's
//! and Suricata's logs.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    counts::Traffic,
    eve,
    left_out::LeftOut,
    log::{Row, State, look, number, port, timestamp, transport},
    zeek,
};
use crate::record::Transport;

/// How the names of a firewall's actions begin that let nothing pass: `dropped`, `deny`, `flow_denied`, `blocked`.
const STOPPED: [&str; 4] = ["drop", "den", "block", "reject"];
/// Directions of what begins in the network that is watched.
const OUTWARD: [&str; 3] = ["outbound", "internal", "egress"];

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A flow with both its directions.
    Flow,
    /// A flow, or half of one: nobody says which.
    Foreign,
    Other,
}

/// The row of a flow; `None` for documents of other kinds, for reports of flows that go on, and for what was dropped:
/// that never speaks against its source.
pub(super) fn of_json(row: &Value, left_out: &mut LeftOut) -> Result<Option<Row>, &'static str> {
    let value = |path: &str| look(row, path);
    let text = |path: &str| value(path).and_then(|value| value.as_str());
    match Kind::of(row) {
        Kind::Flow => {}
        Kind::Foreign => {
            left_out.skip(dataset(row));
            return Ok(None);
        }
        Kind::Other => return Ok(None),
    }
    if is_dropped(row) {
        left_out.drop();
        return Ok(None);
    }
    let is_final = value("tidegate.flow.final").or(value("flow.final"));
    if is_final.is_some_and(|is_final| *is_final == false || *is_final == "false") {
        return Ok(None);
    }
    let Some(transport) = protocol(row)? else {
        if value("source.ip").or(value("source.mac")).is_none() {
            return Err("it has no network.transport");
        }
        left_out.miss_transport();
        return Ok(None);
    };
    let address = |path: &str| -> Option<IpAddr> { text(path)?.parse().ok() };
    let count = |path: &str| number(value(path)).map(Option::unwrap_or_default);
    let start = text("event.start").or(text("@timestamp"));
    let source = address("source.ip").ok_or("it has no source.ip")?;
    let source_port = port(value("source.port"), Transport(0), "its source.port is none")?;
    let port = port(value("destination.port"), transport, "it has no destination.port")?;
    let traffic = Traffic {
        packets: [count("source.packets")?, count("destination.packets")?],
        bytes: [count("source.bytes")?, count("destination.bytes")?],
        ports: [source_port, port],
        is_ipv6: source.is_ipv6(),
    };
    Ok(Some(Row {
        start: start.and_then(timestamp).ok_or("it has no time")?,
        duration_nanos: count("event.duration")?,
        source,
        source_port,
        is_local: is_local(row),
        destination: address("destination.ip").ok_or("it has no destination.ip")?,
        port,
        transport,
        state: state(row, transport, traffic)?,
        packets: traffic.packets[0],
        bytes: traffic.bytes,
        is_malicious: None,
    }))
}

// === impl Kind ===

impl Kind {
    fn of(row: &Value) -> Self {
        let text = |path: &str| look(row, path).and_then(Value::as_str);
        let is_ours = look(row, "tidegate.flow.conn_state").is_some();
        if is_ours || text("event.action") == Some("network_flow") || text("type") == Some("flow") {
            return Self::Flow;
        }
        match dataset(row) {
            Some("suricata.eve") if text("suricata.eve.event_type") == Some("flow") => Self::Flow,
            Some("zeek.connection") => Self::Flow,
            Some(dataset) if dataset.rsplit('.').next() == Some("flow") => Self::Flow,
            Some(dataset) if is_of_sensors(dataset) => Self::Other,
            None if look(row, "source.packets").is_some()
                && look(row, "destination.packets").is_some() =>
            {
                Self::Flow
            }
            _ if is_of_connections(row) => Self::Foreign,
            _ => Self::Other,
        }
    }
}

fn dataset(row: &Value) -> Option<&str> {
    look(row, "event.dataset").or(look(row, "data_stream.dataset")).and_then(Value::as_str)
}

/// Whether a dataset is of those whose flows are known, so that what is none of them is no flow.
fn is_of_sensors(dataset: &str) -> bool {
    ["zeek.", "suricata.", "tidegate.", "network_traffic."]
        .iter()
        .any(|begin| dataset.starts_with(begin))
}

/// Whether a document tells of a connection: it counts what went over it, or says so.
fn is_of_connections(row: &Value) -> bool {
    let counts = ["source.packets", "source.bytes", "network.packets", "network.bytes"];
    let types = |word: &str| is_of_type(row, word);
    // What was said over one is another matter.
    !types("protocol")
        && look(row, "source.ip").is_some()
        && look(row, "destination.ip").is_some()
        && (types("connection") || counts.iter().any(|path| look(row, path).is_some()))
}

fn is_of_type(row: &Value, wanted: &str) -> bool {
    match look(row, "event.type") {
        Some(Value::Array(types)) => types.iter().any(|one| one == wanted),
        Some(one) => one == wanted,
        None => false,
    }
}

/// The transport; `None` of what has neither ports nor a protocol above IP.
fn protocol(row: &Value) -> Result<Option<Transport>, &'static str> {
    if let Some(name) = look(row, "network.transport").and_then(Value::as_str) {
        return Ok(Some(transport(name)));
    }
    let number = number(look(row, "network.iana_number"))?;
    let known = number.map(|number| u8::try_from(number).map(Transport));
    known.transpose().map_err(|_| "its network.iana_number is none")
}

/// Whether the source is of the network that is watched.
fn is_local(row: &Value) -> bool {
    let is_outward = |direction: &str| OUTWARD.contains(&direction);
    look(row, "zeek.connection.local_orig").is_some_and(|local| *local == true)
        || look(row, "network.direction").and_then(Value::as_str).is_some_and(is_outward)
}

/// What came of a flow, by what its writer says of it, or by its counts.
fn state(row: &Value, transport: Transport, traffic: Traffic) -> Result<State, &'static str> {
    let text = |path: &str| look(row, path).and_then(Value::as_str);
    for (state, history) in [
        ("zeek.connection.state", "zeek.connection.history"),
        ("tidegate.flow.conn_state", "tidegate.flow.history"),
    ] {
        if let Some(state) = text(state) {
            return zeek::of_state(state, text(history).unwrap_or_default(), transport);
        }
    }
    Ok(match look(row, "suricata.eve") {
        Some(event) => eve::state(event, transport, traffic),
        None if transport == Transport::TCP => traffic.outcome(),
        None if traffic.packets[1] > 0 => State::Success,
        None => State::Unknown,
    })
}

/// Whether our gate or another firewall kept it back. Of Zeek's and Suricata's flows a `denied` says no such thing: the
/// Elastic Agent writes it for connections that the destination itself refused.
fn is_dropped(row: &Value) -> bool {
    let text = |path: &str| look(row, path).and_then(Value::as_str);
    let is_ours = text("event.module") == Some("tidegate")
        || text("event.dataset").is_some_and(|dataset| dataset.starts_with("tidegate."));
    let is_watched = look(row, "zeek.connection.state").or(look(row, "suricata.eve")).is_some();
    let is_denied = is_of_type(row, "denied");
    let event = look(row, "suricata.eve");
    (is_ours && is_denied)
        || event.is_some_and(eve::is_dropped)
        || (!is_watched && (is_denied || text("event.action").is_some_and(is_stopped)))
}

/// Whether a firewall's action lets nothing pass.
pub(super) fn is_stopped(action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    action
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| STOPPED.iter().any(|stop| word.starts_with(stop)))
}
