//! The program's counts of flows → reports → the main port; and what each source sent → the port `contacts`.
//!
//! A thread of its own looks through the map, and takes no more out of it than a sink has room for: what waits, waits
//! there, and the program goes on counting. A task hands on what was taken. What sources sent waits for no sink.

use std::{sync::Arc, thread, time::Duration};

use tidegate_ebpf::{
    Error as Refused, Flows as Maps,
    flows::{Account, Counted, Ends, FlowKey},
    now_ns,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    contacts,
    reports::{FlowsOut, Report, way},
};
use crate::{
    component::{Context, Outputs, Port},
    flow::counted::{Counters, Ledger, Marks, Now, Sent, Totals},
    metrics::{
        ERRORS, ErrorType, FLOW_ACTIVE, FLOW_ENDED, XDP_FLOW_PACKETS, XDP_FLOW_REFUSALS,
        XDP_FLOW_UNATTRIBUTED_BYTES, XdpFlowPackets, XdpFlowRefusal,
    },
    record::{Contact, EndReason, Flow, Icmp, Layer4, Ports, TcpFlags, Transport, Vlans},
};

/// From one look through the map to the next, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// And as many times as long as a look took: so it takes a twentieth of a processor at most.
const REST: u32 = 20;
/// How often it looks whether it is to stop.
const DOZE: Duration = Duration::from_millis(20);
/// Batches that may wait for the task.
const MAX_BATCHES: usize = 16;
/// Bits of what an end has sent: TCP's control bits, and above them the marks.
const FLAGS: u32 = 0x0fff;
const MARKS: u32 = 12;
/// As many marks as there are.
const ALL_MARKS: u32 = 0x17f;

/// What runs in the thread.
struct Sweep {
    maps: Maps,
    ledger: Ledger<FlowKey>,
    flows: FlowsOut,
    rates: mpsc::Sender<Vec<Contact>>,
    context: Context,
    counted: Account,
    fails: bool,
}

/// Begins to report: flows on the main port of `out`, what sources sent on `contacts`.
pub(super) fn report(
    maps: Maps,
    ledger: Ledger<FlowKey>,
    context: Context,
    out: Arc<Outputs>,
    contacts: Port,
) -> Report {
    let (flows, waiting, ahead) = way(MAX_BATCHES, &context.meter);
    let (rates, told) = mpsc::channel(MAX_BATCHES);
    let counted = Account::default();
    let sweep = Sweep { maps, ledger, flows, rates, context, counted, fails: false };
    let pass = async move {
        let flows = waiting.pass(Arc::clone(&out), Port::MAIN);
        let rates = contacts::pass(told, out, contacts);
        tokio::try_join!(flows, rates).map(drop)
    };
    Report::begin("flows", move |stop| sweep.run(stop), pass).ahead(ahead)
}

// === impl Sweep ===

impl Sweep {
    fn run(mut self, stop: &CancellationToken) {
        let mut pause = PAUSE;
        while !rest(pause, stop) {
            let began = now_ns();
            let done = self.look(false);
            self.tell(done);
            let took = Duration::from_nanos(now_ns().saturating_sub(began));
            pause = PAUSE.max(took.saturating_mul(REST));
        }
        let done = self.look(true);
        let is_whole = done.is_ok();
        self.tell(done);
        if is_whole {
            self.reconcile();
        }
    }

    /// One look through the map; the last one reports everything.
    fn look(&mut self, is_last: bool) -> Result<(), Refused> {
        let now = Now { counted_ns: now_ns(), wall: self.context.clock.now(None) };
        let mut ended = EndReason::ALL.map(|reason| (reason, 0));
        let Self { maps, ledger, flows, .. } = self;
        let room = flows.room();
        if is_last {
            flows.expect(ledger.active());
        }
        let mut out = |flow: Flow| {
            for (_, count) in ended.iter_mut().filter(|(reason, _)| *reason == flow.end_reason) {
                *count += 1;
            }
            flows.push(flow);
        };
        let done = if is_last {
            ledger.finish(maps, now, &mut out)
        } else {
            ledger.turn(maps, now, &room, &mut out)
        };
        flows.flush();
        let mut rates = Vec::new();
        self.ledger.tell_rates(now, &mut |contact| rates.push(contact));
        if !rates.is_empty() {
            // The port sheds, and counts what it sheds: there is room, or nobody takes any.
            self.rates.blocking_send(rates).unwrap_or_default();
        }
        let meter = &self.context.meter;
        for (reason, count) in ended.into_iter().filter(|(reason, _)| *reason != EndReason::Active)
        {
            meter.count(FLOW_ENDED, reason, count);
        }
        meter.set(FLOW_ACTIVE, usize::try_from(self.ledger.active()).unwrap_or(usize::MAX));
        done
    }

    /// Counts what the program did since the last time, and says what fails.
    fn tell(&mut self, done: Result<(), Refused>) {
        match done.and_then(|()| self.count()) {
            Ok(()) => self.fails = false,
            Err(error) => {
                self.context.meter.count(ERRORS, ErrorType::GateMap, 1);
                if !std::mem::replace(&mut self.fails, true) {
                    warn!(%error, "the gate's counts of flows can't be used; tried again each second");
                }
            }
        }
    }

