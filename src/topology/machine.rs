//! What is known of the machine that the process runs on: read once, when a run is built.

use std::{fs, net::IpAddr};

use nix::ifaddrs::getifaddrs;

use crate::{
    component::{Machine, View},
    record::MacAddress,
};

/// Files of Linux and systemd.
pub(super) const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const MACHINE_ID: &str = "/etc/machine-id";
/// Addresses told at most, of either kind: a host of containers has thousands.
const MAX_ADDRESSES: usize = 64;

/// This machine, whose traffic is its own or not. What can't be read is left out.
pub(super) fn machine(view: View) -> Machine {
    let read = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.trim().to_owned().into_boxed_str()
    };
    let id = read(MACHINE_ID);
    let (addresses, macs) = addresses();
    Machine {
        view,
        hostname: read(HOST_NAME),
        addresses,
        macs,
        id: Some(id).filter(|id| !id.is_empty()),
    }
}

/// The addresses of its interfaces, in order; those that other machines can't reach it by are left out.
fn addresses() -> (Vec<IpAddr>, Vec<Box<str>>) {
    let (mut addresses, mut macs) = (Vec::new(), Vec::new());
    let interfaces = getifaddrs().inspect_err(|error| {
        tracing::warn!(%error, "the addresses of this machine can't be read: records go without");
    });
    for address in interfaces.into_iter().flatten().filter_map(|interface| interface.address) {
        let ip = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let ip = ip.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
        if let Some(ip) = ip.filter(is_reachable) {
            addresses.push(ip);
        }
        let mac = address.as_link_addr().and_then(nix::sys::socket::LinkAddr::addr);
        if let Some(mac) = mac.filter(|mac| *mac != [0; 6]) {
            macs.push(MacAddress(mac).to_string().into_boxed_str());
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    macs.sort_unstable();
    macs.dedup();
    macs.truncate(MAX_ADDRESSES);
    (addresses, macs)
}

fn is_reachable(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !is_link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_name_and_no_address_that_others_cannot_reach() {
        let machine = machine(View::Host);
        assert!(!machine.hostname.is_empty() && machine.view == View::Host);
        assert!(machine.addresses.iter().all(is_reachable), "{machine:?}");
        assert!(machine.macs.iter().all(|mac| mac.len() == 17), "{machine:?}");
    }
}
