//! Packets of the gate's tables: from the source the verdicts are about, in few words each.

use libtest_mimic::Failed;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tidegate_ebpf::{Gate, Maps, layout::Settings};

use crate::harness::{Outcome, frames::ethernet};

/// Whom the verdicts are about.
pub(crate) const BAD: [u8; 4] = [203, 0, 113, 7];
/// The same over IPv6.
pub(crate) const BAD6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const HOST: [u8; 4] = [127, 0, 0, 1];
const HOST6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;

/// Settings that enforce, without a heartbeat, with small limits.
pub(crate) const ENFORCE: Settings = Settings {
    enforce: true,
    fail_open_ns: 0,
    new_interval_ns: 1_000_000_000,
    new_burst_ns: 2_000_000_000,
    all_interval_ns: 1_000_000_000,
    all_burst_ns: 5_000_000_000,
    max_blocks: 64,
    max_networks: 64,
    max_allowed: 64,
};

/// Runs on one processor, whose share is asked for.
pub(crate) fn pinned_to_one_processor(run: impl FnOnce() -> Outcome) -> Outcome {
    let before = sched_getaffinity(None)?;
    let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu)).ok_or("there is none")?;
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one)?;
    let ran = run();
    sched_setaffinity(None, &before)?;
    ran
}

/// A loaded program with maps of its own, attached nowhere.
pub(crate) fn gate(settings: &Settings) -> Result<(Gate, Maps), Failed> {
    let mut gate = Gate::load(settings, None)?;
    let maps = gate.take_maps()?;
    Ok((gate, maps))
}

/// An IPv4 packet of this source, with options, and flags and offset as the header has them.
pub(crate) fn ip4_with(
    source: [u8; 4],
    protocol: u8,
    options: &[u8],
    part: u16,
    payload: &[u8],
) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).expect("few options");
    let total = u16::try_from(20 + options.len() + payload.len()).expect("short");
    let mut packet = vec![0x40 | words, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(part.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(HOST);
    packet.extend(options);
    packet.extend(payload);
    ethernet(0x0800, &packet)
}

/// An IPv4 packet of the blocked source.
pub(crate) fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip4_with(BAD, protocol, &[], 0, payload)
}

/// An IPv6 packet of the blocked source, with this hop limit.
pub(crate) fn ip6_within(hops: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
    packet.extend([next, hops]);
    packet.extend(BAD6);
    packet.extend(HOST6);
    packet.extend(payload);
    ethernet(0x86dd, &packet)
}

pub(crate) fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    ip6_within(64, next, payload)
}

/// `count` extension headers of padding before what `next` names.
pub(crate) fn extensions(count: usize, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for left in (0..count).rev() {
        bytes.extend([if left == 0 { next } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
    }
    bytes.extend(payload);
    bytes
}

/// A TCP header to this port.
pub(crate) fn tcp(port: u16, flags: u8) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40];
    header.extend(port.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    header
}

/// A UDP header between these ports.
pub(crate) fn udp(ports: [u16; 2]) -> Vec<u8> {
    let mut header = ports.map(u16::to_be_bytes).concat();
    header.extend([0, 8, 0, 0]);
    header
}

/// The frame behind VLAN tags.
pub(crate) fn tagged(tags: usize, frame: &[u8]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let tags = [0x81, 0, 0, 7].repeat(tags);
    [addresses, &tags, rest].concat()
}
