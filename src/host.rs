//! What is known of this host: its addresses, its way out, its resolvers, who manages it, and its clock. From the
//! network namespace that we run in.
//!
//! Data passes: files of procfs and `/etc/resolv.conf` → [`Facts`]; a netlink socket ([`Changes`]) tells
//! when to look again.
//!
//! Sources: `proc_net(5)`, resolv.conf(5); `net/ipv4/fib_trie.c` and `net/ipv6/route.c` of Linux for the
//! formats; rtnetlink(7).

mod changes;
mod clock;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod nat;
mod sessions;

use std::{fs, net::IpAddr};

pub use self::{
    changes::Changes,
    clock::clock,
    nat::has_nat,
    sessions::{Remembered, Sessions},
};

/// Files that name resolvers.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// What is known of this host, each list sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The gateways of its default routes.
    pub gateways: Vec<IpAddr>,
    /// Its resolvers.
    pub resolvers: Vec<IpAddr>,
    /// The other ends of sessions of administrators; see [`Sessions`].
    pub administrators: Vec<IpAddr>,
}

// === impl Facts ===

impl Facts {
    /// Reads them, but for the administrators. What can't be read is left out: it is what an older kernel,
    /// or one without IPv6, does not have.
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut addresses = files::local4(&read("/proc/self/net/fib_trie"));
        addresses.extend(files::local6(&read("/proc/self/net/if_inet6")));
        let mut gateways = files::gateways4(&read("/proc/self/net/route"));
        gateways.extend(files::gateways6(&read("/proc/self/net/ipv6_route")));
        Self {
            addresses: sorted(addresses),
            gateways: sorted(gateways),
            resolvers: Self::resolvers(),
            administrators: Vec::new(),
        }
    }

    /// Its resolvers; also those that the one of systemd asks, where it stands in between.
    pub fn resolvers() -> Vec<IpAddr> {
        let read = |path: &&str| fs::read_to_string(path).unwrap_or_default();
        let texts: Vec<_> = RESOLVERS.iter().map(read).collect();
        sorted(texts.iter().flat_map(|text| files::resolvers(text)).collect())
    }
}

/// The interfaces of our network namespace, sorted, as far as they can be seen.
pub fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let mut names: Vec<_> = files::interfaces(&table).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

fn sorted(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
