//! `flow`: packets become reports of flows, and contacts for the judge.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    ack::End,
    batch::{Batch, Watermark},
    component::{
        Carries, Clock, Component, Configure, Context, Error, Outbox, Port, PortSpec, Problem,
        Signature, Transform,
    },
    decode,
    flow::{Output, Policy, ServerPorts, Shards, TimeoutSecs, Timeouts, server_ports},
    metrics::{FLOW_ACTIVE, FLOW_ENDED, Meter, Reason},
    networks::{self, NetworkSet},
    record::{EndReason, Kind, Records, Timestamp},
};

/// The port of contacts.
const CONTACTS: Port = Port(1);
/// Flows of one batch at most: a table that is emptied hands over many.
const MAX_BATCH: usize = 1024;
/// Flows ended at once when the input has ended: what is made waits in memory until it is taken.
const MAX_DRAINED: usize = 8 * MAX_BATCH;
/// With live input whose source says nothing of time either (its capturer is down, or its clock was set
/// back), how long that has to last before the wall clock ends flows: longer than a segment waits for its
/// end, so that packets still on their way find theirs.
const QUIET_NANOS: u64 = 30_000_000_000;
/// Flows that slot numbers can tell apart.
const MAX_FLOWS: usize = 1 << 31;
const MAX_WORKERS: usize = 256;
/// With live input, how long packets whose time is doubted wait for others that agree.
const DOUBTED_NANOS: u64 = 2_000_000_000;

/// Joins packets into flows of both directions and reports them; on the port `contacts`, tells who
/// tried to reach whom and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the other options are where they are not given (`default`). `zeek` counts as Zeek's
    /// `conn.log` does, for comparisons: attempts end after 5 s, no reports of flows that go on, VLANs
    /// don't tell flows apart, flows inside tunnels are reported.
    pub profile: Profile,
    /// When flows end and are reported.
    pub timeouts: TimeoutSecs,
    /// How many flows there may be at once (1,000,000; each takes about 320 bytes). Beyond that the
    /// one that has been idle the longest is reported and forgotten. For large networks.
    #[schemars(range(min = 1, max = MAX_FLOWS))]
    pub max_flows: usize,
    /// Whether VLAN ids tell flows apart (true; false in the profile `zeek`). For networks that use
    /// the same addresses in several VLANs, or see a flow's directions in two.
    pub vlan_in_key: Option<bool>,
    /// Which headers of tunnelled packets make flows: only the `outer` ones, or the `inner` ones as
    /// well, two tunnels deep (`outer`; `inner` in the profile `zeek`). `inner` runs in one thread.
    pub tunnels: Option<Tunnels>,
    /// Ports that servers listen on, as `443/tcp`: they tell who began a flow whose beginning was not
    /// seen. By default the ports that Zeek's analyzers know. Where neither end is listed, the only port
    /// below 1024 is the server's (TCP; not in the profile `zeek`).
    pub server_ports: Vec<String>,
    /// Ended flows whose roles are remembered (262,144; 0: none; each takes about 20 bytes): a straggler,
    /// or a keep-alive after hours, is then reported with the initiator the connection had. The oldest
    /// go first. For sensors that see many connections, or have little memory.
    #[schemars(range(max = 67_108_864))]
    pub remembered: usize,
    /// Whether packets with a wrong checksum count as any other (true). False: only as `c` in the
    /// history, and not at all where that of the IP header is wrong; the `tshark` source has to verify
    /// them (`checksums: true`).
    pub ignore_checksums: bool,
    /// Networks and addresses that are inside, for the direction of a flow (`networks.internal` of the
    /// top level).
    pub internal_networks: Vec<String>,
    /// Threads that large batches are split over (1). What comes out is the same.
    #[schemars(range(min = 1, max = MAX_WORKERS))]
    pub workers: usize,
}

/// A set of defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// What suits a SIEM.
    #[default]
    Default,
    /// What agrees with Zeek's `conn.log`.
    Zeek,
}

