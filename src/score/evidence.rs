//! Contacts become evidence: each moves the signals of its source, once, whoever tells it.

mod rates;

use std::{hash::RandomState, net::IpAddr, ops::RangeInclusive};

use self::rates::{Bucket, Metered};
use super::{
    ledger::{Entry, Ledger, Target},
    policy::{Policy, single},
    recent::Recent,
    salted::{Salt, What},
    seen::Seen,
    source::Source,
    trail::Trail,
    window::Window,
};
use crate::record::{Contact, Outcome, Signal, Timestamp, Transport};

/// Ports where people log in.
const AUTH_PORTS: [u16; 5] = [21, 22, 23, 3389, 5900];
/// Ports of web servers.
const WEB_PORTS: [u16; 4] = [80, 443, 8080, 8443];
/// UDP ports that traceroute tries, one a packet (traceroute(8): from 33434 on).
const TRACED_PORTS: RangeInclusive<u16> = 33_434..=33_534;
const NANOS: u64 = 1_000_000_000;
const MINUTE_NANOS: u64 = 60 * NANOS;
const DAY_NANOS: u64 = 86_400 * NANOS;
/// Contacts that are remembered at least, each 16 bytes; twice as many at most.
const MAX_SEEN: usize = 1 << 20;
/// (Source, destination, port)s where somebody logs in; sources that have connections to web servers
/// open; sources that sent more than their bucket is filled up with in a second.
const MAX_FOLLOWED: usize = 1 << 16;
/// Sessions with admin ports that are remembered of a source.
const MAX_SESSIONS: usize = 16;
/// How far the beginning of a session, as its end tells it, may be from its handshake.
const HANDSHAKE_NANOS: u64 = 10 * NANOS;

/// What was seen of a contact, in bits.
const FAILED: u8 = 1;
const SUCCEEDED: u8 = 2;
const OTHER: u8 = 4;
/// It counts neither way.
const EXEMPT: u8 = 8;
const HALF_OPEN: u8 = 16;
/// Of which of its own ports the source left a contact half open, as far as two bits tell: whoever tells the same
/// handshake again tells the same port.
const FROM: u8 = OTHER | 32;

/// The ledger and what it takes to count nothing twice.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) ledger: Ledger,
    pub(super) salt: Salt,
    /// What was seen of contacts, by their keys.
    pub(super) seen: Seen,
    /// Which flows were held against whom.
    pub(super) trail: Trail,
    /// Whether the contact that was taken in last had succeeded before.
    pub(super) had_worked: bool,
    /// Since when what fails may be an outage's, while there is one.
    pub(super) outage: Option<Timestamp>,
    tries: Recent<(Source, u64), Tries, RandomState>,
    open: Recent<(Source, u16), Idle, RandomState>,
    buckets: Recent<(Source, Metered), Option<Bucket>, RandomState>,
}

/// Tries to log in at one (destination, port).
#[derive(Debug, Default)]
struct Tries {
    fast: Window<12>,
    slow: Window<30>,
}

/// Connections to one web port that are open.
#[derive(Debug, Default)]
struct Idle {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    bytes: u64,
}

/// What a contact did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raised {
    pub(super) source: Source,
    /// The signal that it raised.
    pub(super) signal: Signal,
}

/// What came of a first contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Yes,
    No,
    /// The source gave up what it had begun.
    HalfOpen,
}

/// A contact, and what is known beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard<'a> {
    pub(super) contact: &'a Contact,
    pub(super) source: Source,
    /// The time of the ledger: that of the contact, or later.
    pub(super) now: Timestamp,
    /// The source had resolved the destination's name.
    pub(super) is_resolved: bool,
    /// Whoever tells it has looked for the socket.
    pub(super) looked_up: bool,
    /// Administrators come in by the port.
    pub(super) is_admin: bool,
}

// === impl Evidence ===

