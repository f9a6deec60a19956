//! The kinds of record that flow through a pipeline, and the batches' payload.
//!
//! `Raw` lines, or `Frame`s, become `Packet`s, packets become `Contact`s (what the judge feeds on) and `Flow`s,
//! the judge adds `Alert`s, and each minute a `Health` record says how the sensor itself is.
//! A consumer matches on the kind once a batch, never once a record: what is done with every kind is
//! a [`Visit`] or a [`VisitMut`] of [`Records`], what a kind is like is in its [`Record`].

mod added;
mod alert;
mod community_id;
mod conn_state;
mod contact;
mod flow;
mod frame;
mod health;
mod id;
mod names;
mod origin;
mod packet;
mod returned;
mod signal;
mod steady;
mod time;
mod transport;
mod visits;

use std::{fmt, net::IpAddr, sync::Arc};

use bytes::Bytes;

use self::visits::{Count, HasNames, IdentityAt, KindAt, MemoryBytes, ObserverAt, SeenBy};
pub use self::{
    added::Added,
    alert::{Action, Alert, Destination, Details, VerdictDetails, Weight},
    community_id::{CommunityId, IcmpPorts},
    conn_state::{ConnState, History, Letter},
    contact::{Contact, Conversation, Outcome},
    flow::{Denied, Direction, EndReason, Endpoint, Flow, FlowTags},
    frame::{CaptureInterface, FramePlace, Frames},
    health::{ClockState, GateStates, Health, MapFill},
    id::{Id, IdBuilder},
    names::{HostNames, NameOrigin, Names},
    origin::{Interface, ObservationPoint, PointNames},
    packet::{
        Checksum, Checksums, Extra, Fragment, Header, Icmp, Layer4, MacAddress, Marks, Packet,
        Ports, Tcp, TcpFlags, TunnelKey, Vlans,
    },
    returned::Returned,
    signal::{Signal, Technique},
    steady::{Reading, SteadyClock, is_jump},
    time::{Rfc3339, Timestamp},
    transport::Transport,
};

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// One untouched line of `tshark -T ek`.
    Raw,
    /// One frame as it was captured.
    Frame,
    /// One frame with an IP layer.
    Packet,
    /// The first contact of a source with a (destination, port), and how it ended.
    Contact,
    /// A bidirectional flow, or the part of it since its last report.
    Flow,
    /// A detection or a verdict, with its reasons.
    Alert,
    /// The minute's self-report of the sensor.
    Health,
    /// A record that was refused once, and is sent again.
    Returned,
}

/// A set of kinds: what an edge of the pipeline carries, or a component accepts.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds(u16);

/// One untouched line of `tshark -T ek` and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The line, without its newline.
    pub line: Bytes,
    /// Which start of the capturer, or which file of a replay, it belongs to (from 0).
    pub epoch: u32,
    /// What to add to the line's `frame.number`: packets of the epoch read by earlier children.
    pub first: u64,
    /// Where its frame was seen, as far as the source knows.
    pub origin: ObservationPoint,
}

/// The records of a batch: all of one kind, shared between the branches of a fan-out.
///
/// A transform that changes records takes them with [`Arc::unwrap_or_clone`] or [`Arc::make_mut`].
#[derive(Debug, Clone)]
pub enum Records {
    /// Lines.
    Raw(Arc<Vec<Raw>>),
    /// Frames.
    Frames(Arc<Frames>),
    /// Packets.
    Packets(Arc<Vec<Packet>>),
    /// Contacts.
    Contacts(Arc<Vec<Contact>>),
    /// Flows.
    Flows(Arc<Vec<Flow>>),
    /// Alerts.
    Alerts(Arc<Vec<Alert>>),
    /// Health records.
    Health(Arc<Vec<Health>>),
    /// Records that were refused once.
    Returned(Arc<Vec<Returned>>),
}

