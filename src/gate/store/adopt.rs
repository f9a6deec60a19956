//! Taking over what the kernel holds: at a start, and when somebody changed it beside the store.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use tracing::warn;

use super::{super::log::Change, GateStore, Held, MapError, State};
use crate::{
    record::Timestamp,
    verdict::{By, Entry, Why},
};

/// When verdicts are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A start that puts verdicts of people and lists back that the kernel lost, as it does in a reboot.
    Start,
    /// A start that puts none back.
    Fresh,
    /// Somebody changed verdicts beside this store, and wrote the log.
    Change,
}

// === impl GateStore ===

impl GateStore {
    /// Takes over what the kernel holds, with the reasons that the log knows, else those that were known here. What
    /// the log knows and the kernel does not hold has ended, unless it is put back. Gives how many it found, and how
    /// many it put back.
    ///
    /// # Errors
    /// If the maps can't be read.
    pub fn adopt(
        &self,
        logged: Vec<Entry>,
        occasion: Occasion,
        now: Timestamp,
    ) -> Result<(usize, usize), MapError> {
        let mut state = self.locked();
        let all = state.kernel.all()?;
        let mut logged: BTreeMap<_, _> =
            logged.into_iter().map(|entry| (entry.verdict.network, entry)).collect();
        let before: BTreeMap<_, _> = state
            .entries
            .live()
            .map(|entry| (entry.verdict.network, (entry.verdict.id, entry.verdict.reasons.clone())))
            .collect();
        state.entries.clear_live();
        for (network, held) in all {
            let written =
                logged.remove(&network).map(|known| (known.verdict.id, known.verdict.reasons));
            let known = [written, before.get(&network).cloned()].into_iter().flatten();
            let reasons = known.filter(|(id, _)| *id == held.id).map(|(_, reasons)| reasons).next();
            state.entries.put(held.entry(network, reasons.unwrap_or_default()));
        }
        let found = state.entries.len();
        let mut back = 0;
        for entry in logged.into_values() {
            back += usize::from(self.settle(&mut state, entry, occasion, now));
        }
        let newest = state.entries.live().max_by_key(|entry| entry.since);
        state.newest = newest.map(|entry| entry.verdict.network).or(state.newest);
        // A person's command leaves it to the daemon.
        if self.user.is_none() {
            self.lift(&mut state, now);
        }
        Ok((found, back))
    }

    /// Puts a verdict back that the kernel lost, or remembers that it has ended. True if it was put back.
    fn settle(&self, state: &mut State, entry: Entry, occasion: Occasion, now: Timestamp) -> bool {
        if entry.ended.is_some() {
            state.entries.remember(entry);
            return false;
        }
        let ends = entry.deadline();
        let is_over = ends.is_some_and(|end| end <= now);
        if !is_over && occasion == Occasion::Start && self.put_back(state, &entry, now) {
            state.entries.put(entry);
            return true;
        }
        let (at, why, change) = match ends.filter(|_| is_over) {
            Some(end) => (end, Why::Expired, Change::Expired),
            None => (now, Why::Removed, Change::Removed),
        };
        let entry = entry.ended(at, why);
        // Who changed it beside the store has written that.
        if occasion != Occasion::Change {
            self.write(state, change, &entry, at);
        }
        state.entries.remember(entry);
        false
    }

    /// Whether a verdict of a person or a list holds again, for as long as it has left.
    fn put_back(&self, state: &mut State, entry: &Entry, now: Timestamp) -> bool {
        let Entry { verdict, mode, .. } = entry;
        if !matches!(verdict.by, By::Cli | By::List) || *mode != self.policy.mode {
            return false;
        }
        let network: IpNet = verdict.network;
        let left = entry.deadline().map(|end| Duration::from_nanos(end.since(now)));
        let refused = match state.refusal(network) {
            Some(refusal) => refusal.to_string(),
            None => match state.put_in_kernel(network, &Held::of(entry), left) {
                Ok(()) => return true,
                Err(error) => error.to_string(),
            },
        };
        warn!(%network, "a verdict of an earlier run is not put back: {refused}");
        false
    }
}
