//! A store in memory: what a replay, a tuning run and tests have in place of the kernel's.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio::sync::watch;

use super::{Answer, Entry, Mode, Refusal, Store, Verdict, Why};
use crate::{networks::Networks, record::Timestamp};

/// Ended verdicts that are remembered; those that ended first are forgotten first.
const MAX_ENDED: usize = 65_536;

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
    /// Those that hold.
    live: BTreeMap<IpNet, Entry>,
    /// Of these, those that end by themselves, the next one first.
    due: BTreeSet<(Timestamp, IpNet)>,
    /// The last one about each network where none holds.
    ended: BTreeMap<IpNet, Entry>,
    /// The same, the one that ended first in front.
    oldest: BTreeSet<(Timestamp, IpNet)>,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// A store for `max` verdicts at once that says it is in `mode`, and refuses what `networks` allow.
    pub fn new(max: usize, mode: Mode, networks: watch::Receiver<Arc<Networks>>) -> Self {
        let state = State {
            networks,
            live: BTreeMap::new(),
            due: BTreeSet::new(),
            ended: BTreeMap::new(),
            oldest: BTreeSet::new(),
        };
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
        let before = state.take(network);
        if before.is_none() && state.live.len() >= self.max {
            return Answer::Refused(Refusal::Full { max: self.max });
        }
        let mut entry = Entry::new(Verdict { network, ..verdict }, self.mode, now);
        if let Some(Entry { packets, bytes, .. }) = before {
            (entry.packets, entry.bytes) = (packets, bytes);
        }
        state.put(entry);
        Answer::Applied(self.mode)
    }

    fn remove(&self, network: IpNet, now: Timestamp) -> Option<Entry> {
        self.at(now).end(network.trunc(), now, Why::Removed)
    }

    fn list(&self, now: Timestamp) -> Vec<Entry> {
        self.at(now).live.values().cloned().collect()
    }

    fn explain(&self, address: IpAddr, now: Timestamp) -> Vec<Entry> {
        let state = self.at(now);
        let whole = IpNet::from(address);
        std::iter::successors(Some(whole), IpNet::supernet)
            .filter_map(|network| state.live.get(&network).or_else(|| state.ended.get(&network)))
            .cloned()
            .collect()
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
        while let Some((at, network)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
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
        let lifted: Vec<_> =
            self.live.keys().copied().filter(|network| self.refusal(*network).is_some()).collect();
        for network in lifted {
            self.end(network, now, Why::Allowed);
        }
    }

    fn put(&mut self, entry: Entry) {
        let network = entry.verdict.network;
        self.due.extend(entry.deadline().map(|at| (at, network)));
        self.live.insert(network, entry);
        self.forget(network);
    }

    fn take(&mut self, network: IpNet) -> Option<Entry> {
        let entry = self.live.remove(&network)?;
        if let Some(at) = entry.deadline() {
            self.due.remove(&(at, network));
        }
        Some(entry)
    }

    fn end(&mut self, network: IpNet, at: Timestamp, why: Why) -> Option<Entry> {
        let entry = self.take(network)?.ended(at, why);
        self.forget(network);
        self.oldest.insert((at, network));
        self.ended.insert(network, entry.clone());
        if self.oldest.len() > MAX_ENDED
            && let Some((_, oldest)) = self.oldest.pop_first()
        {
            self.ended.remove(&oldest);
        }
        Some(entry)
    }

    fn forget(&mut self, network: IpNet) {
        if let Some(ended) = self.ended.remove(&network).and_then(|entry| entry.ended) {
            self.oldest.remove(&(ended.at, network));
        }
    }
}

#[cfg(test)]
mod tests;
