//! The settings as the ledger computes with them.

use super::settings::{MAX_SECS, Settings, Signals};
use crate::record::Signal;

/// Level of a source, from nothing to a block. The order is that of gravity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Level {
    #[default]
    None,
    Log,
    Alert,
    RateLimit,
    Block,
}

/// What every signal has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Common {
    pub(super) weight: f32,
    pub(super) threshold: f32,
    pub(super) half_life_secs: f32,
    pub(super) may_block: bool,
}

/// The settings, ready to compute with.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) settings: Settings,
    pub(super) common: [Common; Signal::COUNT],
    pub(super) slow_half_life_secs: f32,
    /// What a failed and a successful first contact move the walk by.
    pub(super) failure_step: f32,
    pub(super) success_step: f32,
}

// === impl Level ===

impl Level {
    /// The level of a number, from 0 on.
    pub(super) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Log,
            2 => Self::Alert,
            3 => Self::RateLimit,
            4 => Self::Block,
            _ => return None,
        })
    }
}

// === impl Policy ===

impl Policy {
    pub(super) fn new(settings: Settings) -> Self {
        let signals = &settings.signals;
        let scan = &signals.scan;
        // Whoever scans succeeds more seldom; equal shares would tell nobody apart.
        let theta1 = scan.theta1.min(scan.theta0 - 0.01).max(0.001);
        Self {
            common: common(signals),
            slow_half_life_secs: secs(scan.slow_half_life_secs),
            failure_step: single(((1.0 - theta1) / (1.0 - scan.theta0)).ln()),
            success_step: single((theta1 / scan.theta0).ln()),
            settings,
        }
    }

    pub(super) fn of(&self, signal: Signal) -> &Common {
        &self.common[signal.index()]
    }

    /// The level of a score; a block only where it `may_block`.
    pub(super) fn level(&self, score: u8, may_block: bool) -> Level {
        let levels = &self.settings.levels;
        match score {
            score if score >= levels.block && may_block => Level::Block,
            score if score >= levels.rate_limit => Level::RateLimit,
            score if score >= levels.alert => Level::Alert,
            score if score >= levels.log => Level::Log,
            _ => Level::None,
        }
    }
}

fn common(signals: &Signals) -> [Common; Signal::COUNT] {
    let Signals {
        scan,
        stealth_flags,
        split_header,
        ack_probe,
        auth_attempts,
        icmp_sweep,
        rate,
        idle_connections,
        destination_flood,
    } = signals;
    let of = |enabled: bool, weight: f64, threshold: f64, half_life_secs, may_block| Common {
        weight: if enabled { single(weight) } else { 0.0 },
        threshold: single(threshold).max(0.01),
        half_life_secs: secs(half_life_secs),
        may_block,
    };
    let mut all = [Common::default(); Signal::COUNT];
    let mut set = |signal: Signal, common| all[signal.index()] = common;
    let x = scan;
    set(Signal::Scan, of(x.enabled, x.weight, x.threshold, x.half_life_secs, x.may_block));
    let x = stealth_flags;
    set(Signal::StealthFlags, of(x.enabled, x.weight, x.threshold, x.half_life_secs, x.may_block));
    let x = split_header;
    set(Signal::SplitHeader, of(x.enabled, x.weight, x.threshold, x.half_life_secs, x.may_block));
    let x = ack_probe;
    set(Signal::AckProbe, of(x.enabled, x.weight, x.threshold, x.half_life_secs, x.may_block));
    let x = auth_attempts;
    set(Signal::AuthAttempts, of(x.enabled, x.weight, x.threshold, x.half_life_secs, x.may_block));
    let x = icmp_sweep;
    set(Signal::IcmpSweep, of(x.enabled, x.weight, x.threshold, x.half_life_secs, x.may_block));
    let x = rate;
    set(Signal::Rate, of(x.enabled, x.weight, x.threshold, x.half_life_secs, false));
    let x = idle_connections;
    set(
        Signal::IdleConnections,
        of(x.enabled, x.weight, x.threshold, x.half_life_secs, x.may_block),
    );
    let x = destination_flood;
    set(Signal::DestinationFlood, of(x.enabled, 1.0, x.threshold, 1, false));
    all
}

/// A setting in the precision that the ledger keeps.
#[expect(clippy::cast_possible_truncation, reason = "seven digits are more than a setting has")]
pub(super) const fn single(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "a half-life needs no more than seven digits")]
fn secs(value: u64) -> f32 {
    value.clamp(1, MAX_SECS) as f32
}
