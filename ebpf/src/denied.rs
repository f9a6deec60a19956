//! What the program counts of what it drops: the same layout as `bpf/denied.h`, which says what each means.
//!
//! Counts are taken out by turns: [`Denials::turn`] begins the other one, [`Denials::settle`] waits for whoever may
//! still be counting to the former, and then [`Denials::former`] gives what belongs to that, which
//! [`Denials::take`] takes out: it is final.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
};

use aya::{
    EbpfLoader,
    maps::{Array, Map, MapData, MapError, PerCpuArray},
};

use crate::{Error, abi::tags_of, maps::typed, sys};

/// Entries that are read at once.
const BATCH: usize = 4096;
/// Nothing more is counted.
const STOPPED: u32 = 2;
/// Sources that may have shares of their own, at most.
const MAX_SOURCES: u32 = 1 << 20;

/// What is to be counted of what is dropped. It holds until the program is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denying {
    /// Whether it is counted at all.
    pub counts: bool,
    /// How many entries there may be at once; they are allocated beforehand.
    pub max_entries: u32,
    /// Sources, about, that have shares of their own; rounded up to a power of two.
    pub sources: u32,
    /// Keys the hash of sources.
    pub seed: u64,
    /// Nanoseconds between two entries by port of a source.
    pub port_interval_ns: u64,
    /// How far ahead it may draw, ns.
    pub port_burst_ns: u64,
    /// Nanoseconds between two entries of a source for all else.
    pub rest_interval_ns: u64,
    /// How far ahead it may draw, ns.
    pub rest_burst_ns: u64,
    /// Nanoseconds between two entries that a processor begins.
    pub cpu_interval_ns: u64,
    /// How far ahead it may draw, ns.
    pub cpu_burst_ns: u64,
}

/// Who sent it where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct DeniedKey {
    /// The sender's address in network order; IPv4: the first four bytes.
    pub source: [u8; 16],
    /// The receiver's.
    pub destination: [u8; 16],
    /// The outer tag in the lower half, the inner in the upper.
    pub vlans: u32,
    /// The receiver's port, or what stands for it.
    pub port: u16,
    /// The transport's number.
    pub transport: u8,
    /// 4 or 6.
    pub family: u8,
    /// What the port is: see [`Aim`].
    pub kind: u8,
    /// Whose turn it was.
    pub turn: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// What packets were for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// They have no port, or none that could be read.
    Portless,
    /// A port.
    Port(u16),
    /// ICMP of this type and code.
    Icmp(u8, u8),
    /// All that is beyond the share of their source.
    Rest,
}

/// What was dropped of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Denied {
    /// Time of the first packet (`CLOCK_MONOTONIC`, ns).
    pub first_ns: u64,
    /// Time of the last, a tick of the kernel late at most.
    pub last_ns: u64,
    /// Packets.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    /// The verdict that dropped the first packet; zeros: the guard did, without one.
    pub id: [u8; 16],
    /// All TCP control bits.
    pub tcp_flags: u32,
    /// The sender's port of the first packet.
    pub source_port: u16,
    /// Not 0: others came from other ports.
    pub several: u8,
    /// Zero.
    pub reserved: u8,
}

/// What became of packets that were dropped, and why there was no entry for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Tally {
    /// All packets that were dropped.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    /// Of these, packets that no entry has.
    pub untold: u64,
    /// Their IP bytes.
    pub untold_bytes: u64,
    /// Packets that are told without their port, as their source had its share.
    pub rest: u64,
    /// Untold: their source had its share of these too.
    pub by_source: u64,
    /// Untold: the processor had begun as many as it may.
    pub by_cpu: u64,
    /// Untold: there are as many as there may be.
    pub full: u64,
    /// Untold, for another error.
    pub failed: u64,
}

// SAFETY: all fields are integers or arrays of them, in the order of `struct tg_denied_key`; `reserved` fills what
// would be padding, as the assertion below shows.
unsafe impl aya::Pod for DeniedKey {}
// SAFETY: all fields are integers or arrays of them, in the order of `struct tg_denied`, without padding.
unsafe impl aya::Pod for Denied {}
// SAFETY: all fields are integers of one size, in the order of `struct tg_denied_tally`.
unsafe impl aya::Pod for Tally {}

