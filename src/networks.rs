//! Networks, as the config lists them once for everybody: what is inside, who is never blocked, who is
//! not judged.
//!
//! Data passes: the `networks` of a config → [`Lists`] → [`Lists::read`], on start and on SIGHUP, which
//! adds what stands in files → [`Networks`], which the topology hands to every component.

mod file;
mod map;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use ipnet::IpNet;

pub use self::{
    file::Fault,
    map::{NetworkMap, NetworkSet},
};
use crate::record::Timestamp;

/// The networks as they hold now.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    /// What is inside: ours.
    pub internal: NetworkSet,
    /// Who is never blocked.
    pub allow: NetworkMap<Entry>,
    /// Who is not judged; see [`Networks::ignored`].
    pub ignore: NetworkMap<Entry>,
    /// TCP ports of this host that its administrators come in by.
    pub admin_ports: Vec<u16>,
    /// The addresses of the servers that the sinks write to, as far as they could be resolved.
    pub destinations: NetworkSet,
}

/// What is known of a network in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Where it stands, which names it in records: `networks.allow[0]`, `/etc/tidegate/allow.txt:7`.
    pub place: String,
    /// Who answers for it; may be empty.
    pub owner: String,
    /// Why it is in the list; may be empty.
    pub reason: String,
    /// When it ceases to hold.
    pub expires: Option<Timestamp>,
}

/// The networks as the config has them, and the files that hold more.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// What is inside.
    pub internal: Vec<IpNet>,
    /// Who is never blocked.
    pub allow: Vec<(IpNet, Entry)>,
    /// Who is not judged.
    pub ignore: Vec<(IpNet, Entry)>,
    /// Files of those who are never blocked.
    pub allow_files: Vec<PathBuf>,
    /// TCP ports of this host that its administrators come in by.
    pub admin_ports: Vec<u16>,
}

/// What files held when they were read last.
#[derive(Debug, Clone, Default)]
pub struct Former(BTreeMap<PathBuf, Vec<(IpNet, Entry)>>);

// === impl Networks ===

impl Networks {
    /// The entry that keeps all of `network` from being blocked, the narrowest if there are several.
    pub fn allowed(&self, network: IpNet) -> Option<&(IpNet, Entry)> {
        self.allow.covering(network)
    }

    /// The entry for which `address` is not judged at `now`, the narrowest if there are several.
    pub fn ignored(&self, address: IpAddr, now: Timestamp) -> Option<&(IpNet, Entry)> {
        let holds = |(_, entry): &&(IpNet, Entry)| entry.expires.is_none_or(|end| now < end);
        self.ignore.holding(address).find(holds)
    }
}

// === impl Lists ===

impl Lists {
    /// The lists with what stands in their files. What can't be read there is told, and the rest
    /// counts. Waits for the disk.
    pub fn read(&self) -> (Networks, Vec<Fault>) {
        self.read_again(&mut Former::default())
    }

    /// The same after an earlier time: a file that can't be read as a whole keeps the entries that it had then.
    pub fn read_again(&self, former: &mut Former) -> (Networks, Vec<Fault>) {
        let (mut allow, mut faults) = (self.allow.clone(), Vec::new());
        let mut read = BTreeMap::new();
        for path in &self.allow_files {
            let entries = match file::read(path, &mut faults) {
                Ok(entries) => entries,
                Err(mut fault) => {
                    let before = former.0.get(path).cloned();
                    if before.is_some() {
                        fault.message += "; what it held before goes on to hold";
                    }
                    faults.push(fault);
                    let Some(before) = before else { continue };
                    before
                }
            };
            allow.extend(entries.iter().cloned());
            read.insert(path.clone(), entries);
        }
        former.0 = read;
        let networks = Networks {
            internal: self.internal.iter().copied().collect(),
            allow: NetworkMap::new(allow),
            ignore: NetworkMap::new(self.ignore.iter().cloned()),
            admin_ports: self.admin_ports.clone(),
            destinations: NetworkSet::default(),
        };
        (networks, faults)
    }
}

/// A network (`10.0.0.0/8`), or an address as the network of itself. What stands behind the prefix
/// is left out. One of IPv4 that is written as IPv6 (`::ffff:10.0.0.0/104`) is one of IPv4, as packets are.
pub fn parse(text: &str) -> Option<IpNet> {
    written(text).map(|network| network.trunc())
}

