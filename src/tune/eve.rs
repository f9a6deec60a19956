//! Suricata's EVE: events of type `flow`.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    counts::Traffic,
    ecs::is_stopped,
    left_out::LeftOut,
    log::{Row, State, number, port, timestamp, transport},
};
use crate::record::{TcpFlags, Transport};

/// The row of a flow event; `None` for other events.
pub(super) fn of_json(event: &Value, left_out: &mut LeftOut) -> Result<Option<Row>, &'static str> {
    if event["event_type"] != "flow" {
        return Ok(None);
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let address = |name: &str| -> Option<IpAddr> { event[name].as_str()?.parse().ok() };
    let flow = &event["flow"];
    if !flow.is_object() {
        return Err("it has no flow");
    }
    if is_dropped(event) {
        left_out.drop();
        return Ok(None);
    }
    let transport = transport(&text(&event["proto"]).ok_or("it has no proto")?);
    let start = flow["start"].as_str().or(event["timestamp"].as_str());
    let start = start.and_then(timestamp).ok_or("it has no time")?;
    let end = flow["end"].as_str().and_then(timestamp).unwrap_or(start);
    let count = |name: &str| number(flow.get(name)).map(Option::unwrap_or_default);
    let source_port = port(event.get("src_port"), Transport(0), "its src_port is none")?;
    let port = port(event.get("dest_port"), transport, "it has no dest_port")?;
    let source = address("src_ip").ok_or("it has no src_ip")?;
    let traffic = Traffic {
        packets: [count("pkts_toserver")?, count("pkts_toclient")?],
        bytes: [count("bytes_toserver")?, count("bytes_toclient")?],
        ports: [source_port, port],
        is_ipv6: source.is_ipv6(),
    };
    Ok(Some(Row {
        start,
        duration_nanos: end.since(start),
        source,
        source_port,
        is_local: false,
        destination: address("dest_ip").ok_or("it has no dest_ip")?,
        port,
        transport,
        state: state(event, transport, traffic),
        packets: traffic.packets[0],
        bytes: traffic.bytes,
        is_malicious: None,
    }))
}

/// Whether Suricata itself, as a firewall, let nothing of the flow pass.
pub(super) fn is_dropped(event: &Value) -> bool {
    event["flow"]["action"].as_str().is_some_and(is_stopped)
}

/// What came of the flow of an event.
pub(super) fn state(event: &Value, transport: Transport, traffic: Traffic) -> State {
    let (flow, [_, answers]) = (&event["flow"], traffic.packets);
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
        (Some(sent), _) if is_left_open(sent, to_client) => State::LeftOpen,
        _ if has(to_client, TcpFlags::SYN) => State::Success,
        // The answer to its SYN was not captured, and what followed was.
        _ if began && has(to_client, TcpFlags::PSH) => State::Success,
        _ if began && has(to_client, TcpFlags::RST) => State::Refused,
        (None, _) if answers == 0 => traffic.unanswered(),
        (None, _) if traffic.is_refused() => State::Refused,
        (Some(sent), _) if answers == 0 && began => unanswered(TcpFlags(sent)),
        _ => State::Unknown,
    }
}

/// What came of a connection of which nothing was seen but what the source sent, with these flags.
fn unanswered(sent: TcpFlags) -> State {
    match (sent.has(TcpFlags::ACK), sent.has(TcpFlags::PSH)) {
        (false, _) => State::TimedOut,
        // The answers go another way: the source goes on as though there had been one.
        (true, true) => State::Unproven,
        (true, false) => State::Unknown,
    }
}

/// Whether the source sent a SYN and an RST, and got a SYN-ACK: nothing that takes a handshake.
fn is_left_open(sent: u16, answered: Option<u16>) -> bool {
    const CONTROL: u16 =
        TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN | TcpFlags::PSH;
    sent & CONTROL == TcpFlags::SYN | TcpFlags::RST
        && answered.is_some_and(|flags| flags & CONTROL == TcpFlags::SYN | TcpFlags::ACK)
}
