//! `xdp`: the gate on an interface, the flows that it counts, and what it tells of contacts.
//!
//! It loads the program of `ebpf/` and offers a store for verdicts ([`GateStore`](crate::gate::GateStore)) while it is built, so
//! that a judge can name it by `via`. Running, it attaches the program, says each second that it lives,
//! ends what is due, follows the host's addresses and the config's lists, counts what became of packets,
//! and writes the verdict log. What its program counts by flow, or the packets that it reports, come out on the main
//! port, what it sees of contacts on the port `contacts`; changes of verdicts that the judge does not tell itself, and
//! their ends, on the port `alerts`; what it drops, by where it was for, on the port `denied`.

#[cfg(feature = "xdp")]
mod check;
#[cfg(feature = "xdp")]
mod contacts;
#[cfg(feature = "xdp")]
mod denied;
#[cfg(feature = "xdp")]
mod flows;
#[cfg(feature = "xdp")]
mod gate;
#[cfg(feature = "xdp")]
mod heart;
#[cfg(feature = "xdp")]
mod keeper;
#[cfg(feature = "xdp")]
mod kept;
#[cfg(feature = "xdp")]
mod lists;
#[cfg(feature = "xdp")]
mod notice;
#[cfg(feature = "xdp")]
mod packets;
#[cfg(feature = "xdp")]
mod records;
#[cfg(feature = "xdp")]
mod reports;
#[cfg(feature = "xdp")]
mod runner;
#[cfg(feature = "xdp")]
mod stand;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{
        Carries, Claim, Component, Configure, Context, Error, Evidence, PortSpec, Problem,
        Signature,
    },
    flow::TimeoutSecs,
    networks::Networks,
    record::{Kind, Kinds},
    verdict::Mode,
};

/// The port of records of verdicts.
const ALERTS: &str = "alerts";
/// The longest time that a silent daemon's verdicts may hold: an hour.
const MAX_FAIL_OPEN_SECS: u64 = 3600;
/// As many verdicts as there may be.
const MAX_BLOCKS: u32 = 1_048_576;
/// Sources that may have a limit of their own, and bytes of the ring, at most.
const MAX_SOURCES: u32 = 4_194_304;
const MAX_RING_BYTES: u32 = 1_073_741_824;
/// From one packet that is reported to the next, at most, on average.
const MAX_SAMPLE: u32 = 1_000_000;
/// Bytes of packets that wait between the ring and the output.
const WAITING_BYTES: u64 = 6 << 20;
/// Flows that may be counted at once.
const MAX_FLOWS: u32 = 4_194_304;
/// Packets a second that a limited source may have at most.
const MAX_PER_SEC: u32 = 1_000_000;
/// Ports that the guard counts: a bit each of 1024, so many more could not be told apart.
const MIN_PORTS: u16 = 2;
const MAX_PORTS: u16 = 512;
/// A hold is provisional: five minutes at most.
const MAX_HOLD_SECS: u64 = 300;

/// The port of contacts.
const CONTACTS: &str = "contacts";
/// The port of what is dropped.
const DENIED: &str = "denied";

/// An XDP program on an interface, which drops or limits the packets of sources that a verdict names:
/// of the judge, of a list, of a person (`tidegate verdicts add`). It counts what passes by flow, or reports its packets, for its main
/// output.
/// Who tried to reach what, and what came of it, comes out on the port `contacts`, for the judge; what people and lists
/// change, and each verdict's end with the packets it dropped, as alerts on the port `alerts`. What is dropped comes out
/// once a minute by source, destination and port, as flows on the port `denied`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The interface; required.
    pub interface: String,
    /// Whether it is this host's own traffic (`host`) or a copy of others' (`mirror`), of which nothing can be dropped (host). A mirror's interface is made promiscuous while the source runs, which takes `CAP_NET_RAW`.
    pub role: Role,
    /// What it reports of traffic beside contacts (flows). Two sources on one interface count everything twice: write `none` where a `tshark` source captures there.
    pub report: Report,
    /// With `report: packets`, one packet of so many is reported, chosen at random (1: each one). What is made of them, such as flows, then counts no more than was reported.
    #[schemars(range(min = 1, max = MAX_SAMPLE))]
    pub sample: u32,
    /// Whether the program also sees what the interface sends, at tc egress: the surest witness of what came of a contact, and the only one for UDP, for forwarded traffic, and where addresses are rewritten (true for `role: host`; a mirror has both directions anyhow).
    pub egress: Option<bool>,
    /// Where the program runs: in the driver (`native`), after the kernel has made a buffer of the frame (`skb`), or in the driver where that can (`auto`).
    pub attach: Attach,
    /// Whether the program stays on the interface, with its verdicts, when this process ends (true). The next start takes it over without a gap; `tidegate gate detach` takes it off.
    pub persist: bool,
    /// Seconds after which all packets pass when this process is silent (30).
    #[schemars(range(min = 1, max = MAX_FAIL_OPEN_SECS))]
    pub fail_open_secs: u64,
    /// What happens to verdicts then: all packets pass, or verdicts hold until their own end (pass).
    pub on_daemon_death: OnDaemonDeath,
    /// How many flows are counted at once (262144; each takes about 200 bytes of the kernel's memory, from the start). Packets of more are counted as unattributed.
    #[schemars(range(min = 1, max = MAX_FLOWS))]
    pub max_flows: u32,
    /// When flows end and are reported, as for the transform `flow`.
    pub timeouts: TimeoutSecs,
    /// Sources, about, that have a share of their own of what the program tells of contacts (65536); rounded up to a power of two.
    #[schemars(range(min = 1, max = MAX_SOURCES))]
    pub max_sources: u32,
    /// Bytes of the ring through which the program tells of contacts, and of that of packets (8388608); rounded up to a power of two. What finds it full is lost, and counted.
    #[schemars(range(min = 1, max = MAX_RING_BYTES))]
    pub ring_bytes: u32,
    /// What verdicts do.
    pub firewall: Firewall,
}

