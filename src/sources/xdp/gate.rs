//! Loads the program and makes the store, while the pipeline is built. Nothing is attached yet.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    sync::Arc,
};

use tidegate_ebpf::{
    Accounting, Duties, Error as Refused, Gate, Guard, Promiscuous, Sampling, Wanted, Watch,
    flows::{is_ethernet, mtu},
    layout::Settings,
    pins::Pins,
    promiscuous::is_set,
};
use tracing::{info, warn};

use super::{
    Attach, CONTACTS, Config, DENIED, FirewallMode, OnDaemonDeath, Report, Role, denied::denying,
    heart::Pulse, lists::BlockLists, runner::Runner, stand::Stand,
};
use crate::{
    component::{Component, Configure, Context, Error, Port, with_causes},
    gate::{GateStore, MAX_ALLOWED, Occasion, Pinned, Policy, Protected, log::VerdictLog},
    host::{Facts, Remembered, Sessions},
    verdict::Store,
};

/// How many may be drawn ahead, in seconds of the rate.
const BURST_SECS: u64 = 5;
const SECOND_NS: u64 = 1_000_000_000;
/// Networks with a verdict.
const MAX_NETWORKS: u32 = 16_384;
/// Connections and first contacts that the program keeps in mind, each 40 bytes.
const PLACES: u32 = 131_072;
/// Events a second of one source and of one processor; how many of a source may come at once.
const SOURCE_PER_SEC: u64 = 200;
const SOURCE_BURST: u64 = 512;
const CPU_PER_SEC: u64 = 100_000;
/// Bytes of the ring for connections whose ends another one uses, which is emptied each second or so: 7,000 of them.
const PAST_BYTES: u32 = 1 << 20;
/// Sources that the guard watches, each 208 bytes, and how many a processor may hold off in a minute.
const SUSPECTS: u32 = 65_536;
const HOLDS_PER_MINUTE: u64 = 200;
/// How long the guard goes on without a sign of life: the program at egress ends with the daemon, and the guard
/// would take everybody for one who completes nothing.
const GUARD_ALIVE_SECS: u64 = 5;

/// Loads the program with its maps, takes over the verdicts in them, and makes the store.
pub(super) fn build(config: &Config, context: &Context) -> Result<Component, Error> {
    let firewall = &config.firewall;
    let networks = context.networks.borrow().clone();
    config.allows_somebody(&networks)?;
    let pins = Pins::of(context.meter.id());
    let mut lock = pins.lock().map_err(|error| explained(error, config))?;
    if !config.persist {
        pins.detach().map_err(|error| explained(error, config))?;
        lock = pins.lock().map_err(|error| explained(error, config))?;
    }
    let is_read = |port: Option<Port>| port.is_some_and(|port| context.read.contains(&port));
    let watch = watch(config, is_read(config.signature().port(Some(CONTACTS))));
    let accounting =
        accounting(config, config.report == Report::Flows && is_read(Some(Port::MAIN)));
    let sampling = sampling(config, is_read(Some(Port::MAIN)));
    let denying = denying(config, is_read(config.signature().port(Some(DENIED))));
    let duties = Duties { watch, accounting, sampling, denying };
    let loaded = Gate::load_for(&settings(config), &duties, Some(pins.clone()));
    let mut gate = loaded.map_err(|error| explained(error, config))?;
    let maps = gate.take_maps().map_err(|error| explained(error, config))?;
    // Nobody closes its maps before the program is loaded, and that is when it is attached.
    let evidence = if watch.contacts {
        Some(gate.take_evidence().map_err(|error| explained(error, config))?)
    } else {
        None
    };
    let flows = if accounting.flows {
        Some(gate.take_flows().map_err(|error| explained(error, config))?)
    } else {
        None
    };
    let packets = if sampling.packets {
        Some(gate.take_packets().map_err(|error| explained(error, config))?)
    } else {
        None
    };
    let denials = if denying.counts {
        Some(gate.take_denials().map_err(|error| explained(error, config))?)
    } else {
        None
    };
    let policy = Policy {
        mode: firewall.mode.mode(),
        percent: firewall.percent,
        max: firewall.max_blocks as usize,
    };
    let pulse = Pulse::begin(&maps).map_err(|error| explained(error, config))?;
    let were = maps.allowed().map_err(|error| explained(error, config))?;
    let kernel = Box::new(Pinned(maps));
    let store = GateStore::new(context.meter.id(), kernel, policy, context.networks.clone(), None);
    let log = VerdictLog::new(&context.data_dir);
    let now = context.clock.now(None);
    let failed = |error| Error::failure("the gate's maps can't be used").because(error);
    let ports = &networks.admin_ports;
    let remembered = remembered(&Sessions::path(&context.data_dir, context.meter.id()));
    // Without it: whoever managed this host when an earlier run ended is on the list that it left.
    let mut sessions = Sessions::resume(ports, remembered, |one| were.contains(&one.into()), now);
    let facts = Facts { administrators: sessions.look(ports, now), ..Facts::read() };
    store.protect(Protected::of(&facts), now).map_err(failed)?;
    let logged = log.read(context.meter.id()).unwrap_or_else(|error| {
        let path = log.path().display();
        warn!("the verdict log {path} can't be read, so no verdict is put back: {error}");
        Vec::new()
    });
    let occasion = if config.persist { Occasion::Start } else { Occasion::Fresh };
    let (found, back) = store.adopt(logged, occasion, now).map_err(failed)?;
    if found + back > 0 {
        info!(found, put_back = back, "verdicts of an earlier run hold on");
    }
    let mut lists = BlockLists::new(&firewall.block_files);
    lists.read();
    lists.follow(&store, now);
    let store = Arc::new(store);
    let runner = Runner {
        config: config.clone(),
        stand: Stand::new(config, gate, pins.clone(), Arc::clone(&context.meter)),
        evidence,
        flows,
        packets,
        denials,
        pulse,
        pins,
        _lock: lock,
        store: Arc::clone(&store),
        log,
        facts,
        sessions,
        lists,
        context: context.clone(),
    };
    let offered: Arc<dyn Store> = store;
    Ok(Component::source_with_store(runner, offered))
}

