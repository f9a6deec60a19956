//! `frame.protocols` read once: which headers a frame has, from the outside in.
//!
//! The values of a field are in the order of the frame's headers, but those of two fields don't
//! line up: in 6in4 the first `ip.src` is the outer header's and the first `ipv6.src` the inner's.
//! Counting each protocol along this list tells whose a value is.

use std::{collections::HashMap, sync::Arc};

use super::application::application;
use crate::record::Transport;

/// Layouts kept; a network shows a few dozen.
const MAX_CACHED: usize = 512;
/// Longest `frame.protocols` that is kept.
const MAX_CACHED_BYTES: usize = 512;

/// A kind of header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Ethernet,
    Vlan,
    ServiceVlan,
    /// IEEE 802.11.
    Wlan,
    /// The next of the packets that an aggregate of IEEE 802.11 consists of.
    NextInAggregate,
    /// Another header of a link or of a tunnel: what it carries is followed.
    Carrier,
    Vxlan,
    Geneve,
    Gtp,
    Gre,
    Ipv4,
    Ipv6,
    HopByHop,
    Destination,
    Routing,
    Fragment,
    Authentication,
    Mobility,
    HostIdentity,
    Shim6,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
    /// Anything else. Packets that are shown within it were not carried by it: it reports them.
    Other,
}

/// A header, and the bytes it has at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) layer: Layer,
    pub(super) bytes: u32,
}

/// What `frame.protocols` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The headers, from the outside in.
    pub(super) steps: Box<[Step]>,
    /// The application protocol that the outermost IP header carries.
    pub(super) protocol: Option<Arc<str>>,
}

/// The layouts seen lately.
#[derive(Debug, Default)]
pub(super) struct Layouts(HashMap<Box<str>, Arc<Layout>>);

// === impl Layer ===

impl Layer {
    /// How many kinds there are.
    pub(super) const COUNT: usize = Self::Other as usize + 1;

    /// The number by which an IP header announces it.
    pub(super) const fn transport(self) -> Option<Transport> {
        Some(match self {
            Self::HopByHop => Transport(0),
            Self::Routing => Transport(43),
            Self::Fragment => Transport(44),
            Self::Authentication => Transport(51),
            Self::Destination => Transport(60),
            Self::Mobility => Transport(135),
            Self::HostIdentity => Transport(139),
            Self::Shim6 => Transport(140),
            Self::Tcp => Transport::TCP,
            Self::Udp => Transport::UDP,
            Self::Sctp => Transport::SCTP,
            Self::Icmp => Transport::ICMP,
            Self::Icmpv6 => Transport::ICMPV6,
            _ => return None,
        })
    }

    /// Whether it belongs to a link or a tunnel.
    pub(super) const fn carries(self) -> bool {
        matches!(
            self,
            Self::Ethernet
                | Self::Vlan
                | Self::ServiceVlan
                | Self::Wlan
                | Self::Carrier
                | Self::Vxlan
                | Self::Geneve
                | Self::Gtp
                | Self::Gre
        )
    }
}

// === impl Step ===

impl Step {
    fn of(protocol: &str) -> Self {
        let (layer, bytes) = match protocol {
            "eth" => (Layer::Ethernet, 14),
            "vlan" => (Layer::Vlan, 4),
            "ieee8021ad" => (Layer::ServiceVlan, 4),
            "wlan" => (Layer::Wlan, 24),
            "ip" => (Layer::Ipv4, 20),
            "ipv6" => (Layer::Ipv6, 40),
            "ipv6.hopopts" => (Layer::HopByHop, 8),
            "ipv6.dstopts" => (Layer::Destination, 8),
            "ipv6.routing" => (Layer::Routing, 8),
            "ipv6.fraghdr" => (Layer::Fragment, 8),
            "ah" => (Layer::Authentication, 8),
            "mipv6" => (Layer::Mobility, 8),
            "hip" => (Layer::HostIdentity, 8),
            "shim6" => (Layer::Shim6, 8),
            "tcp" => (Layer::Tcp, 20),
            // UDP-Lite shares UDP's port fields, so it has to be counted with it.
            "udp" | "udplite" => (Layer::Udp, 8),
            "sctp" => (Layer::Sctp, 12),
            "icmp" => (Layer::Icmp, 8),
            "icmpv6" => (Layer::Icmpv6, 8),
            "vxlan" => (Layer::Vxlan, 8),
            "geneve" => (Layer::Geneve, 8),
            "gtp" => (Layer::Gtp, 8),
            "gre" => (Layer::Gre, 4),
            other => match carrier_bytes(other) {
                Some(bytes) => (Layer::Carrier, bytes),
                None => (Layer::Other, 0),
            },
        };
        Self { layer, bytes }
    }
}

