//! The signals, each with its numbers and their defaults.

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

/// Declares a signal: what is common to all of them, then the numbers of its own, each with its default.
macro_rules! signal {
    (
        $(#[$about:meta])*
        $name:ident [
            $(weight $weight:literal)?
            $(, half_life_secs $half_life:literal)?
            $(, may_block $may_block:literal)?
        ] {
            $(#[$full:meta])*
            threshold = $threshold:literal;
            $($(#[$what:meta])* $own:ident: $type:ty = $default:expr;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// Whether it counts (true).
            pub enabled: bool,
            $(
                #[doc = concat!("Its share of the score when it is full, 0 to 1 (", $weight, ").")]
                #[schemars(range(min = 0.0, max = 1.0))]
                pub weight: f64,
            )?
            $(#[$full])*
            #[schemars(range(min = 0.1, max = 1_000_000.0))]
            pub threshold: f64,
            $(
                #[doc = concat!("Seconds in which it loses half (", $half_life, ").")]
                #[schemars(range(min = 1, max = MAX_SECS))]
                pub half_life_secs: u64,
            )?
            $(
                #[doc = concat!("Whether it may block without a second signal (", $may_block, ").")]
                pub may_block: bool,
            )?
            $($(#[$what])* pub $own: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    enabled: true,
                    threshold: $threshold,
                    $(weight: $weight,)?
                    $(half_life_secs: $half_life,)?
                    $(may_block: $may_block,)?
                    $($own: $default,)*
                }
            }
        }
    };
}

signal! {
    /// First contacts of a source that fail: a threshold random walk over distinct (destination, port).
    Scan [weight 0.95, half_life_secs 300, may_block true] {
        /// The walk's value at which the signal is full (11.5: more than eight failures without a success).
        threshold = 11.5;
        /// Seconds in which the walk's slow copy, which finds slow scans, loses half (21,600).
        #[schemars(range(min = 1, max = MAX_SECS))]
        slow_half_life_secs: u64 = 21_600;
        /// Failures that a source must have, at least (9), since it was first seen or was silent for a day.
        #[schemars(range(min = 1, max = 1_000_000))]
        min_failures: u32 = 9;
        /// Contacts that it left half open, nearly all from one port of its own, from which on each counts as a failure
        /// (12); of fewer, as many as half of its failures. From several ports they count as none, and from so many on
        /// they make an alert: a balancer may check its servers so.
        #[schemars(range(min = 1, max = 1_000_000))]
        min_half_open: u32 = 12;
        /// The share of its contacts that must have failed, 0 to 1 (0.5): what tells a monitoring host from a scanner.
        #[schemars(range(min = 0.0, max = 1.0))]
        min_failure_ratio: f64 = 0.5;
        /// Seconds after which a success with what had worked counts again for that share, at the soonest (600): who lives
        /// off few servers is no scanner.
        #[schemars(range(min = 1, max = MAX_SECS))]
        repeat_secs: u64 = 600;
        /// How often a destination's port counts again (3): who phones home to one server gains no more.
        #[schemars(range(min = 0, max = 1_000_000))]
        max_repeats: u32 = 3;
        /// How often all of a source's together count again (40): so many more failures of a scanner go unseen at most.
        #[schemars(range(min = 0, max = 1_000_000))]
        max_all_repeats: u32 = 40;
        /// The share of first contacts that succeed of who means well (0.8).
        #[schemars(range(min = 0.01, max = 0.99))]
        theta0: f64 = 0.8;
        /// The share of first contacts that succeed of who scans (0.2); below `theta0`.
        #[schemars(range(min = 0.01, max = 0.99))]
        theta1: f64 = 0.2;
        /// How far down success can move the walk (-12): credit for so much is kept.
        #[schemars(range(min = -1_000.0, max = 0.0))]
        floor: f64 = -12.0;
    }
}

signal! {
    /// TCP control bits no sane stack sends: NULL, FIN, XMAS, SYN with FIN.
    StealthFlags [weight 0.8, half_life_secs 300, may_block false] {
        /// Packets at which the signal is full (5).
        threshold = 5.0;
    }
}

signal! {
    /// TCP headers split over IP fragments, which only hides them from filters.
    SplitHeader [weight 0.8, half_life_secs 300, may_block false] {
        /// Packets at which the signal is full (3).
        threshold = 3.0;
    }
}

signal! {
    /// ACKs that belong to no connection, to distinct ports.
    AckProbe [weight 0.7, half_life_secs 120, may_block false] {
        /// Ports at which the signal is full, by evidence of who sees packets only (100).
        threshold = 100.0;
        /// Ports at which it is full, by evidence of who looks for the socket: the source that `block.via` names (10).
        #[schemars(range(min = 0.1, max = 1_000_000.0))]
        socket_threshold: f64 = 10.0;
    }
}

signal! {
    /// Short connections to one port where people log in (21, 22, 23, 3389, 5900) of one destination.
    AuthAttempts [weight 0.9, half_life_secs 600, may_block false] {
        /// Connections to one destination within 60 s at which the signal is full (20).
        threshold = 20.0;
        /// Connections within 30 minutes at which it is full (90).
        #[schemars(range(min = 0.1, max = 1_000_000.0))]
        threshold_slow: f64 = 90.0;
        /// Seconds that a connection lasts at most to count as a try (30).
        #[schemars(range(min = 1, max = MAX_SECS))]
        short_secs: u64 = 30;
        /// Destinations at half the threshold, each, from which on the signal may block alone (3).
        #[schemars(range(min = 1, max = 8))]
        destinations: u8 = 3;
    }
}

signal! {
    /// Echo requests to distinct hosts.
    IcmpSweep [weight 0.5, half_life_secs 300, may_block false] {
        /// Hosts at which the signal is full (25).
        threshold = 25.0;
    }
}

signal! {
    /// A source that overdraws a token bucket. It never blocks, nor helps to.
    Rate [weight 0.6, half_life_secs 10] {
        /// Seconds of refill that a bucket is overdrawn by at which the signal is full (5).
        threshold = 5.0;
        /// SYNs a second that refill the bucket (200).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        syns_per_sec: u32 = 200;
        /// SYNs that it holds (2,000).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        syn_burst: u32 = 2_000;
        /// Packets a second that refill the other bucket (30,000).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        packets_per_sec: u32 = 30_000;
        /// Packets that it holds (60,000).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        packet_burst: u32 = 60_000;
        /// Handshakes with one port a second that it may leave half open (20).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        half_open_per_sec: u32 = 20;
        /// Such handshakes that the bucket holds (60).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        half_open_burst: u32 = 60;
        /// Datagrams a second to one port that are as long as the one before, and from another port (20), where
        /// the destination refuses them, or the source its answers.
        #[schemars(range(min = 1, max = 1_000_000_000))]
        repeats_per_sec: u32 = 20;
        /// Such datagrams that the bucket holds (100).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        repeat_burst: u32 = 100;
        /// Echo requests a second to one host (5).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        echoes_per_sec: u32 = 5;
        /// Echo requests that the bucket holds (30).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        echo_burst: u32 = 30;
    }
}

signal! {
    /// Many connections to a web port (80, 443, 8080, 8443) on which no request was completed: slowloris.
    IdleConnections [weight 0.7, half_life_secs 60, may_block false] {
        /// Connections at which the signal is full (100).
        threshold = 100.0;
        /// Connections below which it says nothing (50).
        #[schemars(range(min = 1, max = 1_000_000))]
        min_open: u32 = 50;
        /// Bytes a second and connection from which on it is not idle (20).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        max_bytes_per_sec: u32 = 20;
        /// Bytes of a connection beyond these from which on a request counts as completed (1,000).
        #[schemars(range(min = 1, max = 1_000_000_000))]
        request_bytes: u32 = 1_000;
    }
}

signal! {
    /// A (destination, port) whose handshakes are not completed: a cumulative sum over each second's (SYN - completed) / mean. It speaks of the destination and never against a source.
    DestinationFlood [] {
        /// The sum from which on it is a flood (1.05).
        threshold = 1.05;
        /// What is taken off the sum each second (0.35).
        #[schemars(range(min = 0.0, max = 1_000.0))]
        drift: f64 = 0.35;
        /// Handshakes a second that the mean is taken for at least (20).
        #[schemars(range(min = 1.0, max = 1_000_000_000.0))]
        min_mean: f64 = 20.0;
    }
}