/// The sessions of administrators that an earlier run knew, if one wrote them down.
fn remembered(path: &Path) -> Option<Remembered> {
    let recalled = Sessions::recall(path);
    let is_there = |error: &io::Error| error.kind() != io::ErrorKind::NotFound;
    if let Err(error) = recalled.as_ref()
        && is_there(error)
    {
        let path = path.display();
        warn!("{path} can't be read, so the age of administrators' sessions is not known: {error}");
    }
    recalled.ok()
}

/// The limits that the program is loaded with.
pub(super) fn settings(config: &Config) -> Settings {
    let firewall = &config.firewall;
    let fail_open_ns = match config.on_daemon_death {
        OnDaemonDeath::Pass => config.fail_open_secs * SECOND_NS,
        OnDaemonDeath::Keep => 0,
    };
    Settings {
        enforce: firewall.mode == FirewallMode::Enforce,
        fail_open_ns,
        new_interval_ns: SECOND_NS / u64::from(firewall.limit_new_per_sec),
        new_burst_ns: BURST_SECS * SECOND_NS,
        all_interval_ns: SECOND_NS / u64::from(firewall.limit_packets_per_sec),
        all_burst_ns: BURST_SECS * SECOND_NS,
        max_blocks: firewall.max_blocks,
        max_networks: MAX_NETWORKS,
        max_allowed: MAX_ALLOWED,
    }
}

/// What the program is to tell; nothing, where nobody reads it, and no guard needs to know who completed what.
fn watch(config: &Config, is_read: bool) -> Watch {
    if !is_read && !config.firewall.guard.enabled {
        return Watch::default();
    }
    let is_mirror = config.role == Role::Mirror;
    Watch {
        contacts: true,
        sees_replies: config.sees_egress() || is_mirror,
        is_mirror,
        seed: RandomState::new().hash_one(0),
        ring_bytes: config.ring_bytes,
        places: PLACES,
        sources: config.max_sources,
        source_interval_ns: SECOND_NS / SOURCE_PER_SEC,
        source_burst_ns: SECOND_NS / SOURCE_PER_SEC * SOURCE_BURST,
        cpu_interval_ns: SECOND_NS / CPU_PER_SEC,
        cpu_burst_ns: SECOND_NS,
        guard: guard(config),
    }
}

