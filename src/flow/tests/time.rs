//! Deadlines, late packets, clocks that were set back, and a full table.

use super::{flows, packets::*, run};
use crate::{
    flow::{Output, Policy, Shards, Timeouts},
    record::{EndReason, Flow, Packet},
};

fn reports(policy: Policy, packets: &[Packet]) -> Vec<Flow> {
    run(policy, packets).0
}

#[test]
fn a_flow_ends_when_nothing_came_for_its_time_out() {
    let tcp_mid = || tcp(true, "PA", 5, 5, 5);
    let cases: &[(&dyn Fn() -> Packet, i64)] = &[
        (&|| udp(CLIENT, 1, SERVER, 2, 60), 60),
        (&|| icmp(CLIENT, SERVER, 8, 0), 60),
        (&|| packet(header(CLIENT, SERVER, crate::record::Transport(47))), 60),
        (&tcp_mid, 300),
        (&|| tcp(true, "S", 5, 0, 0), 60),
    ];
    for (make, seconds) in cases {
        for (second, expected) in [(seconds - 1, 1), (*seconds, 2)] {
            let policy = Policy {
                timeouts: Timeouts { active: None, ..Timeouts::USUAL },
                ..Policy::default()
            };
            let flows = reports(policy, &[make().at(0), make().at(second)]);
            assert_eq!(flows.len(), expected, "{:?} after {second} s", make().outer);
            if expected == 2 {
                assert_eq!(flows[0].end_reason, EndReason::Idle);
            }
        }
    }
}

#[test]
fn reports_of_a_flow_that_goes_on_carry_what_is_new() {
    let packets: Vec<_> = (0..70).map(|n| udp(CLIENT, 1, SERVER, 2, 100).at(n * 10)).collect();
    let flows = flows(&packets);
    let told: Vec<_> = flows
        .iter()
        .map(|flow| (flow.sequence, flow.initiator.packets, flow.end_reason, flow.start, flow.end))
        .collect();
    assert_eq!(
        told,
        [
            (0, 30, EndReason::Active, at(0), at(290)),
            (1, 30, EndReason::Active, at(300), at(590)),
            (2, 10, EndReason::Forced, at(600), at(690)),
        ]
    );
    assert!(flows.iter().all(|flow| flow.id == flows[0].id && flow.began == at(0)));
}

#[test]
fn what_comes_after_the_close_is_of_no_interval_that_was_told() {
    let close = [tcp(true, "FA", 101, 501, 0), tcp(false, "FA", 501, 102, 0)];
    let stragglers = [tcp(true, "A", 102, 502, 0), tcp(false, "FA", 501, 102, 0)];
    let mut packets = vec![
        tcp(true, "S", 100, 0, 0).at(0),
        tcp(false, "SA", 500, 101, 0).at(0),
        tcp(true, "A", 101, 501, 0).at(1),
        tcp(true, "PA", 101, 501, 0).at(150),
    ];
    packets.extend(close.map(|packet| packet.at(298)));
    packets.extend(stragglers.map(|packet| packet.at(301)));
    let flows = flows(&packets);
    let told: Vec<_> =
        flows.iter().map(|flow| (flow.packets(), flow.end_reason, flow.start, flow.end)).collect();
    assert_eq!(
        told,
        [(6, EndReason::Active, at(0), at(298)), (2, EndReason::Forced, at(298), at(298))]
    );
}

#[test]
fn an_interval_without_packets_is_reported_only_at_the_end() {
    let flows = flows(&[
        tcp(true, "PA", 5, 5, 5).at(0),
        tcp(true, "PA", 10, 5, 5).at(290),
        udp(CLIENT, 1, SERVER, 2, 60).at(580),
        udp(CLIENT, 1, SERVER, 2, 60).at(700),
    ]);
    let tcp: Vec<_> = flows
        .iter()
        .filter(|flow| flow.transport == crate::record::Transport::TCP)
        .map(|flow| (flow.end_reason, flow.initiator.packets, flow.start, flow.end))
        .collect();
    assert_eq!(
        tcp,
        [(EndReason::Active, 2, at(0), at(290)), (EndReason::Idle, 0, at(290), at(290)),]
    );
}