/// The least length of a header that carries packets, if it is one of those that we follow.
fn carrier_bytes(protocol: &str) -> Option<u32> {
    Some(match protocol {
        "ethertype" | "raw" | "pwethheuristic" | "pwethnocw" | "wlan_radio" | "erspan"
        | "teredo" | "wccp" | "isl" | "prp" | "ppp_hdlc" | "pflog" | "nflog" | "pktap" | "enc"
        | "ipnet" | "netanalyzer" | "batadv" | "atm" | "6lowpan" => 0,
        "lisp-data" | "nsh" | "ayiya" | "radiotap" | "ppi" | "vxlan_gpe" => 8,
        "pppoes" | "l2tp" | "macsec" | "cmd" | "hsr" | "trill" => 6,
        "etherip" | "fr" => 2,
        // One byte of protocol, if compressed.
        "ppp" => 1,
        "llc" => 3,
        "sll" | "ieee8021ah" => 16,
        "mpls" | "pwethcw" | "null" | "chdlc" | "vntag" | "ieee8021cb" => 4,
        name if name.starts_with("aruba_erm") => 0,
        _ => return None,
    })
}

// === impl Layout ===

impl Layout {
    fn read(protocols: &str) -> Self {
        let mut steps = Vec::new();
        let mut is_wireless = false;
        let mut first_ends = None;
        let mut previous = Layer::Carrier;
        for (at, name) in protocols.split(':').enumerate() {
            let mut step = Step::of(name);
            is_wireless |= step.layer == Layer::Wlan;
            // Each packet of an aggregate begins with IEEE 802.2, which nothing but a link carries.
            if is_wireless && name == "llc" && !previous.carries() {
                step.layer = Layer::NextInAggregate;
                first_ends = first_ends.or(Some(at));
            }
            previous = step.layer;
            steps.push(step);
        }
        let is_ip = |name: &&str| matches!(*name, "ip" | "ipv6");
        let first = protocols.split(':').take(first_ends.unwrap_or(usize::MAX));
        Self {
            steps: steps.into(),
            protocol: application(first.skip_while(|name| !is_ip(name)).skip(1)).map(Arc::from),
        }
    }
}

// === impl Layouts ===

impl Layouts {
    /// The layout of a frame with these protocols.
    pub(super) fn get(&mut self, protocols: &str) -> Arc<Layout> {
        if let Some(layout) = self.0.get(protocols) {
            return Arc::clone(layout);
        }
        let layout = Arc::new(Layout::read(protocols));
        if protocols.len() <= MAX_CACHED_BYTES {
            if self.0.len() >= MAX_CACHED {
                self.0.clear();
            }
            self.0.insert(protocols.into(), Arc::clone(&layout));
        }
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(protocols: &str) -> Vec<Layer> {
        Layout::read(protocols).steps.iter().map(|step| step.layer).collect()
    }

    #[test]
    fn a_packet_of_an_aggregate_begins_where_no_link_carries_it() {
        use Layer::{Carrier, Gre, Ipv4, NextInAggregate, Other, Udp, Wlan};
        let llc = |protocols| layers(protocols).into_iter().rfind(|layer| *layer != Ipv4);
        assert_eq!(llc("radiotap:wlan_radio:wlan:llc:ip"), Some(Carrier));
        assert_eq!(llc("eth:ethertype:ip:gre:eth:llc:ip"), Some(Carrier));
        assert_eq!(llc("wlan:llc:ip:gre:eth:llc:ip"), Some(Carrier));
        assert_eq!(llc("wlan:llc:arp:llc:ip"), Some(NextInAggregate));
        assert_eq!(
            layers("ip:gre:wlan:llc:ip:udp:data:llc:ip"),
            [Ipv4, Gre, Wlan, Carrier, Ipv4, Udp, Other, NextInAggregate, Ipv4]
        );
    }

    #[test]
    fn the_application_is_the_outermost_packets() {
        let cases = [
            ("eth:ethertype:ip:udp:dns", Some("dns")),
            ("eth:ethertype:arp", None),
            ("wlan:llc:ip:udp:dns:llc:ip:tcp:http", Some("dns")),
            ("wlan:llc:arp:llc:ip:tcp:http", None),
        ];
        for (protocols, expected) in cases {
            assert_eq!(Layout::read(protocols).protocol.as_deref(), expected, "{protocols}");
        }
    }

    #[test]
    fn many_layouts_are_not_all_kept() {
        let mut layouts = Layouts::default();
        for number in 0..2 * MAX_CACHED {
            layouts.get(&format!("eth:{number}"));
        }
        layouts.get(&"x".repeat(MAX_CACHED_BYTES + 1));
        assert!(layouts.0.len() <= MAX_CACHED);
        assert!(layouts.0.keys().all(|key| key.len() <= MAX_CACHED_BYTES));
    }
}