    fn count(&mut self) -> Result<(), Refused> {
        let account = self.maps.account()?;
        let before = std::mem::replace(&mut self.counted, account);
        let meter = &self.context.meter;
        for (result, now, then) in [
            (XdpFlowPackets::Seen, account.packets, before.packets),
            (XdpFlowPackets::Unattributed, account.unattributed, before.unattributed),
            (XdpFlowPackets::Ending, account.ending, before.ending),
            (XdpFlowPackets::Oversized, account.oversized, before.oversized),
            (XdpFlowPackets::Segmented, account.segmented, before.segmented),
            (XdpFlowPackets::Cut, account.cut, before.cut),
        ] {
            meter.count(XDP_FLOW_PACKETS, result, now.saturating_sub(then));
        }
        for (reason, now, then) in [
            (XdpFlowRefusal::Full, account.full, before.full),
            (XdpFlowRefusal::Busy, account.busy, before.busy),
            (XdpFlowRefusal::Memory, account.memory, before.memory),
            (XdpFlowRefusal::Exists, account.exists, before.exists),
            (XdpFlowRefusal::Other, account.other, before.other),
            (XdpFlowRefusal::Reuse, account.merged, before.merged),
        ] {
            meter.count(XDP_FLOW_REFUSALS, reason, now.saturating_sub(then));
        }
        let bytes = account.unattributed_bytes.saturating_sub(before.unattributed_bytes);
        meter.count(XDP_FLOW_UNATTRIBUTED_BYTES, (), bytes);
        Ok(())
    }

    /// Whether all packets that were counted are in reports, or were told to be in none.
    fn reconcile(&self) {
        let Account { packets, bytes, unattributed, unattributed_bytes, .. } = self.counted;
        let sums = self.ledger.sums();
        let missing = packets.saturating_sub(unattributed).saturating_sub(sums.packets);
        let missing_bytes = bytes.saturating_sub(unattributed_bytes).saturating_sub(sums.bytes);
        info!(packets, reported = sums.packets, unattributed, missing, "flows were counted");
        if missing > 0 || missing_bytes > 0 {
            self.context.meter.count(XDP_FLOW_PACKETS, XdpFlowPackets::Missing, missing);
            warn!(missing, missing_bytes, "packets that the gate counted are in no flow's report");
        }
    }
}

/// Waits so long, or until it is to stop: then true.
pub(super) fn rest(pause: Duration, stop: &CancellationToken) -> bool {
    let until = now_ns().saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
    while !stop.is_cancelled() && now_ns() < until {
        thread::sleep(DOZE);
    }
    stop.is_cancelled()
}

// === impl Maps ===

impl Counters for Maps {
    type Key = FlowKey;
    type Error = Refused;

    fn sweep(&mut self, take: &mut dyn FnMut(FlowKey, Totals)) -> Result<(), Refused> {
        Self::sweep(self, |key, counted| take(*key, totals(key, counted)))
    }

    fn past(&mut self, take: &mut dyn FnMut(FlowKey, Totals)) -> Result<(), Refused> {
        Self::past(self, |key, counted| take(*key, totals(key, counted)))
    }

    fn end(&mut self, keys: &[FlowKey]) -> Result<(), Refused> {
        Self::end(self, keys)
    }

    fn stop(&mut self) -> Result<(), Refused> {
        Self::stop(self)
    }

    fn settle(&mut self) {
        Self::settle(self);
    }

    fn take(&mut self, key: &FlowKey) -> Result<Option<Totals>, Refused> {
        Ok(Self::take(self, key)?.map(|counted| totals(key, &counted)))
    }
}

/// What was counted, from the first packet's sender's side.
fn totals(key: &FlowKey, counted: &Counted) -> Totals {
    let from_low = counted.from_low != 0;
    let [(source, source_port), (destination, destination_port)] =
        [key.end(from_low), key.end(!from_low)];
    let ports = Ports { source: source_port, destination: destination_port };
    let transport = Transport(key.transport);
    let layer4 = match key.ends() {
        Ends::Portless => Layer4::Opaque,
        Ends::Ports if transport == Transport::UDP => Layer4::Udp(ports, 0),
        Ends::Ports if transport == Transport::TCP => Layer4::TcpPorts(ports),
        Ends::Ports => Layer4::Sctp(ports),
        Ends::Paired | Ends::OneWay => Layer4::Icmp(Icmp {
            kind: u8::try_from(source_port).unwrap_or(0),
            code: counted.icmp_code,
        }),
    };
    let sent = |low: bool| {
        let at = usize::from(!low);
        let seen = counted.seen[at];
        Sent {
            packets: counted.packets[at],
            bytes: counted.bytes[at],
            flags: TcpFlags(u16::try_from(seen & FLAGS).unwrap_or(0)),
            marks: Marks(u16::try_from(seen >> MARKS & ALL_MARKS).unwrap_or(0)),
        }
    };
    Totals {
        ends: [source, destination],
        transport,
        layer4,
        vlans: Vlans::from_words(key.tags()),
        first_ns: counted.first_ns,
        last_ns: counted.last_ns,
        sent: [sent(from_low), sent(!from_low)],
        is_ending: counted.ending != 0,
    }
}

#[cfg(test)]
mod tests {
    use tidegate_ebpf::flows;

    use super::*;

    #[test]
    fn the_marks_are_the_bits_that_the_program_sets() {
        for (bit, mark) in [
            (flows::SYN, Marks::SYN),
            (flows::SYN_ACK, Marks::SYN_ACK),
            (flows::MORE, Marks::MORE),
            (flows::PAYLOAD, Marks::PAYLOAD),
            (flows::RESET, Marks::RESET),
            (flows::DAMAGED, Marks::DAMAGED),
            (flows::LATER, Marks::LATER),
            (flows::ANSWERS, Marks::ANSWERS),
        ] {
            assert_eq!(bit, u32::from(mark.0) << MARKS);
            assert!(bit >> MARKS & ALL_MARKS != 0);
        }
    }
}
