//! The port between who judges and who blocks: verdicts, and the stores that put them in force.
//!
//! Data passes beside the edges: a judge → [`Store::apply`], a synchronous call → the store of a source
//! that can block, which the source offers while it is built and the judge names by `via`. In a replay
//! the store is a [`MemoryStore`], which blocks nothing.

mod entries;
mod listed;
mod memory;

use std::{borrow::Cow, fmt, net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::{
    entries::{Entries, networks_of},
    listed::Listed,
    memory::MemoryStore,
};
use crate::record::{Id, Timestamp};

/// Bytes of a reason that a person or a list may give: longer lines of the verdict log are not read.
pub const MAX_REASON_BYTES: usize = 1_024;

/// What is to become of the packets of a network, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Names it in records (`tidegate.verdict.id`).
    pub id: Id,
    /// Whom it is about: an address (/32, /128) or a network.
    pub network: IpNet,
    /// What becomes of their packets.
    pub action: Action,
    /// Which of their packets.
    pub scope: Scope,
    /// The destination port it is confined to (TCP, UDP, SCTP); `None`: all that they send.
    pub port: Option<u16>,
    /// How long it holds; `None`: until it is removed.
    pub ttl: Option<Duration>,
    /// The risk score, 0 to 100; 0 if nobody scored them.
    pub score: u8,
    /// How often they have been blocked before, as far as it is remembered.
    pub offence: u32,
    /// Why, one plain sentence each, the heaviest first.
    pub reasons: Vec<Box<str>>,
    /// Who decided.
    pub by: By,
}

/// What becomes of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// They are dropped.
    Drop,
    /// Those above a rate are dropped.
    RateLimit,
}

/// Which packets of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All, those of open connections too.
    All,
    /// Those that begin something: SYN, and the first of a UDP flow. For sources whose address may be
    /// spoofed.
    New,
}

/// Whether a store's verdicts have effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No: what they would have dropped is counted.
    Observe,
    /// Yes.
    Enforce,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The scorer.
    Score,
    /// The guard in the kernel.
    Guard,
    /// A person, on the command line.
    Cli,
    /// A list in a file.
    List,
}

/// What a store says to a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// It holds from now on, in this mode: with `observe` nothing is blocked, as with `enforce` for the
    /// share of sources that is not enforced yet.
    Applied(Mode),
    /// It does not.
    Refused(Refusal),
}

/// Why a verdict is not put in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// All of its network is allowed.
    #[error("{network} is allowed ({place})")]
    Allowed {
        /// The entry's network.
        network: IpNet,
        /// Where the entry stands.
        place: String,
    },
    /// It would block what never is.
    #[error("{network} is never blocked: {what}")]
    NeverBlocked {
        /// Whom it is about.
        network: IpNet,
        /// What is there (`the default gateway`).
        what: Cow<'static, str>,
    },
    /// It is about every address there is.
    #[error("{0} is every address")]
    Everybody(IpNet),
    /// One of a person or a list is stricter, or lasts longer.
    #[error("a verdict of {by} on {network} is stricter or lasts longer, and stands")]
    Stands {
        /// Whom it is about.
        network: IpNet,
        /// Who decided the one that stands.
        by: &'static str,
    },
    /// There is no room.
    #[error("all {max} entries are in use")]
    Full {
        /// How many entries there may be.
        max: usize,
    },
    /// It could not be written.
    #[error("it could not be written: {0}")]
    Failed(String),
}

/// A verdict in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether it has effect.
    pub mode: Mode,
    /// Since when it holds.
    pub since: Timestamp,
    /// Packets it dropped, or would have.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
}

/// How a verdict ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
}

/// Why a verdict ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its time was over.
    Expired,
    /// Somebody took it back.
    Removed,
    /// An entry of the allow list covers it now.
    Allowed,
}

/// Puts verdicts in force. Shared by all that act through it; no call waits for anything but a map or a
/// lock, some microseconds. Whoever owns it keeps what is never blocked, and the allow list.
pub trait Store: fmt::Debug + Send + Sync {
    /// Puts a verdict in force from `now` on, in place of the one about the same network, whose counts
    /// it takes over.
    fn apply(&self, verdict: Verdict, now: Timestamp) -> Answer;

    /// Takes the verdict about `network` back, and gives it as it ended; `None` if there is none.
    fn remove(&self, network: IpNet, now: Timestamp) -> Option<Entry>;

    /// The verdicts that hold at `now`, in the order of their networks.
    fn list(&self, now: Timestamp) -> Vec<Entry>;

    /// The verdicts about networks with `address` in them, the narrowest first: of each network the one
    /// that holds, else the last one, as long as it is remembered.
    fn explain(&self, address: IpAddr, now: Timestamp) -> Vec<Entry>;

    /// Takes all verdicts back, and gives them as they ended.
    fn flush(&self, now: Timestamp) -> Vec<Entry> {
        let listed = self.list(now).into_iter();
        listed.filter_map(|entry| self.remove(entry.verdict.network, now)).collect()
    }
}

// === impl Refusal ===

impl Refusal {
    /// The value of a label or field: one of few.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Allowed { .. } => "allowed",
            Self::NeverBlocked { .. } => "never_blocked",
            Self::Everybody(_) => "everybody",
            Self::Stands { .. } => "stands",
            Self::Full { .. } => "full",
            Self::Failed(_) => "failed",
        }
    }
}

// === impl Entry ===

impl Entry {
    /// A verdict that holds since `now`, and has met nothing yet.
    pub fn new(verdict: Verdict, mode: Mode, now: Timestamp) -> Self {
        Self { verdict, mode, since: now, packets: 0, bytes: 0, ended: None }
    }

    /// When it ends by itself; `None`: never.
    pub fn deadline(&self) -> Option<Timestamp> {
        let nanos = |ttl: Duration| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        self.verdict.ttl.map(|ttl| self.since.saturating_add(nanos(ttl)))
    }

    /// It ended at `at`.
    #[must_use]
    pub fn ended(self, at: Timestamp, why: Why) -> Self {
        Self { ended: Some(Ended { at, why }), ..self }
    }
}
