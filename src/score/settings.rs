//! Every number of the judge, as the config has it: levels, signals, limits.

mod signals;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::signals::{
    AckProbe, AuthAttempts, DestinationFlood, IcmpSweep, IdleConnections, Rate, Scan, Signals,
    SplitHeader, StealthFlags,
};

/// Seconds that anything may last, about 136 years.
pub(super) const MAX_SECS: u64 = u32::MAX as u64;

/// All numbers by which sources are judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// From which score on what happens.
    pub levels: Levels,
    /// The evidence.
    pub signals: Signals,
    /// How verdicts are made.
    pub block: Block,
    /// When no new verdicts are made.
    pub circuit_breaker: CircuitBreaker,
    /// Seconds after the first contact in which nothing is put in force.
    pub warmup_secs: u64,
    /// Sources that are remembered.
    pub max_sources: usize,
    /// What records about sources outside are.
    pub external: External,
}

/// Risk scores from which on something happens, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Levels {
    /// A record is made (20).
    #[schemars(range(min = 1, max = 100))]
    pub log: u8,
    /// The record is worth somebody's attention (40).
    #[schemars(range(min = 1, max = 100))]
    pub alert: u8,
    /// The source's new connections are limited (60). One signal alone goes no further, unless it
    /// `may_block`.
    #[schemars(range(min = 1, max = 100))]
    pub rate_limit: u8,
    /// The source is blocked (80).
    #[schemars(range(min = 1, max = 100))]
    pub block: u8,
    /// Below it, a source is as if it had done nothing, and reaching a level counts anew (30).
    #[schemars(range(min = 0, max = 100))]
    pub clear: u8,
}

/// How verdicts are made, and by whom they are put in force.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Block {
    /// The source that blocks, such as an `xdp` source. Without it verdicts are only records
    /// (`would_block`).
    pub via: Option<String>,
    /// Seconds that a first block lasts (300).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub ttl_secs: u64,
    /// By how much each repeated offence lasts longer (4).
    #[schemars(range(min = 1.0, max = 100.0))]
    pub ttl_factor: f64,
    /// Seconds that a block lasts at most (86,400).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub ttl_max_secs: u64,
    /// Seconds that a block lasts at most of a source whose address may be spoofed (60). It drops only
    /// what begins something, and is not remembered as an offence.
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub unproven_ttl_secs: u64,
    /// New blocks a minute (200); what exceeds it is refused, and said.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_new_per_minute: u32,
    /// Seconds after which half an offence is forgotten (604,800, a week).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub offence_half_life_secs: u64,
    /// Seconds that an admin's session must have lasted for its source never to be blocked (180).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub admin_session_secs: u64,
}

/// When an outage looks like an attack: no new verdicts while the handshakes of clients with what they
/// had reached before fail.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Whether it works (true).
    pub enabled: bool,
    /// Handshakes within the window, at least (50).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_attempts: u32,
    /// The share of them that must succeed, 0 to 1 (0.3).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_success: f64,
    /// Seconds of the window (30).
    #[schemars(range(min = 1, max = 3_600))]
    pub window_secs: u64,
}

/// What records about sources outside are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum External {
    /// Events, unless their path is proven and they tried to log in or met several destinations, or a
    /// verdict was refused.
    #[default]
    Event,
    /// Alerts, from the level `alert` on.
    Alert,
}

// === impl Settings ===

impl Settings {
    /// The settings of a run over data that is over: nothing has to warm up.
    #[must_use]
    pub fn at_once(self) -> Self {
        Self { warmup_secs: 0, ..self }
    }
}

// === impl Levels ===

impl Default for Levels {
    fn default() -> Self {
        Self { log: 20, alert: 40, rate_limit: 60, block: 80, clear: 30 }
    }
}

// === impl Block ===

impl Default for Block {
    fn default() -> Self {
        Self {
            via: None,
            ttl_secs: 300,
            ttl_factor: 4.0,
            ttl_max_secs: 86_400,
            unproven_ttl_secs: 60,
            max_new_per_minute: 200,
            offence_half_life_secs: 7 * 86_400,
            admin_session_secs: 180,
        }
    }
}

// === impl CircuitBreaker ===

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { enabled: true, min_attempts: 50, min_success: 0.3, window_secs: 30 }
    }
}