impl Evidence {
    pub(super) fn new(max_sources: usize) -> Self {
        let hasher = RandomState::new();
        let seen = MAX_SEEN.min(max_sources.saturating_mul(4)).max(1024);
        Self {
            ledger: Ledger::new(max_sources),
            seen: Seen::new(seen, DAY_NANOS),
            trail: Trail::default(),
            tries: Recent::new(MAX_FOLLOWED, 30 * MINUTE_NANOS, hasher.clone()),
            open: Recent::new(MAX_FOLLOWED, MINUTE_NANOS, hasher.clone()),
            buckets: Recent::new(MAX_FOLLOWED, MINUTE_NANOS, hasher),
            salt: Salt::random(),
            had_worked: false,
            outage: None,
        }
    }

    /// Takes a contact in. Gives what it raised, if anything; a success raises nothing.
    pub(super) fn take(&mut self, heard: Heard<'_>, policy: &Policy) -> Option<Raised> {
        let Heard { contact, source, now, .. } = heard;
        self.had_worked = false;
        if contact.path_proven
            && !is_walked(contact)
            && let Some(entry) = self.ledger.get_mut(source)
        {
            entry.proven = Some(now);
        }
        match contact.outcome {
            Outcome::Attempt => None,
            Outcome::Success => {
                self.walk(heard, Reached::Yes, policy);
                self.excuse_probe(heard, policy);
                self.begin_session(heard, policy);
                None
            }
            Outcome::TimedOut if contact.transport == Transport::UDP => None,
            Outcome::Refused if contact.path_proven && contact.transport == Transport::UDP => {
                self.refuse_answer(heard);
                None
            }
            Outcome::Refused if contact.path_proven => {
                let walked = self.walk(heard, Reached::HalfOpen, policy);
                self.leave_open(heard, policy).or(walked)
            }
            Outcome::Refused | Outcome::TimedOut => self.walk(heard, Reached::No, policy),
            Outcome::OddFlags(_) => Some(self.count(heard, Signal::StealthFlags, policy)),
            Outcome::SplitHeader => Some(self.count(heard, Signal::SplitHeader, policy)),
            Outcome::AckProbe => {
                let key = self.probe_key(contact, source);
                let is_new = self.is_new(key, now);
                is_new.then(|| self.probe(heard, policy))
            }
            Outcome::Echo => {
                let key = self.salt.key(What::Echo, source, contact.destination, 0);
                let is_new = self.is_new(key, now);
                is_new.then(|| self.count(heard, Signal::IcmpSweep, policy))
            }
            Outcome::Ended { duration_nanos, .. } => self.end(heard, duration_nanos, policy),
            Outcome::Open { count, bytes } => self.idle(heard, count, bytes, policy),
            Outcome::Counts { packets, syns, .. } => self.rate(heard, packets, syns, policy),
        }
    }

    /// Reads the memory that these contacts will need, one after the other without waiting for any of it, so that the
    /// processor waits for all of it once.
    pub(super) fn look_ahead(&self, contacts: impl Iterator<Item = (Source, u64)> + Clone) {
        let lines = contacts.clone().map(|(_, key)| self.seen.touch(key));
        let lines = lines.fold(0, |sum, line| sum ^ line);
        let entries = self.ledger.touch(contacts.map(|(source, _)| source));
        std::hint::black_box(lines ^ entries);
    }

    /// What a contact is known by. The ports that a traceroute counts up are one: at the last hop all are closed.
    pub(super) fn key(&self, contact: &Contact, source: Source) -> u64 {
        let port = match contact.port {
            port if contact.transport == Transport::UDP && TRACED_PORTS.contains(&port) => {
                *TRACED_PORTS.start()
            }
            port => port,
        };
        let number = u32::from(port) << 8 | u32::from(contact.transport.0);
        self.salt.key(What::Contact, source, contact.destination, number)
    }

    fn is_new(&mut self, key: u64, now: Timestamp) -> bool {
        self.seen.add(key, OTHER, now) & OTHER == 0
    }