/// Whom the program holds off by itself.
fn guard(config: &Config) -> Guard {
    let firewall = &config.firewall;
    let wanted = &firewall.guard;
    if !wanted.enabled {
        return Guard::OFF;
    }
    let syn_interval_ns = wanted.syn_rate.map_or(0, |rate| SECOND_NS / u64::from(rate));
    Guard {
        distinct_ports: wanted.distinct_ports.into(),
        enforce: firewall.mode == FirewallMode::Enforce && firewall.percent >= 100,
        hold_ns: wanted.hold_secs * SECOND_NS,
        alive_ns: SECOND_NS * config.fail_open_secs.min(GUARD_ALIVE_SECS),
        syn_interval_ns,
        syn_burst_ns: BURST_SECS * SECOND_NS,
        hold_interval_ns: 60 * SECOND_NS / HOLDS_PER_MINUTE,
        hold_burst_ns: 60 * SECOND_NS,
        sources: SUSPECTS,
    }
}

/// What the program is to count; nothing, where nobody reads it.
fn accounting(config: &Config, is_read: bool) -> Accounting {
    let unaccounted = Accounting::default();
    if !is_read {
        return unaccounted;
    }
    // Without it no frame counts as one that several packets were joined to.
    let longest = mtu(&config.interface).unwrap_or(u32::MAX);
    Accounting {
        flows: true,
        max_flows: config.max_flows,
        longest,
        past_bytes: PAST_BYTES,
        ..unaccounted
    }
}

/// Which packets the program is to report; none, where nobody reads them.
fn sampling(config: &Config, is_read: bool) -> Sampling {
    Sampling {
        packets: config.reports_packets() && is_read,
        sample: config.sample,
        ring_bytes: config.ring_bytes,
    }
}

/// How the program is to be attached.
pub(super) fn wanted(attach: Attach) -> Wanted {
    match attach {
        Attach::Auto => Wanted::Auto,
        Attach::Native => Wanted::Native,
        Attach::Skb => Wanted::Skb,
    }
}

/// A mirror's interface takes in frames that are for others, as long as what this returns lives.
pub(super) fn promiscuous(config: &Config, index: u32) -> Result<Option<Promiscuous>, Error> {
    if config.role != Role::Mirror {
        return Ok(None);
    }
    let interface = &config.interface;
    match Promiscuous::hold(index) {
        Ok(held) => Ok(Some(held)),
        Err(_) if is_set(interface).unwrap_or(false) => Ok(None),
        Err(error) => {
            let message = format!(
                "`role: mirror`: frames for other hosts would not be seen, as {interface} can't be made \
                 promiscuous: {error}"
            );
            Err(Error::configuration(message).hint(format!(
                "run as root or with CAP_NET_RAW (`AmbientCapabilities=CAP_NET_RAW`), or let the system do \
                 it: `ip link set dev {interface} promisc on`"
            )))
        }
    }
}

/// Why the program could read nothing of what comes in on an interface, and block nobody there; `None` if it can, or if
/// that is not known.
pub(super) fn unreadable(interface: &str) -> Option<Error> {
    if is_ethernet(interface).unwrap_or(true) {
        return None;
    }
    let message = format!(
        "{interface} has no Ethernet frames: the gate would read nothing of its packets, and verdicts would have no effect"
    );
    Some(Error::configuration(message).hint(
        "of a tunnel (tun, WireGuard, GRE) put the gate on the interface that its outer packets come in by, or filter \
         what comes out of it otherwise (nftables)",
    ))
}

