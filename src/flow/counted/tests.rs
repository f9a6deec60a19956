//! Reports of counts that a fake makes as the kernel does, with errors at every place.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::IpAddr,
};

use proptest::prelude::*;

use super::*;
use crate::{
    flow::{Output, Shards, Timeouts},
    record::{ConnState, Header, Id, Interface, Outcome, Ports, TcpFlags, Transport},
};

const SECOND: u64 = 1_000_000_000;
const CLIENT: [u8; 4] = [10, 0, 0, 2];
const SERVER: [u8; 4] = [10, 0, 0, 1];

/// What the kernel would do, and whether it does.
#[derive(Debug, Default)]
struct Fake {
    flows: BTreeMap<u16, Totals>,
    /// Flows whose key another one took.
    past: Vec<(u16, Totals)>,
    /// Packets that were to be counted, and of these those that no flow has.
    packets: u64,
    unattributed: u64,
    stopped: bool,
    /// The calls that fail: counted down.
    fails: Vec<&'static str>,
    /// A packet of this flow comes between its mark and its removal.
    comes: Option<u16>,
    /// When that is.
    at_ns: u64,
    settled: u64,
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

    /// A packet of 100 bytes, as the program counts it.
    fn packet(&mut self, key: u16, mut fresh: Totals, of_first: bool, sent: Sent, at_ns: u64) {
        if self.stopped {
            return;
        }
        self.packets += 1;
        (fresh.first_ns, fresh.last_ns) = (at_ns, at_ns);
        let totals = self.flows.entry(key).or_insert(fresh);
        if totals.is_ending {
            self.unattributed += 1;
            return;
        }
        totals.last_ns = totals.last_ns.max(at_ns);
        let side = &mut totals.sent[usize::from(!of_first)];
        side.packets += 1;
        side.bytes += 100;
        side.flags.0 |= sent.flags.0;
        side.marks.0 |= sent.marks.0;
    }

    /// A packet begins another flow of a key.
    fn anew(&mut self, key: u16, fresh: Totals, at_ns: u64) {
        if !self.stopped
            && self.flows.get(&key).is_some_and(|old| !old.is_ending && old.first_ns < at_ns)
            && let Some(totals) = self.flows.remove(&key)
        {
            self.past.push((key, totals));
        }
        self.packet(key, fresh, true, Sent::default(), at_ns);
    }
}

impl Counters for Fake {
    type Key = u16;
    type Error = io::Error;

    fn sweep(&mut self, take: &mut dyn FnMut(u16, Totals)) -> io::Result<()> {
        let half = self.flows.len() / 2;
        for (key, totals) in self.flows.clone().into_iter().take(half) {
            take(key, totals);
        }
        self.fails("sweep")?;
        for (key, totals) in self.flows.clone().into_iter().skip(half) {
            take(key, totals);
        }
        Ok(())
    }

    fn past(&mut self, take: &mut dyn FnMut(u16, Totals)) -> io::Result<()> {
        self.fails("past")?;
        self.past.drain(..).for_each(|(key, totals)| take(key, totals));
        Ok(())
    }

