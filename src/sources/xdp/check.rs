//! What keeps the gate from starting on this machine, as far as it can be seen without putting it on its interface.

use std::{fs, iter};

use tidegate_ebpf::{
    Error as Refused, Gate,
    flows::mtu,
    pins::{self, Owner},
    promiscuous::is_set,
    xdp_program,
};

use super::{
    Attach, Config, Role,
    gate::{explained, settings, unreadable},
    stand::index,
};
use crate::{
    component::{Error, Problem, with_causes},
    host::interfaces,
};

/// The numbers of capabilities (`linux/capability.h`).
const NET_ADMIN: u8 = 12;
const NET_RAW: u8 = 13;
const SYS_ADMIN: u8 = 21;
const PERFMON: u8 = 38;
const BPF: u8 = 39;
/// The longest packet that is surely in one piece: a page of 4096 bytes, without the room before it
/// (`XDP_PACKET_HEADROOM`), what the kernel keeps behind it (`skb_shared_info`), Ethernet header and a VLAN tag.
const LONGEST: u32 = 4096 - 256 - 320 - 14 - 4;

/// What this machine lacks.
pub(super) fn environment(config: &Config) -> Vec<Problem> {
    let lacking = lacking(config, capabilities());
    let may_load = ![BPF, PERFMON, NET_ADMIN].iter().any(|number| lacking.contains(&name(*number)));
    privileges(&lacking)
        .into_iter()
        .chain(file_system(config))
        .chain(may_load.then(|| program(config)).flatten())
        .chain(interface(config))
        .collect()
}

/// What can't be checked here, and why.
pub(super) fn unchecked(config: &Config) -> Vec<String> {
    let name = &config.interface;
    if index(name).is_none() {
        return vec![format!("interface (there is no interface {name})")];
    }
    let foreign = xdp_program(name).ok().flatten().map(pins::owner);
    let whose = foreign
        .and_then(Result::err)
        .map(|error| format!("interface (whose XDP program it has: {})", with_causes(&error)));
    let native = "attach (whether the driver of the interface takes the program)".to_owned();
    whose.into_iter().chain((config.attach == Attach::Native).then_some(native)).collect()
}

