//! What is known of addresses and what is being asked: without I/O and without a clock.
//!
//! [`Directory::want`] for each address of a record; [`Directory::next`] for as long as it gives
//! questions; [`Directory::answered`] for each of them once; [`Directory::names`] when the record
//! goes on.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use super::{
    cache::{Answer, Cache, Failure, Known},
    limits::{Health, Leave, Rate},
    range::{Range, Route},
};
use crate::{metrics::Lookup, networks::NetworkSet, record::HostNames};

/// Questions that are out at once.
const MAX_IN_FLIGHT: usize = 128;
/// Addresses that wait to be asked for.
const MAX_QUEUED: usize = 65_536;

/// What may be asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether anything is asked at all.
    pub ask: bool,
    /// Whether private addresses have a resolver of their own.
    pub private: bool,
    /// Addresses that may be asked for; all of them if empty.
    pub allow: NetworkSet,
    /// Addresses that may not, even if allowed.
    pub deny: NetworkSet,
    /// Addresses whose answers are remembered.
    pub max_entries: usize,
    /// Addresses asked for a second.
    pub rate_limit_per_sec: u32,
}

/// A question to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The address whose names are wanted.
    pub address: IpAddr,
    /// Which resolvers to ask.
    pub route: Route,
}

/// The names of addresses, and the questions about them.
#[derive(Debug)]
pub struct Directory {
    options: Options,
    cache: Cache,
    /// Addresses in `queue` or on their way: nobody asks twice at once.
    asking: HashMap<IpAddr, Asking>,
    queue: VecDeque<Question>,
    in_flight: usize,
    rate: Rate,
    public: Health,
    private: Health,
    counts: [u64; Lookup::ALL.len()],
}

/// What is being asked of an address.
#[derive(Debug)]
struct Asking {
    route: Route,
    /// Whether records are to wait: not for what tries whether a resolver is back, or exceeds the
    /// rate, or was sent to a resolver that has stopped answering.
    awaited: bool,
}

// === impl Directory ===

impl Directory {
    /// A directory that knows nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            cache: Cache::new(options.max_entries),
            asking: HashMap::new(),
            queue: VecDeque::new(),
            in_flight: 0,
            rate: Rate::new(options.rate_limit_per_sec),
            public: Health::UP,
            private: Health::UP,
            counts: [0; Lookup::ALL.len()],
            options,
        }
    }

    /// A record with this address came. True if it should wait: [`awaits`](Self::awaits) says how
    /// long.
    pub fn want(&mut self, address: IpAddr, now: Instant) -> bool {
        let Some(route) = self.route(address) else {
            return false;
        };
        match self.cache.known(address, now) {
            Known::Fresh => {
                self.count(Lookup::Hit);
                return false;
            }
            Known::Stale => self.count(Lookup::Stale),
            Known::Unknown => self.count(Lookup::Miss),
        }
        match self.asking.get(&address) {
            Some(asking) => asking.awaited,
            None => self.ask(Question { address, route }, now),
        }
    }

    /// Whether an answer for this address is still worth waiting for.
    pub fn awaits(&self, address: IpAddr) -> bool {
        self.asking.get(&address).is_some_and(|asking| asking.awaited)
    }

    /// The next question to send, if one may be sent now; else when to call again, if a call before
    /// the next answer is of use.
    pub fn next(&mut self, now: Instant) -> Result<Question, Option<Instant>> {
        if self.in_flight >= MAX_IN_FLIGHT || self.queue.is_empty() {
            return Err(None);
        }
        self.rate.take(now).map_err(Some)?;
        let question = self.queue.pop_front().ok_or(None)?;
        self.in_flight += 1;
        Ok(question)
    }

    /// A question that [`next`](Self::next) gave has its answer.
    pub fn answered(&mut self, question: Question, answer: Answer, now: Instant) {
        let Question { address, route } = question;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.asking.remove(&address);
        self.count(ended(&answer));
        let health = self.health(route);
        if answer == Answer::Failed(Failure::Timeout) {
            if health.unanswered(now) {
                self.give_up(route);
            }
        } else {
            health.answered();
        }
        self.cache.insert(address, answer, now);
    }

    /// The names of an address, if they are known.
    pub fn names(&self, address: IpAddr, now: Instant) -> Option<&Arc<HostNames>> {
        if self.options.ask { self.cache.names(address, now) } else { None }
    }

    /// Counts a look-up.
    pub fn count(&mut self, lookup: Lookup) {
        self.counts[lookup as usize] += 1;
    }

    /// Takes the counts since the last call.
    pub fn take_counts(&mut self) -> impl Iterator<Item = (Lookup, u64)> {
        let counts = std::mem::take(&mut self.counts);
        Lookup::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    fn route(&self, address: IpAddr) -> Option<Route> {
        let Options { ask, private, allow, deny, .. } = &self.options;
        if !ask || deny.contains(address) || !(allow.is_empty() || allow.contains(address)) {
            return None;
        }
        match Range::of(address) {
            Range::Public => Some(Route::Public),
            Range::Private if *private => Some(Route::Private),
            Range::Private | Range::Nameless => None,
        }
    }

    fn health(&mut self, route: Route) -> &mut Health {
        match route {
            Route::Public => &mut self.public,
            Route::Private => &mut self.private,
        }
    }

    /// Queues a question. True if its answer is worth waiting for.
    fn ask(&mut self, question: Question, now: Instant) -> bool {
        if self.queue.len() >= MAX_QUEUED {
            self.count(Lookup::QueueFull);
            return false;
        }
        let Question { address, route } = question;
        let awaited = match self.health(route).leave(now) {
            Leave::Suspended => {
                self.count(Lookup::Suspended);
                return false;
            }
            Leave::Try => {
                self.queue.push_front(question);
                false
            }
            Leave::Ask => {
                let in_time = self.rate.has_more_than(self.queue.len(), now);
                if !in_time {
                    self.count(Lookup::RateLimited);
                }
                self.queue.push_back(question);
                in_time
            }
        };
        self.asking.insert(address, Asking { route, awaited });
        awaited
    }

    /// Takes back the questions for a resolver that has stopped answering; those on their way may
    /// still have an answer, but nobody is to wait for it.
    fn give_up(&mut self, route: Route) {
        let (gone, rest) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition::<Vec<_>, _>(|question| question.route == route);
        self.queue = rest.into();
        for question in gone {
            self.asking.remove(&question.address);
            self.count(Lookup::Suspended);
        }
        for asking in self.asking.values_mut().filter(|asking| asking.route == route) {
            asking.awaited = false;
        }
    }
}

/// How a look-up ended.
fn ended(answer: &Answer) -> Lookup {
    match answer {
        Answer::Names(names, _) if names.reliable.is_empty() => Lookup::Unverified,
        Answer::Names(..) => Lookup::Named,
        Answer::Nameless(_) => Lookup::NoName,
        Answer::Invalid(_) => Lookup::Invalid,
        Answer::Failed(Failure::Timeout) => Lookup::Timeout,
        Answer::Failed(Failure::Refused) => Lookup::Failed,
    }
}

#[cfg(test)]
mod tests;
