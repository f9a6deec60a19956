//! The profile `zeek`: what Zeek's connections are where a SIEM wants others.

use super::{packets::*, run};
use crate::{
    flow::{Output, Policy, ServerPorts, Shards, Timeouts},
    record::{Flow, Header, Layer4, Packet, Transport},
};

type Step = (bool, &'static str, u32, u32, u32);

const SYN: Step = (true, "S", 100, 0, 0);
const SYN_ACK: Step = (false, "SA", 500, 101, 0);
const ACK: Step = (true, "A", 101, 501, 0);

fn zeek() -> Policy {
    Policy { as_zeek: true, inner: true, timeouts: Timeouts::ZEEK, ..Policy::default() }
}

/// A step a second, from the first second on.
fn play(steps: &[Step]) -> Vec<Packet> {
    let steps = steps.iter().zip(1..);
    steps.map(|(&(c, flags, seq, ack, len), s)| tcp(c, flags, seq, ack, len).at(s)).collect()
}

fn flows(packets: &[Packet]) -> Vec<Flow> {
    run(zeek(), packets).0
}

/// State and history of the only flow of these steps.
fn told(policy: Policy, steps: &[Step]) -> (String, String) {
    let flows = run(policy, &play(steps)).0;
    assert_eq!(flows.len(), 1, "{steps:?}");
    (flows[0].conn_state.name().to_owned(), flows[0].history.to_string())
}

#[test]
fn a_repeated_syn_ack_makes_no_gap() {
    let steps = [
        SYN,
        SYN_ACK,
        ACK,
        (false, "PA", 501, 101, 10),
        SYN_ACK,
        (true, "FA", 101, 511, 0),
        (false, "FA", 511, 102, 0),
    ];
    for policy in [Policy::default(), zeek()] {
        assert_eq!(told(policy, &steps), ("SF".to_owned(), "ShAdFf".to_owned()));
    }
}
