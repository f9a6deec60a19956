//! The program's counts of what it drops → reports → the port `denied`.
//!
//! A thread of its own takes them out once a minute, as long as a sink has room: while it waits, the program goes on
//! counting. A task hands the reports on.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tidegate_ebpf::{
    Denials as Maps, Denying, Error as Refused,
    denied::{Aim as Told, Denied as Counted, DeniedKey, Tally},
    now_ns,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Config, FirewallMode,
    flows::rest,
    reports::{FlowsOut, Report, way},
};
use crate::{
    component::{Context, Outputs, Port},
    flow::{
        counted::Now,
        denied::{Aim, Denial, Denials, Reporter},
    },
    metrics::{ERRORS, ErrorType, XDP_DENIED, XDP_DENIED_UNTOLD_BYTES, XdpDenied},
    record::{Flow, Icmp, Id, TcpFlags, Transport, Vlans},
};

/// From one report to the next.
const MINUTE: Duration = Duration::from_mins(1);
const MINUTE_NS: u64 = 60_000_000_000;
/// Reports at once: about 160 bytes of the kernel's memory each.
const MAX_REPORTS: u32 = 16_384;
/// Sources, about, that have shares of their own: 16 bytes each.
const SOURCES: u32 = 32_768;
/// Reports of a source by port in a minute, and further ones without; as many may come at once.
const PORTS_PER_MINUTE: u64 = 64;
const OTHERS_PER_MINUTE: u64 = 16;
/// Reports that a processor begins in a second, and how many it may at once.
const CPU_INTERVAL_NS: u64 = 10_000_000;
const CPU_BURST: u64 = 4_096;
/// Batches that may wait for the task.
const MAX_BATCHES: usize = 4;

/// What runs in the thread.
struct Sweep {
    maps: Maps,
    reporter: Reporter,
    flows: FlowsOut,
    context: Context,
    counted: Tally,
    fails: bool,
}

/// What the program is to count; nothing where nobody reads it, or nothing is dropped.
pub(super) fn denying(config: &Config, is_read: bool) -> Denying {
    if !is_read || config.firewall.mode == FirewallMode::Observe {
        return Denying::OFF;
    }
    Denying {
        counts: true,
        max_entries: MAX_REPORTS,
        sources: SOURCES,
        seed: RandomState::new().hash_one(0),
        port_interval_ns: MINUTE_NS / PORTS_PER_MINUTE,
        port_burst_ns: MINUTE_NS,
        rest_interval_ns: MINUTE_NS / OTHERS_PER_MINUTE,
        rest_burst_ns: MINUTE_NS,
        cpu_interval_ns: CPU_INTERVAL_NS,
        cpu_burst_ns: CPU_INTERVAL_NS * CPU_BURST,
    }
}

/// Begins to report, on `port` of `out`.
pub(super) fn report(
    maps: Maps,
    reporter: Reporter,
    context: Context,
    (out, port): (Arc<Outputs>, Port),
) -> Report {
    let (flows, waiting, ahead) = way(MAX_BATCHES, &context.meter);
    let sweep = Sweep { maps, reporter, flows, context, counted: Tally::default(), fails: false };
    let pass = waiting.pass(out, port);
    Report::begin("what is dropped", move |stop| sweep.run(stop), pass).ahead(ahead)
}

// === impl Sweep ===

impl Sweep {
    fn run(mut self, stop: &CancellationToken) {
        while !rest(MINUTE, stop) {
            let done = self.look(false);
            self.tell(done);
        }
        let done = self.look(true);
        let is_whole = done.is_ok();
        self.tell(done);
        if is_whole {
            self.reconcile();
        }
    }

    /// Takes out what was counted; the last time all of it.
    fn look(&mut self, is_last: bool) -> Result<(), Refused> {
        let now = Now { counted_ns: now_ns(), wall: self.context.clock.now(None) };
        let Self { maps, reporter, flows, .. } = self;
        let mut out = |flow: Flow| flows.push(flow);
        let done = if is_last {
            reporter.finish(maps, now, &mut out)
        } else {
            reporter.turn(maps, now, &mut out)
        };
        flows.flush();
        done
    }