/// What verdicts do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Firewall {
    /// Whether packets are dropped (`enforce`), or only counted that would have been (observe).
    pub mode: FirewallMode,
    /// Of how many sources in a hundred the judge's verdicts are enforced, the same ones each time (100). What people and lists say is enforced as a whole.
    #[schemars(range(min = 1, max = 100))]
    pub percent: u8,
    /// Files of networks that are blocked: one CIDR or address a line, and behind a `#` why. Bad lines are told and skipped. Read again on SIGHUP.
    #[schemars(extend("format" = "path"))]
    pub block_files: Vec<PathBuf>,
    /// Verdicts at once, of both address families together (65536); on networks 16384 of each.
    #[schemars(range(min = 1, max = MAX_BLOCKS))]
    pub max_blocks: u32,
    /// Enforce although `networks.allow` and `networks.allow_files` are empty (false).
    pub allow_empty_allowlist: bool,
    /// Connections and datagrams to begin each second, that a source has left whose rate is limited for what is new; five times as many at once (2).
    #[schemars(range(min = 1, max = MAX_PER_SEC))]
    pub limit_new_per_sec: u32,
    /// Packets each second that a source has left whose rate is limited for all; five times as many at once (100).
    #[schemars(range(min = 1, max = MAX_PER_SEC))]
    pub limit_packets_per_sec: u32,
    /// Who tries many ports faster than any verdict comes.
    pub guard: Guard,
}

/// A switch of its own for who tries many ports faster than any verdict comes: the program holds its TCP SYNs off by itself, and makes a verdict of it that everybody sees. It takes `egress: true`, or a mirror, where it counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Whether it is on (false). With `mode: observe`, or `percent` below 100, it counts what it would drop.
    pub enabled: bool,
    /// Distinct ports that a source may try within `hold_secs` without having completed a connection in the last hour, before it is held off (32).
    #[schemars(range(min = MIN_PORTS, max = MAX_PORTS))]
    pub distinct_ports: u16,
    /// For how long it is held off, in seconds (10).
    #[schemars(range(min = 1, max = MAX_HOLD_SECS))]
    pub hold_secs: u64,
    /// SYNs each second of one source above which they are dropped, whoever it is that the allow list does not name; five times as many at once. Left out, there is no limit.
    #[schemars(range(min = 1, max = MAX_PER_SEC))]
    pub syn_rate: Option<u32>,
}

/// Whose traffic it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// This host's.
    #[default]
    Host,
    /// Others', a copy of it.
    Mirror,
}

/// What is reported of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Flows, on the main output.
    #[default]
    Flows,
    /// Packets, on the main output: each one, or one of `sample`.
    Packets,
    /// Nothing.
    None,
}

/// Where the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attach {
    /// In the driver if it can, else generic.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// Generic.
    Skb,
}

/// What happens to verdicts when the daemon is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDaemonDeath {
    /// All packets pass.
    #[default]
    Pass,
    /// Verdicts hold until their own end.
    Keep,
}

/// Whether packets are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirewallMode {
    /// No.
    #[default]
    Observe,
    /// Yes.
    Enforce,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            interface: String::new(),
            role: Role::default(),
            report: Report::default(),
            sample: 1,
            egress: None,
            attach: Attach::default(),
            persist: true,
            fail_open_secs: 30,
            on_daemon_death: OnDaemonDeath::default(),
            max_flows: 262_144,
            timeouts: TimeoutSecs::default(),
            max_sources: 65_536,
            ring_bytes: 8 << 20,
            firewall: Firewall::default(),
        }
    }
}

