//! Flows within flows, and the packets that ICMP errors quote.

use super::{packets::*, run};
use crate::{
    flow::Policy,
    record::{CommunityId, Header, Packet, Transport},
};

fn tunnelled() -> Packet {
    let inner = |last: u8| {
        let (source, destination) = ([192, 168, 0, 1].into(), [192, 168, 0, last].into());
        let carried = udp(source, 1, destination, 2, 80).outer;
        Header { transport: if last < 4 { Transport(4) } else { carried.transport }, ..carried }
    };
    udp(CLIENT, 5000, SERVER, 4789, 120)
        .at(1)
        .carrying(inner(2))
        .carrying(inner(3))
        .carrying(inner(4))
}

#[test]
fn inner_flows_know_the_flow_that_carries_them() {
    for (inner, expected) in [(false, 1), (true, 3)] {
        let flows = run(Policy { inner, ..Policy::default() }, &[tunnelled()]).0;
        assert_eq!(flows.len(), expected);
        let outer = flows.iter().find(|flow| flow.parent.is_none()).unwrap();
        assert_eq!(outer.initiator.address, CLIENT);
        let mut parent = outer.id;
        for _ in 1..expected {
            let carried = flows.iter().find(|flow| flow.parent == Some(parent)).unwrap();
            assert_eq!(carried.initiator.mac, None);
            parent = carried.id;
        }
    }
}

#[test]
fn an_icmp_error_is_a_flow_of_its_own_that_names_the_one_it_quotes() {
    let quoted = udp(CLIENT, 1, SERVER, 2, 60).at(1);
    let error = icmp(SERVER, CLIENT, 3, 3).at(2).carrying(quoted.outer.clone());
    for inner in [false, true] {
        let flows = run(Policy { inner, ..Policy::default() }, &[quoted.clone(), error.clone()]).0;
        assert_eq!(flows.len(), 2);
        let error = flows.iter().find(|flow| flow.icmp.is_some()).unwrap();
        assert_eq!(error.related_community_ids, [CommunityId::of(&quoted.outer)]);
        assert_eq!((error.initiator.packets, error.responder.packets), (1, 0));
    }
}
