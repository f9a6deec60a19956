//! Flows within flows, and the packets that ICMP errors quote.

use super::{packets::*, run};
use crate::{
    flow::Policy,
    record::{CommunityId, Extra, Header, Packet, Transport},
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

#[test]
fn names_are_those_of_the_innermost_flow_and_the_first_of_each_kind() {
    let name = |field: &str, value: &str| Extra { name: field.into(), values: vec![value.into()] };
    let ask = |question: &str| name("dns_qry_name", question);
    let carried = udp(CLIENT, 7, SERVER, 53, 80).outer;
    let mut inside = udp(CLIENT, 5000, SERVER, 4789, 120).at(1).carrying(carried);
    inside.extra = vec![ask("inside.example")];
    let flows = run(Policy { inner: true, ..Policy::default() }, &[inside.clone()]).0;
    let asked = |port| {
        let flow = flows.iter().find(|flow| flow.responder.port == Some(port)).unwrap();
        flow.question.as_deref()
    };
    assert_eq!((asked(4789), asked(53)), (None, Some("inside.example")));
    assert_eq!(run(Policy::default(), &[inside]).0[0].question, None);

    let with = |extra: Vec<Extra>| Packet { extra, ..udp(CLIENT, 7, SERVER, 53, 80) }.at(1);
    let long = "x".repeat(256);
    let packets = [
        with(vec![ask(&long)]),
        with(vec![ask("a.example"), name("http_host", "239.0.0.1:1900")]),
        with(vec![ask("b.example"), name("tls_handshake_extensions_server_name", "s.example")]),
    ];
    let flow = run(Policy::default(), &packets).0.remove(0);
    let names = [flow.question, flow.server_name, flow.host];
    assert_eq!(
        names.each_ref().map(Option::as_deref),
        [Some("a.example"), Some("s.example"), None]
    );

    let hosts =
        [("h.example:80", "h.example"), ("[2001:db8::1]:8080", "[2001:db8::1]"), ("h", "h")];
    for (host, expected) in hosts {
        let mut request = tcp(true, "PA", 1, 1, 20);
        request.extra = vec![name("http_host", host)];
        assert_eq!(run(Policy::default(), &[request]).0[0].host.as_deref(), Some(expected));
    }
}
