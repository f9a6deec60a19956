//! An alert: a detection or a verdict, with its reasons.

use std::{net::IpAddr, sync::Arc};

use super::{
    CommunityId, Id, Kind, Names, ObservationPoint, Parties, Record, Records, Signal, Timestamp,
    Transport,
};

/// Of a verdict that others than the judge made, and of one that has ended.
const VERDICT_CHANGED: &str = "Verdict changed";

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
    /// The names of the source; those of a destination are not asked for.
    pub names: Names,
    /// What there is to know beyond that.
    pub details: Box<Details>,
}

/// The circumstances of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Details {
    /// The heaviest signal: the rule by which it was decided.
    pub rule: Signal,
    /// Whether it is worth somebody's attention, rather than only worth a record.
    pub is_alert: bool,
    /// Whether packets are dropped for it.
    pub is_in_force: bool,
    /// Whether the source is inside.
    pub is_from_inside: bool,
    /// Whether a sender that is nobody can have made it up.
    pub is_spoofable: bool,
    /// How sure it is that the source did what is held against it, 0 to 100.
    pub confidence: u8,
    /// What the source contacted most, or what is flooded.
    pub destination: Option<Destination>,
    /// The signals that say something, the heaviest first.
    pub signals: Vec<Weight>,
    /// The verdict, if there is one.
    pub verdict: Option<VerdictDetails>,
    /// The address of ours that is at risk.
    pub asset: Option<IpAddr>,
    /// The name of the asset's host, if the config asks for it.
    pub host: Option<Box<str>>,
    /// The hash of the config by which it was decided.
    pub config_hash: Arc<str>,
    /// The flows that were held against the source last, the latest first; 20 at most.
    pub community_ids: Vec<CommunityId>,
}

/// What a source contacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Its address.
    pub address: IpAddr,
    /// Its port, where the transport has ports.
    pub port: Option<u16>,
    /// The transport.
    pub transport: Transport,
}

/// What a signal adds to a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// The signal.
    pub signal: Signal,
    /// What it counted: failed contacts, packets, ports, tries, hosts, seconds, connections.
    pub value: u64,
    /// From which count on it is full.
    pub threshold: u64,
    /// Its points, 0 to 100.
    pub points: u8,
}

/// A verdict as its record tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerdictDetails {
    /// Its id, by which the store has it too.
    pub id: Id,
    /// Seconds that it holds.
    pub ttl_secs: u64,
    /// How often the source has offended before, as far as it is remembered.
    pub offence: u32,
    /// Whether the source is proven to be at its address.
    pub path_proven: bool,
    /// The port it is confined to.
    pub port: Option<u16>,
}

/// What was decided about a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Worth a record.
    Log,
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
    /// What it is, in one of few ways of saying it: what a SIEM takes as the alert's name.
    pub fn message(&self) -> &'static str {
        if self.rule().is_none() {
            return VERDICT_CHANGED;
        }
        let of = match self.details.rule.category() {
            "credential_access" => 1,
            "denial_of_service" => 2,
            _ => 0,
        };
        match (self.action, of) {
            (Action::Log | Action::Alert, 0) => "Scan of the network",
            (Action::RateLimit, 0) => "Scan of the network, source rate-limited",
            (Action::Block, 0) => "Scan of the network, source blocked",
            (Action::WouldBlock, 0) => "Scan of the network, source would be blocked",
            (Action::Log | Action::Alert, 1) => "Attempts to log in",
            (Action::RateLimit, 1) => "Attempts to log in, source rate-limited",
            (Action::Block, 1) => "Attempts to log in, source blocked",
            (Action::WouldBlock, 1) => "Attempts to log in, source would be blocked",
            (Action::Log | Action::Alert, _) => "Flood or exhaustion",
            (Action::RateLimit | Action::Block | Action::WouldBlock, _) => {
                "Flood or exhaustion, source held off"
            }
            (Action::Unblock | Action::Expire, _) => VERDICT_CHANGED,
            (Action::Refused, _) => "Verdict refused",
        }
    }

    /// The rule by which it was decided; `None` for a verdict that no signal speaks for: a person's, a list's, or
    /// one that has ended.
    pub fn rule(&self) -> Option<Signal> {
        let is_judged = self.details.verdict.is_none() || !self.details.signals.is_empty();
        is_judged.then_some(self.details.rule)
    }

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

    fn origin(&self) -> ObservationPoint {
        self.origin
    }

    fn origin_mut(&mut self) -> Option<&mut ObservationPoint> {
        Some(&mut self.origin)
    }

    fn time(&self) -> Option<Timestamp> {
        Some(self.time)
    }

    fn memory_bytes(&self) -> usize {
        let reasons = self.reasons.iter();
        let signals = self.details.signals.capacity() * size_of::<Weight>();
        let host = self.details.host.as_ref().map_or(0, |host| host.len());
        size_of::<Self>()
            + size_of::<Details>()
            + signals
            + self.details.community_ids.capacity() * size_of::<CommunityId>()
            + host
            + reasons.map(|r| size_of::<Box<str>>() + r.len()).sum::<usize>()
    }

    fn identity(&self, observer: &str) -> Option<(Id, Option<u32>)> {
        Some((self.id(observer), None))
    }

    fn parties(&self) -> Option<Parties<'_>> {
        (!self.source.is_unspecified()).then_some(Parties {
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
    pub const ALL: [Self; 8] = [
        Self::Log,
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
            Self::Log => "log",
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