    fn end(&mut self, keys: &[u16]) -> io::Result<()> {
        for (at, key) in keys.iter().enumerate() {
            if at == keys.len() / 2 {
                self.fails("end")?;
            }
            if let Some(totals) = self.flows.get_mut(key) {
                totals.is_ending = true;
            }
        }
        if let Some(key) = self.comes.take() {
            self.packet(key, datagrams(), true, Sent::default(), self.at_ns);
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

    fn take(&mut self, key: &u16) -> io::Result<Option<Totals>> {
        self.fails("take")?;
        Ok(self.flows.remove(key))
    }
}

fn of(transport: Transport, layer4: Layer4) -> Totals {
    Totals {
        ends: [CLIENT.into(), SERVER.into()],
        transport,
        layer4,
        vlans: Vlans::default(),
        first_ns: 0,
        last_ns: 0,
        sent: [Sent::default(); 2],
        is_ending: false,
    }
}

fn datagrams() -> Totals {
    of(Transport::UDP, Layer4::Udp(Ports { source: 40_000, destination: 53 }, 0))
}

fn connection(source: u16, destination: u16) -> Totals {
    of(Transport::TCP, Layer4::TcpPorts(Ports { source, destination }))
}

fn origin() -> ObservationPoint {
    ObservationPoint::of("gate", Some(Interface::Named("eth0".into())))
}

fn policy() -> Policy {
    Policy { observer: "sensor".into(), ..Policy::default() }
}

fn ledger() -> Ledger<u16> {
    Ledger::new(policy(), origin(), true)
}

/// So many seconds after the clock of the counts began, which the wall's was 1,000 s ahead of.
fn at(seconds: u64) -> Now {
    let wall = i64::try_from((1_000 + seconds) * SECOND).unwrap();
    Now { counted_ns: seconds * SECOND, wall: Timestamp::from_nanos(wall) }
}

fn turn(ledger: &mut Ledger<u16>, fake: &mut Fake, seconds: u64) -> Vec<Flow> {
    let mut flows = Vec::new();
    ledger.turn(fake, at(seconds), &|| MAX_PAST, &mut |flow| flows.push(flow)).unwrap();
    flows
}

fn finish(ledger: &mut Ledger<u16>, fake: &mut Fake, seconds: u64) -> Vec<Flow> {
    let mut flows = Vec::new();
    ledger.finish(fake, at(seconds), &mut |flow| flows.push(flow)).unwrap();
    flows
}

fn sent(packets: u64, flags: u16, marks: &[Marks]) -> Sent {
    let marks = Marks(marks.iter().fold(0, |all, mark| all | mark.0));
    Sent { packets, bytes: 100 * packets, flags: TcpFlags(flags), marks }
}

#[test]
fn a_flow_ends_once_it_has_been_idle_and_is_taken_out() {
    let (mut ledger, mut fake) = (ledger(), Fake::default());
    fake.packet(1, datagrams(), true, Sent::default(), 0);
    fake.packet(1, datagrams(), false, Sent::default(), 2 * SECOND);
    assert_eq!(turn(&mut ledger, &mut fake, 61), []);
    assert_eq!(ledger.active(), 1);
    let flows = turn(&mut ledger, &mut fake, 62);
    let [flow] = &flows[..] else { panic!("{flows:?}") };
    assert_eq!((flow.end_reason, flow.is_final(), flow.sequence), (EndReason::Idle, true, 0));
    assert_eq!((flow.initiator.packets, flow.initiator.bytes), (1, 100));
    assert_eq!((flow.responder.packets, flow.responder.bytes), (1, 100));
    assert_eq!((flow.initiator.port, flow.responder.port), (Some(40_000), Some(53)));
    assert_eq!(flow.conn_state, ConnState::Sf);
    assert_eq!(flow.start.nanos(), 1_000_000_000_000);
    assert_eq!(flow.end.nanos(), 1_002_000_000_000);
    assert!(fake.flows.is_empty() && fake.settled == 1);
    assert_eq!(ledger.active(), 0);
}

#[test]
fn reports_carry_deltas_and_the_last_one_may_have_no_packets() {
    let (mut ledger, mut fake) = (ledger(), Fake::default());
    let more = sent(0, TcpFlags::ACK, &[Marks::MORE]);
    for seconds in [0, 100, 200, 300] {
        fake.packet(1, connection(40_000, 443), true, more, seconds * SECOND);
    }
    let first = turn(&mut ledger, &mut fake, 300);
    assert_eq!(turn(&mut ledger, &mut fake, 310), [], "the next is not due");
    fake.packet(1, connection(40_000, 443), false, more, 400 * SECOND);
    let second = turn(&mut ledger, &mut fake, 600);
    assert_eq!(turn(&mut ledger, &mut fake, 650), []);
    let last = turn(&mut ledger, &mut fake, 700);
    let all = [first, second, last].concat();
    let told: Vec<_> = all
        .iter()
        .map(|flow| {
            let packets = [flow.initiator.packets, flow.responder.packets];
            (flow.sequence, flow.end_reason, packets, flow.start.nanos(), flow.end.nanos())
        })
        .collect();
    let wall = |seconds: i64| (1_000 + seconds) * 1_000_000_000;
    assert_eq!(
        told,
        [
            (0, EndReason::Active, [4, 0], wall(0), wall(300)),
            (1, EndReason::Active, [0, 1], wall(300), wall(400)),
            (2, EndReason::Idle, [0, 0], wall(400), wall(400)),
        ]
    );
    assert!(all.iter().all(|flow| flow.id == all[0].id && flow.began == all[0].began));
    assert_eq!(ledger.sums(), Sums { packets: 5, bytes: 500 });
}

#[test]
fn control_bits_of_both_ends_come_to_a_state() {
    use Marks as M;
    const S: u16 = TcpFlags::SYN;
    const A: u16 = TcpFlags::ACK;
    const F: u16 = TcpFlags::FIN;
    const R: u16 = TcpFlags::RST;
    let none = Sent::default();
    let asked = sent(1, S, &[M::SYN]);
    let went_on = sent(3, S | A, &[M::SYN, M::MORE, M::PAYLOAD]);
    let closed = sent(4, S | A | F, &[M::SYN, M::MORE, M::PAYLOAD]);
    let answered = sent(2, S | A, &[M::SYN_ACK, M::MORE, M::PAYLOAD]);
    let answered_closed = sent(2, S | A | F, &[M::SYN_ACK, M::MORE]);
    let reset = |sent: Sent| Sent {
        flags: TcpFlags(sent.flags.0 | R),
        marks: M(sent.marks.0 | M::RESET.0),
        ..sent
    };
    let midstream = sent(5, A, &[M::MORE, M::PAYLOAD]);
    let rows = [
        ("no answer", asked, none, ConnState::S0, false),
        ("refused", asked, reset(sent(1, R | A, &[])), ConnState::Rej, true),
        ("established", went_on, answered, ConnState::S1, false),
        ("over", closed, answered_closed, ConnState::Sf, true),
        ("the initiator closed", closed, answered, ConnState::S2, false),
        ("the responder closed", went_on, answered_closed, ConnState::S3, false),
        ("the initiator reset it", reset(went_on), answered, ConnState::Rsto, true),
        ("the responder reset it", went_on, reset(answered), ConnState::Rstr, true),
        ("given up", reset(asked), none, ConnState::Rstos0, true),
        ("only the initiator seen", closed, none, ConnState::Sh, true),
        ("under way", midstream, midstream, ConnState::Oth, false),
        (
            "a RST after both closed",
            sent(5, F | R | A, &[M::SYN]),
            answered_closed,
            ConnState::Sf,
            true,
        ),
    ];
    for (what, initiator, responder, state, is_over) in rows {
        let totals = Totals { sent: [initiator, responder], ..connection(40_000, 443) };
        let judged = Judged::of(&totals, &policy(), true);
        assert_eq!((judged.conn_state(&totals), judged.is_over()), (state, is_over), "{what}");
    }
}

#[test]
fn who_began_is_told_by_syns_then_by_answers_then_by_ports() {
    use Marks as M;
    let none = Sent::default();
    let asked = sent(1, TcpFlags::SYN, &[M::SYN]);
    let answered = sent(1, TcpFlags::SYN | TcpFlags::ACK, &[M::SYN_ACK]);
    let more = sent(1, TcpFlags::ACK, &[M::MORE]);
    let both = |one: Sent, other: Sent| Sent { marks: M(one.marks.0 | other.marks.0), ..one };
    let rows = [
        ("a SYN to a client's port", connection(443, 40_000), [asked, none], true, false),
        ("a SYN of both", connection(40_000, 443), [asked, asked], true, false),
        (
            "a straggler, then a SYN of the other",
            connection(40_000, 443),
            [more, asked],
            true,
            true,
        ),
        ("an answer first, then an ACK", connection(7_000, 40_000), [answered, more], true, true),
        ("an answer and data", connection(7_000, 40_000), [both(answered, more), none], true, true),
        ("an answer out of the blue", connection(7_000, 40_000), [answered, none], true, false),
        (
            "the same, where no replies are seen",
            connection(7_000, 40_000),
            [answered, none],
            false,
            true,
        ),
        ("the same, of a server's port", connection(443, 40_000), [answered, none], true, true),
        ("under way, from a server's port", connection(443, 40_000), [more, more], true, true),
        ("under way, from a client's", connection(40_000, 443), [more, more], true, false),
        (
            "an answer of DNS first",
            of(Transport::UDP, Layer4::Udp(Ports { source: 53, destination: 9_999 }, 0)),
            [more, none],
            true,
            true,
        ),
        (
            "an echo reply first",
            of(Transport::ICMP, Layer4::Icmp(Icmp { kind: 0, code: 0 })),
            [more, none],
            true,
            true,
        ),
        (
            "an ICMP error",
            of(Transport::ICMP, Layer4::Icmp(Icmp { kind: 3, code: 3 })),
            [more, none],
            true,
            false,
        ),
        (
            "an answer between two ports of servers",
            of(Transport::UDP, Layer4::Udp(Ports { source: 123, destination: 123 }, 0)),
            [sent(1, 0, &[Marks::ANSWERS]), sent(1, 0, &[])],
            true,
            true,
        ),
        (
            "a question between them",
            of(Transport::UDP, Layer4::Udp(Ports { source: 123, destination: 123 }, 0)),
            [sent(1, 0, &[]), sent(1, 0, &[])],
            true,
            false,
        ),
    ];
    for (what, totals, sent, sees_replies, is_flipped) in rows {
        let totals = Totals { sent, ..totals };
        let judged = Judged::of(&totals, &policy(), sees_replies);
        assert_eq!(judged.is_flipped(), is_flipped, "{what}");
    }
}

#[test]
fn a_flipped_flow_has_its_ends_counts_and_types_the_other_way_round() {
    let (mut ledger, mut fake) = (ledger(), Fake::default());
    let reply = of(Transport::ICMP, Layer4::Icmp(Icmp { kind: 0, code: 0 }));
    fake.packet(1, reply, true, Sent::default(), 0);
    let flows = finish(&mut ledger, &mut fake, 1);
    let [flow] = &flows[..] else { panic!("{flows:?}") };
    assert_eq!(flow.initiator.address, IpAddr::from(SERVER));
    assert_eq!((flow.initiator.packets, flow.responder.packets), (0, 1));
    assert_eq!(flow.icmp, Some(Icmp { kind: 8, code: 0 }));
    assert!(flow.tags.contains(FlowTags::ONE_WAY));
}

#[test]
fn a_packet_that_comes_while_its_flow_is_taken_out_is_unattributed() {
    let (mut ledger, mut fake) = (ledger(), Fake::default());
    fake.packet(1, datagrams(), true, Sent::default(), 0);
    fake.comes = Some(1);
    let flows = turn(&mut ledger, &mut fake, 60);
    assert_eq!(flows.iter().map(Flow::packets).sum::<u64>(), 1);
    assert_eq!((fake.packets, fake.unattributed), (2, 1));
    fake.packet(1, datagrams(), true, Sent::default(), 61 * SECOND);
    let later = finish(&mut ledger, &mut fake, 62);
    assert!(later.len() == 1 && later[0].id != flows[0].id, "what comes next is another flow");
}

#[test]
fn a_flow_whose_key_another_took_is_reported_by_itself() {
    let (mut ledger, mut fake) = (ledger(), Fake::default());
    let fin = sent(0, TcpFlags::SYN | TcpFlags::FIN, &[Marks::SYN]);
    fake.packet(1, connection(40_000, 443), true, fin, 0);
    fake.anew(1, connection(40_000, 443), SECOND);
    fake.packet(1, connection(40_000, 443), false, sent(0, TcpFlags::ACK, &[Marks::MORE]), SECOND);
    // Of one that is open, and of which something was told.
    fake.packet(2, datagrams(), true, Sent::default(), 0);
    let mut flows = turn(&mut ledger, &mut fake, 1);
    for seconds in [50, 100, 150, 200, 250, 300] {
        fake.packet(2, datagrams(), true, Sent::default(), seconds * SECOND);
    }
    flows.extend(turn(&mut ledger, &mut fake, 300));
    fake.packet(2, datagrams(), true, Sent::default(), 301 * SECOND);
    fake.anew(2, datagrams(), 302 * SECOND);
    flows.extend(turn(&mut ledger, &mut fake, 303));
    flows.extend(finish(&mut ledger, &mut fake, 304));
    let told = |port: u16| -> Vec<_> {
        let of_port = flows.iter().filter(|flow| flow.responder.port == Some(port));
        of_port.map(|flow| (flow.sequence, flow.end_reason, flow.packets())).collect()
    };
    assert_eq!(told(443), [(0, EndReason::EndDetected, 1), (0, EndReason::Idle, 2)]);
    assert_eq!(
        told(53),
        [(0, EndReason::Active, 7), (1, EndReason::Forced, 1), (0, EndReason::Forced, 1)]
    );
    let ids: std::collections::BTreeSet<_> = flows.iter().map(|flow| flow.id).collect();
    assert_eq!(ids.len(), 4, "each flow has its own");
    assert_eq!(ledger.sums().packets, fake.packets);
}

#[test]
fn a_flow_that_is_read_while_another_takes_its_key_is_not_reported_from_that() {
    let (mut ledger, mut fake) = (ledger(), Fake::default());
    for seconds in [0, 50, 100, 150, 200, 250, 300] {
        fake.packet(1, datagrams(), true, Sent::default(), seconds * SECOND);
    }
    let mut flows = turn(&mut ledger, &mut fake, 300);
    let whole = fake.flows[&1];
    fake.flows.insert(1, Totals { sent: [Sent::default(); 2], ..whole });
    flows.extend(turn(&mut ledger, &mut fake, 600));
    assert_eq!(flows.len(), 1, "{flows:?}");
    fake.past.push((1, whole));
    fake.flows.clear();
    fake.packet(1, datagrams(), true, Sent::default(), 600 * SECOND);
    flows.extend(finish(&mut ledger, &mut fake, 601));
    let told: Vec<_> = flows.iter().map(|flow| (flow.sequence, flow.packets())).collect();
    assert_eq!(told, [(0, 7), (1, 0), (0, 1)]);
}

#[test]
fn what_fails_is_done_the_next_time_and_nothing_twice() {
    for call in ["past", "sweep", "end", "take"] {
        let (mut ledger, mut fake) = (ledger(), Fake::default());
        for key in 0..10 {
            fake.packet(key, datagrams(), true, Sent::default(), 0);
        }
        fake.fails = vec![call];
        let mut flows = Vec::new();
        ledger.turn(&mut fake, at(60), &|| MAX_PAST, &mut |flow| flows.push(flow)).unwrap_err();
        let told = flows.len();
        flows.extend(turn(&mut ledger, &mut fake, 61));
        assert_eq!(flows.len(), 10, "{call}: {told} at first");
        assert!(flows.iter().all(|flow| flow.end_reason == EndReason::Idle), "{call}");
        assert_eq!(ledger.sums().packets + fake.unattributed, fake.packets, "{call}");
        assert_eq!(finish(&mut ledger, &mut fake, 62), [], "{call}");
    }
}

#[test]
fn the_end_reports_all_flows_as_forced_or_as_what_they_were() {
    let (mut ledger, mut fake) = (ledger(), Fake::default());
    let fin = sent(0, TcpFlags::SYN | TcpFlags::FIN, &[Marks::SYN]);
    fake.packet(1, connection(40_000, 443), true, fin, 0);
    fake.packet(2, datagrams(), true, Sent::default(), 0);
    fake.packet(3, datagrams(), true, Sent::default(), 0);
    let reasons: Vec<_> =
        finish(&mut ledger, &mut fake, 4).iter().map(|flow| flow.end_reason).collect();
    assert_eq!(reasons, [EndReason::EndDetected, EndReason::Forced, EndReason::Forced]);
    fake.packet(2, datagrams(), true, Sent::default(), 5 * SECOND);
    assert_eq!(fake.packets, 3, "nothing is counted any more");
}

#[test]
fn a_flow_has_the_id_that_packets_would_give_it() {
    let wall = Timestamp::from_nanos(1_000_000_000_000);
    let header = Header { ip_bytes: 100, ..datagrams().header() };
    let packet = crate::record::Packet {
        time: wall,
        epoch: 0,
        number: 1,
        part: 0,
        origin: origin(),
        frame_bytes: 114,
        captured_bytes: 114,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: header,
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: crate::record::Names::default(),
    };
    let mut table = Shards::new(policy(), 1);
    let mut output = Output::default();
    table.absorb(&[packet], &mut output);
    while table.drain_part(1, &mut output) {}
    let (mut ledger, mut fake) = (ledger(), Fake::default());
    fake.packet(1, datagrams(), true, Sent::default(), 0);
    let ours = finish(&mut ledger, &mut fake, 1);
    let theirs = &output.flows[0].record;
    assert_eq!((ours[0].id, ours[0].community_id), (theirs.id, theirs.community_id));
    assert_eq!((ours[0].conn_state, ours[0].tags), (theirs.conn_state, theirs.tags));
}

/// What is told of sources and ports: the source, the destination with its port, and packets, SYNs, handshakes.
fn rates(ledger: &mut Ledger<u16>, seconds: u64) -> Vec<(IpAddr, IpAddr, u16, [u64; 3])> {
    let mut told = Vec::new();
    ledger.tell_rates(at(seconds), &mut |contact| {
        let Outcome::Counts { packets, syns, completed } = contact.outcome else {
            panic!("{contact:?}")
        };
        assert_eq!(contact.time, at(seconds).wall);
        told.push((contact.source, contact.destination, contact.port, [packets, syns, completed]));
    });
    told.sort();
    told
}

#[test]
fn what_sources_send_and_how_often_ports_are_tried_is_told_of_each_second() {
    let (client, server, nobody) = (CLIENT.into(), SERVER.into(), IpAddr::from([0; 4]));
    let (mut ledger, mut fake) = (ledger().with_rates(100), Fake::default());
    let syn = sent(0, TcpFlags::SYN, &[Marks::SYN]);
    let answer = sent(0, TcpFlags::SYN | TcpFlags::ACK, &[Marks::SYN_ACK]);
    let more = sent(0, TcpFlags::ACK, &[Marks::MORE]);
    // One that is answered, one that is tried three times, and a datagram.
    fake.packet(1, connection(40_000, 443), true, syn, 0);
    fake.packet(1, connection(40_000, 443), false, answer, 0);
    for _ in 0..3 {
        fake.packet(2, connection(40_001, 443), true, syn, 0);
    }
    fake.packet(3, datagrams(), true, Sent::default(), 0);
    assert_eq!(turn(&mut ledger, &mut fake, 1), []);
    assert_eq!(
        rates(&mut ledger, 1),
        [(nobody, server, 443, [0, 4, 0]), (client, nobody, 0, [4, 4, 0]),]
    );
    assert_eq!(
        (turn(&mut ledger, &mut fake, 2), rates(&mut ledger, 2)),
        (vec![], vec![]),
        "no news"
    );
    fake.packet(1, connection(40_000, 443), true, more, 2 * SECOND);
    // Its first packet was the other's, before the SYN was seen.
    fake.packet(4, connection(443, 40_002), true, answer, 2 * SECOND);
    fake.packet(4, connection(443, 40_002), false, syn, 2 * SECOND);
    turn(&mut ledger, &mut fake, 3);
    assert_eq!(
        rates(&mut ledger, 3),
        [
            (nobody, server, 443, [0, 0, 1]),
            (nobody, client, 443, [0, 1, 0]),
            (server, nobody, 0, [0, 1, 0]),
        ]
    );
    finish(&mut ledger, &mut fake, 4);
    assert_eq!(rates(&mut ledger, 4), []);
}

#[test]
fn what_a_source_sends_counts_only_where_nobody_answers() {
    let syn = || sent(0, TcpFlags::SYN, &[Marks::SYN]);
    let answer = || sent(0, TcpFlags::SYN | TcpFlags::ACK, &[Marks::SYN_ACK]);
    let more = || sent(0, TcpFlags::ACK, &[Marks::MORE, Marks::PAYLOAD]);
    let reset = || sent(0, TcpFlags::RST, &[Marks::RESET]);
    let plain = Sent::default;
    let tcp = || connection(40_000, 443);
    let ping = || of(Transport::ICMP, Layer4::Icmp(Icmp { kind: 8, code: 0 }));
    let cases = [
        ("a download", tcp(), vec![syn(), more()], vec![answer(), more()], true, [0, 0]),
        ("joined under way", tcp(), vec![more()], vec![more()], true, [0, 0]),
        ("its ingress", tcp(), vec![syn(), more()], vec![], false, [0, 0]),
        ("its answers", connection(443, 40_000), vec![answer(), more()], vec![], false, [0, 0]),
        ("ACKs that are refused", tcp(), vec![more(), more()], vec![reset()], true, [2, 1]),
        ("SYNs", tcp(), vec![syn(), syn(), syn()], vec![], true, [3, 0]),
        ("QUIC", datagrams(), vec![plain(), plain()], vec![plain()], true, [0, 0]),
        ("datagrams", datagrams(), vec![plain(), plain()], vec![], true, [2, 0]),
        ("echoes", ping(), vec![plain()], vec![plain()], true, [1, 1]),
    ];
    for (what, fresh, of_first, of_other, sees_replies, expected) in cases {
        let mut ledger = Ledger::new(policy(), origin(), sees_replies).with_rates(100);
        let mut fake = Fake::default();
        for (by_first, sents) in [(true, of_first), (false, of_other)] {
            for sent in sents {
                fake.packet(1, fresh, by_first, sent, 0);
            }
        }
        turn(&mut ledger, &mut fake, 1);
        let told = rates(&mut ledger, 1);
        let sent_by = |source: [u8; 4]| -> u64 {
            let of_source = told.iter().filter(|(from, ..)| *from == IpAddr::from(source));
            of_source.map(|(.., [packets, ..])| packets).sum()
        };
        assert_eq!([sent_by(CLIENT), sent_by(SERVER)], expected, "{what}");
    }
}

#[test]
fn where_replies_are_not_seen_whoever_goes_on_has_completed_its_handshake() {
    let went_on = sent(2, TcpFlags::SYN | TcpFlags::ACK, &[Marks::SYN, Marks::MORE]);
    for (sees_replies, completed) in [(true, 0), (false, 1)] {
        let mut ledger = Ledger::new(policy(), origin(), sees_replies).with_rates(100);
        let mut fake = Fake::default();
        fake.packet(1, connection(40_000, 443), true, went_on, 0);
        turn(&mut ledger, &mut fake, 1);
        let told = rates(&mut ledger, 1);
        assert!(told.iter().any(|(.., counts)| *counts == [0, 1, completed]), "{told:?}");
    }
}

#[test]
fn without_room_flows_wait_and_go_on_and_rates_are_told() {
    let (mut ledger, mut fake) = (ledger().with_rates(100), Fake::default());
    let turn = |ledger: &mut Ledger<u16>, fake: &mut Fake, seconds, room: usize| {
        let (left, mut flows) = (Cell::new(room), Vec::new());
        let mut out = |flow: Flow| {
            left.set(left.get().saturating_sub(1));
            flows.push((flow.end_reason, flow.packets()));
        };
        ledger.turn(fake, at(seconds), &|| left.get(), &mut out).unwrap();
        flows
    };
    for key in 0..4 {
        fake.packet(key, datagrams(), true, Sent::default(), 0);
    }
    assert_eq!(turn(&mut ledger, &mut fake, 60, 0), [], "they are over, and stay where they are");
    assert_eq!(rates(&mut ledger, 60)[0].3, [4, 0, 0]);
    // One that was over is not.
    fake.packet(3, datagrams(), true, Sent::default(), 61 * SECOND);
    assert_eq!(turn(&mut ledger, &mut fake, 61, 1), [(EndReason::Idle, 1)]);
    assert_eq!(rates(&mut ledger, 61)[0].3, [1, 0, 0]);
    assert_eq!(turn(&mut ledger, &mut fake, 62, MAX_PAST), [(EndReason::Idle, 1); 2]);
    assert_eq!(turn(&mut ledger, &mut fake, 121, MAX_PAST), [(EndReason::Idle, 2)]);
    assert_eq!((fake.unattributed, ledger.sums().packets), (0, 5));
}

#[test]
fn of_more_flows_than_there_may_be_no_rates_are_told() {
    let (mut ledger, mut fake) = (ledger().with_rates(3), Fake::default());
    for key in 0..5 {
        fake.packet(key, datagrams(), true, Sent::default(), 0);
    }
    turn(&mut ledger, &mut fake, 1);
    assert_eq!(rates(&mut ledger, 1), [(CLIENT.into(), IpAddr::from([0; 4]), 0, [3, 0, 0])]);
}

proptest! {
    #[test]
    fn reports_and_the_unattributed_are_all_packets(
        steps in prop::collection::vec((0_u16..8, 0_u64..90, any::<bool>(), 0_usize..12), 1..80),
        is_one_way in any::<bool>(),
    ) {
        let timeouts = Timeouts { active: Some(30 * SECOND), ..Timeouts::USUAL };
        let policy = Policy { timeouts, ..policy() };
        let mut ledger = Ledger::new(policy, origin(), true).with_rates(100);
        let mut fake = Fake::default();
        let (mut seconds, mut flows, mut rated) = (0, Vec::new(), 0);
        let mut rate = |contact: Contact| {
            let Outcome::Counts { packets, .. } = contact.outcome else { panic!("{contact:?}") };
            rated += packets;
        };
        for (key, pause, of_first, fault) in steps {
            let fresh = Totals {
                ends: [CLIENT.into(), [10, 0, 1, u8::try_from(key).unwrap()].into()],
                ..datagrams()
            };
            if fault == 4 {
                fake.anew(key, fresh, seconds * SECOND);
            } else {
                let of_first = of_first || is_one_way;
                fake.packet(key, fresh, of_first, Sent::default(), seconds * SECOND);
            }
            // Of a time between two looks no more than a minute is told.
            ledger.tell_rates(at(seconds + pause / 2), &mut rate);
            seconds += pause;
            fake.fails = match fault {
                0 => vec!["sweep"],
                1 => vec!["end"],
                2 => vec!["take"],
                5 => vec!["past"],
                _ => Vec::new(),
            };
            fake.at_ns = seconds * SECOND;
            fake.comes = (fault == 3).then_some(key).filter(|key| fake.flows.contains_key(key));
            let (before, room) = (flows.len(), [MAX_PAST, 0, 1][fault.saturating_sub(5).min(2)]);
            let left = Cell::new(room);
            let mut out = |flow| {
                left.set(left.get().saturating_sub(1));
                flows.push(flow);
            };
            ledger.turn(&mut fake, at(seconds), &|| left.get(), &mut out).unwrap_or_default();
            prop_assert!(flows.len() - before <= room);
            ledger.tell_rates(at(seconds), &mut rate);
        }
        fake.fails.clear();
        ledger.finish(&mut fake, at(seconds), &mut |flow| flows.push(flow)).unwrap();
        ledger.tell_rates(at(seconds), &mut rate);
        let reported: u64 = flows.iter().map(Flow::packets).sum();
        prop_assert_eq!(reported + fake.unattributed, fake.packets);
        prop_assert_eq!(ledger.sums().packets, reported);
        // Of what is answered no rates are told.
        prop_assert!(rated <= reported);
        prop_assert!(!is_one_way || rated == reported, "{rated} of {reported}");
        let mut last: BTreeMap<Id, (u32, bool)> = BTreeMap::new();
        for flow in &flows {
            let expected = last.get(&flow.id).map_or(0, |(sequence, _)| sequence + 1);
            let was_final = last.get(&flow.id).is_some_and(|(_, is_final)| *is_final);
            prop_assert!(flow.sequence == expected && !was_final, "{:?}", flow);
            last.insert(flow.id, (flow.sequence, flow.is_final()));
        }
        prop_assert!(last.values().all(|(_, is_final)| *is_final), "each flow ends");
    }
}