/// Which headers of tunnelled packets make flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tunnels {
    /// The outermost.
    Outer,
    /// Those inside as well, each with the id of the flow that carries it.
    Inner,
}

#[derive(Debug)]
struct FlowTransform {
    table: Shards,
    clock: Clock,
    meter: Arc<Meter>,
    /// How far the input has come, and the wall-clock time of the last batch that had packets
    /// or moved it.
    watermark: Option<Watermark>,
    heard: Timestamp,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: Profile::Default,
            timeouts: TimeoutSecs::default(),
            max_flows: 1_000_000,
            vlan_in_key: None,
            tunnels: None,
            server_ports: server_ports::DEFAULT.iter().map(|port| (*port).to_owned()).collect(),
            remembered: 262_144,
            ignore_checksums: true,
            internal_networks: Vec::new(),
            workers: 1,
        }
    }
}

impl Config {
    /// The rules of the table; what is inside is what the config as a whole says, unless this one does.
    ///
    /// # Errors
    /// A network or port is none.
    pub fn policy(&self, observer: &Arc<str>, inside: &NetworkSet) -> Result<Policy, Error> {
        let as_zeek = self.profile == Profile::Zeek;
        let own = self.internal_networks.iter().map(|text| {
            networks::parse(text)
                .ok_or_else(|| Error::configuration(format!("{text:?} is no network or address")))
        });
        let own: NetworkSet = own.collect::<Result<_, _>>()?;
        let ports = ServerPorts::parse(&self.server_ports);
        Ok(Policy {
            observer: Arc::clone(observer),
            timeouts: self.timeouts.over(if as_zeek { Timeouts::ZEEK } else { Timeouts::USUAL }),
            max_flows: self.max_flows,
            vlan_in_key: self.vlan_in_key.unwrap_or(!as_zeek),
            inner: self.tunnels.map_or(as_zeek, |tunnels| tunnels == Tunnels::Inner),
            server_ports: ports.map_err(|error| Error::configuration(error.to_string()))?,
            remembered: self.remembered,
            ignore_checksums: self.ignore_checksums,
            internal_networks: if own.is_empty() { inside.clone() } else { own },
            as_zeek,
        })
    }
}

impl Configure for Config {
    fn signature(&self) -> Signature {
        Signature::transform(Kind::Packet.into(), Carries::Only(Kind::Flow))
            .and(PortSpec::named("contacts", Carries::Only(Kind::Contact)))
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (at, port) in self.server_ports.iter().enumerate() {
            if let Err(error) = ServerPorts::parse([port]) {
                problems.push(Problem::new(format!("server_ports[{at}]"), error.to_string()));
            }
        }
        for (at, text) in self.internal_networks.iter().enumerate() {
            if networks::parse(text).is_none() {
                problems.push(
                    Problem::new(
                        format!("internal_networks[{at}]"),
                        format!("{text:?} is no network or address"),
                    )
                    .hint("write it as 10.0.0.0/8 or fd00::/8"),
                );
            }
        }
        problems
    }

    fn uses(&self) -> Vec<String> {
        decode::NAMES.map(str::to_owned).to_vec()
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        let inside = &context.networks.borrow().internal;
        Ok(Component::transform(FlowTransform {
            table: Shards::new(self.policy(&context.observer, inside)?, self.workers),
            clock: context.clock,
            meter: Arc::clone(&context.meter),
            watermark: None,
            heard: Timestamp::default(),
        }))
    }
}

// === impl FlowTransform ===

impl FlowTransform {
    fn output(out: &Outbox<'_>) -> Output {
        Output { wants_contacts: out.wants(CONTACTS), ..Output::default() }
    }

