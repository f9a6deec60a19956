//! The time-outs of flows, as a config gives them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Timeouts;

/// Seconds that a time-out may last, about 136 years.
const MAX_SECS: u64 = u32::MAX as u64;

/// Times in whole seconds; what is not given is the profile's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutSecs {
    /// A TCP connection without packets ends (300).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub tcp_established_secs: Option<u64>,
    /// A TCP attempt without an answer ends, counted from its SYN (60; 5 in the profile `zeek`).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub tcp_attempt_secs: Option<u64>,
    /// A TCP connection that is over is reported: so long its stragglers are waited for (5). Live, the record
    /// comes at most a second after that, with `mode: segments` a segment's length and a second.
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub tcp_closed_secs: Option<u64>,
    /// A UDP flow without packets ends (60).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub udp_secs: Option<u64>,
    /// An ICMP flow without packets ends (60).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub icmp_secs: Option<u64>,
    /// Any other flow without packets ends (60).
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub other_secs: Option<u64>,
    /// How often a flow that goes on is reported (300; 0 and the profile `zeek`: only at its end).
    #[schemars(range(max = MAX_SECS))]
    pub active_secs: Option<u64>,
}

// === impl TimeoutSecs ===

impl TimeoutSecs {
    /// These, and where one is not given, that of `defaults`.
    #[must_use]
    pub fn over(&self, defaults: Timeouts) -> Timeouts {
        let nanos = |secs: u64| secs.saturating_mul(1_000_000_000);
        let or = |secs: Option<u64>, default| secs.map_or(default, nanos);
        Timeouts {
            tcp_established: or(self.tcp_established_secs, defaults.tcp_established),
            tcp_attempt: or(self.tcp_attempt_secs, defaults.tcp_attempt),
            tcp_closed: or(self.tcp_closed_secs, defaults.tcp_closed),
            udp: or(self.udp_secs, defaults.udp),
            icmp: or(self.icmp_secs, defaults.icmp),
            other: or(self.other_secs, defaults.other),
            active: match self.active_secs {
                Some(0) => None,
                Some(secs) => Some(nanos(secs)),
                None => defaults.active,
            },
        }
    }
}
