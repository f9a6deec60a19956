//! What every store remembers: the verdicts that hold, and of each network without one the last that has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::Entry;
use crate::record::Timestamp;

/// Ended verdicts that are remembered; those that ended first are forgotten first.
pub(super) const MAX_ENDED: usize = 65_536;

/// Verdicts by their networks, those that hold and those that held.
#[derive(Debug, Default)]
pub struct Entries {
    live: BTreeMap<IpNet, Entry>,
    /// Of these, those that end by themselves, the next one first.
    due: BTreeSet<(Timestamp, IpNet)>,
    /// The last one about each network where none holds.
    ended: BTreeMap<IpNet, Entry>,
    /// The same, the one that ended first in front.
    oldest: BTreeSet<(Timestamp, IpNet)>,
}

// === impl Entries ===

impl Entries {
    /// One that holds, in place of the one about the same network.
    pub fn put(&mut self, entry: Entry) {
        let network = entry.verdict.network;
        self.take(network);
        self.due.extend(entry.deadline().map(|at| (at, network)));
        self.live.insert(network, entry);
        self.forget(network);
    }

    /// Takes the one that holds out.
    pub fn take(&mut self, network: IpNet) -> Option<Entry> {
        let entry = self.live.remove(&network)?;
        if let Some(at) = entry.deadline() {
            self.due.remove(&(at, network));
        }
        Some(entry)
    }

    /// Keeps one that has ended.
    pub fn remember(&mut self, entry: Entry) {
        let network = entry.verdict.network;
        self.forget(network);
        self.oldest.insert((ended_at(&entry), network));
        self.ended.insert(network, entry);
        if self.oldest.len() > MAX_ENDED
            && let Some((_, oldest)) = self.oldest.pop_first()
        {
            self.ended.remove(&oldest);
        }
    }

    fn forget(&mut self, network: IpNet) {
        if let Some(entry) = self.ended.remove(&network) {
            self.oldest.remove(&(ended_at(&entry), network));
        }
    }

    /// None holds any more; those that have ended are remembered.
    pub fn clear_live(&mut self) {
        self.live.clear();
        self.due.clear();
    }

    /// The next one whose time is over at `now`, and when it was.
    pub fn due(&self, now: Timestamp) -> Option<(Timestamp, IpNet)> {
        self.due.first().copied().filter(|(at, _)| *at <= now)
    }

    /// The one about exactly this network that holds.
    pub fn get(&self, network: IpNet) -> Option<&Entry> {
        self.live.get(&network)
    }

    /// The same, to be changed; not its network, and not when it ends.
    pub fn get_mut(&mut self, network: IpNet) -> Option<&mut Entry> {
        self.live.get_mut(&network)
    }

    /// The one about exactly this network that holds, else the last that has ended.
    pub fn about(&self, network: IpNet) -> Option<&Entry> {
        self.live.get(&network).or_else(|| self.ended.get(&network))
    }

    /// Those that hold, in the order of their networks.
    pub fn live(&self) -> impl Iterator<Item = &Entry> {
        self.live.values()
    }

    /// How many hold.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none holds.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

fn ended_at(entry: &Entry) -> Timestamp {
    entry.ended.map_or(entry.since, |ended| ended.at)
}

/// An address and the networks that it is in, the narrowest first.
pub fn networks_of(address: IpAddr) -> impl Iterator<Item = IpNet> {
    std::iter::successors(Some(IpNet::from(address)), IpNet::supernet)
}
