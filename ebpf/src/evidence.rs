//! What the program tells of contacts: the events in its ring, the places of connections, and the account of
//! what was told and what was not. The same layout as `bpf/event.h`, which says what each means.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aya::{
    EbpfLoader,
    maps::{Array, Map, MapData, PerCpuArray, RingBuf},
};

use crate::{Error, Guard, guard::Suspect, maps::typed};

/// Bytes of `struct tg_event`.
const EVENT_BYTES: usize = 64;
/// A ring is a power of two of bytes, and of pages.
const MIN_RING: u32 = 1 << 16;
const MAX_RING: u32 = 1 << 30;
const MAX_PLACES: u32 = 1 << 22;

/// What is to be told, and how much of it. It holds until the program is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Whether contacts are told at all.
    pub contacts: bool,
    /// Whether both directions pass by: at tc egress too, or because the interface is a mirror.
    pub sees_replies: bool,
    /// Whether the traffic is others': sockets say nothing about it.
    pub is_mirror: bool,
    /// Keys the hashes by which connections get their places: nobody outside should know it.
    pub seed: u64,
    /// Bytes of the ring; rounded up to a power of two.
    pub ring_bytes: u32,
    /// Connections and first contacts that are kept in mind; rounded up to a power of two.
    pub places: u32,
    /// Sources that have a limit of their own; rounded up to a power of two.
    pub sources: u32,
    /// Nanoseconds between two events of a source, beyond what it may draw ahead.
    pub source_interval_ns: u64,
    /// How far ahead it may draw, ns.
    pub source_burst_ns: u64,
    /// The same of all events on a processor.
    pub cpu_interval_ns: u64,
    /// How far ahead they may draw, ns.
    pub cpu_burst_ns: u64,
    /// Whom the guard holds off; it takes `contacts`, for those who complete a connection are left alone.
    pub guard: Guard,
}

/// What an event says about its source and its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The one tries to reach the other.
    Attempt,
    /// The destination took part.
    Success,
    /// The destination refused; where the path is proven, the source gave up, half open.
    Refused,
    /// Control bits that no sane stack sends.
    OddFlags,
    /// A TCP header split over fragments.
    SplitHeader,
    /// An ACK that meets no connection of this host.
    StrayAck,
    /// The destination answered such an ACK by a RST.
    AckProbe,
    /// An ICMP echo request.
    Echo,
    /// A connection that had succeeded is over.
    End,
    /// The guard holds the source off; the place is that of a [`Suspect`].
    Held,
    /// The guard drops what the source sends above the rate of SYNs; the same.
    Limited,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When (`CLOCK_MONOTONIC`, ns).
    pub time_ns: u64,
    /// Of the place: whether it is still of this connection.
    pub mark: u64,
    /// Who makes the contact.
    pub source: IpAddr,
    /// Whom it meets.
    pub destination: IpAddr,
    /// The place of its connection; of a hold, that of a [`Suspect`].
    pub place: u32,
    /// The source's port.
    pub source_port: u16,
    /// The destination's port.
    pub destination_port: u16,
    /// TCP's 12 control bits.
    pub tcp_flags: u16,
    /// What it says.
    pub told: Told,
    /// The transport's number.
    pub transport: u8,
    /// Whether the source is at its address.
    pub proven: bool,
    /// What an attempt met, where the program looked for it.
    pub socket: Option<Socket>,
    /// Whether this host sent the packet that shows it.
    pub outward: bool,
}

/// What socket of this host a packet met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// None.
    None,
    /// One that listens.
    Listening,
    /// Another.
    Other,
}

/// A place of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Place {
    /// Whose it is; 0: nobody's.
    pub mark: u64,
    /// IP bytes that the low end sent, of a followed connection.
    pub low_bytes: u64,
    /// The same of the high end.
    pub high_bytes: u64,
    /// What acknowledges the answer.
    pub number: u32,
    /// When it began, in [`UNIT_NS`].
    pub began: u32,
    /// When it last made progress, in [`UNIT_NS`].
    pub changed: u32,
    /// How far it came: see [`Place::is_unanswered`].
    pub progress: u8,
    /// What else is known of it.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// In which units of `CLOCK_MONOTONIC` places count, ns.