    fn entry(&mut self, heard: Heard<'_>, policy: &Policy) -> &mut Entry {
        entry(&mut self.ledger, heard, policy)
    }

    /// The outcome of a contact: counts the first time, and again if it is reached after all. What is left half open a
    /// second time, from another port, is a check of what is there: reached.
    fn walk(&mut self, heard: Heard<'_>, reached: Reached, policy: &Policy) -> Option<Raised> {
        let Heard { contact, source, now, is_resolved, .. } = heard;
        let key = self.key(contact, source);
        let what = if reached == Reached::Yes { SUCCEEDED } else { FAILED };
        let before = self.seen.add(key, what, now);
        self.had_worked = before & SUCCEEDED != 0;
        let is_first = before & (FAILED | SUCCEEDED) == 0;
        let has_failed = before & (FAILED | SUCCEEDED) == FAILED;
        let is_check = reached == Reached::HalfOpen
            && has_failed
            && before & HALF_OPEN != 0
            && before & FROM != from(contact);
        if is_first && reached == Reached::HalfOpen {
            self.seen.add(key, HALF_OPEN | from(contact), now);
        }
        if is_check {
            self.seen.add(key, SUCCEEDED, now);
        }
        let reached = if is_check { Reached::Yes } else { reached };
        let is_mended = has_failed && reached == Reached::Yes;
        if !is_first && !is_mended {
            if let Some(entry) = self.ledger.get_mut(source) {
                if contact.path_proven {
                    entry.proven = Some(now);
                }
                if self.had_worked && reached == Reached::Yes && before & EXEMPT == 0 {
                    entry.repeat(now, policy);
                }
            }
            return None;
        }
        if is_first && self.is_exempt(heard, reached, policy) {
            self.seen.add(key, EXEMPT, now);
            return None;
        }
        let mark = self.ledger.mark(contact.destination);
        let entry = entry(&mut self.ledger, heard, policy);
        if entry.is_further(mark) {
            let key = self.salt.key(What::Destination, source, contact.destination, 0);
            let is_new = self.seen.add(key, OTHER, now) & OTHER == 0;
            entry.destinations = entry.destinations.saturating_add(u32::from(is_new));
        }
        if is_mended && (is_resolved || before & EXEMPT != 0) {
            return None;
        }
        if is_mended {
            let failed =
                if before & HALF_OPEN == 0 { &mut entry.failures } else { &mut entry.half_open };
            *failed = failed.saturating_sub(1);
            entry.step(-policy.failure_step, policy);
        }
        match reached {
            Reached::Yes => {
                if contact.path_proven && !is_mended {
                    // No failure weighs against it, but for what is half forgotten: so far it is an
                    // honest client.
                    let is_honest = entry.walk < policy.failure_step / 2.0;
                    entry.was_served |= is_honest;
                    entry.is_served = !is_honest;
                }
                entry.successes = entry.successes.saturating_add(1);
                entry.step(policy.success_step, policy);
                None
            }
            Reached::No | Reached::HalfOpen => {
                entry.keep_before(self.outage, policy);
                if entry.before.is_struck {
                    // It is forgotten with the outage, and does not come back when the contact succeeds then.
                    self.seen.add(key, EXEMPT, now);
                }
                if reached == Reached::HalfOpen {
                    entry.leave_open(contact.source_port);
                } else {
                    entry.failures = entry.failures.saturating_add(1);
                }
                entry.step(policy.failure_step, policy);
                Some(Raised { source, signal: Signal::Scan })
            }
        }
    }

