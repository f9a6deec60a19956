//! What the program counts of flows, and the account of all packets: the same layout as `bpf/flow.h`, which says
//! what each means.
//!
//! A flow is taken out in three steps ([`Flows::end`], [`Flows::settle`], [`Flows::take`]): its entry is marked, so
//! that nothing more is counted to it; whoever may still be counting is waited for; and what it has now is final.
//! One whose key a packet took for another connection comes by a ring ([`Flows::past`]).

use std::{
    fmt, io,
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
};

use aya::{
    EbpfLoader,
    maps::{Array, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::ProgramFd,
};

use crate::{Error, abi::tags_of, maps::typed, sys};

/// Entries that are read at once.
const BATCH: usize = 4096;
/// Keys in one run of the program that marks, `TG_ENDED_AT_ONCE`.
const ENDED_AT_ONCE: usize = 64;

/// What is to be counted. It holds until the program is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accounting {
    /// Whether flows are counted at all.
    pub flows: bool,
    /// How many there may be at once; they are allocated beforehand.
    pub max_flows: u32,
    /// IP bytes of the longest packet that the interface sends in one piece: its MTU.
    pub longest: u32,
    /// Bytes of the ring for flows whose key another connection took, a power of two of them and of pages. What finds
    /// it full is counted on to the former one.
    pub past_bytes: u32,
    /// For tests: what tries to begin a flow meet (`errno`); 0: what there is.
    pub insert_error: u32,
    /// For tests: how many tries for each flow meet it.
    pub insert_fails: u32,
}

/// The two ends of a flow, the lower one first, and what tells it from others with the same ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct FlowKey {
    /// An address in network order; IPv4: the first four bytes.
    pub low: [u8; 16],
    /// The other one.
    pub high: [u8; 16],
    /// The port of the low end, or what stands for it.
    pub low_port: u16,
    /// That of the high end.
    pub high_port: u16,
    /// The outer tag in the lower half, the inner in the upper.
    pub vlans: u32,
    /// The transport's number.
    pub transport: u8,
    /// 4 or 6.
    pub family: u8,
    /// What the ports are: see [`Ends`].
    pub kind: u8,
    /// Zero.
    pub reserved: u8,
}

/// What the ports of a key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// There are none.
    Portless,
    /// Ports.
    Ports,
    /// The type of an ICMP message, and that of its answer.
    Paired,
    /// Type and code of an ICMP message without an answer, which the low end sent.
    OneWay,
}

/// What was counted since a flow began; of pairs the low end is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Counted {
    /// Time of the first packet (`CLOCK_MONOTONIC`, ns).
    pub first_ns: u64,
    /// Time of the last, a tick of the kernel late at most.
    pub last_ns: u64,
    /// Packets of each end.
    pub packets: [u64; 2],
    /// Their IP bytes.
    pub bytes: [u64; 2],
    /// What each end has sent: TCP's 12 control bits, and the bits below.
    pub seen: [u32; 2],
    /// Of TCP: the number of each end's SYN, or that before its first byte.
    pub start: [u32; 2],
    /// When a SYN with another number came, which may begin another connection.
    pub asked_ns: u64,
    /// Its number.
    pub asked: u32,
    /// Its IP bytes.
    pub asked_bytes: u16,
    /// The end that sent it, counted from 1; 0: there is none.
    pub asked_by: u8,
    /// Not 0: the low end sent the first packet.
    pub from_low: u8,
    /// ICMP's code of the first packet.
    pub icmp_code: u8,
    /// Not 0: it is being taken out.
    pub ending: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// A flow that is over because a packet began another one of its key.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Past {
    key: FlowKey,
    reserved: u32,
    flow: Counted,
}

/// [`Counted::seen`]: a SYN without ACK.
pub const SYN: u32 = 1 << 12;
/// A SYN with ACK.
pub const SYN_ACK: u32 = 1 << 13;
/// A segment with neither SYN nor RST.
pub const MORE: u32 = 1 << 14;
/// TCP's payload.
pub const PAYLOAD: u32 = 1 << 15;
/// A RST before both ends had sent a FIN.
pub const RESET: u32 = 1 << 16;
/// A packet whose headers contradict themselves or the frame.
pub const DAMAGED: u32 = 1 << 17;
/// A later fragment.
pub const LATER: u32 = 1 << 18;
/// The flow's first packet, a datagram whose content answers.
pub const ANSWERS: u32 = 1 << 20;

