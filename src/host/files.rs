//! The files' contents into addresses. Lines that can't be read are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `RTF_GATEWAY` of `linux/route.h`.
const GATEWAY: u32 = 2;

/// Addresses before `/32 host LOCAL` in `fib_trie`.
pub(super) fn local4(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last.map(IpAddr::V4));
        }
    }
    found
}

/// The first column of `if_inet6`.
pub(super) fn local6(text: &str) -> Vec<IpAddr> {
    text.lines().filter_map(|line| hex6(line.split_whitespace().next()?)).collect()
}

/// What stands before the colon in `dev`.
pub(super) fn interfaces(text: &str) -> impl Iterator<Item = &str> {
    text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim()))
}

/// Gateways of routes to 0.0.0.0/0 in `route`, whose numbers are in the machine's order.
pub(super) fn gateways4(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
        let is_default = number(1)? == 0 && number(7)? == 0 && number(3)? & GATEWAY != 0;
        is_default.then(|| Ipv4Addr::from(number(2).unwrap_or(0).to_ne_bytes()).into())
    };
    text.lines().skip(1).filter_map(gateway).collect()
}

/// Gateways of routes to `::/0` in `ipv6_route`.
pub(super) fn gateways6(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let is_default = *columns.first()? == "0".repeat(32) && *columns.get(1)? == "00";
        let flags = u32::from_str_radix(columns.get(8)?, 16).ok()?;
        (is_default && flags & GATEWAY != 0).then(|| hex6(columns.get(4)?)).flatten()
    };
    text.lines().filter_map(gateway).collect()
}

/// `nameserver` lines; a zone (`%eth0`) is no part of the address.
pub(super) fn resolvers(text: &str) -> Vec<IpAddr> {
    let resolver = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        let address: IpAddr = words.next()?.split('%').next()?.parse().ok()?;
        Some(address.to_canonical())
    };
    text.lines().filter_map(resolver).collect()
}

fn hex6(digits: &str) -> Option<IpAddr> {
    let is_whole = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| is_whole)?;
    Some(Ipv6Addr::from(number).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn own_addresses_are_those_that_the_kernel_delivers_locally() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    Local:\n     +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.1\n           \
                    /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n        \
                    |-- 192.0.2.1\n           /32 host LOCAL\n  |-- nonsense\n   /32 host LOCAL\n";
        assert_eq!(local4(trie), addresses(&["127.0.0.1", "192.0.2.1"]));
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     20010db8000000000000000000000010 02 40 00 80     eth0\nshort 1 2\n";
        assert_eq!(local6(inet6), addresses(&["::1", "2001:db8::10"]));
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_in_the_files_is_read_or_skipped(
            text in "(([0-9A-Fa-f:.|/% -]|LOCAL|nameserver|\\PC|\\n|\\t){0,9}(/32 host LOCAL| 01 )?\\n){0,9}"
        ) {
            let lines = text.lines().count() + 1;
            for read in [local4, local6, gateways4, gateways6, resolvers] {
                assert!(read(&text).len() <= lines);
            }
            assert!(super::super::sessions::connections(&text, &[22]).len() <= lines);
        }
    }

    #[test]
    fn interfaces_are_those_that_have_counts() {
        let table = "Inter-|   Receive                |  Transmit\n face |bytes    packets errs|bytes\n    \
                     lo:     840       10    0\nbond0.100: 0 0\nnonsense\n";
        assert_eq!(interfaces(table).collect::<Vec<_>>(), ["lo", "bond0.100"]);
    }

    #[test]
    fn gateways_are_those_of_default_routes() {
        let gateway = u32::from_ne_bytes([192, 0, 2, 254]);
        let route = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
             eth0\t00000000\t{gateway:08X}\t0003\t0\t0\t0\t00000000\t0\n\
             eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n\
             eth0\t0000000A\t{gateway:08X}\t0003\t0\t0\t0\t000000FF\t0\nbad\n"
        );
        assert_eq!(gateways4(&route), addresses(&["192.0.2.254"]));
        let zero = "0".repeat(32);
        let via = "fe800000000000000000000000000001";
        let route6 = format!(
            "{zero} 00 {zero} 00 {via} 00000400 00000001 00000000 00000003     eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        assert_eq!(gateways6(&route6), addresses(&["fe80::1"]));
    }

    #[test]
    fn resolvers_are_those_of_resolv_conf() {
        let text = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 192.0.2.53\n\
                    nameserver fe80::53%eth0\nnameserver\nnameserver none\n";
        assert_eq!(resolvers(text), addresses(&["192.0.2.53", "fe80::53"]));
    }
}