#[test]
fn a_late_packet_moves_the_start_and_never_the_end_back() {
    let one = |second| udp(CLIENT, 1, SERVER, 2, 60).at(second);
    let flows = flows(&[one(100), one(110), one(90)]);
    assert_eq!((flows[0].start, flows[0].end), (at(90), at(110)));
    assert_eq!(flows[0].initiator.packets, 3);
}

#[test]
fn a_clock_that_was_set_back_ends_all_flows_and_ids_stay_apart() {
    let one = |second, number| {
        let mut packet = udp(CLIENT, 1, SERVER, 2, 60).at(second);
        packet.number = number;
        packet
    };
    let packets: Vec<_> = (1..)
        .zip([1000, 1010, 2, 3, 4, 1000, 1001, 1002, 2, 3, 4])
        .map(|(number, second)| one(second, number))
        .collect();
    let flows = flows(&packets);
    let told: Vec<_> = flows.iter().map(|flow| (flow.start, flow.end_reason)).collect();
    // 2 s is a new beginning, twice; 1000 s after it is the idle time-out.
    let (idle, forced) = (EndReason::Idle, EndReason::Forced);
    assert_eq!(told, [(at(1000), forced), (at(2), idle), (at(1000), forced), (at(2), forced)]);
    let ids: std::collections::BTreeSet<_> = flows.iter().map(|flow| flow.id).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn the_longest_idle_flow_makes_room() {
    let one = |port, second| udp(CLIENT, port, SERVER, 2, 60).at(second);
    let policy = Policy { max_flows: 2, ..Policy::default() };
    let mut table = Shards::new(policy, 1);
    let mut out = Output::default();
    table.absorb(&[one(1, 0), one(2, 1), one(1, 2), one(3, 3), one(4, 4)], &mut out);
    let told: Vec<_> = out
        .flows
        .iter()
        .map(|report| (report.record.initiator.port, report.record.end_reason))
        .collect();
    assert_eq!(
        told,
        [(Some(2), EndReason::LackOfResources), (Some(1), EndReason::LackOfResources)]
    );
    assert_eq!(table.len(), 2);
}

#[test]
fn an_attempt_is_idle_since_its_syn() {
    let policy = Policy { max_flows: 2, ..Policy::default() };
    let mut table = Shards::new(policy, 1);
    let mut out = Output::default();
    let one = |port, second| udp(CLIENT, port, SERVER, 2, 60).at(second);
    table.absorb(&[tcp(true, "S", 5, 0, 0).at(0), one(1, 1), one(2, 30)], &mut out);
    let [evicted] = out.flows.as_slice() else { panic!("{:?}", out.flows) };
    assert_eq!(evicted.record.end_reason, EndReason::LackOfResources);
    assert_eq!(evicted.record.transport, crate::record::Transport::TCP);
}

#[test]
fn times_at_the_ends_of_the_range_are_as_good_as_any() {
    use crate::record::Timestamp;
    for nanos in [i64::MIN, -1, 0, 2_147_483_648_000_000_000, i64::MAX] {
        let mut packet = udp(CLIENT, 1, SERVER, 2, 60);
        packet.time = Timestamp::from_nanos(nanos);
        let flows = flows(&[packet.clone(), packet]);
        assert_eq!(flows.iter().map(|flow| flow.initiator.packets).sum::<u64>(), 2);
    }
}

#[test]
fn half_open_flows_are_held_to_the_limit() {
    let policy = Policy { max_flows: 1000, ..Policy::default() };
    let mut table = Shards::new(policy, 1);
    let mut out = Output::default();
    for n in 0..20_000_u32 {
        let [_, b, c, d] = n.to_be_bytes();
        let mut packet = tcp(true, "S", n, 0, 0).at(1);
        packet.outer.source = [10, b, c, d].into();
        table.absorb(&[packet], &mut out);
        assert!(table.len() <= 1000);
    }
    assert_eq!(out.flows.len(), 19_000);
}

#[test]
fn fragments_do_not_outlive_a_clock_that_was_set_back() {
    let part = |offset| udp(CLIENT, 1, SERVER, 2, 100).fragment(7, offset, offset == 0);
    let flows = reports(Policy::default(), &[part(0).at(1000), part(80).at(900)]);
    let ports: Vec<_> = flows.iter().map(|flow| flow.responder.port).collect();
    assert_eq!(ports, [Some(2), None]);
}