/// What became of packets, and of tries to begin a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Account {
    /// All packets that were to be counted.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    /// Of these, packets that no flow has.
    pub unattributed: u64,
    /// Their IP bytes.
    pub unattributed_bytes: u64,
    /// Frames longer than the MTU: several packets that were joined on the way in.
    pub oversized: u64,
    /// Frames that the card cuts up: counted as the packets they become.
    pub segmented: u64,
    /// Packets that claim more bytes than their frame has.
    pub cut: u64,
    /// Packets of a flow that was just being taken out; they are unattributed.
    pub ending: u64,
    /// Tries to begin a flow that met EBUSY.
    pub busy: u64,
    /// Those that met E2BIG: there are as many as there may be.
    pub full: u64,
    /// ENOMEM.
    pub memory: u64,
    /// EEXIST: another processor was first, and has the packet counted there.
    pub exists: u64,
    /// Any other error.
    pub other: u64,
    /// Connections that were counted to the former one of their ends, as the ring was full.
    pub merged: u64,
}

// SAFETY: all fields are integers or arrays of them, in the order of `struct tg_flow_key`, without padding.
unsafe impl aya::Pod for FlowKey {}
// SAFETY: all fields are integers or arrays of them, in the order of `struct tg_flow`; `reserved` fills what would
// be padding, as the assertion below shows.
unsafe impl aya::Pod for Counted {}
// SAFETY: all fields are integers of one size, in the order of `struct tg_account`.
unsafe impl aya::Pod for Account {}
// SAFETY: its parts are of this kind, in the order of `struct tg_past`; `reserved` fills what would be padding.
unsafe impl aya::Pod for Past {}

const _: () = assert!(
    size_of::<FlowKey>() == 44 && size_of::<Counted>() == 88 && size_of::<Past>() == 44 + 4 + 88
);
/// The least room of the ring: a page.
const MIN_PAST: u32 = 4096;

/// The maps of flows, and the program that marks.
pub struct Flows {
    map: MapData,
    account: PerCpuArray<MapData, Account>,
    stop: Array<MapData, u32>,
    past: RingBuf<MapData>,
    end: ProgramFd,
    batch: sys::Batch<FlowKey, Counted>,
}

// === impl Accounting ===

impl Default for Accounting {
    /// Nothing is counted.
    fn default() -> Self {
        Self {
            flows: false,
            max_flows: 1,
            longest: 0xffff,
            past_bytes: MIN_PAST,
            insert_error: 0,
            insert_fails: 0,
        }
    }
}

impl Accounting {
    /// Tells a loader.
    pub(crate) fn tell<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader.override_global("tg_accounts", if self.flows { &1_u32 } else { &0_u32 }, true);
        loader.override_global("tg_longest", &self.longest, true);
        loader.override_global("tg_insert_error", &self.insert_error, true);
        loader.override_global("tg_insert_fails", &self.insert_fails, true);
        loader.map_max_entries("tg_flows", self.max_flows.max(1));
        loader.map_max_entries("tg_past", self.past_bytes.max(MIN_PAST).next_power_of_two());
    }
}

// === impl FlowKey ===

impl FlowKey {
    /// The address and port of an end, or what stands for the port.
    pub fn end(&self, low: bool) -> (IpAddr, u16) {
        const V6: u8 = 6;
        let (octets, port) =
            if low { (self.low, self.low_port) } else { (self.high, self.high_port) };
        let [a, b, c, d, ..] = octets;
        let address = if self.family == V6 {
            Ipv6Addr::from(octets).into()
        } else {
            IpAddr::from(Ipv4Addr::new(a, b, c, d))
        };
        (address, port)
    }