    /// Hands over what the table gave out: a batch on each port at least.
    fn emit(&self, output: Output, out: &mut Outbox<'_>) {
        let mut ended = EndReason::ALL.map(|reason| (reason, 0));
        let flows: Vec<_> = output.flows.into_iter().map(|report| report.record).collect();
        for flow in &flows {
            for (_, count) in ended.iter_mut().filter(|(reason, _)| *reason == flow.end_reason) {
                *count += 1;
            }
        }
        for (reason, count) in ended.into_iter().filter(|(reason, _)| *reason != EndReason::Active)
        {
            self.meter.count(FLOW_ENDED, reason, count);
        }
        self.meter.set(FLOW_ACTIVE, self.table.len());
        // First, so that who judges has them before flows wait for room.
        if out.wants(CONTACTS) {
            let contacts = output.contacts.into_iter().map(|report| report.record).collect();
            out.emit(CONTACTS, Records::Contacts(Arc::new(contacts)), self.watermark);
        }
        if flows.is_empty() {
            out.emit(Port::MAIN, Records::none(Kind::Flow), self.watermark);
        }
        let mut flows = flows.into_iter();
        loop {
            let part: Vec<_> = flows.by_ref().take(MAX_BATCH).collect();
            if part.is_empty() {
                break;
            }
            out.emit(Port::MAIN, Records::Flows(Arc::new(part)), self.watermark);
        }
    }
}

impl Transform for FlowTransform {
    fn apply(&mut self, batch: Batch, now: Timestamp, out: &mut Outbox<'_>) {
        let mut output = Self::output(out);
        let Records::Packets(packets) = &batch.records else {
            out.discarded(Reason::WrongKind, batch.records.len() as u64);
            batch.ack.settle(End::Dropped);
            return;
        };
        let in_order = self.table.absorb(packets, &mut output);
        // While times are doubted only packets can tell.
        if !packets.is_empty() || (batch.watermark > self.watermark && !self.table.is_holding()) {
            self.heard = now;
        }
        // Where a clock was set back, the epoch's latest time says nothing of the present.
        if in_order
            && batch.watermark > self.watermark
            && let Some(mark) = batch.watermark
        {
            self.table.reach(mark.time, &mut output);
        }
        self.watermark = self.watermark.max(batch.watermark);
        let discarded = output.discarded.min(packets.len() as u64);
        let unconnected = output.unconnected.min(packets.len() as u64 - discarded);
        out.absorbed(packets.len() as u64 - discarded - unconnected);
        for (reason, count) in
            [(Reason::BadChecksum, discarded), (Reason::NoConnection, unconnected)]
        {
            if count > 0 {
                out.discarded(reason, count);
            }
        }
        batch.ack.settle(End::Delivered);
        self.emit(output, out);
    }

    fn deadline(&self) -> Option<Timestamp> {
        if self.clock == Clock::Event {
            return None;
        }
        if self.table.is_holding() {
            return Some(self.heard.saturating_add(DOUBTED_NANOS));
        }
        let wait = self.table.deadline()?.since(self.table.now()?);
        Some(self.heard.saturating_add(wait).saturating_add(QUIET_NANOS))
    }

    fn tick(&mut self, now: Timestamp, out: &mut Outbox<'_>) {
        if self.table.is_holding() && now.since(self.heard) >= DOUBTED_NANOS {
            let mut output = Self::output(out);
            self.table.release(&mut output);
            self.emit(output, out);
            return;
        }
        let quiet = now.since(self.heard).saturating_sub(QUIET_NANOS);
        let Some(time) = self.table.now().filter(|_| quiet > 0) else { return };
        tracing::debug!(
            "neither packets nor their source tell the time: the wall clock ends flows"
        );
        let mut output = Self::output(out);
        self.table.advance(time.saturating_add(quiet), &mut output);
        // From here on the quiet is counted anew.
        self.heard = self.heard.saturating_add(quiet);
        self.emit(output, out);
    }

    fn drain(&mut self, _now: Timestamp, out: &mut Outbox<'_>) -> bool {
        let mut output = Self::output(out);
        let more = match self.clock {
            Clock::Event => self.table.drain_part(MAX_DRAINED, &mut output),
            Clock::Wall => self.table.stop_part(MAX_DRAINED, &mut output),
        };
        self.emit(output, out);
        more
    }

    fn undrained(&self) -> u64 {
        self.table.len() as u64
    }
}
