//! What the program's guard holds off → verdicts by `guard`, or the hold is taken back.
//!
//! Data passes: an event of a hold → [`Desk`] → the store, which knows whom no verdict may cut off and writes the
//! log; then the program's own hold ends, for the verdict is in its place, or nothing is. While nobody answers, the
//! hold ends by itself.

use std::{sync::Arc, time::Duration};

use tidegate_ebpf::evidence::{Event, Told};
use tracing::{info, warn};

use super::{GateStore, evidence::Ring};
use crate::{
    record::{Id, Timestamp},
    verdict::{Action, Answer, By, Mode, Refusal, Scope, Verdict},
};

/// When the guard holds a source off, as the config says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// At how many distinct ports.
    pub distinct_ports: u16,
    /// For how long, and within what time.
    pub hold: Duration,
    /// Above how many SYNs a second some are dropped, if at all.
    pub syn_rate: Option<u32>,
}

/// Decides about holds.
#[derive(Debug)]
pub struct Desk {
    store: Arc<GateStore>,
    terms: Terms,
}

// === impl Desk ===

impl Desk {
    /// One that puts verdicts into `store`.
    pub fn new(store: Arc<GateStore>, terms: Terms) -> Self {
        Self { store, terms }
    }

    /// Makes a verdict of a hold, or takes it back. Of the other events nothing.
    pub fn decide(&self, event: &Event, ring: &mut dyn Ring, now: Timestamp) {
        let Some(verdict) = self.verdict(event, now) else { return };
        let source = event.source;
        let met = match ring.suspect(event.place) {
            Ok(suspect) if suspect.mark == event.mark => (suspect.packets, suspect.bytes),
            // Another is watched in its place, so it is held no longer by the program itself.
            _ => (0, 0),
        };
        match self.store.hold(verdict, met, now) {
            Some(Answer::Applied(mode)) => {
                let does = if mode == Mode::Enforce { "holds" } else { "would hold" };
                info!(%source, secs = self.terms.hold.as_secs(), "the guard {does} a source off");
            }
            Some(Answer::Refused(
                refusal @ (Refusal::Allowed { .. }
                | Refusal::NeverBlocked { .. }
                | Refusal::Everybody(_)),
            )) => info!(%source, %refusal, "a hold of the guard was taken back"),
            // It holds, and ends, without a verdict.
            Some(Answer::Refused(refusal)) => {
                warn!(%source, %refusal, "the guard holds a source off that there is no verdict of");
                return;
            }
            None => {
                info!(%source, "the guard holds a source off that has a verdict");
                return;
            }
        }
        if let Err(error) = ring.release(event.place, event.mark) {
            warn!(%source, %error, "a hold of the guard could not be ended; it ends by itself");
        }
    }

    fn verdict(&self, event: &Event, now: Timestamp) -> Option<Verdict> {
        let Terms { distinct_ports, hold, syn_rate } = self.terms;
        let (action, why) = match event.told {
            Told::Held => (
                Action::Drop,
                format!(
                    "it tried {distinct_ports} ports within {} s and completed no connection, last \
                     {} of {}",
                    hold.as_secs(),
                    event.destination_port,
                    event.destination
                ),
            ),
            Told::Limited => (
                Action::RateLimit,
                format!("it began more than {} connections a second", syn_rate?),
            ),
            _ => return None,
        };
        let id = Id::of("verdict", "guard").address(event.source).time(now).finish();
        Some(Verdict {
            id,
            network: event.source.into(),
            action,
            scope: Scope::New,
            port: None,
            ttl: Some(hold),
            score: 0,
            offence: 0,
            reasons: vec![why.into_boxed_str()],
            by: By::Guard,
        })
    }
}
