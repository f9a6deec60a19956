//! What holds for the flows of any capture: each of those with known answers, and those made after
//! reports of faults.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use tidegate::{
    flow::{Output, Policy, Shards},
    record::{CommunityId, Flow, Packet},
};

use crate::harness::{Case, Outcome, Scene, captures, packets::packets};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(flows_of_every_capture_add_up_and_name_themselves).needs_data()]
}

fn flows_of_every_capture_add_up_and_name_themselves(scene: &Scene) -> Outcome {
    let mut wrong = Vec::new();
    let mut counted = 0;
    let reports = scene.data.parent().unwrap_or(Path::new("..")).join("reports");
    let all = captures::below(&scene.data)?.into_iter().chain(captures::below(&reports)?);
    for capture in all {
        let packets = packets(&capture, false)?;
        counted += packets.len();
        let flows = flows(&packets);
        let mut said = remarks(&packets, &flows);
        said.truncate(5);
        wrong.extend(said.iter().map(|remark| format!("{}: {remark}", capture.display())));
    }
    assert!(counted > 100_000, "only {counted} packets were read");
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// The flows of these packets, with the defaults.
pub(crate) fn flows(packets: &[Packet]) -> Vec<Flow> {
    let mut table = Shards::new(Policy::default(), 1);
    let mut out = Output::default();
    table.absorb(packets, &mut out);
    table.drain(&mut out);
    out.flows.into_iter().map(|report| report.record).collect()
}

/// What is wrong with the flows of these packets.
fn remarks(packets: &[Packet], flows: &[Flow]) -> Vec<String> {
    let mut remarks = Vec::new();
    let counted: u64 = flows.iter().map(Flow::packets).sum();
    if counted != packets.len() as u64 {
        remarks.push(format!("{counted} packets in flows, {} in the capture", packets.len()));
    }
    let bytes: u64 = flows.iter().map(Flow::bytes).sum();
    let frames: u64 = packets.iter().map(|packet| u64::from(packet.frame_bytes)).sum();
    if bytes > frames {
        remarks.push(format!("{bytes} bytes in flows, {frames} on the wire"));
    }
    let interim: BTreeSet<_> =
        flows.iter().filter(|flow| !flow.is_final()).map(|flow| flow.id).collect();
    for flow in flows {
        if is_group(flow.initiator.address) {
            remarks.push(format!("a group began {flow:?}"));
        }
        if flow.packets() == 0 && !(flow.is_final() && interim.contains(&flow.id)) {
            remarks.push(format!("no packets in {flow:?}"));
        }
        let (one, other) = (&flow.initiator, &flow.responder);
        let id = match flow.icmp {
            Some(icmp) => CommunityId::of_icmp(flow.transport, one.address, other.address, icmp),
            None => CommunityId::of_ports(
                flow.transport,
                (one.address, one.port),
                (other.address, other.port),
            ),
        };
        if id != flow.community_id {
            remarks.push(format!("another Community ID than {id} in {flow:?}"));
        }
    }
    remarks
}

fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(address) if address.is_broadcast())
}