    /// Whether a first contact counts neither way: its destination was resolved, and what the source
    /// resolves is mostly there.
    fn is_exempt(&mut self, heard: Heard<'_>, reached: Reached, policy: &Policy) -> bool {
        if !heard.is_resolved {
            return false;
        }
        let scan = &policy.settings.signals.scan;
        let entry = self.entry(heard, policy);
        let (failed, all) = (
            u32::from(entry.resolved_failures),
            u32::from(entry.resolved_failures) + u32::from(entry.resolved_successes),
        );
        let is_scan = failed >= scan.min_failures
            && f64::from(failed) >= scan.min_failure_ratio * f64::from(all);
        let count = match reached {
            Reached::Yes => &mut entry.resolved_successes,
            Reached::No | Reached::HalfOpen => &mut entry.resolved_failures,
        };
        *count = count.saturating_add(1);
        !is_scan
    }

    fn count(&mut self, heard: Heard<'_>, signal: Signal, policy: &Policy) -> Raised {
        let entry = self.entry(heard, policy);
        entry.counts[signal.index()] += 1.0;
        Raised { source: heard.source, signal }
    }

    /// An ACK to no connection.
    fn probe(&mut self, heard: Heard<'_>, policy: &Policy) -> Raised {
        let worth = probe_worth(heard, policy);
        let entry = self.entry(heard, policy);
        entry.counts[Signal::AckProbe.index()] += worth;
        Raised { source: heard.source, signal: Signal::AckProbe }
    }

    /// A port has answered: an ACK to it that was held against the source is taken back, once.
    fn excuse_probe(&mut self, heard: Heard<'_>, policy: &Policy) {
        let Heard { contact, source, now, .. } = heard;
        let Some(entry) = self.ledger.get_mut(source) else { return };
        if entry.counts[Signal::AckProbe.index()] == 0.0 || contact.transport != Transport::TCP {
            return;
        }
        let key = self.probe_key(contact, source);
        if self.seen.get(key).is_some_and(|seen| seen & (OTHER | EXEMPT) == OTHER) {
            self.seen.add(key, EXEMPT, now);
            let worth = probe_worth(heard, policy);
            let entry = self.entry(heard, policy);
            let count = &mut entry.counts[Signal::AckProbe.index()];
            *count = (*count - worth).max(0.0);
        }
    }

    fn probe_key(&self, contact: &Contact, source: Source) -> u64 {
        let nobody = IpAddr::from([0; 4]);
        self.salt.key(What::AckProbe, source, nobody, contact.port.into())
    }

    fn begin_session(&mut self, heard: Heard<'_>, policy: &Policy) {
        let Heard { contact, now, .. } = heard;
        // Of connections to other ports nobody tells the end.
        let is_followed = AUTH_PORTS.contains(&contact.port) || WEB_PORTS.contains(&contact.port);
        if !heard.is_admin || !is_followed || !contact.path_proven {
            return;
        }
        let sessions = &mut self.entry(heard, policy).history().sessions;
        if sessions.len() < MAX_SESSIONS {
            sessions.push(now);
        }
    }

    /// A connection has ended: where people log in, a short one is a try.
    fn end(&mut self, heard: Heard<'_>, duration_nanos: u64, policy: &Policy) -> Option<Raised> {
        let Heard { contact, source, now, .. } = heard;
        if heard.is_admin
            && let Some(history) =
                self.ledger.get_mut(source).and_then(|entry| entry.history.as_mut())
        {
            let duration = i64::try_from(duration_nanos).unwrap_or(i64::MAX);
            let began = Timestamp::from_nanos(contact.time.nanos().saturating_sub(duration));
            let off = |session: &Timestamp| session.since(began).max(began.since(*session));
            let nearest = history.sessions.iter().enumerate().min_by_key(|(_, at)| off(at));
            if let Some((at, _)) = nearest.filter(|(_, at)| off(at) <= HANDSHAKE_NANOS) {
                history.sessions.remove(at);
            }
        }
        let auth = &policy.settings.signals.auth_attempts;
        if !AUTH_PORTS.contains(&contact.port)
            || duration_nanos > auth.short_secs.saturating_mul(NANOS)
        {
            return None;
        }
        let nobody = Source::restored(IpAddr::from([0; 4]), false);
        let target = self.salt.key(What::Login, nobody, contact.destination, contact.port.into());
        let tries = self.tries.entry((source, target), now);
        tries.fast.add(now, 5 * NANOS, 1);
        tries.slow.add(now, MINUTE_NANOS, 1);
        let fast = f64::from(tries.fast.sum(now, 5 * NANOS)) / auth.threshold.max(0.1);
        let slow = f64::from(tries.slow.sum(now, MINUTE_NANOS)) / auth.threshold_slow.max(0.1);
        let full = policy.of(Signal::AuthAttempts).threshold;
        let value = single(fast.max(slow)) * full;
        let entry = self.entry(heard, policy);
        let count = &mut entry.counts[Signal::AuthAttempts.index()];
        *count = count.max(value);
        if value >= full / 2.0 {
            let mark = u32::try_from(target >> 32).unwrap_or(1).max(1);
            if !entry.logins.contains(&mark)
                && let Some(free) = entry.logins.iter_mut().find(|login| **login == 0)
            {
                *free = mark;
            }
        }
        Some(Raised { source, signal: Signal::AuthAttempts })
    }

