//! Reports of what a fake drops as the kernel does, with errors at every place.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
};

use proptest::prelude::*;

use super::*;
use crate::record::{Direction, Interface, Record, Timestamp};

const SECOND: u64 = 1_000_000_000;
const BAD: [u8; 4] = [203, 0, 113, 7];
const HOST: [u8; 4] = [10, 0, 0, 1];

/// What the kernel would do, and whether it does.
#[derive(Debug, Default)]
struct Fake {
    sums: BTreeMap<(u8, u16), Denial>,
    turn: u8,
    stopped: bool,
    packets: u64,
    settled: u64,
    /// The calls that fail: counted down.
    fails: Vec<&'static str>,
    /// A packet for this port comes once the next turn has begun.
    comes: Option<u16>,
}

// === impl Fake ===

impl Fake {
    fn fails(&mut self, call: &'static str) -> io::Result<()> {
        match self.fails.iter().position(|fails| *fails == call) {
            Some(at) => {
                self.fails.remove(at);
                Err(ErrorKind::ResourceBusy.into())
            }
            None => Ok(()),
        }
    }

    /// A packet of 60 bytes to a port.
    fn packet(&mut self, port: u16, at_ns: u64) {
        if self.stopped {
            return;
        }
        self.packets += 1;
        // No two at the same time.
        let at_ns = at_ns + self.packets;
        let fresh = Denial { packets: 0, bytes: 0, first_ns: at_ns, ..syn(port) };
        let sum = self.sums.entry((self.turn, port)).or_insert(fresh);
        sum.packets += 1;
        sum.bytes += 60;
        sum.last_ns = at_ns;
    }
}

impl Denials for Fake {
    type Key = (u8, u16);
    type Error = io::Error;

    fn turn(&mut self) -> io::Result<()> {
        self.fails("turn")?;
        self.turn ^= 1;
        if let Some(port) = self.comes.take() {
            self.packet(port, 90 * SECOND);
        }
        Ok(())
    }

    fn stop(&mut self) -> io::Result<()> {
        self.fails("stop")?;
        self.stopped = true;
        Ok(())
    }

    fn settle(&mut self) {
        self.settled += 1;
    }

    fn former(&mut self, take: &mut dyn FnMut((u8, u16))) -> io::Result<()> {
        let (turn, stopped) = (self.turn, self.stopped);
        let keys: Vec<_> =
            self.sums.keys().copied().filter(|(of, _)| stopped || *of != turn).collect();
        for (at, key) in keys.iter().enumerate() {
            if at == keys.len() / 2 {
                self.fails("former")?;
            }
            take(*key);
        }
        Ok(())
    }

    fn take(&mut self, key: &(u8, u16)) -> io::Result<Option<Denial>> {
        self.fails("take")?;
        Ok(self.sums.remove(key))
    }
}

fn syn(port: u16) -> Denial {
    Denial {
        ends: [BAD.into(), HOST.into()],
        transport: Transport::TCP,
        aim: Aim::Port(port),
        vlans: Vlans::default(),
        source_port: Some(40_000),
        first_ns: 10 * SECOND,
        last_ns: 12 * SECOND,
        packets: 3,
        bytes: 180,
        flags: TcpFlags(TcpFlags::SYN),
        verdict: Some(Id::from_bytes([7; 16])),
    }
}

fn reporter() -> Reporter {
    let internal_networks = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
    let policy = Policy { observer: "sensor".into(), internal_networks, ..Policy::default() };
    Reporter::new(policy, ObservationPoint::of("gate", Some(Interface::Named("eth0".into()))))
}

fn now(secs: u64) -> Now {
    let wall = i64::try_from(1_000 * SECOND + secs * SECOND).unwrap();
    Now { counted_ns: secs * SECOND, wall: Timestamp::from_nanos(wall) }
}

/// The report of this.
fn told(denial: Denial) -> Flow {
    reporter().flow(&denial, now(60))
}

#[test]
fn a_report_says_who_sent_what_where_to_and_that_it_was_dropped() {
    let flow = told(syn(22));
    assert_eq!(flow.denied, Some(Denied { verdict: Some(Id::from_bytes([7; 16])) }));
    assert_eq!((flow.initiator.address, flow.initiator.port), (BAD.into(), Some(40_000)));
    assert_eq!((flow.responder.address, flow.responder.port), (HOST.into(), Some(22)));
    assert_eq!((flow.initiator.packets, flow.initiator.bytes), (3, 180));
    assert_eq!((flow.responder.packets, flow.responder.bytes), (0, 0));
    assert_eq!(flow.start, Timestamp::from_nanos(1_010 * 1_000_000_000));
    assert_eq!((flow.duration_nanos(), flow.began), (2 * SECOND, flow.start));
    assert_eq!((flow.sequence, flow.is_final()), (0, true));
    assert_eq!(flow.conn_state, ConnState::S0);
    assert_eq!(flow.direction, Some(Direction::Inbound));
    assert_eq!(flow.tags, FlowTags::ONE_WAY);
    let ends = [(BAD.into(), Some(40_000)), (HOST.into(), Some(22))];
    let expected = CommunityId::of_ports(Transport::TCP, ends[0], ends[1]);
    assert_eq!(flow.community_id(), Some(expected));
    let guards = told(Denial { verdict: None, ..syn(22) });
    assert_eq!(guards.denied, Some(Denied { verdict: None }));
}

