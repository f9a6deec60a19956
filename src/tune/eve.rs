//! Suricata's EVE: events of type `flow`.

use std::net::IpAddr;

use serde_json::Value;

use super::log::{Row, State, timestamp, transport};
use crate::record::{TcpFlags, Transport};

/// The row of a flow event; `None` for other events.
pub(super) fn of_json(event: &Value) -> Result<Option<Row>, &'static str> {
    if event["event_type"] != "flow" {
        return Ok(None);
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let address = |name: &str| -> Option<IpAddr> { event[name].as_str()?.parse().ok() };
    let flow = &event["flow"];
    if !flow.is_object() {
        return Err("it has no flow");
    }
    let transport = transport(&text(&event["proto"]).ok_or("it has no proto")?);
    let start = flow["start"].as_str().or(event["timestamp"].as_str());
    let start = start.and_then(timestamp).ok_or("it has no time")?;
    let end = flow["end"].as_str().and_then(timestamp).unwrap_or(start);
    let count = |name: &str| flow[name].as_u64().unwrap_or(0);
    let port = event["dest_port"].as_u64().unwrap_or(0);
    Ok(Some(Row {
        start,
        duration_nanos: end.since(start),
        source: address("src_ip").ok_or("it has no src_ip")?,
        destination: address("dest_ip").ok_or("it has no dest_ip")?,
        port: u16::try_from(port).map_err(|_| "its dest_port is none")?,
        transport,
        state: state(event, transport, count("pkts_toclient")),
        packets: count("pkts_toserver"),
        bytes: [count("bytes_toserver"), count("bytes_toclient")],
        is_malicious: None,
    }))
}

/// What came of the flow of an event that has so many packets of the responder.
pub(super) fn state(event: &Value, transport: Transport, answers: u64) -> State {
    let flow = &event["flow"];
    if transport != Transport::TCP {
        return if answers > 0 { State::Success } else { State::Unknown };
    }
    let flags = |name: &str| {
        event["tcp"][name].as_str().and_then(|text| u16::from_str_radix(text, 16).ok())
    };
    let (to_server, to_client) = (flags("tcp_flags_ts"), flags("tcp_flags_tc"));
    let has = |flags: Option<u16>, bit| flags.is_some_and(|flags| flags & bit != 0);
    if let Some(sent) = to_server
        && sent & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == 0
    {
        return State::Odd(TcpFlags(sent));
    }
    match flow["state"].as_str() {
        Some("established" | "closed") if has(to_client, TcpFlags::SYN) || to_client.is_none() => {
            State::Success
        }
        _ if has(to_client, TcpFlags::SYN) => State::Success,
        _ if has(to_client, TcpFlags::RST) => State::Refused,
        // Older versions have no flags: a refusal is one short answer.
        _ if to_client.is_none() && answers > 0 => State::Refused,
        _ if answers == 0 && (has(to_server, TcpFlags::SYN) || to_server.is_none()) => {
            State::TimedOut
        }
        _ => State::Unknown,
    }
}
