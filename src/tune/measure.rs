//! How well the judge told the sources apart.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use serde::Serialize;

use super::{
    labels::Labels,
    observe::{Gravest, Judged, Met, Observer},
    open::Input,
    statistics::{float, percentile, share, wilson},
};
use crate::{record::Signal, score::Settings};

/// The bounds of what a site's own success rate may make of `theta0`.
const THETA0: (f64, f64) = (0.6, 0.98);
/// So many benign sources, divided by a rate, show that it is not reached if none of them is told of: the square of
/// the interval's quantile at 95 %.
const SHOWS: f64 = 3.84;
/// Sources with fewer contacts are too short to judge.
const JUDGED_CONTACTS: u32 = 9;

/// The measurement, as `--json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The hash of the config.
    pub config_hash: String,
    /// What each threshold would have told.
    pub thresholds: Vec<ThresholdOutcome>,
    /// The same of sources with at least nine contacts.
    pub thresholds_judged: Vec<ThresholdOutcome>,
    /// Every source that is labelled or was told of.
    pub sources: Vec<SourceOutcome>,
    /// What each signal adds.
    pub ablation: BTreeMap<&'static str, Ablated>,
    /// The share of first contacts that succeed here.
    pub theta0: f64,
    /// The lowest threshold whose false positives are few enough; none without labels.
    pub recommended_threshold: Option<u8>,
    /// Whether the benign sources are enough to show that. If not, none of them is told of from that threshold on,
    /// which says little of others.
    pub recommended_is_shown: bool,
    /// The rate of false positives that was asked for.
    pub target_fpr: f64,
    /// Sources that are labelled benign.
    pub benign_sources: u64,
    /// Seconds to a block: the median and the 95th percentile.
    pub block_seconds: [Option<f64>; 2],
}

/// What a threshold would have told, by source.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ThresholdOutcome {
    /// The score from which on a source is told of.
    pub threshold: u8,
    /// Positive sources that are told of.
    pub tp: u64,
    /// Benign sources that are.
    pub fp: u64,
    /// Positive sources that are not.
    pub r#fn: u64,
    /// Benign sources that are not.
    pub tn: u64,
    /// Of those told of, how many are positive.
    pub precision: Option<f64>,
    /// Of the positive, how many are told of.
    pub recall: Option<f64>,
    /// Of the benign, how many are told of; with its interval at 95 %.
    pub fpr: Option<f64>,
    /// The interval's lower bound.
    pub fpr_low: f64,
    /// Its upper bound.
    pub fpr_high: f64,
}

/// What became of a source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceOutcome {
    /// Its address.
    pub src: IpAddr,
    /// Its label.
    pub label: Option<String>,
    /// The scenario it belongs to.
    pub scenario: Option<String>,
    /// The gravest it got.
    pub verdict: Gravest,
    /// Seconds from its first packet to the first alert.
    pub first_alert_s: Option<f64>,
    /// The same to the first block.
    pub first_block_s: Option<f64>,
    /// Its packets before the block.
    pub packets_before_block: Option<u64>,
    /// Its packets after it.
    pub packets_saved: Option<u64>,
    /// The highest score it had.
    pub max_score: u8,
    /// Why.
    pub reasons: Vec<Box<str>>,
}

/// Positive and benign sources that are alerted on, or worse, without a signal.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ablated {
    /// Positive sources.
    pub tp: u64,
    /// Benign sources.
    pub fp: u64,
}

