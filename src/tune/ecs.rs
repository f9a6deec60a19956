//! Flows in the Elastic Common Schema: ours, Packetbeat's.

use std::net::IpAddr;

use serde_json::Value;

use super::log::{Row, State, timestamp, transport};
use crate::record::Transport;

/// A refusal is one packet for one, each shorter than this.
const REFUSAL_BYTES: u64 = 80;

/// The row of a flow; `None` for documents of other kinds, and for reports of flows that go on.
pub(super) fn of_json(row: &Value) -> Result<Option<Row>, &'static str> {
    let value = |path: &str| look(row, path);
    let text = |path: &str| value(path).and_then(|value| value.as_str());
    let number = |path: &str| value(path).and_then(Value::as_u64);
    let is_flow = match (text("event.action"), text("event.dataset"), text("type")) {
        (Some("network_flow"), ..) | (.., Some("flow")) => true,
        (_, Some(dataset), _) => dataset.ends_with("flow"),
        _ => number("source.packets").is_some(),
    };
    let is_final = value("tidegate.flow.final").or(value("flow.final"));
    if !is_flow || is_final.and_then(Value::as_bool) == Some(false) {
        return Ok(None);
    }
    let address = |path: &str| -> Option<IpAddr> { text(path)?.parse().ok() };
    let transport = transport(text("network.transport").ok_or("it has no network.transport")?);
    let start = text("event.start").or(text("@timestamp"));
    let port = number("destination.port").unwrap_or(0);
    let packets =
        [number("source.packets").unwrap_or(0), number("destination.packets").unwrap_or(0)];
    let bytes = [number("source.bytes").unwrap_or(0), number("destination.bytes").unwrap_or(0)];
    let state = text("tidegate.flow.conn_state");
    Ok(Some(Row {
        start: start.and_then(timestamp).ok_or("it has no time")?,
        duration_nanos: number("event.duration").unwrap_or(0),
        source: address("source.ip").ok_or("it has no source.ip")?,
        destination: address("destination.ip").ok_or("it has no destination.ip")?,
        port: u16::try_from(port).map_err(|_| "its destination.port is none")?,
        transport,
        state: of_state(state, transport, packets, bytes),
        packets: packets[0],
        bytes,
        is_malicious: None,
    }))
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

/// The value at a dotted path, nested or written flat.
fn look<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(flat) = row.get(path) {
        return Some(flat);
    }
    path.split('.').try_fold(row, |value, key| value.get(key))
}
