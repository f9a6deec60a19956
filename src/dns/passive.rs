//! Names from DNS answers in our own capture: what a client asked for before it went there.
//!
//! They beat PTR records, which often name the owner of the machine room. An answer counts only if
//! the question it answers was seen before, between the same addresses and ports: a single forged
//! packet can't give an attacker's address a good name.

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

/// The same as `-T ek` prints them.
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
/// Questions that wait for their answer at most.
const MAX_QUESTIONS: usize = 16_384;
/// Addresses taken from one answer at most.
const MAX_ADDRESSES: usize = 32;

/// Names seen in DNS answers, bounded.
#[derive(Debug)]
pub struct PassiveNames {
    questions: Cache<Question, Timestamp>,
    names: Cache<Key, Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    client: IpAddr,
    port: u16,
    server: IpAddr,
    transport: Transport,
    name: Box<str>,
}

/// An address as one client knows it, or as whoever asked last does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    address: IpAddr,
    client: Option<IpAddr>,
}

#[derive(Debug, Clone)]
struct Seen {
    names: Arc<HostNames>,
    at: Timestamp,
}

// === impl PassiveNames ===

impl PassiveNames {
    /// Holds about `max_entries` names; those used least go first.
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
            let transport = header.transport;
            Question { client, port, server, transport, name }
        };
        if ports.destination == DNS_PORT {
            let question = question(header.source, ports.source, header.destination);
            self.questions.insert(question, packet.time);
        } else if ports.source == DNS_PORT {
            let question = question(header.destination, ports.destination, header.source);
            let asked = self.questions.peek(&question);
            if asked.is_some_and(|asked| within(*asked, packet.time, ANSWER_WINDOW_NANOS)) {
                self.answer(question.name, question.client, packet);
            }
        }
    }

    /// The names of `address`, as `peer` knows it if that asked, at the time of a record.
    pub fn names(
        &self,
        address: IpAddr,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<&Arc<HostNames>> {
        if self.names.is_empty() {
            return None;
        }
        let seen = |client| {
            let seen = self.names.get(&Key { address, client })?;
            within(seen.at, now, KEPT_NANOS).then_some(&seen.names)
        };
        peer.and_then(|peer| seen(Some(peer))).or_else(|| seen(None))
    }

    fn answer(&mut self, name: Box<str>, client: IpAddr, packet: &Packet) {
        let names = Arc::new(HostNames {
            origin: NameOrigin::Passive,
            reliable: vec![name],
            unverified: Vec::new(),
        });
        for address in addresses(&packet.extra) {
            for client in [Some(client), None] {
                let seen = Seen { names: Arc::clone(&names), at: packet.time };
                self.names.insert(Key { address, client }, seen);
            }
        }
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
