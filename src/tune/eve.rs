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
    // Older versions have no flags.
    let began = to_server.is_none() || has(to_server, TcpFlags::SYN);
    match (to_server, flow["state"].as_str()) {
        // Suricata had no session to keep flags in: it came upon the connection late, or ran out of memory.
        (Some(0), _) => State::Unknown,
        (Some(sent), _) if sent & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == 0 => {
            State::Odd(TcpFlags(sent))
        }
        (_, Some("established" | "closed")) if to_client.is_none() => State::Success,
        _ if has(to_client, TcpFlags::SYN) => State::Success,
        // The answer to its SYN was not captured, and what followed was.
        _ if began && has(to_client, TcpFlags::PSH) => State::Success,
        _ if began && has(to_client, TcpFlags::RST) => State::Refused,
        // A refusal is one short answer.
        _ if to_client.is_none() && answers > 0 => State::Refused,
        _ if answers == 0 && began => unanswered(to_server),
        _ => State::Unknown,
    }
}

/// What came of a connection of which nothing was seen but what the source sent, with these flags.
fn unanswered(sent: Option<u16>) -> State {
    let sent = TcpFlags(sent.unwrap_or(0));
    match (sent.has(TcpFlags::ACK), sent.has(TcpFlags::PSH)) {
        (false, _) => State::TimedOut,
        // The answers go another way: the source goes on as though there had been one.
        (true, true) => State::Unproven,
        (true, false) => State::Unknown,
    }
}