#[test]
fn what_is_not_known_of_ports_is_left_out() {
    let several = told(Denial { source_port: None, ..syn(22) });
    assert_eq!((several.initiator.port, several.responder.port), (None, Some(22)));
    assert_eq!(several.community_id(), None);
    let rest = told(Denial { aim: Aim::OtherPorts, ..syn(0) });
    assert_eq!((rest.initiator.port, rest.responder.port), (None, None));
    assert!(rest.tags.contains(FlowTags::OTHER_PORTS));
    assert_eq!(rest.community_id(), None);
    let echo = Icmp { kind: 8, code: 0 };
    let (transport, aim) = (Transport::ICMP, Aim::Icmp(echo));
    let ping = told(Denial { transport, aim, flags: TcpFlags(0), ..syn(0) });
    assert_eq!((ping.icmp, ping.responder.port), (Some(echo), None));
    let expected = CommunityId::of_icmp(Transport::ICMP, BAD.into(), HOST.into(), echo);
    assert_eq!(ping.community_id(), Some(expected));
    let gre = told(Denial { transport: Transport(47), aim: Aim::Portless, ..syn(0) });
    assert!(gre.community_id().is_some(), "it has no ports, and an ID by its addresses");
}

#[test]
fn the_state_is_that_of_what_came_alone() {
    let state =
        |transport, flags| told(Denial { transport, flags: TcpFlags(flags), ..syn(22) }).conn_state;
    assert_eq!(state(Transport::TCP, TcpFlags::SYN), ConnState::S0);
    assert_eq!(state(Transport::TCP, TcpFlags::ACK), ConnState::Oth);
    assert_eq!(state(Transport::TCP, TcpFlags::SYN | TcpFlags::ACK), ConnState::Oth);
    assert_eq!(state(Transport::UDP, 0), ConnState::S0);
    assert_eq!(state(Transport(47), 0), ConnState::Oth);
}

#[test]
fn an_id_is_that_of_one_count() {
    let mut vlans = Vlans::default();
    vlans.push(7);
    let all = [
        syn(22),
        syn(23),
        Denial { first_ns: 11 * SECOND, ..syn(22) },
        Denial { transport: Transport::UDP, ..syn(22) },
        Denial { aim: Aim::Portless, ..syn(22) },
        Denial { aim: Aim::OtherPorts, ..syn(22) },
        Denial { aim: Aim::Icmp(Icmp { kind: 0, code: 22 }), ..syn(22) },
        Denial { ends: [HOST.into(), BAD.into()], ..syn(22) },
        Denial { vlans, ..syn(22) },
    ];
    let mut ids: Vec<_> = all.iter().map(|denial| told(*denial).id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len());
    let other = Reporter { origin: ObservationPoint::of("gate2", None), ..reporter() };
    assert_ne!(other.flow(&syn(22), now(60)).id, told(syn(22)).id);
    let more = Denial { packets: 9, bytes: 540, last_ns: 50 * SECOND, ..syn(22) };
    assert_eq!(told(more).id, told(syn(22)).id, "how much it was does not matter");
}

#[test]
fn each_turn_reports_what_came_before_it() {
    let (mut reporter, mut fake) = (reporter(), Fake::default());
    let mut out = Vec::new();
    for port in [22, 22, 80] {
        fake.packet(port, 10 * SECOND);
    }
    fake.comes = Some(22);
    reporter.turn(&mut fake, now(60), &mut |flow| out.push(flow)).unwrap();
    let ports = |flows: &[Flow]| -> Vec<_> {
        flows.iter().map(|flow| (flow.responder.port.unwrap(), flow.initiator.packets)).collect()
    };
    assert_eq!(ports(&out), [(22, 2), (80, 1)]);
    assert_eq!(fake.settled, 1);
    let mut last = Vec::new();
    reporter.finish(&mut fake, now(100), &mut |flow| last.push(flow)).unwrap();
    assert_eq!(ports(&last), [(22, 1)], "what came meanwhile is of the next one");
    assert_ne!(out[0].id, last[0].id);
    fake.packet(22, 200 * SECOND);
    assert_eq!((reporter.sums().packets, reporter.sums().bytes), (4, 240));
    assert_eq!(fake.packets, 4);
}

proptest! {
    /// Whatever fails, and whatever comes meanwhile: each packet is in one report.
    #[test]
    fn no_packet_is_lost_or_told_twice(
        rounds in proptest::collection::vec(
            (proptest::collection::vec(1_u16..6, 0..9), proptest::option::of(1_u16..6), 0_usize..16),
            1..12,
        ),
    ) {
        let (mut reporter, mut fake) = (reporter(), Fake::default());
        let mut out = Vec::new();
        for (round, (ports, comes, fails)) in rounds.into_iter().enumerate() {
            let at = 60 * round as u64;
            for port in ports {
                fake.packet(port, (at + 1) * SECOND);
            }
            fake.comes = comes;
            let calls = ["turn", "former", "take", "take"].into_iter().enumerate();
            fake.fails = calls.filter(|(bit, _)| fails >> bit & 1 == 1).map(|(_, call)| call).collect();
            // What is missing comes the next time.
            reporter.turn(&mut fake, now(at + 60), &mut |flow| out.push(flow)).unwrap_or_default();
        }
        (fake.fails, fake.comes) = (Vec::new(), None);
        let done = reporter.finish(&mut fake, now(10_000), &mut |flow| out.push(flow));
        prop_assert!(done.is_ok());
        prop_assert!(fake.sums.is_empty());
        let packets: u64 = out.iter().map(Flow::packets).sum();
        prop_assert_eq!(packets, fake.packets);
        prop_assert_eq!(reporter.sums().packets, packets);
        prop_assert_eq!(reporter.sums().bytes, 60 * packets);
        let mut ids: Vec<_> = out.iter().map(|flow| flow.id).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), out.len());
    }
}
