//! Whom no verdict may cut off, whatever they do: this host, its way out, and who manages it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{host::Facts, networks::Networks, verdict::Refusal};

/// Where clouds answer questions about a machine: AWS, Azure, GCP and others; AWS over IPv6; Alibaba.
const METADATA: [&str; 3] = ["169.254.169.254", "fd00:ec2::254", "100.100.100.200"];

/// Networks that are never blocked, with what is there (`a resolver of this host is 192.0.2.53`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protected(Vec<(IpNet, Box<str>)>);

// === impl Protected ===

impl Protected {
    /// Of what is known of this host.
    pub fn of(facts: &Facts) -> Self {
        let mut protected = Vec::new();
        let mut add = |addresses: &[IpAddr], what: &str| {
            let named = |one: &IpAddr| (IpNet::from(*one), format!("{what} is {one}").into());
            protected.extend(addresses.iter().map(named));
        };
        add(&facts.addresses, "an address of this host");
        add(&facts.gateways, "the default gateway");
        add(&facts.resolvers, "a resolver of this host");
        add(&facts.administrators, "an administrator's session");
        add(&METADATA.map(|address| address.parse().expect("it is one")), "the cloud's metadata");
        Self(protected)
    }

    /// Why a verdict about `network` can't be; `None` if it can. A network is refused for one address in it
    /// that is protected.
    pub fn refusal(&self, network: IpNet, networks: &Networks) -> Option<Refusal> {
        if network.prefix_len() == 0 {
            return Some(Refusal::Everybody(network));
        }
        if let Some((network, entry)) = networks.allowed(network) {
            return Some(Refusal::Allowed { network: *network, place: entry.place.clone() });
        }
        let touches = |one: &IpNet| network.contains(one) || one.contains(&network);
        let what = match self.0.iter().find(|(one, _)| touches(one)) {
            Some((_, what)) => what.to_string(),
            None => written_to(&networks.destinations.touching(network)?.0),
        };
        Some(Refusal::NeverBlocked { network, what: what.into() })
    }

    /// The same with more networks.
    pub(super) fn and_these(self, more: impl Iterator<Item = (IpNet, Box<str>)>) -> Self {
        Self(self.0.into_iter().chain(more).collect())
    }

    /// The networks alone.
    pub(super) fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.0.iter().map(|(network, _)| *network)
    }

    /// These, and where sinks write to.
    pub(super) fn with_destinations(
        &self,
        networks: &Networks,
    ) -> impl Iterator<Item = (IpNet, Box<str>)> {
        let destinations = networks.destinations.iter();
        let named = destinations.map(|(network, ())| (*network, written_to(network).into()));
        self.0.iter().cloned().chain(named)
    }

    /// All that the kernel's allow list has to hold: these, the allow list, and where sinks write to.
    pub fn and(&self, networks: &Networks) -> Vec<IpNet> {
        let listed = networks.allow.iter().map(|(network, _)| *network);
        let destinations = networks.destinations.iter().map(|(network, ())| *network);
        let mut all: Vec<_> = self.networks().chain(listed).chain(destinations).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn written_to(network: &IpNet) -> String {
    format!("a sink writes to {}", network.addr())
}
