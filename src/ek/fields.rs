//! The fields that `extract`, `flow` and `score` live on: the tshark source asks for them with `-e`,
//! and prints no others unless its `fields` option names them.

/// The base fields, in tshark's dotted names. In `-T ek` output `.` becomes `_`.
pub const BASE: &[&str] = &[
    "frame.number",
    "frame.time_epoch",
    "frame.len",
    "frame.cap_len",
    "frame.interface_id",
    "frame.interface_name",
    "frame.protocols",
    "_ws.malformed",
    "_ws.short",
    "eth.src",
    "eth.dst",
    "vlan.id",
    "ieee8021ad.id",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ip.len",
    "ip.id",
    "ip.flags.mf",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.nxt",
    "ipv6.plen",
    "ipv6.hopopts.nxt",
    "ipv6.dstopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.fraghdr.nxt",
    "ipv6.fraghdr.offset",
    "ipv6.fraghdr.more",
    "ipv6.fraghdr.ident",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.len",
    "tcp.hdr_len",
    "tcp.window_size_value",
    "tcp.checksum.status",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
    "sctp.srcport",
    "sctp.dstport",
    "icmp.type",
    "icmp.code",
    "icmpv6.type",
    "icmpv6.code",
    "vxlan.vni",
    "geneve.vni",
    "gtp.teid",
    "gre.key",
];

/// The name as `-T ek` writes it: with `_` for `.`.
pub fn printed(name: &str) -> String {
    name.replace('.', "_")
}

/// The place of a base field in [`BASE`]; a name that is not there fails the build where it is
/// asked for by a constant.
pub(super) const fn base(name: &str) -> usize {
    let mut at = 0;
    while !equal(BASE[at].as_bytes(), name.as_bytes()) {
        at += 1;
    }
    at
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_field_is_found_at_its_place() {
        for (at, name) in BASE.iter().enumerate() {
            assert_eq!(base(name), at);
        }
    }
}
