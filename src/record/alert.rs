//! An alert: a detection or a verdict, with its reasons.

use std::{net::IpAddr, sync::Arc};

use super::{Id, Kind, Names, ObservationPoint, Parties, Record, Records, Timestamp};

/// A detection or a verdict about one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// When it was decided, in event time.
    pub time: Timestamp,
    /// Where what it goes by was seen.
    pub origin: ObservationPoint,
    /// Whom it is about.
    pub source: IpAddr,
    /// What was decided.
    pub action: Action,
    /// The risk score, 0 to 100.
    pub risk_score: u8,
    /// Why, one plain sentence each, the heaviest first.
    pub reasons: Vec<Box<str>>,
    /// Number among the alerts of this source, action and time, from 0.
    pub ordinal: u32,
    /// The names of the source; an alert has no destination.
    pub names: Names,
}

/// What was decided about a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Worth a look; nothing else happens.
    Alert,
    /// Its new connections are limited.
    RateLimit,
    /// Its packets are dropped.
    Block,
    /// Its packets would be dropped, were the firewall enforcing.
    WouldBlock,
    /// A verdict was taken back.
    Unblock,
    /// A verdict's time to live ended.
    Expire,
    /// A verdict was not carried out: a limit or an allow list stood against it.
    Refused,
}

// === impl Alert ===

impl Alert {
    /// The id: the same whenever `observer` decides the same again.
    pub fn id(&self, observer: &str) -> Id {
        Id::of("alert", observer)
            .address(self.source)
            .bytes(self.action.name().as_bytes())
            .time(self.time)
            .number(u64::from(self.ordinal))
            .finish()
    }
}

impl Record for Alert {
    const KIND: Kind = Kind::Alert;
    const HAS_NAMES: bool = true;

    fn wrap(records: Arc<Vec<Self>>) -> Records {
        Records::Alerts(records)
    }

    fn time(&self) -> Option<Timestamp> {
        Some(self.time)
    }

    fn memory_bytes(&self) -> usize {
        let reasons = self.reasons.iter();
        size_of::<Self>() + reasons.map(|r| size_of::<Box<str>>() + r.len()).sum::<usize>()
    }

    fn identity(&self, observer: &str) -> Option<(Id, Option<u32>)> {
        Some((self.id(observer), None))
    }

    fn parties(&self) -> Option<Parties<'_>> {
        Some(Parties {
            time: self.time,
            source: self.source,
            destination: None,
            names: &self.names,
        })
    }

    fn names_mut(&mut self) -> Option<&mut Names> {
        Some(&mut self.names)
    }
}

// === impl Action ===

impl Action {
    /// All that can be decided.
    pub const ALL: [Self; 7] = [
        Self::Alert,
        Self::RateLimit,
        Self::Block,
        Self::WouldBlock,
        Self::Unblock,
        Self::Expire,
        Self::Refused,
    ];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::RateLimit => "rate_limit",
            Self::Block => "block",
            Self::WouldBlock => "would_block",
            Self::Unblock => "unblock",
            Self::Expire => "expire",
            Self::Refused => "refused",
        }
    }
}
