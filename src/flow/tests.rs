//! The flow table over packets made by hand, in simulated time.

mod contacts;
mod opening;
pub(super) mod packets;
mod places;
mod properties;
mod tcp;
mod time;
mod tunnels;
mod zeek;

use super::{Output, Policy, Shards, Timeouts};
use crate::record::{Contact, EndReason, Flow, FlowTags, Outcome, Packet};

use packets::{CLIENT, SERVER, at, icmp, udp};

/// Runs packets through a table of one shard, and what is left at the end.
fn run(policy: Policy, packets: &[Packet]) -> (Vec<Flow>, Vec<Contact>) {
    let (flows, mut contacts) = run_counting(policy, packets);
    contacts.retain(|contact| !matches!(contact.outcome, Outcome::Counts { .. }));
    (flows, contacts)
}

/// The same with the counts of each second.
fn run_counting(policy: Policy, packets: &[Packet]) -> (Vec<Flow>, Vec<Contact>) {
    let mut table = Shards::new(policy, 1);
    let mut out = Output { wants_contacts: true, ..Output::default() };
    table.absorb(packets, &mut out);
    table.drain(&mut out);
    assert!(table.is_empty());
    let flows = out.flows.into_iter().map(|report| report.record).collect();
    (flows, out.contacts.into_iter().map(|report| report.record).collect())
}

fn flows(packets: &[Packet]) -> Vec<Flow> {
    run(Policy::default(), packets).0
}

#[test]
fn a_question_and_its_answer_are_one_flow() {
    let flows = flows(&[
        udp(CLIENT, 40000, SERVER, 53, 60).at(1),
        udp(SERVER, 53, CLIENT, 40000, 300).at(2).protocol("dns"),
    ]);
    let [flow] = flows.as_slice() else { panic!("{flows:?}") };
    assert_eq!((flow.initiator.port, flow.responder.port), (Some(40000), Some(53)));
    assert_eq!((flow.initiator.bytes, flow.responder.bytes), (60, 300));
    assert_eq!((flow.start, flow.end), (at(1), at(2)));
    assert_eq!((flow.conn_state.name(), flow.history.to_string().as_str()), ("SF", "Dd"));
    assert_eq!((flow.end_reason, flow.sequence), (EndReason::Forced, 0));
    assert_eq!(flow.protocol.as_deref(), Some("dns"));
    assert_eq!(flow.tags, FlowTags::default());
}

#[test]
fn a_server_port_decides_who_began_what_was_joined_under_way() {
    for (source, destination, flips) in
        [(53, 40000, true), (40000, 53, false), (53, 123, false), (40000, 40001, false)]
    {
        let flows = flows(&[udp(SERVER, source, CLIENT, destination, 60).at(1)]);
        let sender = if flips { &flows[0].responder } else { &flows[0].initiator };
        assert_eq!((sender.address, sender.packets), (SERVER, 1), "{source} → {destination}");
        let (state, history) = if flips { ("SHR", "^d") } else { ("S0", "D") };
        assert_eq!(flows[0].conn_state.name(), state);
        assert_eq!(flows[0].history.to_string(), history);
        assert!(flows[0].tags.contains(FlowTags::ONE_WAY));
    }
}

#[test]
fn a_broadcast_from_a_server_port_is_the_senders() {
    let everyone = [255, 255, 255, 255].into();
    let flows = flows(&[udp(SERVER, 67, everyone, 68, 328).at(1)]);
    assert_eq!(flows[0].initiator.address, SERVER);
}

#[test]
fn an_echo_and_its_reply_are_one_flow_whichever_comes_first() {
    for packets in [
        [icmp(CLIENT, SERVER, 8, 0).at(1), icmp(SERVER, CLIENT, 0, 0).at(2)],
        [icmp(SERVER, CLIENT, 0, 0).at(1), icmp(CLIENT, SERVER, 8, 0).at(2)],
    ] {
        let flows = flows(&packets);
        assert_eq!(flows.len(), 1);
        assert_eq!(flows[0].initiator.address, CLIENT);
        assert_eq!(flows[0].icmp.map(|icmp| icmp.kind), Some(8));
        assert_eq!((flows[0].initiator.packets, flows[0].responder.packets), (1, 1));
    }
}

#[test]
fn vlans_tell_flows_apart_if_the_config_says_so() {
    let packets = [
        udp(CLIENT, 1, SERVER, 2, 60).vlan(10).at(1),
        udp(SERVER, 2, CLIENT, 1, 60).vlan(20).at(1),
    ];
    for (vlan_in_key, expected) in [(true, 2), (false, 1)] {
        let (flows, _) = run(Policy { vlan_in_key, ..Policy::default() }, &packets);
        assert_eq!(flows.len(), expected);
        assert!(flows[0].vlans.outer().is_some());
    }
}

#[test]
fn later_fragments_go_to_the_flow_of_the_first() {
    let flows = flows(&[
        udp(CLIENT, 1000, SERVER, 2000, 1500).fragment(7, 0, true).at(1),
        udp(CLIENT, 0, SERVER, 0, 500).fragment(7, 1480, false).at(1),
        udp(CLIENT, 0, SERVER, 0, 500).fragment(8, 1480, false).at(1),
    ]);
    let mut counts: Vec<_> =
        flows.iter().map(|flow| (flow.initiator.port, flow.initiator.bytes, flow.tags)).collect();
    counts.sort_by_key(|count| count.1);
    let mut tags = FlowTags::ONE_WAY;
    tags.insert(FlowTags::PORTLESS_FRAGMENTS);
    assert_eq!(counts, [(None, 500, tags), (Some(1000), 2000, FlowTags::ONE_WAY)]);
}

#[test]
fn an_ip_length_of_zero_is_taken_from_the_frame() {
    let mut packet = udp(CLIENT, 1, SERVER, 2, 0).vlan(3).at(1);
    packet.frame_bytes = 9018;
    assert_eq!(flows(&[packet])[0].initiator.bytes, 9000);
}

#[test]
fn the_direction_follows_from_what_is_inside() {
    use crate::record::Direction::{External, Inbound, Internal, Outbound};
    for (networks, expected) in [
        (vec![], None),
        (vec!["10.0.0.1/32"], Some(Outbound)),
        (vec!["10.0.0.2/32"], Some(Inbound)),
        (vec!["10.0.0.0/8"], Some(Internal)),
        (vec!["192.168.0.0/16"], Some(External)),
    ] {
        let internal_networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        let policy = Policy { internal_networks, ..Policy::default() };
        let (flows, _) = run(policy, &[udp(CLIENT, 1, SERVER, 2, 60).at(1)]);
        assert_eq!(flows[0].direction, expected, "{networks:?}");
    }
}

#[test]
fn an_entry_stays_within_its_budget() {
    // An index slot takes 5 bytes at a load of 7/16 at worst, the links of two lists 16, and a
    // freed slot's number 4.
    let all = size_of::<super::entry::Entry>() + 12 + 16;
    assert!(all <= 320, "{all} bytes");
}

#[test]
fn zeeks_time_outs_are_those_of_its_defaults() {
    assert_eq!(Timeouts::ZEEK.tcp_attempt, 5_000_000_000);
    assert_eq!(Timeouts::ZEEK.active, None);
}