pub const UNIT_NS: u64 = 1 << 20;

const TRIED: u8 = 1;
const ANSWERED: u8 = 2;
const SETTLED: u8 = 3;
const FROM_LOW: u8 = 1;
const NUMBERED: u8 = 8;

/// What became of what was to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Tally {
    /// Events that were to go into the ring.
    pub produced: u64,
    /// Of these, those that found it full.
    pub lost: u64,
    /// What was not told because its source has told too much.
    pub by_source: u64,
    /// What was not told because the processor has.
    pub by_cpu: u64,
    /// Connections whose outcome was open when their place was taken.
    pub displaced: u64,
    /// Sources that the guard watched, or was to watch, when there was no place.
    pub evicted: u64,
    /// Holds that were not made, and limits that were not told, because there were too many.
    pub unheld: u64,
}

/// The ring and what belongs to it.
pub struct Evidence {
    events: RingBuf<MapData>,
    places: Array<MapData, Place>,
    tallies: PerCpuArray<MapData, Tally>,
    suspects: Array<MapData, Suspect>,
}

// SAFETY: all fields are integers, in the order of `struct tg_place`; `reserved` fills what would be padding,
// as the assertion below shows.
unsafe impl aya::Pod for Place {}
// SAFETY: all fields are integers, in the order of `struct tg_tally`, without padding.
unsafe impl aya::Pod for Tally {}

const _: () = assert!(size_of::<Place>() == 40 && size_of::<Tally>() == 56);

// === impl Watch ===

impl Default for Watch {
    /// Nothing is told.
    fn default() -> Self {
        Self {
            contacts: false,
            sees_replies: false,
            is_mirror: false,
            seed: 0,
            ring_bytes: MIN_RING,
            places: 2,
            sources: 2,
            source_interval_ns: 5_000_000,
            source_burst_ns: 2_500_000_000,
            cpu_interval_ns: 10_000,
            cpu_burst_ns: 1_000_000_000,
            guard: Guard::OFF,
        }
    }
}

impl Watch {
    /// Tells a loader.
    pub(crate) fn tell<'a>(
        &'a self,
        loader: &mut EbpfLoader<'a>,
        [places, sources, suspects]: [&'a u32; 3],
    ) {
        const WORDS: [&str; 3] = ["tg_contacts", "tg_sees_replies", "tg_is_mirror"];
        for (name, value) in
            WORDS.into_iter().zip([self.contacts, self.sees_replies, self.is_mirror])
        {
            loader.override_global(name, if value { &1_u32 } else { &0_u32 }, true);
        }
        for (name, value) in [
            ("tg_seed", &self.seed),
            ("tg_source_interval_ns", &self.source_interval_ns),
            ("tg_source_burst_ns", &self.source_burst_ns),
            ("tg_cpu_interval_ns", &self.cpu_interval_ns),
            ("tg_cpu_burst_ns", &self.cpu_burst_ns),
        ] {
            loader.override_global(name, value, true);
        }
        loader.override_global("tg_place_mask", places, true);
        loader.override_global("tg_source_mask", sources, true);
        loader.map_max_entries("tg_events", self.ring());
        loader.map_max_entries("tg_places", places + 1);
        loader.map_max_entries("tg_sources", sources + 1);
        self.guard.tell(loader, suspects);
    }

    /// The numbers of places, of sources, and of those that the guard watches, less one.
    pub(crate) fn masks(&self) -> [u32; 3] {
        let mask = |number: u32| number.clamp(2, MAX_PLACES).next_power_of_two() - 1;
        [mask(self.places), mask(self.sources), self.guard.mask()]
    }

    /// Bytes of the ring as it is made.
    pub fn ring(&self) -> u32 {
        ring_of(self.ring_bytes)
    }
}

