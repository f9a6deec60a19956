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
    "ip.hdr_len",
    "ip.id",
    "ip.flags.mf",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.nxt",
    "ipv6.plen",
    "ipv6.opt.jumbo",
    "ipv6.hopopts.nxt",
    "ipv6.hopopts.len",
    "ipv6.dstopts.nxt",
    "ipv6.dstopts.len",
    "ipv6.routing.nxt",
    "ipv6.routing.len",
    "ipv6.routing.type",
    "ipv6.routing.segleft",
    "ipv6.routing.src.addr",
    "ipv6.routing.mipv6.home_address",
    "ipv6.routing.srh.addr",
    "ipv6.fraghdr.nxt",
    "ipv6.fraghdr.offset",
    "ipv6.fraghdr.more",
    "ipv6.fraghdr.ident",
    "ah.next_header",
    "ah.length",
    "mip6.proto",
    "hip.proto",
    "shim6.nxt",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.len",
    "tcp.hdr_len",
    "tcp.window_size_value",
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

/// What tells of checksums: asked for only where they are verified.
pub const CHECKSUMS: &[&str] = &[
    "ip.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "sctp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
];

/// Fields that headers are read from: the base fields, then those of checksums.
pub(super) const READ: [&str; BASE.len() + CHECKSUMS.len()] = {
    let mut read = [""; BASE.len() + CHECKSUMS.len()];
    let mut at = 0;
    while at < read.len() {
        read[at] = if at < BASE.len() { BASE[at] } else { CHECKSUMS[at - BASE.len()] };
        at += 1;
    }
    read
};

/// The name as `-T ek` writes it: with `_` for `.`.
pub fn printed(name: &str) -> String {
    name.replace('.', "_")
}

/// The place of a field in [`READ`]; a name that is not there fails the build where it is asked for
/// by a constant.
pub(super) const fn place(name: &str) -> usize {
    let mut at = 0;
    while !equal(READ[at].as_bytes(), name.as_bytes()) {
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
    fn every_field_is_found_at_its_place() {
        for (at, name) in READ.iter().enumerate() {
            assert_eq!(place(name), at);
        }
    }
}