/// Measures what was judged.
pub fn measure(
    inputs: &[Input],
    labels: &Labels,
    settings: &Settings,
    (config_hash, target_fpr): (&str, f64),
) -> Measured {
    let mut sources: BTreeMap<IpAddr, Met> = BTreeMap::new();
    for (address, met) in inputs.iter().flat_map(|input| &input.judged.sources) {
        let known = sources.entry(*address).or_default();
        if (met.verdict, met.max_score) >= (known.verdict, known.max_score) {
            *known = met.clone();
        }
    }
    let thresholds = thresholds(&sources, labels, 0);
    let few = |outcome: &&ThresholdOutcome| outcome.fpr_high <= target_fpr;
    let least = |outcome: &&ThresholdOutcome| outcome.fp == 0;
    let is_benign = |address: &&IpAddr| is_positive(labels, **address) == Some(false);
    let benign_sources = sources.keys().filter(is_benign).count() as u64;
    // With few benign sources no interval is narrow enough: then none of them may be told of.
    let recommended = thresholds.iter().find(few).or(thresholds.iter().find(least));
    let recommended = recommended.filter(|_| benign_sources > 0);
    let mut seconds: Vec<_> = sources.values().filter_map(block_seconds).collect();
    seconds.sort_by(f64::total_cmp);
    Measured {
        config_hash: config_hash.to_owned(),
        recommended_threshold: recommended.map(|found| found.threshold),
        recommended_is_shown: recommended.is_some_and(|found| few(&found)),
        target_fpr,
        benign_sources,
        thresholds_judged: self::thresholds(&sources, labels, JUDGED_CONTACTS),
        thresholds,
        ablation: ablation(inputs, labels, settings),
        theta0: theta0(inputs, labels),
        block_seconds: [percentile(&seconds, 50), percentile(&seconds, 95)],
        sources: sources
            .iter()
            .filter(|(address, met)| {
                labels.of(**address).is_some() || met.verdict > Gravest::None || met.max_score > 0
            })
            .map(|(address, met)| outcome(*address, met, labels))
            .collect(),
    }
}

// === impl Measured ===

impl Measured {
    /// Why the recommended threshold is not shown to be what was asked for, if it is not.
    pub(super) fn doubt(&self) -> Option<String> {
        let rate = self.target_fpr;
        let benign = self.benign_sources;
        if benign == 0 {
            return Some("no source is labelled benign".to_owned());
        }
        if self.recommended_threshold.is_none() {
            return Some("benign sources are told of at every threshold".to_owned());
        }
        let needed = (SHOWS / rate).ceil();
        (!self.recommended_is_shown).then(|| {
            format!(
                "not shown: {benign} benign are too few for a rate below {rate} of false positives, which takes \
                 some {needed}"
            )
        })
    }
}

/// Whether a source is positive; `None` if nobody says so.
fn is_positive(labels: &Labels, source: IpAddr) -> Option<bool> {
    match labels.of(source)?.0 {
        "ignore" => None,
        label => Some(label != "benign"),
    }
}

fn outcome(address: IpAddr, met: &Met, labels: &Labels) -> SourceOutcome {
    let label = labels.of(address);
    let since = |time: Option<crate::record::Timestamp>| Some(float(time?.since(met.first?)) / 1e9);
    let is_blocked = met.blocked.is_some();
    SourceOutcome {
        src: address,
        label: label.map(|(label, _)| label.to_owned()),
        scenario: label.map(|(_, scenario)| scenario.to_owned()).filter(|text| !text.is_empty()),
        verdict: met.verdict,
        first_alert_s: since(met.alerted),
        first_block_s: since(met.blocked),
        packets_before_block: is_blocked.then_some(met.packets_before_block),
        packets_saved: is_blocked.then(|| met.packets.saturating_sub(met.packets_before_block)),
        max_score: met.max_score,
        reasons: met.reasons.clone(),
    }
}

fn block_seconds(met: &Met) -> Option<f64> {
    Some(float(met.blocked?.since(met.first?)) / 1e9)
}

fn thresholds(
    sources: &BTreeMap<IpAddr, Met>,
    labels: &Labels,
    min_contacts: u32,
) -> Vec<ThresholdOutcome> {
    let of = |threshold: u8| {
        let (mut tp, mut fp, mut missed, mut tn) = (0, 0, 0, 0);
        for (address, met) in sources.iter().filter(|(_, met)| met.contacts >= min_contacts) {
            let count = match (is_positive(labels, *address), met.max_score >= threshold) {
                (Some(true), true) => &mut tp,
                (Some(true), false) => &mut missed,
                (Some(false), true) => &mut fp,
                (Some(false), false) => &mut tn,
                (None, _) => continue,
            };
            *count += 1;
        }
        let (fpr_low, fpr_high) = wilson(fp, fp + tn);
        ThresholdOutcome {
            threshold,
            tp,
            fp,
            r#fn: missed,
            tn,
            precision: share(tp, tp + fp),
            recall: share(tp, tp + missed),
            fpr: share(fp, fp + tn),
            fpr_low,
            fpr_high,
        }
    };
    (5..=100).step_by(5).map(of).collect()
}