/// What every kind of record has.
pub trait Record: fmt::Debug + Clone + Send + Sync + 'static {
    /// The kind.
    const KIND: Kind;
    /// Whether it has addresses that can be given names: [`parties`](Self::parties).
    const HAS_NAMES: bool = false;

    /// The payload of a batch of them.
    fn wrap(records: Arc<Vec<Self>>) -> Records;

    /// About how many bytes of memory it holds, for the bounds of buffers.
    fn memory_bytes(&self) -> usize;

    /// What names it for good, the same when it is read or sent again: its id, and of a flow also the
    /// report's number. `None` of what no sink takes.
    fn identity(&self, _observer: &str) -> Option<(Id, Option<u32>)> {
        None
    }

    /// Where it was seen.
    fn origin(&self) -> ObservationPoint {
        ObservationPoint::default()
    }

    /// Where it was seen, to be changed; `None` of what stays within its process.
    fn origin_mut(&mut self) -> Option<&mut ObservationPoint> {
        None
    }

    /// The time that is its own: of a flow the end of the report's interval.
    fn time(&self) -> Option<Timestamp> {
        None
    }

    /// Whom it is about: the source or the initiator.
    fn source(&self) -> Option<IpAddr> {
        self.parties().map(|parties| parties.source)
    }

    /// The Community ID of its conversation.
    fn community_id(&self) -> Option<CommunityId> {
        None
    }

    /// What it is: of a record that was refused, what it was.
    fn kind(&self) -> Kind {
        Self::KIND
    }

    /// Its addresses and their names, if it is of a kind that [`HAS_NAMES`](Self::HAS_NAMES).
    fn parties(&self) -> Option<Parties<'_>> {
        None
    }

    /// Where the names of its addresses go.
    fn names_mut(&mut self) -> Option<&mut Names> {
        None
    }
}

/// The addresses of a record, and the names they have.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// When the one went to the other, whenever it is reported.
    pub time: Timestamp,
    /// The source, or the initiator.
    pub source: IpAddr,
    /// The destination or the responder, if there is one.
    pub destination: Option<IpAddr>,
    /// Their names.
    pub names: &'a Names,
}

/// What somebody does with records of the kind `R`, whose result is an `O`.
pub trait Visit<R, O> {
    /// Does it with the records of a batch.
    fn visit(self, records: &[R]) -> O;
}

/// What somebody does to records of the kind `R`, whose result is an `O`.
pub trait VisitMut<R, O> {
    /// Does it to the records of a batch. Whoever shares them keeps what he has.
    fn visit_mut(self, records: &mut Arc<Vec<R>>) -> O;
}

// === impl Kind ===

impl Kind {
    /// All kinds, in the order data passes through them.
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::Frame,
        Self::Packet,
        Self::Contact,
        Self::Flow,
        Self::Alert,
        Self::Health,
        Self::Returned,
    ];

    /// The kind's name in messages, data sets and source types.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Frame => "frame",
            Self::Packet => "packet",
            Self::Contact => "contact",
            Self::Flow => "flow",
            Self::Alert => "alert",
            Self::Health => "health",
            Self::Returned => "returned",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Kinds ===

impl Kinds {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// What leaves the pipeline through a sink: all but raw lines, frames and contacts.
    pub const REPORTS: Self = Self::of(&[Kind::Packet, Kind::Flow, Kind::Alert, Kind::Health]);
    /// Every kind.
    pub const ALL: Self = Self::of(&Kind::ALL);

    /// The kinds whose records have addresses that can be given names.
    pub fn with_names() -> Self {
        let named = Kind::ALL.into_iter().filter(|kind| Records::none(*kind).visit(HasNames));
        named.fold(Self::NONE, |kinds, kind| kinds.union(kind.into()))
    }