const KEY_BYTES: u32 = 44;
const VALUE_BYTES: u32 = 56;
const _: () = assert!(
    size_of::<DeniedKey>() == KEY_BYTES as usize && size_of::<Denied>() == VALUE_BYTES as usize
);

/// The maps of what is dropped.
pub struct Denials {
    map: MapData,
    turn: Array<MapData, u32>,
    tallies: PerCpuArray<MapData, Tally>,
    batch: sys::Batch<DeniedKey, Denied>,
    /// Whose turn it is.
    now: u32,
}

// === impl Denying ===

impl Default for Denying {
    fn default() -> Self {
        Self::OFF
    }
}

impl Denying {
    /// Nothing is counted.
    pub const OFF: Self = Self {
        counts: false,
        max_entries: 1,
        sources: 1,
        seed: 0,
        port_interval_ns: 1,
        port_burst_ns: 1,
        rest_interval_ns: 1,
        rest_burst_ns: 1,
        cpu_interval_ns: 1,
        cpu_burst_ns: 1,
    };

    /// Tells a loader; `mask` is [`mask`](Self::mask)'s.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the loader borrows it until it loads")]
    pub(crate) fn tell<'a>(&'a self, loader: &mut EbpfLoader<'a>, mask: &'a u32) {
        loader.override_global("tg_denials", if self.counts { &1_u32 } else { &0_u32 }, true);
        loader.override_global("tg_denied_mask", mask, true);
        for (name, value) in [
            ("tg_denied_seed", &self.seed),
            ("tg_denied_port_interval_ns", &self.port_interval_ns),
            ("tg_denied_port_burst_ns", &self.port_burst_ns),
            ("tg_denied_rest_interval_ns", &self.rest_interval_ns),
            ("tg_denied_rest_burst_ns", &self.rest_burst_ns),
            ("tg_denied_cpu_interval_ns", &self.cpu_interval_ns),
            ("tg_denied_cpu_burst_ns", &self.cpu_burst_ns),
        ] {
            loader.override_global(name, value, true);
        }
        loader.map_max_entries("tg_denied", self.max_entries.max(1));
        loader.map_max_entries("tg_denied_shares", mask + 1);
    }

    /// The number of shares, two for each source, less one.
    pub(crate) fn mask(&self) -> u32 {
        2 * self.sources.clamp(1, MAX_SOURCES).next_power_of_two() - 1
    }
}

// === impl DeniedKey ===

impl DeniedKey {
    /// The sender's address, and the receiver's.
    pub fn addresses(&self) -> [IpAddr; 2] {
        const V6: u8 = 6;
        [self.source, self.destination].map(|octets| {
            let [a, b, c, d, ..] = octets;
            if self.family == V6 {
                Ipv6Addr::from(octets).into()
            } else {
                IpAddr::from(Ipv4Addr::new(a, b, c, d))
            }
        })
    }

    /// What the packets were for.
    pub fn aim(&self) -> Aim {
        let [kind, code] = self.port.to_be_bytes();
        match self.kind {
            0 => Aim::Portless,
            1 => Aim::Port(self.port),
            2 => Aim::Icmp(kind, code),
            _ => Aim::Rest,
        }
    }

    /// The outer tag and the inner: the id with the highest bit set, or 0 if there is none.
    pub fn tags(&self) -> [u16; 2] {
        tags_of(self.vlans)
    }
}

// === impl Denials ===

impl fmt::Debug for Denials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denials").finish_non_exhaustive()
    }
}

impl Denials {
    /// Of whatever finds a map by its name.
    pub(crate) fn new(
        mut find: impl FnMut(&'static str) -> Result<Map, Error>,
    ) -> Result<Self, Error> {
        let Map::HashMap(map) = find("tg_denied")? else {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        };
        let info = map.info().map_err(|error| Error::of_map("tg_denied", error))?;
        if (info.key_size(), info.value_size()) != (KEY_BYTES, VALUE_BYTES) {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        }
        Ok(Self {
            map,
            turn: typed(&mut find, "tg_denied_turn")?,
            tallies: typed(&mut find, "tg_denied_tallies")?,
            batch: sys::Batch::new(BATCH),
            now: 0,
        })
    }

    /// Begins the other turn: what is dropped from now on belongs to that.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn turn(&mut self) -> Result<(), Error> {
        let next = u32::from(self.now == 0);
        self.write(next)?;
        self.now = next;
        Ok(())
    }

