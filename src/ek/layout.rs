//! `frame.protocols` read once: which headers a frame has, from the outside in.
//!
//! The values of a field are in the order of the frame's headers, but those of two fields don't
//! line up: in 6in4 the first `ip.src` is the outer header's and the first `ipv6.src` the inner's.
//! Counting each protocol along this list tells whose a value is.

use std::{collections::HashMap, sync::Arc};

use crate::record::Transport;

/// Layouts kept; a network shows a few dozen.
const MAX_CACHED: usize = 512;
/// Longest `frame.protocols` that is kept.
const MAX_CACHED_BYTES: usize = 512;
/// Protocols that only carry another one, which names the application better when it is known.
const CARRIERS: &[&str] = &["cotp", "dtls", "nbdgm", "nbss", "quic", "rpc", "tls", "tpkt"];
/// Beginnings of names that stand for content rather than for a protocol.
const CONTENT: &[&str] = &["_ws.", "data", "pkcs", "pkix", "x509"];

/// A protocol whose fields we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Vlan,
    ServiceVlan,
    Ipv4,
    Ipv6,
    HopByHop,
    Destination,
    Routing,
    Fragment,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
    Vxlan,
    Geneve,
    Gtp,
    Gre,
}

/// What `frame.protocols` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The protocols whose fields we read, from the outside in.
    pub(super) layers: Box<[Layer]>,
    /// Whether the frame itself is an Ethernet one, rather than one in a tunnel.
    pub(super) ethernet: bool,
    /// The application protocol the outermost header carries.
    pub(super) protocol: Option<Arc<str>>,
}

/// The layouts seen lately.
#[derive(Debug, Default)]
pub(super) struct Layouts(HashMap<Box<str>, Arc<Layout>>);

// === impl Layer ===

impl Layer {
    /// How many layers there are.
    pub(super) const COUNT: usize = Self::Gre as usize + 1;

    /// The number by which an IP header announces it.
    pub(super) const fn transport(self) -> Option<Transport> {
        Some(match self {
            Self::HopByHop => Transport(0),
            Self::Routing => Transport(43),
            Self::Fragment => Transport(44),
            Self::Destination => Transport(60),
            Self::Tcp => Transport::TCP,
            Self::Udp => Transport::UDP,
            Self::Sctp => Transport::SCTP,
            Self::Icmp => Transport::ICMP,
            Self::Icmpv6 => Transport::ICMPV6,
            Self::Vlan
            | Self::ServiceVlan
            | Self::Ipv4
            | Self::Ipv6
            | Self::Vxlan
            | Self::Geneve
            | Self::Gtp
            | Self::Gre => return None,
        })
    }

    fn of(protocol: &str) -> Option<Self> {
        Some(match protocol {
            "vlan" => Self::Vlan,
            "ieee8021ad" => Self::ServiceVlan,
            "ip" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "ipv6.hopopts" => Self::HopByHop,
            "ipv6.dstopts" => Self::Destination,
            "ipv6.routing" => Self::Routing,
            "ipv6.fraghdr" => Self::Fragment,
            "tcp" => Self::Tcp,
            // UDP-Lite shares UDP's port fields, so it has to be counted with it.
            "udp" | "udplite" => Self::Udp,
            "sctp" => Self::Sctp,
            "icmp" => Self::Icmp,
            "icmpv6" => Self::Icmpv6,
            "vxlan" => Self::Vxlan,
            "geneve" => Self::Geneve,
            "gtp" => Self::Gtp,
            "gre" => Self::Gre,
            _ => return None,
        })
    }

    fn is_ip(self) -> bool {
        matches!(self, Self::Ipv4 | Self::Ipv6)
    }
}

// === impl Layout ===

impl Layout {
    fn read(protocols: &str) -> Self {
        let ip = |name: &&str| Layer::of(name).is_some_and(Layer::is_ip);
        Self {
            layers: protocols.split(':').filter_map(Layer::of).collect(),
            ethernet: protocols.starts_with("eth:"),
            protocol: application(protocols.split(':').skip_while(|name| !ip(name)).skip(1))
                .map(Arc::from),
        }
    }
}

/// The application protocol among the names behind the outermost IP header.
fn application<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut names = names.skip_while(|name| name.starts_with("ipv6."));
    if !matches!(names.next(), Some("tcp" | "udp" | "sctp")) {
        return None;
    }
    let is_content = |name: &str| CONTENT.iter().any(|content| name.starts_with(content));
    let mut application = names.next().filter(|name| !is_content(name))?;
    while CARRIERS.contains(&application) {
        match names.next() {
            Some(name) if name == application => {}
            // QUIC shows its TLS handshake as a protocol within it.
            Some(name) if name != "tls" && !is_content(name) => application = name,
            _ => break,
        }
    }
    Some(application)
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

    #[test]
    fn the_application_is_what_the_outermost_transport_carries() {
        let cases = [
            ("eth:ethertype:ip:tcp", None),
            ("eth:ethertype:ip:tcp:data", None),
            ("eth:ethertype:ip:udp:dns", Some("dns")),
            ("eth:ethertype:ip:tcp:http:data-text-lines", Some("http")),
            ("eth:ethertype:ip:tcp:tls", Some("tls")),
            ("eth:ethertype:ip:tcp:tls:tls:http2", Some("http2")),
            ("eth:ethertype:ip:tcp:tls:x509sat:x509sat", Some("tls")),
            ("eth:ethertype:ip:udp:quic:tls", Some("quic")),
            ("eth:ethertype:ip:tcp:nbss:smb2", Some("smb2")),
            ("eth:ethertype:ip:udp:nbdgm:smb:browser", Some("smb")),
            ("eth:ethertype:ip:tcp:ldap:gss-api:spnego-krb5", Some("ldap")),
            ("eth:ethertype:ipv6:ipv6.hopopts:udp:dns", Some("dns")),
            ("eth:ethertype:ip:icmp:ip:udp:dns", None),
            ("eth:ethertype:ip:gre:ip:tcp:http", None),
            ("eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:tcp:http", Some("vxlan")),
            ("eth:ethertype:arp", None),
        ];
        for (protocols, expected) in cases {
            let layout = Layout::read(protocols);
            assert_eq!(layout.protocol.as_deref(), expected, "{protocols}");
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
