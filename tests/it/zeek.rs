//! Flows against the connections that Zeek's own baselines record for the same captures.
//!
//! A row is right if a flow has its addresses, ports, orientation, packets and IP bytes each way; of
//! the right ones the state, the history and the duration are compared.

use std::{collections::BTreeMap, fs, net::IpAddr, sync::Arc};

use libtest_mimic::Failed;
use serde::Deserialize;
use tidegate::{
    flow::{Output, Policy, ServerPorts, Shards, Timeouts},
    record::{Endpoint, Flow, IcmpPorts, Packet, Transport},
};

use crate::harness::{
    Case, Outcome, Scene,
    packets::{self, Read},
};

/// Of the rows with counters, how many have to be right, in percent.
const RIGHT_PERCENT: usize = 97;
/// Of the right ones, how many have to have the right history, in percent.
const HISTORY_PERCENT: usize = 99;
/// Durations in the baselines are rounded to microseconds.
const DURATION_TOLERANCE_NANOS: u64 = 2_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(flows_are_the_connections_of_zeeks_baselines).needs_data().busy(),
        Case::new(flows_by_headers_are_the_connections_of_zeeks_baselines).needs_data().busy(),
    ]
}

#[derive(Debug, Deserialize)]
struct Baseline {
    trace: String,
    log: String,
    ignore_checksums: bool,
    server_ports: Ports,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Ports {
    Named(String),
    Listed(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct Row {
    #[serde(rename = "id.orig_h")]
    initiator: IpAddr,
    #[serde(rename = "id.orig_p")]
    initiator_port: String,
    #[serde(rename = "id.resp_h")]
    responder: IpAddr,
    #[serde(rename = "id.resp_p")]
    responder_port: String,
    proto: String,
    duration: String,
    conn_state: String,
    history: String,
    orig_pkts: Option<String>,
    orig_ip_bytes: Option<String>,
    resp_pkts: Option<String>,
    resp_ip_bytes: Option<String>,
}

/// What makes a row right.
type Identity = [String; 9];

#[derive(Debug, Default)]
struct Tally {
    rows: usize,
    right: usize,
    states: usize,
    histories: usize,
    durations: usize,
    timed: usize,
    remarks: Vec<String>,
}

fn flows_are_the_connections_of_zeeks_baselines(scene: &Scene) -> Outcome {
    compare_all(scene, "zeek", packets::packets)
}

fn flows_by_headers_are_the_connections_of_zeeks_baselines(scene: &Scene) -> Outcome {
    compare_all(scene, "zeek, by headers", packets::by_headers)
}

fn compare_all(scene: &Scene, name: &str, read: Read) -> Outcome {
    let folder = scene.data.join("flows/zeek");
    let baselines: Vec<Baseline> = serde_json::from_slice(&fs::read(folder.join("cases.json"))?)?;
    let mut captures: BTreeMap<(String, bool), Arc<Vec<Packet>>> = BTreeMap::new();
    let mut tally = Tally::default();
    for baseline in &baselines {
        let capture = (baseline.trace.clone(), !baseline.ignore_checksums);
        if !captures.contains_key(&capture) {
            let packets = read(&folder.join("traces").join(&capture.0), capture.1)?;
            captures.insert(capture.clone(), packets.into());
        }
        compare(baseline, flows(&captures[&capture], baseline)?, &mut tally);
    }
    eprintln!(
        "{name}: {} rows with counters, {} right; of these {} states, {} histories, {} of {} durations",
        tally.rows, tally.right, tally.states, tally.histories, tally.durations, tally.timed
    );
    tally.remarks.iter().for_each(|remark| eprintln!("  {remark}"));
    let enough = tally.right * 100 >= tally.rows * RIGHT_PERCENT
        && tally.states == tally.right
        && tally.histories * 100 >= tally.right * HISTORY_PERCENT
        && tally.durations == tally.timed;
    if tally.rows == 0 || !enough {
        return Err(format!("too few agree: {tally:#?}").into());
    }
    Ok(())
}

fn flows(packets: &[Packet], baseline: &Baseline) -> Result<Vec<Flow>, Failed> {
    let server_ports = match &baseline.server_ports {
        Ports::Named(name) if name == "default" => ServerPorts::default(),
        Ports::Named(name) => return Err(format!("no list of server ports named {name}").into()),
        Ports::Listed(ports) => ServerPorts::parse(ports)?,
    };
    let policy = Policy {
        observer: Arc::from("test"),
        timeouts: Timeouts::ZEEK,
        vlan_in_key: false,
        inner: true,
        ignore_checksums: baseline.ignore_checksums,
        server_ports,
        as_zeek: true,
        ..Policy::default()
    };
    let mut table = Shards::new(policy, 1);
    let mut out = Output::default();
    table.absorb(packets, &mut out);
    table.drain(&mut out);
    Ok(out.flows.into_iter().map(|report| report.record).collect())
}

fn compare(baseline: &Baseline, flows: Vec<Flow>, tally: &mut Tally) {
    let mut flows: Vec<_> = flows.into_iter().map(|flow| (identity(&flow), flow)).collect();
    let name = format!("{} [{}]", baseline.trace, baseline.log);
    for row in &baseline.rows {
        let Some(wanted) = row.identity() else { continue };
        tally.rows += 1;
        // Of several flows with the same counters, the one that agrees in the rest as well.
        let found = flows
            .iter()
            .enumerate()
            .filter(|(_, (identity, _))| *identity == wanted)
            .max_by_key(|(_, (_, flow))| {
                (row.state_of(flow), row.history_of(flow), row.duration_of(flow) == Some(true))
            })
            .map(|(at, _)| at);
        let Some(at) = found else {
            let near: Vec<_> = flows
                .iter()
                .filter(|(identity, _)| near(identity, &wanted))
                .map(|(identity, flow)| format!("{} {}", identity.join(" "), flow.history))
                .collect();
            let (wanted, history) = (wanted.join(" "), &row.history);
            tally.remarks.push(format!("{name}: no {wanted} {history}; near: {near:?}"));
            continue;
        };
        let (_, flow) = flows.swap_remove(at);
        tally.right += 1;
        let (state, history) = (row.state_of(&flow), row.history_of(&flow));
        let duration = row.duration_of(&flow);
        tally.states += usize::from(state);
        tally.histories += usize::from(history);
        tally.timed += usize::from(duration.is_some());
        tally.durations += usize::from(duration == Some(true));
        if !(state && history && duration != Some(false)) {
            tally.remarks.push(format!(
                "{name}: {} is {} {} {}, not {} {} {}",
                wanted.join(" "),
                flow.conn_state.name(),
                flow.history,
                flow.duration_nanos(),
                row.conn_state,
                row.history,
                row.duration,
            ));
        }
    }
}

/// Whether a flow is between the two addresses, one way or the other.
fn near(one: &Identity, other: &Identity) -> bool {
    one[0] == other[0]
        && ((&one[1], &one[3]) == (&other[1], &other[3])
            || (&one[1], &one[3]) == (&other[3], &other[1]))
}

fn identity(flow: &Flow) -> Identity {
    let proto = match flow.transport {
        Transport::TCP => "tcp",
        Transport::UDP => "udp",
        Transport::ICMP | Transport::ICMPV6 => "icmp",
        _ => "unknown_transport",
    };
    let ports = flow.icmp.map(|message| IcmpPorts::of(flow.transport, message));
    let end = |endpoint: &Endpoint, icmp: Option<u16>| {
        let port = icmp.or(endpoint.port).unwrap_or(0);
        [endpoint.address.to_string(), port.to_string()]
    };
    let [initiator, initiator_port] = end(&flow.initiator, ports.map(|ports| ports.source));
    let [responder, responder_port] = end(&flow.responder, ports.map(|ports| ports.destination));
    [
        proto.to_owned(),
        initiator,
        initiator_port,
        responder,
        responder_port,
        flow.initiator.packets.to_string(),
        flow.initiator.bytes.to_string(),
        flow.responder.packets.to_string(),
        flow.responder.bytes.to_string(),
    ]
}

impl Row {
    /// What makes it right; `None` for a row without counters.
    fn identity(&self) -> Option<Identity> {
        let count = |text: &Option<String>| text.clone().filter(|text| text != "-");
        Some([
            self.proto.clone(),
            self.initiator.to_string(),
            self.initiator_port.clone(),
            self.responder.to_string(),
            self.responder_port.clone(),
            count(&self.orig_pkts)?,
            count(&self.orig_ip_bytes)?,
            count(&self.resp_pkts)?,
            count(&self.resp_ip_bytes)?,
        ])
    }

    fn state_of(&self, flow: &Flow) -> bool {
        self.conn_state == flow.conn_state.name()
    }

    fn history_of(&self, flow: &Flow) -> bool {
        self.history.trim_matches('-') == flow.history.to_string()
    }

    /// `None` for a row without a duration.
    fn duration_of(&self, flow: &Flow) -> Option<bool> {
        let (seconds, fraction) = self.duration.split_once('.')?;
        let nanos = seconds.parse::<u64>().ok()? * 1_000_000_000
            + format!("{fraction:0<9}").parse::<u64>().ok()?;
        Some(nanos.abs_diff(flow.duration_nanos()) <= DURATION_TOLERANCE_NANOS)
    }
}
