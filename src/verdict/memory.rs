//! A store in memory: what a replay, a tuning run and tests have in place of the kernel's.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio::sync::watch;

use super::{Answer, Entries, Entry, Mode, Refusal, Store, Verdict, Why, networks_of};
use crate::{networks::Networks, record::Timestamp};

/// Verdicts in memory. It sees no packets, so nothing is blocked and nothing counted.
#[derive(Debug)]
pub struct MemoryStore {
    max: usize,
    mode: Mode,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    networks: watch::Receiver<Arc<Networks>>,
    entries: Entries,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// A store for `max` verdicts at once that says it is in `mode`, and refuses what `networks` allow.
    pub fn new(max: usize, mode: Mode, networks: watch::Receiver<Arc<Networks>>) -> Self {
        let state = State { networks, entries: Entries::default() };
        Self { max, mode, state: Mutex::new(state) }
    }

    /// The state as of `now`: what was due has ended.
    fn at(&self, now: Timestamp) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expire(now);
        state.lift_allowed(now);
        state
    }
}

impl Store for MemoryStore {
    fn apply(&self, verdict: Verdict, now: Timestamp) -> Answer {
        let mut state = self.at(now);
        let network = verdict.network.trunc();
        if let Some(refusal) = state.refusal(network) {
            return Answer::Refused(refusal);
        }
        let before = state.entries.take(network);
        if before.is_none() && state.entries.len() >= self.max {
            return Answer::Refused(Refusal::Full { max: self.max });
        }
        let mut entry = Entry::new(Verdict { network, ..verdict }, self.mode, now);
        if let Some(Entry { packets, bytes, .. }) = before {
            (entry.packets, entry.bytes) = (packets, bytes);
        }
        state.entries.put(entry);
        Answer::Applied(self.mode)
    }

    fn remove(&self, network: IpNet, now: Timestamp) -> Option<Entry> {
        self.at(now).end(network.trunc(), now, Why::Removed)
    }

    fn list(&self, now: Timestamp) -> Vec<Entry> {
        self.at(now).entries.live().cloned().collect()
    }

    fn explain(&self, address: IpAddr, now: Timestamp) -> Vec<Entry> {
        let state = self.at(now);
        networks_of(address).filter_map(|network| state.entries.about(network)).cloned().collect()
    }
}

// === impl State ===

impl State {
    fn refusal(&self, network: IpNet) -> Option<Refusal> {
        if network.prefix_len() == 0 {
            return Some(Refusal::Everybody(network));
        }
        let networks = self.networks.borrow();
        if let Some((network, entry)) = networks.allowed(network) {
            return Some(Refusal::Allowed { network: *network, place: entry.place.clone() });
        }
        let (network, ()) = networks.destinations.covering(network)?;
        Some(Refusal::NeverBlocked { network: *network, what: "a sink writes to it".into() })
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((at, network)) = self.entries.due(now) {
            self.end(network, at, Why::Expired);
        }
    }

    /// Ends what the allow list covers since it was read again.
    fn lift_allowed(&mut self, now: Timestamp) {
        // Without a sender it never changes again.
        if !self.networks.has_changed().unwrap_or(false) {
            return;
        }
        self.networks.mark_unchanged();
        let live = self.entries.live().map(|entry| entry.verdict.network);
        let lifted: Vec<_> = live.filter(|network| self.refusal(*network).is_some()).collect();
        for network in lifted {
            self.end(network, now, Why::Allowed);
        }
    }

    fn end(&mut self, network: IpNet, at: Timestamp, why: Why) -> Option<Entry> {
        let entry = self.entries.take(network)?.ended(at, why);
        self.entries.remember(entry.clone());
        Some(entry)
    }
}

#[cfg(test)]
mod tests;
