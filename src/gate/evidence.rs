//! What the gate's program tells of contacts → records of them.
//!
//! Data passes: the program's ring, behind the small trait [`Ring`] → [`Teller`], which adds what only time shows:
//! an attempt that nothing answered within 3 s has timed out, if the program still knows of no answer; and every
//! 10 s how many connections are open to web servers. A `SYN` that met no socket is no failure by itself, for a
//! rule may send it on to another namespace: only a reply decides, or, where the program sees no replies, the
//! socket, if nothing rewrites addresses here. Holds of the guard are no contacts: they go to its [`Desk`].

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tidegate_ebpf::{
    Error, Evidence,
    evidence::{Event, Place, Socket, Tally, Told},
    guard::Suspect,
};

use super::guard::Desk;
use crate::record::{Contact, ObservationPoint, Outcome, TcpFlags, Timestamp, Transport};

/// How long an answer may take: by then a SYN was sent a second and a third time (RFC 6298).
const ANSWER_NS: u64 = 3_000_000_000;
/// From one survey of open connections to the next.
const SURVEY_NS: u64 = 10_000_000_000;
/// Attempts that may wait for their answer, each 120 bytes; of more it is not told that they timed out.
const MAX_UNANSWERED: usize = 65_536;
/// Connections to web servers that are followed; of more it is not told that they are open.
const MAX_OPEN: usize = 16_384;
/// Ports of web servers.
const WEB_PORTS: [u16; 4] = [80, 443, 8080, 8443];

/// The ring and the places of connections.
pub trait Ring: fmt::Debug + Send {
    /// Takes events, `most` at most, and gives how many there were.
    fn drain(&mut self, most: usize, take: &mut dyn FnMut(Event)) -> usize;

    /// A connection's place.
    ///
    /// # Errors
    /// If it can't be read.
    fn place(&mut self, index: u32) -> Result<Place, Error>;

    /// What became of what was to be told, since the program was loaded.
    ///
    /// # Errors
    /// If it can't be read.
    fn tally(&mut self) -> Result<Tally, Error>;

    /// What the guard knows of the source at this place.
    ///
    /// # Errors
    /// If it can't be read.
    fn suspect(&mut self, index: u32) -> Result<Suspect, Error>;

    /// Ends the guard's hold of the source at this place, if it is that of this mark.
    ///
    /// # Errors
    /// If it can't be written.
    fn release(&mut self, index: u32, mark: u64) -> Result<(), Error>;
}