    /// Nothing is counted any more, once it has settled.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.write(STOPPED)?;
        self.now = STOPPED;
        Ok(())
    }

    fn write(&mut self, turn: u32) -> Result<(), Error> {
        let written = self.turn.set(0, turn, 0);
        written.map_err(|error| Error::of_map("tg_denied_turn", error))
    }

    /// Waits until no processor is counting any more that began before.
    pub fn settle(&mut self) {
        sys::wait_for_programs();
    }

    /// Gives the key of each entry whose turn it is not.
    ///
    /// # Errors
    /// If the map can't be read, perhaps after some were given.
    pub fn former(&mut self, mut take: impl FnMut(DeniedKey)) -> Result<(), Error> {
        let now = self.now;
        let read = self.batch.each(self.map.fd().as_fd(), |key, _| {
            if u32::from(key.turn) != now {
                take(*key);
            }
        });
        read.map_err(failed)
    }

    /// Takes an entry out, with what it has; `None` if there is none.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn take(&mut self, key: &DeniedKey) -> Result<Option<Denied>, Error> {
        sys::take(self.map.fd().as_fd(), key).map_err(failed)
    }

    /// The account, over all processors.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn tally(&self) -> Result<Tally, Error> {
        let values = self.tallies.get(&0, 0);
        let values = values.map_err(|error| Error::of_map("tg_denied_tallies", error))?;
        Ok(values.iter().fold(Tally::default(), Tally::plus))
    }
}

fn failed(source: io::Error) -> Error {
    Error::of_map("tg_denied", MapError::IoError(source))
}

// === impl Tally ===

impl Tally {
    fn plus(self, other: &Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            untold: self.untold + other.untold,
            untold_bytes: self.untold_bytes + other.untold_bytes,
            rest: self.rest + other.rest,
            by_source: self.by_source + other.by_source,
            by_cpu: self.by_cpu + other.by_cpu,
            full: self.full + other.full,
            failed: self.failed + other.failed,
        }
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
        let key = [
            ("source", offset_of!(DeniedKey, source)),
            ("destination", offset_of!(DeniedKey, destination)),
            ("vlans", offset_of!(DeniedKey, vlans)),
            ("port", offset_of!(DeniedKey, port)),
            ("transport", offset_of!(DeniedKey, transport)),
            ("family", offset_of!(DeniedKey, family)),
            ("kind", offset_of!(DeniedKey, kind)),
            ("turn", offset_of!(DeniedKey, turn)),
            ("reserved", offset_of!(DeniedKey, reserved)),
        ];
        types.assert("tg_denied_key", size_of::<DeniedKey>(), &key);
        let denied = [
            ("first_ns", offset_of!(Denied, first_ns)),
            ("last_ns", offset_of!(Denied, last_ns)),
            ("packets", offset_of!(Denied, packets)),
            ("bytes", offset_of!(Denied, bytes)),
            ("id", offset_of!(Denied, id)),
            ("tcp_flags", offset_of!(Denied, tcp_flags)),
            ("source_port", offset_of!(Denied, source_port)),
            ("several", offset_of!(Denied, several)),
            ("reserved", offset_of!(Denied, reserved)),
        ];
        types.assert("tg_denied", size_of::<Denied>(), &denied);
        let tally = [
            ("packets", offset_of!(Tally, packets)),
            ("bytes", offset_of!(Tally, bytes)),
            ("untold", offset_of!(Tally, untold)),
            ("untold_bytes", offset_of!(Tally, untold_bytes)),
            ("rest", offset_of!(Tally, rest)),
            ("by_source", offset_of!(Tally, by_source)),
            ("by_cpu", offset_of!(Tally, by_cpu)),
            ("full", offset_of!(Tally, full)),
            ("failed", offset_of!(Tally, failed)),
        ];
        types.assert("tg_denied_tally", size_of::<Tally>(), &tally);
    }
}