/// Capabilities of this process.
fn capabilities() -> u64 {
    effective(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn effective(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Those that the gate takes and that are not among these.
fn lacking(config: &Config, capabilities: u64) -> Vec<&'static str> {
    let has = |number: u8| capabilities >> number & 1 == 1;
    let is_promiscuous = || is_set(&config.interface).unwrap_or(false);
    let listens = config.role == Role::Mirror && !is_promiscuous();
    // CAP_SYS_ADMIN had what was made these two.
    let of_old = [BPF, PERFMON].into_iter().filter(|number| !has(*number) && !has(SYS_ADMIN));
    let own = iter::once(NET_ADMIN).chain(listens.then_some(NET_RAW));
    of_old.chain(own.filter(|number| !has(*number))).map(name).collect()
}

const fn name(capability: u8) -> &'static str {
    match capability {
        BPF => "CAP_BPF",
        PERFMON => "CAP_PERFMON",
        NET_ADMIN => "CAP_NET_ADMIN",
        _ => "CAP_NET_RAW",
    }
}

fn privileges(lacking: &[&str]) -> Option<Problem> {
    if lacking.is_empty() {
        return None;
    }
    let message = format!("the gate takes {}, which this process has not", lacking.join(", "));
    let hint = format!(
        "run as root, or give the service `AmbientCapabilities={}` (config/systemd/tidegate.service.d/gate.conf)",
        lacking.join(" ")
    );
    Some(Problem::new("", message).hint(hint))
}

fn file_system(config: &Config) -> Option<Problem> {
    Some(problem("", pins::usable().err()?, config))
}

/// Has the kernel load the program, with maps that are pinned nowhere, and attaches it to nothing.
fn program(config: &Config) -> Option<Problem> {
    let loaded = Gate::load(&settings(config), None).and_then(|mut gate| gate.wait());
    Some(problem("", loaded.err()?, config))
}

fn interface(config: &Config) -> Vec<Problem> {
    let name = &config.interface;
    if index(name).is_none() {
        let message = format!("there is no interface `{name}`: `run` waits for it");
        let hint = format!("there are: {}", interfaces().join(", "));
        return vec![Problem::new("interface", message).hint(hint).warning()];
    }
    let unreadable = unreadable(name).map(|error| told("interface", &error));
    unreadable.into_iter().chain(foreign(config)).chain(too_long(config)).collect()
}

/// Another program on the interface. Whose it is that can't be known is not checked.
fn foreign(config: &Config) -> Option<Problem> {
    let id = xdp_program(&config.interface).ok()??;
    match pins::owner(id).ok()? {
        Owner::Pinned => None,
        Owner::Other => Some(problem("interface", Refused::Occupied, config)),
        Owner::Perhaps => {
            let message = format!(
                "`{}` has an XDP program (id {id}), perhaps that of a Tidegate that runs with `persist: false`",
                config.interface
            );
            let hint = "`run` stops if it is another one: `tidegate gate status` lists ours";
            Some(Problem::new("interface", message).hint(hint).warning())
        }
    }
}

/// Frames that may not be in one piece: whether the driver can do otherwise shows when the program is attached.
fn too_long(config: &Config) -> Option<Problem> {
    let mtu = mtu(&config.interface).ok()?;
    if config.attach != Attach::Native || mtu <= LONGEST {
        return None;
    }
    let message = format!(
        "the MTU of `{}` is {mtu}: `attach: native` takes a driver that hands on frames in several pieces",
        config.interface
    );
    let hint = format!(
        "`attach: auto` takes `skb` where it can't; or lower the MTU: `ip link set {} mtu {LONGEST}`",
        config.interface
    );
    Some(Problem::new("attach", message).hint(hint).warning())
}

fn problem(key: &str, refused: Refused, config: &Config) -> Problem {
    told(key, &explained(refused, config))
}

fn told(key: &str, error: &Error) -> Problem {
    let problem = Problem::new(key, with_causes(error));
    match error.remedy() {
        Some(remedy) => problem.hint(remedy),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_that_is_not_there_is_named() {
        let bit = |number: u8| 1_u64 << number;
        let host = Config { interface: "no-such0".to_owned(), ..Config::default() };
        let mirror = Config { role: Role::Mirror, ..host.clone() };
        let all = bit(BPF) | bit(PERFMON) | bit(NET_ADMIN);
        for (config, has, expected) in [
            (&host, 0, &["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"][..]),
            (&host, all, &[]),
            (&host, bit(SYS_ADMIN), &["CAP_NET_ADMIN"]),
            (&host, all & !bit(PERFMON), &["CAP_PERFMON"]),
            (&mirror, all, &["CAP_NET_RAW"]),
            (&mirror, all | bit(NET_RAW), &[]),
        ] {
            assert_eq!(lacking(config, has), expected, "{has:x}");
        }
        let told = privileges(&lacking(&host, bit(SYS_ADMIN))).expect("one is missing");
        assert!(told.message.contains("CAP_NET_ADMIN") && !told.is_warning, "{told:?}");
        assert_eq!(privileges(&[]), None);
        assert_eq!(effective("CapPrm:\t1\nCapEff:\t000000c000001000\n"), all);
        assert_eq!(effective("none"), 0);
    }

    #[test]
    fn a_missing_interface_is_a_warning_and_not_checked() {
        let config = Config { interface: "no-such0".to_owned(), ..Config::default() };
        let problems = interface(&config);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].is_warning && problems[0].message.contains("no-such0"));
        assert_eq!(unchecked(&config), ["interface (there is no interface no-such0)"]);
    }
}