    /// What the ports are.
    pub fn ends(&self) -> Ends {
        match self.kind {
            0 => Ends::Portless,
            1 => Ends::Ports,
            2 => Ends::Paired,
            _ => Ends::OneWay,
        }
    }

    /// The outer tag and the inner: the id with the highest bit set, or 0 if there is none.
    pub fn tags(&self) -> [u16; 2] {
        tags_of(self.vlans)
    }

    fn bytes(&self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(offset_of!(Self, low), &self.low);
        put(offset_of!(Self, high), &self.high);
        put(offset_of!(Self, low_port), &self.low_port.to_ne_bytes());
        put(offset_of!(Self, high_port), &self.high_port.to_ne_bytes());
        put(offset_of!(Self, vlans), &self.vlans.to_ne_bytes());
        put(offset_of!(Self, transport), &[self.transport, self.family, self.kind, self.reserved]);
        bytes
    }
}

// === impl Flows ===

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}

impl Flows {
    /// Of whatever finds a map by its name, and the program that marks.
    pub(crate) fn new(
        mut find: impl FnMut(&'static str) -> Result<Map, Error>,
        end: ProgramFd,
    ) -> Result<Self, Error> {
        let Map::HashMap(map) = find("tg_flows")? else {
            return Err(failed("tg_flows", io::ErrorKind::InvalidData.into()));
        };
        let info = map.info().map_err(|error| Error::of_map("tg_flows", error))?;
        if (info.key_size(), info.value_size()) != (44, 88) {
            return Err(failed("tg_flows", io::ErrorKind::InvalidData.into()));
        }
        Ok(Self {
            map,
            account: typed(&mut find, "tg_account")?,
            stop: typed(&mut find, "tg_account_stop")?,
            past: typed(&mut find, "tg_past")?,
            end,
            batch: sys::Batch::new(BATCH),
        })
    }

    /// Gives each flow there is. One that begins or ends meanwhile may be among them or not.
    ///
    /// # Errors
    /// If the map can't be read, perhaps after some were given.
    pub fn sweep(&mut self, mut take: impl FnMut(&FlowKey, &Counted)) -> Result<(), Error> {
        let read = self.batch.each(self.map.fd().as_fd(), &mut take);
        read.map_err(|error| failed("tg_flows", error))
    }

    /// Gives each flow whose key a packet took for another connection, once.
    ///
    /// # Errors
    /// If the program wrote what is none.
    pub fn past(&mut self, mut take: impl FnMut(&FlowKey, &Counted)) -> Result<(), Error> {
        while let Some(item) = self.past.next() {
            let Past { key, flow, .. } = sys::value::<Past>(&item)
                .ok_or_else(|| failed("tg_past", io::ErrorKind::InvalidData.into()))?;
            take(&key, &flow);
        }
        Ok(())
    }

    /// From now on nothing more is counted to these flows: their packets count as unattributed until they are
    /// taken out.
    ///
    /// # Errors
    /// If the program can't be run, perhaps after some were marked.
    pub fn end(&mut self, keys: &[FlowKey]) -> Result<(), Error> {
        for part in keys.chunks(ENDED_AT_ONCE) {
            let frame: Vec<u8> = part.iter().flat_map(FlowKey::bytes).collect();
            sys::run(self.end.as_fd(), &frame).map_err(|error| failed("tg_flows", error))?;
        }
        Ok(())
    }

    /// Waits until no processor is counting any more that began before.
    pub fn settle(&mut self) {
        sys::wait_for_programs();
    }

    /// Takes a flow out, with what it has; `None` if there is none.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn take(&mut self, key: &FlowKey) -> Result<Option<Counted>, Error> {
        sys::take(self.map.fd().as_fd(), key).map_err(|error| failed("tg_flows", error))
    }

    /// Nothing is counted any more, once it has settled.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.stop.set(0, 1, 0).map_err(|error| Error::of_map("tg_account_stop", error))
    }

    /// The account, over all processors.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn account(&self) -> Result<Account, Error> {
        let values = self.account.get(&0, 0);
        let values = values.map_err(|error| Error::of_map("tg_account", error))?;
        Ok(values.iter().fold(Account::default(), Account::plus))
    }
}