impl Default for Firewall {
    fn default() -> Self {
        Self {
            mode: FirewallMode::default(),
            percent: 100,
            block_files: Vec::new(),
            max_blocks: 65_536,
            allow_empty_allowlist: false,
            limit_new_per_sec: 2,
            limit_packets_per_sec: 100,
            guard: Guard::default(),
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self { enabled: false, distinct_ports: 32, hold_secs: 10, syn_rate: None }
    }
}

impl FirewallMode {
    /// The same as stores say it.
    pub fn mode(self) -> Mode {
        match self {
            Self::Observe => Mode::Observe,
            Self::Enforce => Mode::Enforce,
        }
    }
}

impl Config {
    /// Enforcing takes somebody who is never blocked, or the word that there is nobody.
    ///
    /// # Errors
    /// There is nobody.
    pub fn allows_somebody(&self, networks: &Networks) -> Result<(), Error> {
        let firewall = &self.firewall;
        if firewall.mode == FirewallMode::Observe
            || firewall.allow_empty_allowlist
            || !networks.allow.is_empty()
        {
            return Ok(());
        }
        let message = "the firewall enforces, and nobody is on the allow list";
        Err(Error::configuration(message).hint(
            "name those who must get in whatever happens in `networks.allow`, or say \
             `firewall.allow_empty_allowlist: true`",
        ))
    }

    /// Whether it hands on packets, which it decodes itself.
    pub fn reports_packets(&self) -> bool {
        self.report == Report::Packets
    }

    /// Whether the program sees what the interface sends.
    pub fn sees_egress(&self) -> bool {
        self.egress.unwrap_or(self.role == Role::Host)
    }
}

impl Configure for Config {
    fn signature(&self) -> Signature {
        let contacts = PortSpec::named(CONTACTS, Carries::Only(Kind::Contact)).shedding();
        let alerts = PortSpec::named(ALERTS, Carries::Only(Kind::Alert));
        let denied = PortSpec::named(DENIED, Carries::Only(Kind::Flow));
        match self.report {
            Report::Flows => Signature::source(Kind::Flow),
            Report::Packets => Signature::source(Kind::Packet),
            Report::None => Signature { accepts: Kinds::NONE, ports: Vec::new() },
        }
        .and(contacts)
        .and(alerts)
        .and(denied)
    }

    fn interface(&self) -> Option<&str> {
        Some(&self.interface)
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let is_name = (1..16).contains(&self.interface.len()) && !self.interface.contains('/');
        if !is_name {
            let message = format!("`{}` is no interface", self.interface);
            problems.push(Problem::new("interface", message).hint("name one: `interface: eth0`"));
        }
        if self.sample != 1 && self.report != Report::Packets {
            let message = "`sample` is about packets, and none are reported";
            let hint =
                "write `report: packets`, or leave it out: flows and contacts are never sampled";
            problems.push(Problem::new("sample", message).hint(hint));
        }
        if self.role == Role::Mirror && self.egress == Some(true) {
            let message = "`role: mirror` with `egress: true`: a mirror sends nothing";
            let hint = "leave it out: both directions come in there";
            problems.push(Problem::new("egress", message).hint(hint));
        }
        if self.firewall.guard.enabled && self.role == Role::Host && !self.sees_egress() {
            let message = "`guard` with `egress: false`: of what is forwarded it can't tell who completed a connection";
            let hint = "leave `egress` out, or the guard off";
            problems.push(Problem::new("firewall.guard", message).hint(hint));
        }
        if self.role == Role::Mirror && self.firewall.mode == FirewallMode::Enforce {
            let message = "`role: mirror` with `mode: enforce`: of a copy nothing can be dropped";
            let hint = "write `mode: observe`, or `role: host` where the traffic is this host's";
            problems.push(Problem::new("firewall.mode", message).hint(hint));
        }
        problems
    }

    fn check_environment(&self) -> Vec<Problem> {
        environment(self)
    }

    fn unchecked(&self) -> Vec<String> {
        unchecked(self)
    }

    fn claims(&self) -> Vec<Claim> {
        let claim = |what: &str| Claim {
            key: "interface".to_owned(),
            what: format!("{what} on interface {}", self.interface),
        };
        let reports = (self.report != Report::None).then(|| claim("reports"));
        [claim("gate")].into_iter().chain(reports).collect()
    }

    fn memory_bytes(&self) -> u64 {
        if self.reports_packets() { WAITING_BYTES } else { 0 }
    }

    fn takes_verdicts(&self) -> bool {
        true
    }

    fn enforces(&self) -> bool {
        self.firewall.mode == FirewallMode::Enforce
    }

    fn evidence(&self) -> Evidence {
        let is_sampled = self.reports_packets() && self.sample > 1;
        if is_sampled { Evidence::Sampled } else { Evidence::Sound }
    }

    fn keeps_state(&self) -> bool {
        true
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        build(self, context)
    }
}

#[cfg(feature = "xdp")]
use self::{
    check::{environment, unchecked},
    gate::build,
};

#[cfg(not(feature = "xdp"))]
fn environment(_config: &Config) -> Vec<Problem> {
    vec![Problem::new("", ABSENT)]
}

#[cfg(not(feature = "xdp"))]
fn unchecked(_config: &Config) -> Vec<String> {
    Vec::new()
}

#[cfg(not(feature = "xdp"))]
fn build(_config: &Config, _context: &Context) -> Result<Component, Error> {
    Err(Error::configuration(ABSENT).hint("build Tidegate with the feature `xdp`"))
}

#[cfg(not(feature = "xdp"))]
const ABSENT: &str = "this Tidegate was built without the gate (feature `xdp`)";