    /// Counts what the program did since the last time, and says what fails.
    fn tell(&mut self, done: Result<(), Refused>) {
        match done.and_then(|()| self.count()) {
            Ok(()) => self.fails = false,
            Err(error) => {
                self.context.meter.count(ERRORS, ErrorType::GateMap, 1);
                if !std::mem::replace(&mut self.fails, true) {
                    warn!(%error, "the gate's counts of what it drops can't be used; tried again each minute");
                }
            }
        }
    }

    fn count(&mut self) -> Result<(), Refused> {
        let tally = self.maps.tally()?;
        let before = std::mem::replace(&mut self.counted, tally);
        let meter = &self.context.meter;
        for (result, now, then) in [
            (XdpDenied::Seen, tally.packets, before.packets),
            (XdpDenied::OtherPorts, tally.rest, before.rest),
            (XdpDenied::SourceLimit, tally.by_source, before.by_source),
            (XdpDenied::CpuLimit, tally.by_cpu, before.by_cpu),
            (XdpDenied::Full, tally.full, before.full),
            (XdpDenied::Failed, tally.failed, before.failed),
        ] {
            meter.count(XDP_DENIED, result, now.saturating_sub(then));
        }
        let bytes = tally.untold_bytes.saturating_sub(before.untold_bytes);
        meter.count(XDP_DENIED_UNTOLD_BYTES, (), bytes);
        Ok(())
    }

    /// Whether all packets that were dropped are in reports, or were told to be in none.
    fn reconcile(&self) {
        let Tally { packets, bytes, untold, untold_bytes, .. } = self.counted;
        let sums = self.reporter.sums();
        let missing = packets.saturating_sub(untold).saturating_sub(sums.packets);
        let missing_bytes = bytes.saturating_sub(untold_bytes).saturating_sub(sums.bytes);
        info!(packets, reported = sums.packets, untold, missing, "what was dropped was counted");
        if missing > 0 || missing_bytes > 0 {
            self.context.meter.count(XDP_DENIED, XdpDenied::Missing, missing);
            warn!(missing, missing_bytes, "packets that the gate dropped are in no report");
        }
    }
}

// === impl Maps ===

impl Denials for Maps {
    type Key = DeniedKey;
    type Error = Refused;

    fn turn(&mut self) -> Result<(), Refused> {
        Self::turn(self)
    }

    fn stop(&mut self) -> Result<(), Refused> {
        Self::stop(self)
    }

    fn settle(&mut self) {
        Self::settle(self);
    }

    fn former(&mut self, take: &mut dyn FnMut(DeniedKey)) -> Result<(), Refused> {
        Self::former(self, take)
    }

    fn take(&mut self, key: &DeniedKey) -> Result<Option<Denial>, Refused> {
        Ok(Self::take(self, key)?.map(|counted| denial(key, &counted)))
    }
}

fn denial(key: &DeniedKey, counted: &Counted) -> Denial {
    let aim = match key.aim() {
        Told::Portless => Aim::Portless,
        Told::Port(port) => Aim::Port(port),
        Told::Icmp(kind, code) => Aim::Icmp(Icmp { kind, code }),
        Told::Rest => Aim::OtherPorts,
    };
    Denial {
        ends: key.addresses(),
        transport: Transport(key.transport),
        aim,
        vlans: Vlans::from_words(key.tags()),
        source_port: (counted.several == 0).then_some(counted.source_port),
        first_ns: counted.first_ns,
        last_ns: counted.last_ns,
        packets: counted.packets,
        bytes: counted.bytes,
        flags: TcpFlags(u16::try_from(counted.tcp_flags).unwrap_or(0)),
        verdict: (counted.id != [0; 16]).then(|| Id::from_bytes(counted.id)),
    }
}