fn failed(map: &'static str, source: io::Error) -> Error {
    Error::of_map(map, MapError::IoError(source))
}

/// The MTU of an interface, in bytes.
///
/// # Errors
/// If there is no such interface.
pub fn mtu(interface: &str) -> io::Result<u32> {
    sys::mtu(interface)
}

/// Whether frames of an interface begin with an Ethernet header, as the program takes it: those of a tunnel of IP
/// packets (tun, `WireGuard`, GRE) don't.
///
/// # Errors
/// If there is no such interface.
pub fn is_ethernet(interface: &str) -> io::Result<bool> {
    Ok(matches!(sys::link_type(interface)?, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK))
}

// === impl Account ===

impl Account {
    fn plus(self, other: &Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            unattributed: self.unattributed + other.unattributed,
            unattributed_bytes: self.unattributed_bytes + other.unattributed_bytes,
            oversized: self.oversized + other.oversized,
            segmented: self.segmented + other.segmented,
            cut: self.cut + other.cut,
            ending: self.ending + other.ending,
            busy: self.busy + other.busy,
            full: self.full + other.full,
            memory: self.memory + other.memory,
            exists: self.exists + other.exists,
            other: self.other + other.other,
            merged: self.merged + other.merged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::Types;

    #[test]
    fn every_field_is_where_the_program_has_it() {
        let types = Types::of(crate::object());
        let key = [
            ("low", offset_of!(FlowKey, low)),
            ("high", offset_of!(FlowKey, high)),
            ("low_port", offset_of!(FlowKey, low_port)),
            ("high_port", offset_of!(FlowKey, high_port)),
            ("vlans", offset_of!(FlowKey, vlans)),
            ("transport", offset_of!(FlowKey, transport)),
            ("family", offset_of!(FlowKey, family)),
            ("kind", offset_of!(FlowKey, kind)),
            ("reserved", offset_of!(FlowKey, reserved)),
        ];
        types.assert("tg_flow_key", size_of::<FlowKey>(), &key);
        let counted = [
            ("first_ns", offset_of!(Counted, first_ns)),
            ("last_ns", offset_of!(Counted, last_ns)),
            ("packets", offset_of!(Counted, packets)),
            ("bytes", offset_of!(Counted, bytes)),
            ("seen", offset_of!(Counted, seen)),
            ("start", offset_of!(Counted, start)),
            ("asked_ns", offset_of!(Counted, asked_ns)),
            ("asked", offset_of!(Counted, asked)),
            ("asked_bytes", offset_of!(Counted, asked_bytes)),
            ("asked_by", offset_of!(Counted, asked_by)),
            ("from_low", offset_of!(Counted, from_low)),
            ("icmp_code", offset_of!(Counted, icmp_code)),
            ("ending", offset_of!(Counted, ending)),
            ("reserved", offset_of!(Counted, reserved)),
        ];
        types.assert("tg_flow", size_of::<Counted>(), &counted);
        let past = [
            ("key", offset_of!(Past, key)),
            ("reserved", offset_of!(Past, reserved)),
            ("flow", offset_of!(Past, flow)),
        ];
        types.assert("tg_past", size_of::<Past>(), &past);
        let account = [
            ("packets", offset_of!(Account, packets)),
            ("bytes", offset_of!(Account, bytes)),
            ("unattributed", offset_of!(Account, unattributed)),
            ("unattributed_bytes", offset_of!(Account, unattributed_bytes)),
            ("oversized", offset_of!(Account, oversized)),
            ("segmented", offset_of!(Account, segmented)),
            ("cut", offset_of!(Account, cut)),
            ("ending", offset_of!(Account, ending)),
            ("busy", offset_of!(Account, busy)),
            ("full", offset_of!(Account, full)),
            ("memory", offset_of!(Account, memory)),
            ("exists", offset_of!(Account, exists)),
            ("other", offset_of!(Account, other)),
            ("merged", offset_of!(Account, merged)),
        ];
        types.assert("tg_account", size_of::<Account>(), &account);
    }
}