fn written(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(address).map(unmapped)
}

fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let address = mapped.addr().to_ipv4_mapped();
    let network4 = address
        .zip(mapped.prefix_len().checked_sub(96))
        .and_then(|(address, prefix)| IpNet::new(address.into(), prefix).ok());
    network4.unwrap_or(network)
}

/// As [`parse`], for lists that decide who is blocked: bits behind the prefix are a mistake there, for
/// `10.0.0.5/8` may mean one address or sixteen million.
///
/// # Errors
/// What is wrong, and how to mend it.
pub fn parse_exact(text: &str) -> Result<IpNet, (String, String)> {
    let Some(network) = parse(text) else {
        let message = format!("{text:?} is no network or address");
        return Err((message, "write it as 10.0.0.0/8 or fd00::/8, an address as 10.0.0.5".into()));
    };
    match written(text) {
        Some(written) if written != network => {
            let address = written.addr();
            let message = format!("{text:?} has bits behind its prefix");
            Err((message, format!("write {network} for the network, {address} for the address")))
        }
        _ => Ok(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(place: &str, expires: Option<i64>) -> Entry {
        let expires = expires.map(Timestamp::from_nanos);
        Entry { place: place.to_owned(), expires, ..Entry::default() }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_that_has_expired_leaves_the_word_to_a_wider_one() {
        let ignore = [
            (net("10.0.0.0/8"), entry("wide", Some(100))),
            (net("10.1.0.0/16"), entry("narrow", Some(50))),
        ];
        let networks = Networks { ignore: NetworkMap::new(ignore), ..Networks::default() };
        let ignored = |nanos| {
            let found = networks.ignored("10.1.2.3".parse().unwrap(), Timestamp::from_nanos(nanos));
            found.map(|(_, entry)| entry.place.as_str())
        };
        assert_eq!(
            [ignored(49), ignored(50), ignored(99), ignored(100)],
            [Some("narrow"), Some("wide"), Some("wide"), None]
        );
    }

    #[test]
    fn a_network_is_allowed_if_all_of_it_is() {
        let allow =
            [(net("10.0.0.0/24"), entry("a", None)), (net("10.0.0.7/32"), entry("b", None))];
        let networks = Networks { allow: NetworkMap::new(allow), ..Networks::default() };
        let allowed = |text| networks.allowed(net(text)).map(|(_, entry)| entry.place.as_str());
        assert_eq!(allowed("10.0.0.7/32"), Some("b"));
        assert_eq!(allowed("10.0.0.0/29"), Some("a"), "its first address has no narrower entry");
        assert_eq!(allowed("10.0.0.6/31"), Some("a"));
        assert_eq!(allowed("10.0.0.0/23"), None);
        assert_eq!(allowed("::/0"), None);
    }

    #[test]
    fn bits_behind_a_prefix_are_a_mistake_only_where_they_decide_who_is_blocked() {
        assert_eq!(parse("10.0.0.5/8"), Some(net("10.0.0.0/8")));
        assert_eq!(parse("10.0.0.5"), Some(net("10.0.0.5/32")));
        assert_eq!(parse_exact("fd00::/8"), Ok(net("fd00::/8")));
        assert_eq!(parse_exact("fd00::1"), Ok(net("fd00::1/128")));
        assert_eq!(parse_exact("::ffff:203.0.113.7"), Ok(net("203.0.113.7/32")));
        assert_eq!(parse_exact("::ffff:10.0.0.0/104"), Ok(net("10.0.0.0/8")));
        assert_eq!(parse_exact("::ffff:0:0/96"), Ok(net("0.0.0.0/0")));
        assert_eq!(parse_exact("::/0"), Ok(net("::/0")));
        assert!(parse_exact("::ffff:10.0.0.5/104").is_err());
        let (_, hint) = parse_exact("10.0.0.5/8").unwrap_err();
        assert_eq!(hint, "write 10.0.0.0/8 for the network, 10.0.0.5 for the address");
        for text in ["", "10.0.0", "10.0.0.0/33", "fd00::/129", "host.example", "10.0.0.0/8 "] {
            assert!(parse_exact(text).is_err() && parse(text).is_none(), "{text:?}");
        }
    }
}
