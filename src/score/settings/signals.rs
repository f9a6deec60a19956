//! The signals, each with its numbers.

use schemars::JsonSchema;
use serde::Deserialize;

use super::MAX_SECS;

/// The evidence a score is made of: how much each part counts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Signals {
    /// First contacts of a source that fail: a threshold random walk over distinct (destination, port).
    pub scan: Scan,
    /// TCP control bits no sane stack sends: NULL, FIN, XMAS, SYN with FIN.
    pub stealth_flags: StealthFlags,
    /// TCP headers split over IP fragments, which only hides them from filters.
    pub split_header: SplitHeader,
    /// ACKs that belong to no connection, to distinct ports.
    pub ack_probe: AckProbe,
    /// Short connections to one port where people log in (21, 22, 23, 3389, 5900) of one destination.
    pub auth_attempts: AuthAttempts,
    /// Echo requests to distinct hosts.
    pub icmp_sweep: IcmpSweep,
    /// A source that overdraws a token bucket. It never blocks, nor helps to.
    pub rate: Rate,
    /// Many connections to a web port (80, 443, 8080, 8443) on which no request was completed: slowloris.
    pub idle_connections: IdleConnections,
    /// A (destination, port) whose handshakes are not completed: a cumulative sum over each second's (SYN - completed) / mean. It speaks of the destination and never against a source.
    pub destination_flood: DestinationFlood,
}

/// First contacts of a source that fail: a threshold random walk over distinct (destination, port).
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scan {
    /// Whether it counts (true).
    pub enabled: bool,
    /// Its share of the score when it is full, 0 to 1 (0.95).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// The walk's value at which the signal is full (11.5: more than eight failures without a success).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold: f64,
    /// Seconds in which it loses half (300).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub half_life_secs: u64,
    /// Whether it may block without a second signal (true).
    pub may_block: bool,
    /// Seconds in which the walk's slow copy, which finds slow scans, loses half (21,600).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub slow_half_life_secs: u64,
    /// Failures that a source must have, at least (9), since it was first seen or was silent for a day.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_failures: u32,
    /// Contacts that it left half open from which on each counts as a failure (12). Of fewer, as many as
    /// half of its failures do: health checks leave some half open, too.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_half_open: u32,
    /// The share of its contacts that must have failed, 0 to 1 (0.5): what tells a monitoring host from a scanner.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_failure_ratio: f64,
    /// The share of first contacts that succeed of who means well (0.8).
    #[schemars(range(min = 0.01, max = 0.99))]
    pub theta0: f64,
    /// The share of first contacts that succeed of who scans (0.2); below `theta0`.
    #[schemars(range(min = 0.01, max = 0.99))]
    pub theta1: f64,
    /// How far down success can move the walk (-12): credit for so much is kept.
    #[schemars(range(min = -1_000.0, max = 0.0))]
    pub floor: f64,
}

/// TCP control bits no sane stack sends: NULL, FIN, XMAS, SYN with FIN.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StealthFlags {
    /// Whether it counts (true).
    pub enabled: bool,
    /// Its share of the score when it is full, 0 to 1 (0.8).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// Packets at which the signal is full (5).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold: f64,
    /// Seconds in which it loses half (300).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub half_life_secs: u64,
    /// Whether it may block without a second signal (false).
    pub may_block: bool,
}

/// TCP headers split over IP fragments, which only hides them from filters.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitHeader {
    /// Whether it counts (true).
    pub enabled: bool,
    /// Its share of the score when it is full, 0 to 1 (0.8).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// Packets at which the signal is full (3).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold: f64,
    /// Seconds in which it loses half (300).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub half_life_secs: u64,
    /// Whether it may block without a second signal (false).
    pub may_block: bool,
}

/// ACKs that belong to no connection, to distinct ports.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AckProbe {
    /// Whether it counts (true).
    pub enabled: bool,
    /// Its share of the score when it is full, 0 to 1 (0.7).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// Ports at which the signal is full, by evidence of who sees packets only (100).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold: f64,
    /// Seconds in which it loses half (120).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub half_life_secs: u64,
    /// Whether it may block without a second signal (false).
    pub may_block: bool,
    /// Ports at which it is full, by evidence of who looks for the socket: the source that `block.via` names (10).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub socket_threshold: f64,
}

/// Short connections to one port where people log in (21, 22, 23, 3389, 5900) of one destination.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthAttempts {
    /// Whether it counts (true).
    pub enabled: bool,
    /// Its share of the score when it is full, 0 to 1 (0.9).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// Connections to one destination within 60 s at which the signal is full (20).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold: f64,
    /// Seconds in which it loses half (600).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub half_life_secs: u64,
    /// Whether it may block without a second signal (false).
    pub may_block: bool,
    /// Connections within 30 minutes at which it is full (90).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold_slow: f64,
    /// Seconds that a connection lasts at most to count as a try (30).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub short_secs: u64,
    /// Destinations at half the threshold, each, from which on the signal may block alone (3).
    #[schemars(range(min = 1, max = 8))]
    pub destinations: u8,
}

/// Echo requests to distinct hosts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IcmpSweep {
    /// Whether it counts (true).
    pub enabled: bool,
    /// Its share of the score when it is full, 0 to 1 (0.5).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// Hosts at which the signal is full (25).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold: f64,
    /// Seconds in which it loses half (300).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub half_life_secs: u64,
    /// Whether it may block without a second signal (false).
    pub may_block: bool,
}