/// What is known of this host, and decides whether its sockets are witnesses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Its addresses, sorted.
    pub addresses: Vec<IpAddr>,
    /// Whether nothing here rewrites addresses, and the traffic is this host's.
    pub sockets_decide: bool,
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`, ns: the program's.
    pub monotonic_ns: u64,
    /// The wall's.
    pub wall: Timestamp,
}

/// Makes contacts of events.
#[derive(Debug)]
pub struct Teller {
    origin: ObservationPoint,
    sees_replies: bool,
    /// In the order of their deadlines.
    unanswered: VecDeque<Event>,
    /// Connections to web servers, by their places.
    open: BTreeMap<u32, Open>,
    survey_at_ns: u64,
    guard: Option<Desk>,
}

/// A connection that is open.
#[derive(Debug)]
struct Open {
    mark: u64,
    source: IpAddr,
    port: u16,
    /// Bytes that were told.
    told: u64,
}

// === impl Ring ===

impl Ring for Evidence {
    fn drain(&mut self, most: usize, take: &mut dyn FnMut(Event)) -> usize {
        Self::drain(self, most, take)
    }

    fn place(&mut self, index: u32) -> Result<Place, Error> {
        Self::place(self, index)
    }

    fn tally(&mut self) -> Result<Tally, Error> {
        Self::tally(self)
    }

    fn suspect(&mut self, index: u32) -> Result<Suspect, Error> {
        Self::suspect(self, index)
    }

    fn release(&mut self, index: u32, mark: u64) -> Result<(), Error> {
        Self::release(self, index, mark)
    }
}

// === impl Moment ===

impl Moment {
    /// Both clocks at one moment. A thread may have to wait between one and the other: of three tries it is the one
    /// that took least.
    pub fn read(
        mut monotonic_ns: impl FnMut() -> u64,
        mut wall: impl FnMut() -> Timestamp,
    ) -> Self {
        let mut least = (u64::MAX, Self::default());
        for _ in 0..3 {
            let (before, wall, after) = (monotonic_ns(), wall(), monotonic_ns());
            let took = after.saturating_sub(before);
            if took < least.0 {
                least = (took, Self { monotonic_ns: before + took / 2, wall });
            }
        }
        least.1
    }

    /// When something is by the wall clock, that the program saw at `monotonic_ns`.
    pub fn of(self, monotonic_ns: u64) -> Timestamp {
        let ago = i128::from(self.monotonic_ns) - i128::from(monotonic_ns);
        let then = (i128::from(self.wall.nanos()) - ago).clamp(i64::MIN.into(), i64::MAX.into());
        Timestamp::from_nanos(i64::try_from(then).unwrap_or_default())
    }
}

// === impl View ===

impl View {
    fn is_here(&self, address: IpAddr) -> bool {
        self.addresses.binary_search(&address).is_ok()
    }
}

// === impl Teller ===

impl Teller {
    /// One whose contacts are seen at `origin`; whether both directions pass by there.
    pub fn new(origin: ObservationPoint, sees_replies: bool) -> Self {
        Self {
            origin,
            sees_replies,
            unanswered: VecDeque::new(),
            open: BTreeMap::new(),
            survey_at_ns: 0,
            guard: None,
        }
    }

    /// The same, and holds of the guard are decided about at this desk.
    #[must_use]
    pub fn guarded(self, guard: Option<Desk>) -> Self {
        Self { guard, ..self }
    }

    /// Takes `most` events off the ring, and what has become due by `now`. Gives how many events there were.
    pub fn turn(
        &mut self,
        ring: &mut dyn Ring,
        view: &View,
        now: Moment,
        most: usize,
        out: &mut Vec<Contact>,
    ) -> usize {
        let mut later = Vec::new();
        let received = ring.drain(most, &mut |event| self.take(&event, view, now, out, &mut later));
        for event in later {
            match (event.told, &self.guard) {
                (Told::End, _) => self.end(&event, ring, now, out),
                (_, Some(guard)) => guard.decide(&event, ring, now.wall),
                (_, None) => {}
            }
        }
        self.time_out(ring, now, out);
        if now.monotonic_ns >= self.survey_at_ns {
            self.survey(ring, now, out);
            self.survey_at_ns = now.monotonic_ns.saturating_add(SURVEY_NS);
        }
        received
    }

    fn take(
        &mut self,
        event: &Event,
        view: &View,
        now: Moment,
        out: &mut Vec<Contact>,
        later: &mut Vec<Event>,
    ) {
        let outcome = match event.told {
            Told::Attempt => {
                out.push(self.contact(event, now, Outcome::Attempt));
                self.wait(event, view, now, out);
                return;
            }
            Told::Success => {
                self.follow(event);
                Outcome::Success
            }
            Told::Refused => Outcome::Refused,
            Told::OddFlags => Outcome::OddFlags(TcpFlags(event.tcp_flags)),
            Told::SplitHeader => Outcome::SplitHeader,
            // It may belong to a connection that a rule sends elsewhere.
            Told::StrayAck if !view.sockets_decide || !view.is_here(event.destination) => return,
            // It was told when it came.
            Told::AckProbe if view.sockets_decide => return,
            Told::StrayAck | Told::AckProbe => Outcome::AckProbe,
            Told::Echo => Outcome::Echo,
            // These need what the ring is borrowed for.
            Told::End | Told::Held | Told::Limited => {
                later.push(*event);
                return;
            }
        };
        out.push(self.contact(event, now, outcome));
    }

    fn contact(&self, event: &Event, now: Moment, outcome: Outcome) -> Contact {
        Contact {
            time: now.of(event.time_ns),
            origin: self.origin,
            source: event.source,
            destination: event.destination,
            port: event.destination_port,
            source_port: event.source_port,
            transport: Transport(event.transport),
            outcome,
            path_proven: event.proven,
        }
    }

    /// An attempt waits for its answer, if anything will show whether there is one.
    fn wait(&mut self, event: &Event, view: &View, now: Moment, out: &mut Vec<Contact>) {
        if event.transport != Transport::TCP.0 {
            return;
        }
        if !self.sees_replies {
            if !view.sockets_decide || !view.is_here(event.destination) {
                return;
            }
            if event.socket == Some(Socket::None) {
                out.push(self.contact(event, now, Outcome::Refused));
                return;
            }
        }
        if self.unanswered.len() < MAX_UNANSWERED {
            self.unanswered.push_back(*event);
        }
    }

    /// What nothing answered in time, as the program knows: its event may have been lost, or its place taken.
    fn time_out(&mut self, ring: &mut dyn Ring, now: Moment, out: &mut Vec<Contact>) {
        while let Some(event) = self.unanswered.front()
            && event.time_ns.saturating_add(ANSWER_NS) <= now.monotonic_ns
            && let Some(event) = self.unanswered.pop_front()
        {
            let place = ring.place(event.place);
            if place.is_ok_and(|place| place.is_unanswered(event.mark)) {
                let due = event.time_ns.saturating_add(ANSWER_NS);
                let contact = self.contact(&event, now, Outcome::TimedOut);
                out.push(Contact { time: now.of(due), ..contact });
            }
        }
    }

    fn follow(&mut self, event: &Event) {
        let is_web =
            event.transport == Transport::TCP.0 && WEB_PORTS.contains(&event.destination_port);
        if is_web && event.proven && self.open.len() < MAX_OPEN {
            let open = Open {
                mark: event.mark,
                source: event.source,
                port: event.destination_port,
                told: 0,
            };
            self.open.insert(event.place, open);
        }
    }

    /// A connection is over. Of one whose place another has taken nothing more is known.
    fn end(&mut self, event: &Event, ring: &mut dyn Ring, now: Moment, out: &mut Vec<Contact>) {
        if self.open.get(&event.place).is_some_and(|open| open.mark == event.mark) {
            self.open.remove(&event.place);
        }
        let Ok(place) = ring.place(event.place) else { return };
        if place.mark != event.mark {
            return;
        }
        let [sent_bytes, received_bytes] = place.bytes();
        let duration_nanos = place.duration_ns();
        let outcome = Outcome::Ended { duration_nanos, sent_bytes, received_bytes };
        out.push(Contact { path_proven: true, ..self.contact(event, now, outcome) });
    }

    /// How many connections each source has open to a web port, and what passed on them.
    fn survey(&mut self, ring: &mut dyn Ring, now: Moment, out: &mut Vec<Contact>) {
        let mut sums: BTreeMap<(IpAddr, u16), (u32, u64)> = BTreeMap::new();
        self.open.retain(|index, open| {
            let Ok(place) = ring.place(*index) else { return true };
            if !place.is_going_on(open.mark) {
                return false;
            }
            let total = place.bytes().iter().sum::<u64>();
            let (count, bytes) = sums.entry((open.source, open.port)).or_default();
            *count += 1;
            *bytes = bytes.saturating_add(total.saturating_sub(open.told));
            open.told = total;
            true
        });
        for ((source, port), (count, bytes)) in sums {
            let destination = match source {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            out.push(Contact {
                time: now.wall,
                origin: self.origin,
                source,
                destination,
                port,
                source_port: 0,
                transport: Transport::TCP,
                outcome: Outcome::Open { count, bytes },
                path_proven: true,
            });
        }
    }
}
