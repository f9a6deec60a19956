//! Whom no verdict may cut off, whatever they do: this host, its way out, and who manages it.

use std::{borrow::Cow, net::IpAddr};

use ipnet::IpNet;

use crate::{host::Facts, networks::Networks, verdict::Refusal};

/// Where clouds answer questions about a machine: AWS, Azure, GCP and others; AWS over IPv6; Alibaba.
const METADATA: [&str; 3] = ["169.254.169.254", "fd00:ec2::254", "100.100.100.200"];

/// Networks that are never blocked, with what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protected(Vec<(IpNet, Cow<'static, str>)>);

// === impl Protected ===

impl Protected {
    /// Of what is known of this host.
    pub fn of(facts: &Facts) -> Self {
        let mut protected = Vec::new();
        let mut add = |addresses: &[IpAddr], what: &'static str| {
            protected.extend(addresses.iter().map(|one| (IpNet::from(*one), what.into())));
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
        if let Some((address, what)) = self.0.iter().find(|(one, _)| touches(one)) {
            let what = format!("{what} is {}", address.addr());
            return Some(Refusal::NeverBlocked { network, what: what.into() });
        }
        let (address, ()) = networks.destinations.touching(network)?;
        let what = format!("a sink writes to {}", address.addr());
        Some(Refusal::NeverBlocked { network, what: what.into() })
    }

    /// All that the kernel's allow list has to hold: these, the allow list, and where sinks write to.
    pub fn and(&self, networks: &Networks) -> Vec<IpNet> {
        let listed = networks.allow.iter().map(|(network, _)| *network);
        let destinations = networks.destinations.iter().map(|(network, ())| *network);
        let mut all: Vec<_> =
            self.0.iter().map(|(network, _)| *network).chain(listed).chain(destinations).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
