//! `xdp`: the gate on an interface, and what it tells of contacts.
//!
//! It loads the program of `ebpf/` and offers a store for verdicts ([`GateStore`](crate::gate::GateStore)) while it is built, so
//! that a judge can name it by `via`. Running, it attaches the program, says each second that it lives,
//! ends what is due, follows the host's addresses and the config's lists, counts what became of packets,
//! and writes the verdict log. What its program sees of contacts comes out on the port `contacts`.

#[cfg(feature = "xdp")]
mod contacts;
#[cfg(feature = "xdp")]
mod gate;
#[cfg(feature = "xdp")]
mod lists;
#[cfg(feature = "xdp")]
mod runner;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{
        Carries, Claim, Component, Configure, Context, Error, PortSpec, Problem, Signature,
    },
    record::{Kind, Kinds},
    verdict::Mode,
};

/// The longest time that a silent daemon's verdicts may hold: an hour.
const MAX_FAIL_OPEN_SECS: u64 = 3600;
/// As many verdicts as there may be.
const MAX_BLOCKS: u32 = 1_048_576;
/// Sources that may have a limit of their own, and bytes of the ring, at most.
const MAX_SOURCES: u32 = 4_194_304;
const MAX_RING_BYTES: u32 = 1_073_741_824;
/// Packets a second that a limited source may have at most.
const MAX_PER_SEC: u32 = 1_000_000;

/// The port of contacts.
const CONTACTS: &str = "contacts";

/// An XDP program on an interface, which drops or limits the packets of sources that a verdict names:
/// of the judge, of a list, of a person (`tidegate verdicts add`). Who tried to reach what, and what came of it,
/// comes out on the port `contacts`, for the judge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The interface; required.
    pub interface: String,
    /// Whether it is this host's own traffic (`host`) or a copy of others' (`mirror`), of which nothing can be dropped (host).
    pub role: Role,
    /// What it reports of traffic beside contacts. Only `none` is there yet, and has to be written: capture packets with `tshark`.
    pub report: Report,
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
    /// Sources, about, that have a share of their own of what the program tells of contacts (65536); rounded up to a power of two.
    #[schemars(range(min = 1, max = MAX_SOURCES))]
    pub max_sources: u32,
    /// Bytes of the ring through which the program tells (8388608); rounded up to a power of two. What finds it full is lost, and counted.
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
    /// Verdicts at once, of each address family (65536).
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
    /// Flows; not there yet.
    #[default]
    Flows,
    /// Packets; not there yet.
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
            egress: None,
            attach: Attach::default(),
            persist: true,
            fail_open_secs: 30,
            on_daemon_death: OnDaemonDeath::default(),
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
        }
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
    /// Whether the program sees what the interface sends.
    pub fn sees_egress(&self) -> bool {
        self.egress.unwrap_or(self.role == Role::Host)
    }
}

impl Configure for Config {
    fn signature(&self) -> Signature {
        let contacts = PortSpec::named(CONTACTS, Carries::Only(Kind::Contact)).shedding();
        Signature { accepts: Kinds::NONE, ports: vec![contacts] }
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
        if self.report != Report::None {
            let message = "the gate reports no flows and no packets yet, only contacts";
            let hint = "write `report: none`, and capture packets with a `tshark` source";
            problems.push(Problem::new("report", message).hint(hint));
        }
        if self.role == Role::Mirror && self.egress == Some(true) {
            let message = "`role: mirror` with `egress: true`: a mirror sends nothing";
            let hint = "leave it out: both directions come in there";
            problems.push(Problem::new("egress", message).hint(hint));
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

    fn claims(&self) -> Vec<Claim> {
        let what = format!("gate on interface {}", self.interface);
        vec![Claim { key: "interface".to_owned(), what }]
    }

    fn takes_verdicts(&self) -> bool {
        true
    }

    fn keeps_state(&self) -> bool {
        true
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        build(self, context)
    }
}

#[cfg(feature = "xdp")]
use self::gate::{build, environment};

#[cfg(not(feature = "xdp"))]
fn environment(_config: &Config) -> Vec<Problem> {
    vec![Problem::new("", ABSENT)]
}

#[cfg(not(feature = "xdp"))]
fn build(_config: &Config, _context: &Context) -> Result<Component, Error> {
    Err(Error::configuration(ABSENT).hint("build Tidegate with the feature `xdp`"))
}

#[cfg(not(feature = "xdp"))]
const ABSENT: &str = "this Tidegate was built without the gate (feature `xdp`)";