/// A source that overdraws a token bucket. It never blocks, nor helps to.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rate {
    /// Whether it counts (true).
    pub enabled: bool,
    /// Its share of the score when it is full, 0 to 1 (0.6).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// Seconds of refill that a bucket is overdrawn by at which the signal is full (5).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold: f64,
    /// Seconds in which it loses half (10).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub half_life_secs: u64,
    /// SYNs a second that refill the bucket (200).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub syns_per_sec: u32,
    /// SYNs that it holds (2,000).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub syn_burst: u32,
    /// Packets a second that refill the other bucket (30,000).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub packets_per_sec: u32,
    /// Packets that it holds (60,000).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub packet_burst: u32,
    /// Handshakes a second that it may leave half open (20).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub half_open_per_sec: u32,
    /// Such handshakes that the bucket holds (60).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub half_open_burst: u32,
    /// Datagrams a second to one port that are as long as the one before, and from another port (20), where
    /// the destination refuses them, or the source its answers.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub repeats_per_sec: u32,
    /// Such datagrams that the bucket holds (100).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub repeat_burst: u32,
    /// Echo requests a second to one host (5).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub echoes_per_sec: u32,
    /// Echo requests that the bucket holds (30).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub echo_burst: u32,
}

/// Many connections to a web port (80, 443, 8080, 8443) on which no request was completed: slowloris.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdleConnections {
    /// Whether it counts (true).
    pub enabled: bool,
    /// Its share of the score when it is full, 0 to 1 (0.7).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// Connections at which the signal is full (100).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold: f64,
    /// Seconds in which it loses half (60).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub half_life_secs: u64,
    /// Whether it may block without a second signal (false).
    pub may_block: bool,
    /// Connections below which it says nothing (50).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_open: u32,
    /// Bytes a second and connection from which on it is not idle (20).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_bytes_per_sec: u32,
    /// Bytes of a connection beyond these from which on a request counts as completed (1,000).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub request_bytes: u32,
}

/// A (destination, port) whose handshakes are not completed: a cumulative sum over each second's (SYN - completed) / mean. It speaks of the destination and never against a source.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DestinationFlood {
    /// Whether it counts (true).
    pub enabled: bool,
    /// The sum from which on it is a flood (1.05).
    #[schemars(range(min = 0.1, max = 1_000_000.0))]
    pub threshold: f64,
    /// What is taken off the sum each second (0.35).
    #[schemars(range(min = 0.0, max = 1_000.0))]
    pub drift: f64,
    /// Handshakes a second that the mean is taken for at least (20).
    #[schemars(range(min = 1.0, max = 1_000_000_000.0))]
    pub min_mean: f64,
}

// === impl Scan ===

impl Default for Scan {
    fn default() -> Self {
        Self {
            enabled: true,
            weight: 0.95,
            threshold: 11.5,
            half_life_secs: 300,
            may_block: true,
            slow_half_life_secs: 21_600,
            min_failures: 9,
            min_half_open: 12,
            min_failure_ratio: 0.5,
            theta0: 0.8,
            theta1: 0.2,
            floor: -12.0,
        }
    }
}

// === impl StealthFlags ===

impl Default for StealthFlags {
    fn default() -> Self {
        Self { enabled: true, weight: 0.8, threshold: 5.0, half_life_secs: 300, may_block: false }
    }
}

// === impl SplitHeader ===

impl Default for SplitHeader {
    fn default() -> Self {
        Self { enabled: true, weight: 0.8, threshold: 3.0, half_life_secs: 300, may_block: false }
    }
}

// === impl AckProbe ===

impl Default for AckProbe {
    fn default() -> Self {
        Self {
            enabled: true,
            weight: 0.7,
            threshold: 100.0,
            half_life_secs: 120,
            may_block: false,
            socket_threshold: 10.0,
        }
    }
}

// === impl AuthAttempts ===

impl Default for AuthAttempts {
    fn default() -> Self {
        Self {
            enabled: true,
            weight: 0.9,
            threshold: 20.0,
            half_life_secs: 600,
            may_block: false,
            threshold_slow: 90.0,
            short_secs: 30,
            destinations: 3,
        }
    }
}

// === impl IcmpSweep ===

impl Default for IcmpSweep {
    fn default() -> Self {
        Self { enabled: true, weight: 0.5, threshold: 25.0, half_life_secs: 300, may_block: false }
    }
}

// === impl Rate ===

impl Default for Rate {
    fn default() -> Self {
        Self {
            enabled: true,
            weight: 0.6,
            threshold: 5.0,
            half_life_secs: 10,
            syns_per_sec: 200,
            syn_burst: 2_000,
            packets_per_sec: 30_000,
            packet_burst: 60_000,
            half_open_per_sec: 20,
            half_open_burst: 60,
            repeats_per_sec: 20,
            repeat_burst: 100,
            echoes_per_sec: 5,
            echo_burst: 30,
        }
    }
}

// === impl IdleConnections ===

impl Default for IdleConnections {
    fn default() -> Self {
        Self {
            enabled: true,
            weight: 0.7,
            threshold: 100.0,
            half_life_secs: 60,
            may_block: false,
            min_open: 50,
            max_bytes_per_sec: 20,
            request_bytes: 1_000,
        }
    }
}

// === impl DestinationFlood ===

impl Default for DestinationFlood {
    fn default() -> Self {
        Self { enabled: true, threshold: 1.05, drift: 0.35, min_mean: 20.0 }
    }
}