/// What the kernel refused, and how to mend it.
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` has it")]
pub(super) fn explained(error: Refused, config: &Config) -> Error {
    let interface = &config.interface;
    let hint = match &error {
        Refused::NoFileSystem(path) => {
            format!("mount one: `mount -t bpf bpf {}`", path.display())
        }
        Refused::Occupied => format!(
            "`ip link show dev {interface}` names it by its id, `bpftool prog show id ID` by its \
             name: Cilium, xdp-filter, or another Tidegate, which `tidegate gate status` lists"
        ),
        Refused::InUse(_) => "what is pinned goes by the source's id: give this source another one, or stop the \
             other Tidegate"
            .to_owned(),
        Refused::NotNative => "write `attach: skb`, or `auto`".to_owned(),
        Refused::MtuTooLarge => format!(
            "frames in several pieces need Linux 5.18 and a driver that can: lower the MTU (`ip \
             link set {interface} mtu 1500`), or write `attach: skb`"
        ),
        Refused::Layout { path, .. } => format!(
            "something else made it: remove {} (no verdict is lost that the log knows)",
            path.display()
        ),
        Refused::Load(_) | Refused::Map { .. } => {
            "it takes Linux 5.15 or newer, and root or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON".to_owned()
        }
        Refused::Attach(_) => "it takes Linux 5.15 or newer, and root or CAP_NET_ADMIN; `attach: skb` works with \
             every driver"
            .to_owned(),
        Refused::Egress(_) => "it takes Linux 6.6 (tcx), or before that clsact (CONFIG_NET_SCH_INGRESS); or write \
             `egress: false`: contacts then come of this host's sockets alone, and flows have what comes in"
            .to_owned(),
        Refused::Pin { .. } => "give the user that runs tidegate the folder /sys/fs/bpf/tidegate, and a way to it \
             (config/systemd/tidegate.service.d/gate.conf does)"
            .to_owned(),
        Refused::Elsewhere { .. } => "what is pinned goes by the source's id: `tidegate gate detach` takes it off \
             where it is, or give this source another id"
            .to_owned(),
        Refused::Full(_) => "raise `firewall.max_blocks`, or take verdicts out: `tidegate verdicts flush`".to_owned(),
        Refused::NoMemory(_) => {
            "lower `firewall.max_blocks`, `max_flows`, `max_sources` or `ring_bytes`, or give the machine more memory"
                .to_owned()
        }
        Refused::Busy(_) => "start it again: the program wrote to the same place at this moment".to_owned(),
        Refused::NoInterface(_) => {
            format!("`ip link show dev {interface}` says whether it is there: it went away while it was opened")
        }
    };
    let message = format!("the gate on {interface} can't be opened: {}", with_causes(&error));
    Error::configuration(message).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Each names the kernel that it takes, or what to do.
    #[test]
    fn whatever_the_kernel_refuses_is_explained_with_a_remedy() {
        let path = || PathBuf::from("/sys/fs/bpf/tidegate/gate");
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let config = Config { interface: "eth7".to_owned(), ..Config::default() };
        let cases = [
            (Refused::Full("blocks4"), &["blocks4", "firewall.max_blocks", "verdicts flush"][..]),
            (Refused::Busy("blocks4"), &["blocks4", "start it again"]),
            (Refused::NoMemory("blocks4"), &["blocks4", "max_flows", "ring_bytes"]),
            (Refused::Map { map: "blocks4", source: denied() }, &["denied", "CAP_BPF"]),
            (
                Refused::Layout { path: path(), what: "key size", found: 8, expected: 4 },
                &["key size 8", "remove /sys/fs/bpf/tidegate/gate"],
            ),
            (
                Refused::Pin { path: path(), source: denied() },
                &["denied", "tidegate.service.d/gate.conf", "/sys/fs/bpf/tidegate"],
            ),
            (Refused::NoFileSystem("/sys/fs/bpf".into()), &["mount -t bpf bpf /sys/fs/bpf"]),
            (Refused::InUse(path()), &["another one, or stop"]),
            (Refused::Load("R1 invalid".into()), &["R1 invalid", "Linux 5.15", "CAP_PERFMON"]),
            (Refused::Occupied, &["ip link show dev eth7", "Cilium", "tidegate gate status"]),
            (Refused::NotNative, &["attach: skb"]),
            (Refused::MtuTooLarge, &["Linux 5.18", "ip link set eth7 mtu 1500", "attach: skb"]),
            (Refused::NoInterface(7), &["ip link show dev eth7"]),
            (Refused::Attach("EINVAL".into()), &["EINVAL", "Linux 5.15", "attach: skb"]),
            (Refused::Egress("EINVAL".into()), &["EINVAL", "Linux 6.6", "clsact", "egress: false"]),
            (
                Refused::Elsewhere { path: path(), found: 3, expected: 7 },
                &["interface 3, not 7", "tidegate gate detach", "another id"],
            ),
        ];
        for (refused, words) in cases {
            let error = explained(refused, &config);
            let hint = error.remedy().unwrap_or_default();
            let said = format!("{error}\n{hint}");
            assert!(said.contains("eth7") && !hint.is_empty(), "{said}");
            for word in words {
                assert!(said.contains(word), "no {word} in: {said}");
            }
        }
    }
}