/// Bytes of a ring of at least so many.
pub(crate) fn ring_of(bytes: u32) -> u32 {
    bytes.clamp(MIN_RING, MAX_RING).next_power_of_two()
}

// === impl Event ===

impl Event {
    /// Of the bytes of `struct tg_event`; `None` of what is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        const V6: u8 = 6;
        let bytes: &[u8; EVENT_BYTES] = bytes.first_chunk()?;
        let is_v6 = bytes[59] == V6;
        let address = |at: usize| {
            let octets: [u8; 16] = std::array::from_fn(|byte| bytes[at + byte]);
            let [a, b, c, d, ..] = octets;
            if is_v6 {
                Ipv6Addr::from(octets).into()
            } else {
                IpAddr::from(Ipv4Addr::new(a, b, c, d))
            }
        };
        let long = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let short = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            time_ns: long(0),
            mark: long(8),
            source: address(16),
            destination: address(32),
            place: u32::from_ne_bytes([bytes[48], bytes[49], bytes[50], bytes[51]]),
            source_port: short(52),
            destination_port: short(54),
            tcp_flags: short(56),
            told: Told::of(bytes[58])?,
            transport: bytes[60],
            proven: bytes[61] != 0,
            socket: match bytes[62] {
                0 => Some(Socket::None),
                10 => Some(Socket::Listening),
                255 => None,
                _ => Some(Socket::Other),
            },
            outward: bytes[63] != 0,
        })
    }
}

// === impl Told ===

impl Told {
    fn of(number: u8) -> Option<Self> {
        const ALL: [Told; 11] = [
            Told::Attempt,
            Told::Success,
            Told::Refused,
            Told::OddFlags,
            Told::SplitHeader,
            Told::StrayAck,
            Told::AckProbe,
            Told::Echo,
            Told::End,
            Told::Held,
            Told::Limited,
        ];
        ALL.get(usize::from(number)).copied()
    }
}

// === impl Place ===

impl Place {
    /// Whether the connection of this mark has had no outcome: no answer, or the source's to it is missing.
    pub fn is_unanswered(&self, mark: u64) -> bool {
        let is_half_open = self.progress == ANSWERED && self.flags & NUMBERED != 0;
        self.mark == mark && (self.progress == TRIED || is_half_open)
    }

    /// Whether the connection of this mark goes on.
    pub fn is_going_on(&self, mark: u64) -> bool {
        self.mark == mark && self.progress == SETTLED
    }

    /// IP bytes that the initiator and the other end sent, of a followed connection.
    pub fn bytes(&self) -> [u64; 2] {
        if self.flags & FROM_LOW == 0 {
            [self.high_bytes, self.low_bytes]
        } else {
            [self.low_bytes, self.high_bytes]
        }
    }

    /// From its beginning to its last progress, ns.
    pub fn duration_ns(&self) -> u64 {
        u64::from(self.changed.wrapping_sub(self.began)) * UNIT_NS
    }
}

// === impl Evidence ===

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence").finish_non_exhaustive()
    }
}

impl Evidence {
    /// Of whatever finds a map by its name.
    pub(crate) fn new(
        mut find: impl FnMut(&'static str) -> Result<Map, Error>,
    ) -> Result<Self, Error> {
        Ok(Self {
            events: typed(&mut find, "tg_events")?,
            places: typed(&mut find, "tg_places")?,
            tallies: typed(&mut find, "tg_tallies")?,
            suspects: typed(&mut find, "tg_suspects")?,
        })
    }

    /// Takes what is in the ring, `most` events at most, and gives how many there were. What can't be read
    /// is counted, and goes no further.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(Event)) -> usize {
        let mut taken = 0;
        while taken < most
            && let Some(bytes) = self.events.next()
        {
            taken += 1;
            if let Some(event) = Event::read(&bytes) {
                take(event);
            }
        }
        taken
    }

