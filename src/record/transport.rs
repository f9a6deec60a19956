//! IANA protocol numbers and their keywords.

use std::fmt;

/// An IP protocol number: what an IPv4 header's protocol field, or the last Next Header of an IPv6
/// header chain, says comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transport(pub u8);

impl Transport {
    /// Internet Control Message Protocol.
    pub const ICMP: Self = Self(1);
    /// Transmission Control Protocol.
    pub const TCP: Self = Self(6);
    /// User Datagram Protocol.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// Stream Control Transmission Protocol.
    pub const SCTP: Self = Self(132);

    /// The keyword in lower case (`tcp`, `ipv6-icmp`), or `None` for a number without a common one.
    ///
    /// Source: IANA, "Assigned Internet Protocol Numbers".
    pub const fn keyword(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "hopopt",
            1 => "icmp",
            2 => "igmp",
            4 => "ipv4",
            6 => "tcp",
            8 => "egp",
            9 => "igp",
            17 => "udp",
            33 => "dccp",
            41 => "ipv6",
            43 => "ipv6-route",
            44 => "ipv6-frag",
            46 => "rsvp",
            47 => "gre",
            50 => "esp",
            51 => "ah",
            58 => "ipv6-icmp",
            59 => "ipv6-nonxt",
            60 => "ipv6-opts",
            88 => "eigrp",
            89 => "ospfigp",
            94 => "ipip",
            97 => "etherip",
            98 => "encap",
            103 => "pim",
            108 => "ipcomp",
            112 => "vrrp",
            115 => "l2tp",
            132 => "sctp",
            135 => "mobility-header",
            136 => "udplite",
            137 => "mpls-in-ip",
            _ => return None,
        })
    }

    /// Whether its header begins with a source and a destination port that tshark reports.
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }
}

/// The name in upper case as the synthetic log writes it (`TCP`, `ICMPV6`), else the number.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, self.keyword()) {
            (Self::ICMPV6, _) => f.write_str("ICMPV6"),
            (_, Some(keyword)) => {
                keyword.chars().try_for_each(|c| write!(f, "{}", c.to_ascii_uppercase()))
            }
            (Self(number), None) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_keyword_in_upper_case_or_the_number() {
        for (number, name) in [(6, "TCP"), (58, "ICMPV6"), (132, "SCTP"), (2, "IGMP"), (253, "253")]
        {
            assert_eq!(Transport(number).to_string(), name);
        }
    }
}
