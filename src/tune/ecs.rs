//! Flows in the Elastic Common Schema: ours, Packetbeat's, and what Filebeat and the Elastic Agent make of Zeek's
//! and Suricata's logs.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    eve,
    log::{Row, State, look, timestamp, transport},
    zeek,
};
use crate::record::Transport;

/// A refusal is one packet for one, each shorter than this.
const REFUSAL_BYTES: u64 = 80;

/// How the names of a firewall's actions begin that let nothing pass: `dropped`, `deny`, `flow_denied`, `blocked`.
const STOPPED: [&str; 3] = ["drop", "den", "block"];

/// The row of a flow; `None` for documents of other kinds, for reports of flows that go on, and for what was dropped:
/// that never speaks against its source.
pub(super) fn of_json(row: &Value) -> Result<Option<Row>, &'static str> {
    let value = |path: &str| look(row, path);
    let text = |path: &str| value(path).and_then(|value| value.as_str());
    let number = |path: &str| value(path).and_then(Value::as_u64);
    let is_flow = match (text("event.action"), text("event.dataset"), text("type")) {
        (Some("network_flow"), ..) | (.., Some("flow")) => true,
        (_, Some("suricata.eve"), _) => text("suricata.eve.event_type") == Some("flow"),
        (_, Some(dataset), _) => dataset.ends_with("flow") || dataset == "zeek.connection",
        _ => number("source.packets").is_some(),
    };
    let is_final = value("tidegate.flow.final").or(value("flow.final"));
    if !is_flow || is_dropped(row) || is_final.and_then(Value::as_bool) == Some(false) {
        return Ok(None);
    }
    let address = |path: &str| -> Option<IpAddr> { text(path)?.parse().ok() };
    let transport = transport(text("network.transport").ok_or("it has no network.transport")?);
    let start = text("event.start").or(text("@timestamp"));
    let port = number("destination.port").unwrap_or(0);
    let packets =
        [number("source.packets").unwrap_or(0), number("destination.packets").unwrap_or(0)];
    let bytes = [number("source.bytes").unwrap_or(0), number("destination.bytes").unwrap_or(0)];
    let [_, answers] = packets;
    let state = if let Some(state) = text("zeek.connection.state") {
        let history = text("zeek.connection.history").unwrap_or_default();
        zeek::of_state(state, history, transport)?
    } else if let Some(event) = value("suricata.eve") {
        eve::state(event, transport, answers)
    } else {
        of_state(text("tidegate.flow.conn_state"), transport, packets, bytes)
    };
    Ok(Some(Row {
        start: start.and_then(timestamp).ok_or("it has no time")?,
        duration_nanos: number("event.duration").unwrap_or(0),
        source: address("source.ip").ok_or("it has no source.ip")?,
        destination: address("destination.ip").ok_or("it has no destination.ip")?,
        port: u16::try_from(port).map_err(|_| "its destination.port is none")?,
        transport,
        state,
        packets: packets[0],
        bytes,
        is_malicious: None,
    }))
}

/// Whether our gate or another firewall kept it back. Of Zeek's and Suricata's flows a `denied` says no such thing: the
/// Elastic Agent writes it for connections that the destination itself refused.
fn is_dropped(row: &Value) -> bool {
    let text = |path: &str| look(row, path).and_then(Value::as_str);
    let is_ours = text("event.module") == Some("tidegate")
        || text("event.dataset").is_some_and(|dataset| dataset.starts_with("tidegate."));
    let is_watched = look(row, "zeek.connection.state").or(look(row, "suricata.eve")).is_some();
    let is_denied = match look(row, "event.type") {
        Some(Value::Array(types)) => types.iter().any(|one| one == "denied"),
        Some(one) => one == "denied",
        None => false,
    };
    let stopped = |action: &str| {
        let action = action.to_ascii_lowercase();
        action
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| STOPPED.iter().any(|stop| word.starts_with(stop)))
    };
    (is_ours && is_denied)
        || (!is_watched && (is_denied || text("event.action").is_some_and(stopped)))
}

fn of_state(
    state: Option<&str>,
    transport: Transport,
    [_, answers]: [u64; 2],
    [sent, received]: [u64; 2],
) -> State {
    let is_tcp = transport == Transport::TCP;
    match state {
        Some("SF" | "S1" | "S2" | "S3" | "RSTO" | "RSTR") => State::Success,
        Some("REJ") => State::Refused,
        Some("S0") if is_tcp => State::TimedOut,
        Some(_) => State::Unknown,
        None if answers == 0 => {
            if is_tcp {
                State::TimedOut
            } else {
                State::Unknown
            }
        }
        None if is_tcp && answers == 1 && sent < REFUSAL_BYTES && received < REFUSAL_BYTES => {
            State::Refused
        }
        None => State::Success,
    }
}
