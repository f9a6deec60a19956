//! Names from DNS answers in our own capture: what a client asked for before it went there.
//!
//! They beat PTR records, which often name the owner of the machine room. An answer counts only if
//! the question it answers was seen before, between the same addresses and ports, and no more often
//! than that was asked: a single forged packet can't give an attacker's address a good name. And it
//! counts only for who asked: a client that has its own server asked for a good name deceives nobody
//! but itself. Others hear of the name as one that nobody vouches for.
//!
//! One address serves many names, so what counts is what was known when a record began, not what has
//! been asked for since.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use quick_cache::unsync::Cache;

use super::host_name;
use crate::record::{Extra, HostNames, NameOrigin, Packet, Timestamp, Transport};

/// The tshark fields it learns from. Without the last two it can't tell an answer's own addresses
/// from those of name servers that came along with it.
pub const FIELDS: [&str; 5] =
    ["dns.qry.name", "dns.a", "dns.aaaa", "dns.count.answers", "dns.resp.type"];

/// All fields it looks at: with its id an answer is told from a forged one.
pub const ALL_FIELDS: [&str; 6] =
    ["dns.id", "dns.qry.name", "dns.a", "dns.aaaa", "dns.count.answers", "dns.resp.type"];

/// The message's id as `-T ek` prints it: looked at if it is there.
const ID: &str = "dns_id";
/// The others likewise.
const QUERY_NAME: &str = "dns_qry_name";
const A: &str = "dns_a";
const AAAA: &str = "dns_aaaa";
const ANSWERS: &str = "dns_count_answers";
const TYPES: &str = "dns_resp_type";

/// DNS's own port.
const DNS_PORT: u16 = 53;
/// How long after its question an answer counts: resolvers give up sooner.
const ANSWER_WINDOW_NANOS: u64 = 30 * 1_000_000_000;
/// How long a name holds after it was last seen in an answer: an address changes hands, but a
/// connection outlives the TTL of the answer that led to it.
const KEPT_NANOS: u64 = 24 * 3_600 * 1_000_000_000;
/// How much later than the record an answer may come to be taken for what led to it, when nothing
/// earlier is known: packets may be out of order, but not by more.
const SLACK_NANOS: u64 = 100_000_000;
/// Questions that wait for their answer at most.
const MAX_QUESTIONS: usize = 16_384;
/// Questions that look the same without their ids: A, AAAA and HTTPS of one name from one port.
const MAX_ALIKE: u8 = 3;
/// Addresses taken from one answer at most.
const MAX_ADDRESSES: usize = 32;
/// Names remembered of an address as one client knows it: so many changes of name a record may come
/// late by.
const MAX_NAMES: usize = 4;

/// Names seen in DNS answers, bounded.
#[derive(Debug)]
pub struct PassiveNames {
    questions: Cache<Question, Asked>,
    names: Cache<Key, History>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    client: IpAddr,
    port: u16,
    server: IpAddr,
    transport: Transport,
    id: Option<u16>,
    name: Box<str>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Timestamp,
    /// Answers still to come.
    open: u8,
}

/// An address as one client knows it, or (`None`) as any other client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    address: IpAddr,
    client: Option<IpAddr>,
}

/// The names of an address, as they were learnt.
#[derive(Debug, Clone, Default)]
struct History(Vec<Seen>);

/// A name, and when it was first and last seen, with no other in between.
#[derive(Debug, Clone)]
struct Seen {
    names: Arc<HostNames>,
    first: Timestamp,
    last: Timestamp,
}

// === impl PassiveNames ===

impl PassiveNames {
    /// Holds about `max_entries` addresses, each as often as clients know it and once for all others,
    /// with four names at most; those used least go first.
    pub fn new(max_entries: usize) -> Self {
        Self { questions: Cache::new(MAX_QUESTIONS), names: Cache::new(max_entries) }
    }

    /// Takes note of a question, or of the addresses in its answer. Packets without DNS fields cost
    /// next to nothing.
    pub fn learn(&mut self, packet: &Packet) {
        if packet.extra.is_empty() {
            return;
        }
        // The innermost header is the message's own, also within a tunnel.
        let header = packet.inner.last().unwrap_or(&packet.outer);
        let (Some(name), Some(ports)) = (query_name(&packet.extra), header.layer4.ports()) else {
            return;
        };
        let question = |client, port, server| {
            let (transport, id) = (header.transport, message_id(&packet.extra));
            Question { client, port, server, transport, id, name }
        };
        if ports.destination == DNS_PORT {
            self.asked(question(header.source, ports.source, header.destination), packet.time);
        } else if ports.source == DNS_PORT {
            let question = question(header.destination, ports.destination, header.source);
            if self.was_asked(&question, packet.time) {
                self.answered(question.name, question.client, packet);
            }
        }
    }

    /// The name under which `client` asked for `address`, by the time it went there: reliable.
    pub fn names(
        &self,
        address: IpAddr,
        client: IpAddr,
        time: Timestamp,
    ) -> Option<&Arc<HostNames>> {
        self.known(address, Some(client), time)
    }

    /// The name under which whoever it was asked for `address`, by that time: unverified.
    pub fn unverified(&self, address: IpAddr, time: Timestamp) -> Option<&Arc<HostNames>> {
        self.known(address, None, time)
    }

