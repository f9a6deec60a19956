//! Why: a plain sentence for each signal, with its numbers.

use super::{
    ledger::{Entry, Target},
    policy::Policy,
};
use crate::record::{Signal, Weight};

/// The signals that say something of an entry, the heaviest first.
pub(super) fn weights(entry: &Entry, policy: &Policy) -> Vec<Weight> {
    let points = entry.points(policy);
    let mut weights: Vec<_> = Signal::ALL
        .into_iter()
        .filter(|signal| points[signal.index()] >= 0.5)
        .map(|signal| {
            let (value, threshold) = match signal {
                Signal::Scan => (
                    u64::from(entry.failures),
                    u64::from(policy.settings.signals.scan.min_failures),
                ),
                _ => (
                    number(entry.counts[signal.index()]).max(1),
                    number(policy.of(signal).threshold).max(1),
                ),
            };
            let points = super::ledger::whole(points[signal.index()]);
            Weight { signal, value, threshold, points }
        })
        .collect();
    // The order of equal ones is that of the signals.
    weights.sort_by_key(|weight| std::cmp::Reverse(weight.points));
    weights
}

/// The sentence of a signal.
pub(super) fn sentence(weight: &Weight, entry: &Entry) -> Box<str> {
    let Weight { signal, value, threshold, .. } = *weight;
    let text = match signal {
        Signal::Scan => {
            let half_open = match entry.half_open {
                0 => String::new(),
                half_open => format!(", {half_open} were left half open"),
            };
            let hosts = match entry.destinations {
                0 | 1 => "1 host".to_owned(),
                many => format!("{many} hosts"),
            };
            format!(
                "{value} of {} first contacts failed{half_open}, at {hosts}, {} above all",
                entry.contacts(),
                place(entry.favourite)
            )
        }
        Signal::StealthFlags => {
            format!("{value} packets with TCP flags no sane stack sends ({threshold} are full)")
        }
        Signal::SplitHeader => {
            format!("{value} TCP headers split over IP fragments ({threshold} are full)")
        }
        Signal::AckProbe => {
            format!("ACKs of no connection to {value} ports ({threshold} are full)")
        }
        Signal::AuthAttempts => format!(
            "{value} short connections within a minute, or as many a minute over half an hour, to \
             where one logs in at {} ({threshold} are full)",
            place(entry.latest)
        ),
        Signal::IcmpSweep => format!("{value} hosts asked for an echo ({threshold} are full)"),
        Signal::Rate => {
            format!("{value} s ahead of the rate it may send at ({threshold} are full)")
        }
        Signal::IdleConnections => format!(
            "{value} connections open to port {} and nothing asked on them ({threshold} are full)",
            entry.latest.port
        ),
        Signal::DestinationFlood => format!("{value} handshakes were not completed"),
    };
    text.into()
}

fn place(target: Target) -> String {
    if target.transport.has_ports() && target.port > 0 {
        format!("{} port {}", target.address, target.port)
    } else {
        target.address.to_string()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are above zero and far below what fits"
)]
fn number(value: f32) -> u64 {
    value.max(0.0).round() as u64
}