    /// Connections that are open to a web port: many on which nothing happens.
    fn idle(
        &mut self,
        heard: Heard<'_>,
        count: u32,
        bytes: u64,
        policy: &Policy,
    ) -> Option<Raised> {
        let Heard { contact, source, now, .. } = heard;
        let idle = &policy.settings.signals.idle_connections;
        if count <= idle.min_open / 2 {
            return None;
        }
        let known = self.open.entry((source, contact.port), now);
        if known.last.is_none_or(|last| now.since(last) > MINUTE_NANOS) {
            *known = Idle { first: Some(now), ..Idle::default() };
        }
        let age_secs = now.since(known.first.unwrap_or(now)) / NANOS + 10;
        known.last = Some(now);
        known.bytes = known.bytes.saturating_add(bytes);
        let each = known.bytes / u64::from(count.max(1));
        let most = u64::from(idle.request_bytes) + u64::from(idle.max_bytes_per_sec) * age_secs;
        if count <= idle.min_open || each >= most {
            return None;
        }
        let entry = self.entry(heard, policy);
        let value = &mut entry.counts[Signal::IdleConnections.index()];
        *value = value.max(single(f64::from(count)));
        Some(Raised { source, signal: Signal::IdleConnections })
    }
}

/// The entry of a contact's source as of now, made if there is none.
fn entry<'a>(ledger: &'a mut Ledger, heard: Heard<'_>, policy: &Policy) -> &'a mut Entry {
    let Heard { contact, source, now, .. } = heard;
    let target =
        Target { address: contact.destination, port: contact.port, transport: contact.transport };
    let entry = ledger.entry(source, now, target);
    entry.fade(now, policy);
    if !contact.destination.is_unspecified() {
        entry.aim(target);
        entry.origin = contact.origin;
    }
    if contact.path_proven {
        entry.proven = Some(now);
    }
    entry
}

/// What an ACK to no connection counts: who looks for the socket needs to see fewer of them.
fn probe_worth(heard: Heard<'_>, policy: &Policy) -> f32 {
    let probes = &policy.settings.signals.ack_probe;
    if heard.looked_up { single(probes.threshold / probes.socket_threshold.max(0.1)) } else { 1.0 }
}

/// The mark of a source's own port.
fn from(contact: &Contact) -> u8 {
    let [high, ..] = contact.source_port.wrapping_mul(40_503).to_be_bytes();
    [(0x80, OTHER), (0x40, FROM & !OTHER)]
        .into_iter()
        .filter(|(bit, _)| high & bit != 0)
        .fold(0, |all, (_, mark)| all | mark)
}

/// Whether a contact is a step of the walk, which proves its path too.
fn is_walked(contact: &Contact) -> bool {
    match contact.outcome {
        Outcome::Success => true,
        Outcome::Refused => !(contact.path_proven && contact.transport == Transport::UDP),
        _ => false,
    }
}