    /// A place.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn place(&self, index: u32) -> Result<Place, Error> {
        self.places.get(&index, 0).map_err(|error| Error::of_map("tg_places", error))
    }

    /// What the guard knows of the source at this place.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn suspect(&self, index: u32) -> Result<Suspect, Error> {
        self.suspects.get(&index, 0).map_err(|error| Error::of_map("tg_suspects", error))
    }

    /// Ends the hold of the source at this place, if it is still that of this mark.
    ///
    /// # Errors
    /// If it can't be read or written.
    pub fn release(&mut self, index: u32, mark: u64) -> Result<(), Error> {
        let held = self.suspect(index)?;
        if held.mark != mark {
            return Ok(());
        }
        let released = self.suspects.set(index, held.released(), 0);
        released.map_err(|error| Error::of_map("tg_suspects", error))
    }

    /// The account, over all processors.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn tally(&self) -> Result<Tally, Error> {
        let values = self.tallies.get(&0, 0);
        let values = values.map_err(|error| Error::of_map("tg_tallies", error))?;
        Ok(values.iter().fold(Tally::default(), |sum, one| Tally {
            produced: sum.produced + one.produced,
            lost: sum.lost + one.lost,
            by_source: sum.by_source + one.by_source,
            by_cpu: sum.by_cpu + one.by_cpu,
            displaced: sum.displaced + one.displaced,
            evicted: sum.evicted + one.evicted,
            unheld: sum.unheld + one.unheld,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;
    use crate::btf::Types;

    #[test]
    fn every_field_is_where_the_program_has_it() {
        let types = Types::of(crate::object());
        let event = [
            ("time_ns", 0),
            ("mark", 8),
            ("source", 16),
            ("destination", 32),
            ("place", 48),
            ("source_port", 52),
            ("destination_port", 54),
            ("tcp_flags", 56),
            ("told", 58),
            ("family", 59),
            ("transport", 60),
            ("proven", 61),
            ("socket", 62),
            ("outward", 63),
        ];
        types.assert("tg_event", EVENT_BYTES, &event);
        let place = [
            ("mark", offset_of!(Place, mark)),
            ("low_bytes", offset_of!(Place, low_bytes)),
            ("high_bytes", offset_of!(Place, high_bytes)),
            ("number", offset_of!(Place, number)),
            ("began", offset_of!(Place, began)),
            ("changed", offset_of!(Place, changed)),
            ("progress", offset_of!(Place, progress)),
            ("flags", offset_of!(Place, flags)),
            ("reserved", offset_of!(Place, reserved)),
        ];
        types.assert("tg_place", size_of::<Place>(), &place);
        let tally = [
            ("produced", offset_of!(Tally, produced)),
            ("lost", offset_of!(Tally, lost)),
            ("by_source", offset_of!(Tally, by_source)),
            ("by_cpu", offset_of!(Tally, by_cpu)),
            ("displaced", offset_of!(Tally, displaced)),
            ("evicted", offset_of!(Tally, evicted)),
            ("unheld", offset_of!(Tally, unheld)),
        ];
        types.assert("tg_tally", size_of::<Tally>(), &tally);
    }

    #[test]
    fn what_is_no_event_is_none() {
        assert_eq!(Event::read(&[]), None);
        assert_eq!(Event::read(&[0; EVENT_BYTES - 1]), None);
        let mut bytes = [0; EVENT_BYTES];
        assert_eq!(Event::read(&bytes).map(|event| event.told), Some(Told::Attempt));
        bytes[58] = 99;
        assert_eq!(Event::read(&bytes), None);
    }

    #[test]
    fn sizes_are_powers_of_two_within_bounds() {
        let watch = Watch { places: 100_000, sources: 1, ring_bytes: 1, ..Watch::default() };
        assert_eq!(watch.masks(), [131_071, 1, 1]);
        assert_eq!(watch.ring(), MIN_RING);
        let watch = Watch { places: u32::MAX, ring_bytes: u32::MAX, ..watch };
        assert_eq!((watch.masks()[0], watch.ring()), (MAX_PLACES - 1, MAX_RING));
    }
}
