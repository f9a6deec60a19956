//! Networks with what is known of them, and the narrowest that holds an address.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks and a value for each. An address is looked up by halving, whatever the number of networks:
/// networks are nested or disjoint, so they cut the addresses into stretches with one answer each.
#[derive(Debug, Clone)]
pub struct NetworkMap<T> {
    entries: Vec<(IpNet, T)>,
    /// For each entry the next wider one around it.
    around: Vec<Option<u32>>,
    v4: Vec<Stretch>,
    v6: Vec<Stretch>,
}

/// Networks alone.
pub type NetworkSet = NetworkMap<()>;

/// From this address on, until the next stretch begins, the narrowest network is this entry.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    begins: u128,
    entry: Option<u32>,
}

// === impl NetworkMap ===

impl<T> NetworkMap<T> {
    /// The networks of `entries`; of several for one network the first counts.
    ///
    /// # Panics
    /// With more than 2³² networks.
    pub fn new(entries: impl IntoIterator<Item = (IpNet, T)>) -> Self {
        let mut entries: Vec<_> =
            entries.into_iter().map(|(network, value)| (network.trunc(), value)).collect();
        // A network comes before those inside it.
        entries.sort_by_key(|(network, _)| (bounds(network).0, network.prefix_len()));
        entries.sort_by_key(|(network, _)| is_v6(network.addr()));
        entries.dedup_by_key(|(network, _)| *network);
        let mut map = Self { around: Vec::new(), v4: Vec::new(), v6: Vec::new(), entries };
        let split = map.entries.partition_point(|(network, _)| !is_v6(network.addr()));
        map.v4 = map.cut(0, split);
        map.v6 = map.cut(split, map.entries.len());
        map
    }

    /// The stretches of the entries `from..to`, all of one family.
    fn cut(&mut self, from: usize, to: usize) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut begin = |begins, entry| match stretches.last_mut() {
            Some(last) if last.begins == begins => last.entry = entry,
            _ => stretches.push(Stretch { begins, entry }),
        };
        // The networks that are open here, the narrowest last, each with its last address.
        let mut open: Vec<(u128, u32)> = Vec::new();
        for at in from..to {
            let (first, last) = bounds(&self.entries[at].0);
            while let Some((end, _)) = open.pop_if(|(end, _)| *end < first) {
                begin(end + 1, open.last().map(|(_, entry)| *entry));
            }
            self.around.push(open.last().map(|(_, entry)| *entry));
            let entry = u32::try_from(at).expect("there are fewer than 2^32 networks");
            begin(first, Some(entry));
            open.push((last, entry));
        }
        while let Some((end, _)) = open.pop() {
            if let Some(after) = end.checked_add(1) {
                begin(after, open.last().map(|(_, entry)| *entry));
            }
        }
        stretches
    }

    /// The narrowest network that holds `address`.
    pub fn get(&self, address: IpAddr) -> Option<&(IpNet, T)> {
        self.narrowest(address).map(|at| &self.entries[at])
    }

    /// Whether a network holds `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.narrowest(address).is_some()
    }

    /// Every network that holds `address`, the narrowest first.
    pub fn holding(&self, address: IpAddr) -> impl Iterator<Item = &(IpNet, T)> {
        let wider = |at: &usize| self.around[*at].map(|around| around as usize);
        std::iter::successors(self.narrowest(address), wider).map(|at| &self.entries[at])
    }

    /// The narrowest network that holds all of `network`.
    pub fn covering(&self, network: IpNet) -> Option<&(IpNet, T)> {
        self.holding(network.network()).find(|(wider, _)| wider.contains(&network))
    }

    /// The narrowest network that holds all of `network`, else one that lies in it.
    pub fn touching(&self, network: IpNet) -> Option<&(IpNet, T)> {
        self.covering(network).or_else(|| self.inside(network))
    }

    /// A network that lies in `network`.
    fn inside(&self, network: IpNet) -> Option<&(IpNet, T)> {
        let place = |network: &IpNet| (is_v6(network.addr()), bounds(network).0);
        let (is_of, first) = place(&network);
        let from = self.entries.partition_point(|(one, _)| place(one) < (is_of, first));
        let last = bounds(&network).1;
        let rest = self.entries[from..].iter();
        let mut within = rest.take_while(|(one, _)| place(one) <= (is_of, last));
        within.find(|(one, _)| network.contains(one))
    }

    /// How many networks there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, in the order of their addresses, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = &(IpNet, T)> {
        self.entries.iter()
    }

    fn narrowest(&self, address: IpAddr) -> Option<usize> {
        let stretches = if is_v6(address) { &self.v6 } else { &self.v4 };
        let bits = bits(address);
        let after = stretches.partition_point(|stretch| stretch.begins <= bits);
        stretches[..after].last()?.entry.map(|entry| entry as usize)
    }
}

