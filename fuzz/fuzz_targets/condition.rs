//! A condition of `filter` or `route`, as JSON.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegate::{
    component::Clock,
    condition::Condition,
    ek::{Line, Parser},
    field::Origin,
    record::{Endpoint, Flow, Id, Packet, Raw, Transport},
};

const LINE: &str = r#"{"layers":{"frame_number":["2"],"frame_time_epoch":["1700000000.1"],"frame_len":["74"],"frame_cap_len":["70"],"frame_protocols":["eth:ethertype:vlan:ethertype:ip:udp:dns"],"eth_src":["02:00:00:00:00:01"],"eth_dst":["02:00:00:00:00:02"],"vlan_id":["7"],"ip_src":["10.1.2.3"],"ip_dst":["192.0.2.17"],"ip_proto":["17"],"ip_len":["60"],"udp_srcport":["36813"],"udp_dstport":["53"],"udp_length":["40"]}}"#;

static PACKET: LazyLock<Packet> = LazyLock::new(|| {
    let raw = Raw { line: LINE.into(), epoch: 0, first: 0, origin: tidegate::record::ObservationPoint::default() };
    match Parser::new(&[]).parse(&raw) {
        Ok(Line::Packet(packet)) => packet,
        other => panic!("{other:?}"),
    }
});

static FLOW: LazyLock<Flow> = LazyLock::new(|| {
    let id = Id::of("flow", "fuzz").finish();
    let endpoint = |header: [u8; 4], port| Endpoint::new(header.into(), Some(port));
    let responder = endpoint([192, 0, 2, 1], 53).sent(2, 700);
    Flow::new(id, Transport::UDP, endpoint([10, 1, 2, 3], 51_234).sent(3, 300), responder)
});

static ORIGIN: LazyLock<Origin> = LazyLock::new(|| Origin::new("fuzz", Clock::Event));

fuzz_target!(|text: &[u8]| {
    let Ok(condition) = serde_json::from_slice::<Condition>(text) else { return };
    condition.asks("condition");
    let negated = Condition { not: Some(Box::new(condition.clone())), ..Condition::default() };
    match (condition.compile("condition"), negated.compile("condition")) {
        (Ok(predicate), Ok(negated)) => {
            assert_ne!(predicate.holds(&*PACKET, &ORIGIN), negated.holds(&*PACKET, &ORIGIN));
            assert_ne!(predicate.holds(&*FLOW, &ORIGIN), negated.holds(&*FLOW, &ORIGIN));
        }
        (Err(problems), Err(same)) => {
            assert_eq!(problems.len(), same.len());
            assert!(problems.iter().all(|problem| problem.hint.is_some()));
        }
        _ => panic!("a condition that is none, negated, is one"),
    }
});
