//! What the judge knows, as bytes and back: it goes on from there after a restart.
//!
//! Data passes: [`Judge::snapshot`](super::Judge::snapshot) copies, which is all that the judge waits for
//! → [`Snapshot::encode`] → a file, of whoever runs the judge → [`Snapshot::decode`] →
//! [`Judge::resume`](super::Judge::resume).
//!
//! The bytes: `TIDEGATE-JUDGE`, the version (16 bits), the CRC-32 of all that follows, the length of the
//! sources' part (32 bits), that part as `msgpack`, then of each contact that is remembered its key and
//! what was seen of it, nine bytes. Numbers are big-endian. Windows of less than an hour, the circuit
//! breaker's and floods' sums and the trail of flows begin anew.

mod saved;

use serde::{Deserialize, Serialize};

use self::saved::{Point, Points, Saved};
use super::{evidence::Evidence, ledger::Entry, policy::Level, salted::Salt};
use crate::record::Timestamp;

/// Bytes of a snapshot, at most: a longer file is none.
pub const MAX_BYTES: usize = 128 << 20;
const MAGIC: &[u8] = b"TIDEGATE-JUDGE";
const VERSION: u16 = 1;
/// The magic, the version, the checksum.
const HEADER_BYTES: usize = MAGIC.len() + 2 + 4;
/// A contact's key and what was seen of it.
const CONTACT_BYTES: usize = 9;
/// Sources that are kept: those that were judged first, then those that did anything.
const MAX_SOURCES: usize = 1 << 17;
/// Contacts that are kept.
const MAX_CONTACTS: usize = 1 << 20;
/// How old a snapshot may be for who goes on from it to need no warming up.
const RECENT_NANOS: u64 = 600 * 1_000_000_000;
/// How far ahead of the clock one may be.
const AHEAD_NANOS: u64 = 60 * 1_000_000_000;

/// What a judge knew.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    body: Body,
    contacts: Vec<(u64, u8)>,
}

/// Why a snapshot is not gone on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is something else.
    #[error("it is no snapshot of a judge")]
    Foreign,
    /// It is of another version.
    #[error("it is of version {0}, and this program reads version {VERSION}")]
    Version(u16),
    /// It is not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// The clock was put back.
    #[error("it was taken {0} s ahead of the clock")]
    Ahead(u64),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Body {
    /// Nanoseconds since the epoch.
    taken: i64,
    interface: Option<String>,
    /// From when on verdicts are put in force.
    warm: Option<i64>,
    salt: [u64; 2],
    points: Vec<Point>,
    sources: Vec<Saved>,
}

// === impl Snapshot ===

impl Snapshot {
    /// Of what there is evidence.
    pub(super) fn of(
        evidence: &Evidence,
        warm: Option<Timestamp>,
        interface: Option<&str>,
        taken: Timestamp,
    ) -> Self {
        let is_judged = |entry: &&Entry| entry.level > Level::None || entry.history.is_some();
        let did_anything = |entry: &&Entry| entry.contacts() > 0 || entry.evidence() > 0.0;
        let judged = evidence.ledger.iter().filter(is_judged);
        let others =
            evidence.ledger.iter().filter(|entry| !is_judged(entry) && did_anything(entry));
        let mut points = Points::default();
        let kept = judged.chain(others).take(MAX_SOURCES);
        let sources = kept.map(|entry| Saved::of(entry, &mut points)).collect();
        let seen = evidence.seen.iter().take(MAX_CONTACTS);
        let contacts = seen.collect();
        let body = Body {
            taken: taken.nanos(),
            interface: interface.map(str::to_owned),
            warm: warm.map(Timestamp::nanos),
            salt: evidence.salt.0,
            points: points.into_list(),
            sources,
        };
        Self { body, contacts }
    }

    /// When it was taken.
    pub fn taken(&self) -> Timestamp {
        Timestamp::from_nanos(self.body.taken)
    }

    /// How many sources are in it.
    pub fn sources(&self) -> usize {
        self.body.sources.len()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let body = rmp_serde::to_vec(&self.body).unwrap_or_default();
        let mut rest = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        rest.extend(body);
        for (key, seen) in &self.contacts {
            rest.extend(key.to_be_bytes());
            rest.push(*seen);
        }
        sealed(&rest)
    }

    /// The snapshot of these bytes.
    ///
    /// # Errors
    /// They are none that this program wrote, or not all of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Unreadable::Foreign)?;
        let (version, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged("it is cut"))?;
        let version = u16::from_be_bytes(*version);
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let (sum, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged("it is cut"))?;
        if crc32fast::hash(rest) != u32::from_be_bytes(*sum) {
            return Err(Unreadable::Damaged("its checksum is another"));
        }
        let (length, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged("it is cut"))?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (body, contacts) =
            rest.split_at_checked(length).ok_or(Unreadable::Damaged("it is cut"))?;
        let body = rmp_serde::from_slice(body)
            .map_err(|_| Unreadable::Damaged("its sources can't be read"))?;
        let (contacts, cut) = contacts.as_chunks::<CONTACT_BYTES>();
        if !cut.is_empty() {
            return Err(Unreadable::Damaged("it is cut"));
        }
        let contacts = contacts
            .iter()
            .map(|[a, b, c, d, e, f, g, h, seen]| {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), *seen)
            })
            .collect();
        Ok(Self { body, contacts })
    }

    /// Makes it what there is evidence of. Gives from when on verdicts are put in force, if it is of the
    /// same interface and recent.
    pub(super) fn restore(
        self,
        evidence: &mut Evidence,
        interface: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Unreadable> {
        let Self { body, contacts } = self;
        let taken = Timestamp::from_nanos(body.taken);
        let ahead = taken.since(now);
        if ahead > AHEAD_NANOS {
            return Err(Unreadable::Ahead(ahead / 1_000_000_000));
        }
        let age = now.since(taken);
        let points: Vec<_> = body.points.into_iter().map(Point::restored).collect();
        let entries: Option<Vec<_>> =
            body.sources.into_iter().map(|saved| saved.restored(taken, &points)).collect();
        let entries = entries.ok_or(Unreadable::Damaged("a source has values it can't have"))?;
        for mut entry in entries {
            // Of sessions that ended meanwhile nobody tells.
            if age > RECENT_NANOS
                && let Some(history) = &mut entry.history
            {
                history.sessions.clear();
            }
            if evidence.ledger.get(entry.source).is_none() {
                evidence.ledger.insert(entry);
            }
        }
        evidence.salt = Salt(body.salt);
        for (key, seen) in contacts {
            evidence.seen.add(key, seen, taken);
        }
        let is_same = body.interface.as_deref() == interface && age <= RECENT_NANOS;
        Ok(body.warm.filter(|_| is_same).map(Timestamp::from_nanos))
    }
}

/// The bytes of a snapshot whose sources and contacts are `rest`.
pub(super) fn sealed(rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + rest.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(crc32fast::hash(rest).to_be_bytes());
    bytes.extend(rest);
    bytes
}