impl<T> Default for NetworkMap<T> {
    fn default() -> Self {
        Self::new([])
    }
}

impl FromIterator<IpNet> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self::new(networks.into_iter().map(|network| (network, ())))
    }
}

fn is_v6(address: IpAddr) -> bool {
    address.is_ipv6()
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first and the last address.
fn bounds(network: &IpNet) -> (u128, u128) {
    (bits(network.network()), bits(network.broadcast()))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    /// Networks over few addresses, so that they nest, meet and touch.
    fn networks() -> impl Strategy<Value = Vec<IpNet>> {
        let v4 = (0..64_u32, 26..=32_u8)
            .prop_map(|(bits, length)| IpNet::new_assert(Ipv4Addr::from(bits).into(), length));
        let high = (0..16_u32, 0..=32_u8).prop_map(|(bits, length)| {
            IpNet::new_assert(Ipv4Addr::from(u32::MAX - bits).into(), length)
        });
        let v6 = (0..64_u128, 0..=128_u8)
            .prop_map(|(bits, length)| IpNet::new_assert(Ipv6Addr::from(bits).into(), length));
        proptest::collection::vec(prop_oneof![v4, high, v6], 0..24)
    }

    fn addresses() -> impl Iterator<Item = IpAddr> {
        let v4 = (0..80).chain(u32::MAX - 20..=u32::MAX).map(|bits| Ipv4Addr::from(bits).into());
        let v6 = (0..80).chain(u128::MAX - 2..=u128::MAX).map(|bits| Ipv6Addr::from(bits).into());
        v4.chain(v6)
    }

    proptest! {
        #[test]
        fn an_address_is_found_where_a_scan_finds_it(networks in networks()) {
            let map = NetworkMap::new(networks.iter().copied().zip(0..));
            for address in addresses() {
                let mut holding: Vec<_> = networks
                    .iter()
                    .map(IpNet::trunc)
                    .zip(0..)
                    .filter(|(network, _)| network.contains(&address))
                    .collect();
                holding.sort_by_key(|(network, at)| (std::cmp::Reverse(network.prefix_len()), *at));
                holding.dedup_by_key(|(network, _)| *network);
                prop_assert_eq!(map.get(address), holding.first());
                prop_assert_eq!(map.contains(address), !holding.is_empty());
                prop_assert!(map.holding(address).eq(&holding));
            }
        }

        #[test]
        fn a_network_is_covered_where_a_scan_finds_it(networks in networks(), sought in networks()) {
            let map: NetworkSet = networks.iter().copied().collect();
            for sought in sought {
                let covering = networks.iter().filter(|network| network.contains(&sought));
                let narrowest = covering.map(IpNet::trunc).max_by_key(IpNet::prefix_len);
                prop_assert_eq!(map.covering(sought).map(|(network, ())| *network), narrowest);
                let touches = |one: &IpNet| one.contains(&sought) || sought.contains(one);
                let touching = map.touching(sought).map(|(network, ())| *network);
                prop_assert!(touching.is_none_or(|found| touches(&found)));
                prop_assert_eq!(touching.is_some(), networks.iter().any(touches));
            }
        }
    }

    #[test]
    fn no_network_holds_nothing_and_the_widest_holds_all_of_its_family() {
        let none = NetworkSet::default();
        assert!(none.is_empty() && addresses().all(|address| !none.contains(address)));
        let all: NetworkSet = ["0.0.0.0/0".parse::<IpNet>().unwrap()].into_iter().collect();
        assert!(addresses().all(|address| all.contains(address) == address.is_ipv4()));
    }
}