    fn known(
        &self,
        address: IpAddr,
        client: Option<IpAddr>,
        time: Timestamp,
    ) -> Option<&Arc<HostNames>> {
        if self.names.is_empty() {
            return None;
        }
        self.names.get(&Key { address, client })?.at(time)
    }

    fn asked(&mut self, question: Question, at: Timestamp) {
        let most = if question.id.is_some() { 1 } else { MAX_ALIKE };
        if let Some(mut asked) = self.questions.get_mut(&question)
            && within(asked.at, at, ANSWER_WINDOW_NANOS)
        {
            *asked = Asked { at, open: most.min(asked.open + 1) };
            return;
        }
        self.questions.insert(question, Asked { at, open: 1 });
    }

    /// Whether an answer to it is still to come, which then is this one. A later one is a copy, and
    /// teaches nothing new, or a forgery.
    fn was_asked(&mut self, question: &Question, at: Timestamp) -> bool {
        let Some(mut asked) = self.questions.get_mut(question) else { return false };
        if !within(asked.at, at, ANSWER_WINDOW_NANOS) {
            return false;
        }
        asked.open = asked.open.saturating_sub(1);
        let was_last = asked.open == 0;
        drop(asked);
        if was_last {
            self.questions.remove(question);
        }
        true
    }

    fn answered(&mut self, name: Box<str>, client: IpAddr, packet: &Packet) {
        let of = |reliable, unverified| {
            Arc::new(HostNames { origin: NameOrigin::Passive, reliable, unverified })
        };
        let unverified_names = of(Vec::new(), vec![name.clone()]);
        let known = of(vec![name], Vec::new());
        for address in addresses(&packet.extra) {
            for (client, names) in [(Some(client), &known), (None, &unverified_names)] {
                self.remember(Key { address, client }, names, packet.time);
            }
        }
    }

    fn remember(&mut self, key: Key, names: &Arc<HostNames>, at: Timestamp) {
        if let Some(mut history) = self.names.get_mut(&key) {
            history.add(names, at);
            return;
        }
        let mut history = History::default();
        history.add(names, at);
        self.names.insert(key, history);
    }
}

// === impl History ===

impl History {
    fn add(&mut self, names: &Arc<HostNames>, at: Timestamp) {
        if let Some(newest) = self.0.last_mut()
            && newest.names == *names
        {
            (newest.first, newest.last) = (newest.first.min(at), newest.last.max(at));
            return;
        }
        if self.0.len() >= MAX_NAMES {
            self.0.remove(0);
        }
        // Most have one name for ever, and shall not pay for four.
        self.0.reserve_exact(1);
        self.0.push(Seen { names: Arc::clone(names), first: at, last: at });
    }

    /// What was known at that time, or the moment after.
    fn at(&self, time: Timestamp) -> Option<&Arc<HostNames>> {
        let earlier = self.0.iter().filter(|seen| seen.first <= time);
        let seen = earlier.max_by_key(|seen| seen.first).or_else(|| {
            let earliest = self.0.iter().min_by_key(|seen| seen.first);
            earliest.filter(|seen| seen.first.since(time) <= SLACK_NANOS)
        })?;
        (time.since(seen.last) <= KEPT_NANOS).then_some(&seen.names)
    }
}

/// Whether two times are no further apart, whichever comes first: packets may be out of order.
fn within(one: Timestamp, other: Timestamp, nanos: u64) -> bool {
    one.since(other).max(other.since(one)) <= nanos
}

fn values<'a>(extra: &'a [Extra], name: &str) -> Option<&'a [Box<str>]> {
    extra.iter().find(|extra| *extra.name == *name).map(|extra| &*extra.values)
}

/// The one name asked for.
fn query_name(extra: &[Extra]) -> Option<Box<str>> {
    match values(extra, QUERY_NAME)? {
        [name] => host_name(name),
        _ => None,
    }
}

/// The message's id; `None` if the field was not asked for, or there are several.
fn message_id(extra: &[Extra]) -> Option<u16> {
    match values(extra, ID)? {
        [id] => u16::from_str_radix(id.strip_prefix("0x")?, 16).ok(),
        _ => None,
    }
}

/// The addresses of a message's answer section.
fn addresses(extra: &[Extra]) -> impl Iterator<Item = IpAddr> {
    let answered = answered(extra);
    let of = |field, record_type: &str| {
        let values = values(extra, field).unwrap_or_default();
        let most = answered.map_or(values.len(), |types| {
            types.iter().filter(|found| &***found == record_type).count()
        });
        values.iter().take(most)
    };
    let v4 = of(A, "1").filter_map(|text| text.parse::<Ipv4Addr>().ok()).map(IpAddr::V4);
    let v6 = of(AAAA, "28").filter_map(|text| text.parse::<Ipv6Addr>().ok()).map(IpAddr::V6);
    v4.chain(v6).filter(is_host).take(MAX_ADDRESSES)
}

/// The types of the records in the answer section; `None` if the fields were not asked for.
fn answered(extra: &[Extra]) -> Option<&[Box<str>]> {
    let count: usize = values(extra, ANSWERS)?.first()?.parse().ok()?;
    let types = values(extra, TYPES)?;
    types.get(..count.min(types.len()))
}

/// Whether it can be a peer's address: block lists answer with 0.0.0.0 and 127.0.0.1.
fn is_host(address: &IpAddr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

#[cfg(test)]
mod tests;