    /// The set of these kinds.
    pub const fn of(kinds: &[Kind]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < kinds.len() {
            bits |= 1 << kinds[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// The kinds of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kinds of `self` that are not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set has no kind.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// The kinds, in order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl From<Kind> for Kinds {
    fn from(kind: Kind) -> Self {
        Self::of(&[kind])
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Kind::name).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

// === impl Records ===

impl Records {
    /// Does something with them, whatever their kind.
    pub fn visit<O, V>(&self, visitor: V) -> O
    where
        V: Visit<Raw, O>
            + Visit<FramePlace, O>
            + Visit<Packet, O>
            + Visit<Contact, O>
            + Visit<Flow, O>
            + Visit<Alert, O>
            + Visit<Health, O>
            + Visit<Returned, O>,
    {
        match self {
            Self::Raw(records) => visitor.visit(records),
            Self::Frames(frames) => visitor.visit(&frames.places),
            Self::Packets(records) => visitor.visit(records),
            Self::Contacts(records) => visitor.visit(records),
            Self::Flows(records) => visitor.visit(records),
            Self::Alerts(records) => visitor.visit(records),
            Self::Health(records) => visitor.visit(records),
            Self::Returned(records) => visitor.visit(records),
        }
    }

    /// Does something to them, whatever their kind.
    pub fn visit_mut<O, V>(&mut self, visitor: V) -> O
    where
        V: VisitMut<Raw, O>
            + VisitMut<FramePlace, O>
            + VisitMut<Packet, O>
            + VisitMut<Contact, O>
            + VisitMut<Flow, O>
            + VisitMut<Alert, O>
            + VisitMut<Health, O>
            + VisitMut<Returned, O>,
    {
        match self {
            Self::Raw(records) => visitor.visit_mut(records),
            Self::Frames(frames) => visitor.visit_mut(&mut Arc::make_mut(frames).places),
            Self::Packets(records) => visitor.visit_mut(records),
            Self::Contacts(records) => visitor.visit_mut(records),
            Self::Flows(records) => visitor.visit_mut(records),
            Self::Alerts(records) => visitor.visit_mut(records),
            Self::Health(records) => visitor.visit_mut(records),
            Self::Returned(records) => visitor.visit_mut(records),
        }
    }

    /// The kind all of them are of.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Raw(_) => Kind::Raw,
            Self::Frames(_) => Kind::Frame,
            Self::Packets(_) => Kind::Packet,
            Self::Contacts(_) => Kind::Contact,
            Self::Flows(_) => Kind::Flow,
            Self::Alerts(_) => Kind::Alert,
            Self::Health(_) => Kind::Health,
            Self::Returned(_) => Kind::Returned,
        }
    }

    /// The kind of the record at `index`: of one that was refused, what it was.
    pub fn kind_of(&self, index: usize) -> Kind {
        self.visit(KindAt(index))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.visit(Count)
    }

    /// Whether there are none: such a batch only carries its watermark.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No records of `kind`.
    pub fn none(kind: Kind) -> Self {
        match kind {
            Kind::Raw => Self::Raw(Arc::default()),
            Kind::Frame => Self::Frames(Arc::default()),
            Kind::Packet => Self::Packets(Arc::default()),
            Kind::Contact => Self::Contacts(Arc::default()),
            Kind::Flow => Self::Flows(Arc::default()),
            Kind::Alert => Self::Alerts(Arc::default()),
            Kind::Health => Self::Health(Arc::default()),
            Kind::Returned => Self::Returned(Arc::default()),
        }
    }

    /// The sensor that saw the record at `index`, if it is another one than this.
    pub fn observer(&self, index: usize) -> Option<Arc<str>> {
        self.visit(ObserverAt(index))
    }

    /// Another sensor saw them.
    pub fn seen_by(&mut self, observer: &Arc<str>) {
        self.visit_mut(SeenBy(observer));
    }

    /// What names the record at `index` for good: its [`identity`](Record::identity), `observer` being this
    /// sensor, which has seen it unless it says otherwise. `None` past the end, and for what no sink takes.
    pub fn id(&self, index: usize, observer: &str) -> Option<(Id, Option<u32>)> {
        self.visit(IdentityAt(index, observer))
    }

    /// About how many bytes of memory they hold, for the bounds of buffers.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Frames(frames) => frames.memory_bytes(),
            _ => self.visit(MemoryBytes),
        }
    }
}

// === impl Raw ===

impl Record for Raw {
    const KIND: Kind = Kind::Raw;

    fn wrap(records: Arc<Vec<Self>>) -> Records {
        Records::Raw(records)
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_kinds_names_its_members_in_the_order_of_the_pipeline() {
        let kinds = Kinds::of(&[Kind::Flow, Kind::Raw]);
        assert_eq!(kinds.to_string(), "raw, flow");
        assert!(kinds.contains(Kind::Flow) && !kinds.contains(Kind::Packet));
        assert_eq!(kinds.minus(Kind::Raw.into()), Kind::Flow.into());
    }
}
