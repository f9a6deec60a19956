//! What an entry comes to: how full its signals are, their points, the score.

use super::{Entry, whole};
use crate::{record::Signal, score::policy::Policy};

impl Entry {
    /// How full a signal is, 0 to 1.
    pub(in crate::score) fn strength(&self, signal: Signal, policy: &Policy) -> f32 {
        let common = policy.of(signal);
        let value = match signal {
            Signal::Scan if !self.is_failing(policy) && !self.is_leaving_open(policy) => 0.0,
            Signal::Scan => self.walk.max(self.slow_walk),
            _ => self.counts[signal.index()],
        };
        (value / common.threshold).clamp(0.0, 1.0)
    }

    /// Whether enough of its first contacts have failed for the walk to count. What it left half open counts only if
    /// nearly all of it came from one port, as that of who writes packets by himself: a program that waits for
    /// answers, as a balancer that checks its servers, has a port for each. Of little, as much as half of its failures.
    fn is_failing(&self, policy: &Policy) -> bool {
        let is_from_one_port = 2 * u32::from(self.from_one_port) > self.half_open;
        let most = match policy.settings.signals.scan.min_half_open {
            _ if !is_from_one_port => 0,
            many if self.half_open < many => self.failures / 2,
            _ => self.half_open,
        };
        self.has_failed(self.half_open.min(most), policy)
    }

    /// Whether it left so much half open that it is worth a look, though that may be a balancer's first round.
    fn is_leaving_open(&self, policy: &Policy) -> bool {
        self.half_open >= policy.settings.signals.scan.min_half_open
            && self.has_failed(self.half_open, policy)
    }

    /// Whether enough has failed if so many of the half-open ones count.
    fn has_failed(&self, half_open: u32, policy: &Policy) -> bool {
        let scan = &policy.settings.signals.scan;
        let failed = f64::from(self.failures) + f64::from(half_open);
        let all = f64::from(self.contacts()) + f64::from(self.repeats);
        failed >= f64::from(scan.min_failures) && failed >= scan.min_failure_ratio * all
    }

    /// The points of each signal, of 100. What is left half open alone has no more than an alert takes.
    pub(in crate::score) fn points(&self, policy: &Policy) -> [f32; Signal::COUNT] {
        let mut points = Signal::ALL.map(|signal| {
            let weight = policy.of(signal).weight;
            if weight == 0.0 { 0.0 } else { 100.0 * weight * self.strength(signal, policy) }
        });
        let scan = &mut points[Signal::Scan.index()];
        if *scan > 0.0 && !self.is_failing(policy) {
            *scan = scan.min(policy.settings.levels.alert.into());
        }
        points
    }

    /// The risk score, and whether it suffices for a block: two signals, or one that may. The rate never
    /// helps to block; what is left half open alone helps nothing else.
    pub(in crate::score) fn score(&self, policy: &Policy) -> (u8, bool) {
        let mut points = self.points(policy);
        let scan = &mut points[Signal::Scan.index()];
        let left_open = if self.is_failing(policy) { 0.0 } else { std::mem::take(scan) };
        let joined = |rate: bool| {
            let parts = Signal::ALL.into_iter().filter(|signal| rate || *signal != Signal::Rate);
            let left: f32 = parts.map(|signal| 1.0 - points[signal.index()] / 100.0).product();
            whole(100.0 * (1.0 - left))
        };
        let levels = &policy.settings.levels;
        let present = |signal: &Signal| {
            *signal != Signal::Rate && points[signal.index()] >= f32::from(levels.log)
        };
        let may = |signal: &Signal| {
            policy.of(*signal).may_block
                || (*signal == Signal::AuthAttempts
                    && self.logins_tried()
                        >= usize::from(policy.settings.signals.auth_attempts.destinations))
        };
        let those = || Signal::ALL.into_iter().filter(present);
        let may_block = (those().count() >= 2 || those().any(|signal| may(&signal)))
            && joined(false) >= levels.block;
        let score = joined(true).max(whole(left_open));
        let capped = if may_block { score } else { score.min(levels.block.saturating_sub(1)) };
        (capped, may_block)
    }

    /// Destinations where it tries to log in, as far as they are told apart.
    pub(in crate::score) fn logins_tried(&self) -> usize {
        self.logins.iter().filter(|login| **login != 0).count()
    }
}