/// The share of first contacts that succeed of sources that are not known to be malicious.
fn theta0(inputs: &[Input], labels: &Labels) -> f64 {
    let (mut all, mut succeeded) = (0_u64, 0_u64);
    for input in inputs {
        for (address, [tried, reached]) in &input.judged.firsts {
            let met = input.judged.sources.get(address);
            let is_suspect = match is_positive(labels, *address) {
                Some(positive) => positive,
                None => met.is_some_and(|met| met.verdict > Gravest::None),
            };
            if !is_suspect {
                (all, succeeded) = (all + u64::from(*tried), succeeded + u64::from(*reached));
            }
        }
    }
    share(succeeded, all).unwrap_or(0.8).clamp(THETA0.0, THETA0.1)
}

/// What is told of without each signal that played a part.
fn ablation(
    inputs: &[Input],
    labels: &Labels,
    settings: &Settings,
) -> BTreeMap<&'static str, Ablated> {
    let told: Vec<_> = inputs.iter().map(|input| gravest(&input.judged)).collect();
    let plays = |signal: Signal| {
        inputs
            .iter()
            .flat_map(|input| &input.judged.alerts)
            .any(|alert| alert.details.signals.iter().any(|weight| weight.signal == signal))
    };
    let count = |told: &[HashMap<IpAddr, Gravest>]| {
        let mut positives = BTreeMap::new();
        for (address, verdict) in told.iter().flatten() {
            let known: &mut Gravest = positives.entry(*address).or_default();
            *known = (*known).max(*verdict);
        }
        let number = |wanted: bool| {
            let told = positives.iter().filter(|(address, verdict)| {
                **verdict >= Gravest::Alert && is_positive(labels, **address) == Some(wanted)
            });
            told.count() as u64
        };
        Ablated { tp: number(true), fp: number(false) }
    };
    let without = |signal: Signal| {
        if !plays(signal) {
            return count(&told);
        }
        let settings = off(settings, signal);
        let judged = |input: &Input| {
            let mut observer = Observer::new(settings.clone(), Arc::clone(&input.judged.networks));
            for (contact, is_resolved) in &input.judged.contacts {
                observer.contact(contact.clone(), *is_resolved);
            }
            gravest(&observer.finish())
        };
        count(&inputs.iter().map(judged).collect::<Vec<_>>())
    };
    let judging = Signal::ALL.into_iter().filter(|signal| *signal != Signal::DestinationFlood);
    judging.map(|signal| (signal.name(), without(signal))).collect()
}

fn gravest(judged: &Judged) -> HashMap<IpAddr, Gravest> {
    judged.sources.iter().map(|(address, met)| (*address, met.verdict)).collect()
}

/// The settings without a signal.
fn off(settings: &Settings, signal: Signal) -> Settings {
    let mut settings = settings.clone();
    let signals = &mut settings.signals;
    let enabled = match signal {
        Signal::Scan => &mut signals.scan.enabled,
        Signal::StealthFlags => &mut signals.stealth_flags.enabled,
        Signal::SplitHeader => &mut signals.split_header.enabled,
        Signal::AckProbe => &mut signals.ack_probe.enabled,
        Signal::AuthAttempts => &mut signals.auth_attempts.enabled,
        Signal::IcmpSweep => &mut signals.icmp_sweep.enabled,
        Signal::Rate => &mut signals.rate.enabled,
        Signal::IdleConnections => &mut signals.idle_connections.enabled,
        Signal::DestinationFlood => &mut signals.destination_flood.enabled,
    };
    *enabled = false;
    settings
}
