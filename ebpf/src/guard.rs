//! The guard's limits, and what it knows of a source that it watches: the same layout as `bpf/event.h`, which says what
//! each means.

use std::mem::offset_of;

use aya::EbpfLoader;

/// Sources that may be watched at once, at most.
const MAX_SOURCES: u32 = 1 << 20;

/// When the guard holds a source off. It holds until the program is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// At how many distinct ports, with no connection completed; 0: the guard is off.
    pub distinct_ports: u32,
    /// Whether SYNs of sources that are held are dropped; else those that would have been are counted.
    pub enforce: bool,
    /// How long a source is held, and in how much time its ports are counted, ns.
    pub hold_ns: u64,
    /// How old the daemon's heartbeat may be before the guard lets everything pass, ns.
    pub alive_ns: u64,
    /// Nanoseconds between two SYNs of a source; 0: there is no limit.
    pub syn_interval_ns: u64,
    /// How far ahead it may draw, ns.
    pub syn_burst_ns: u64,
    /// Nanoseconds between two holds on a processor, beyond what it may draw ahead.
    pub hold_interval_ns: u64,
    /// How far ahead it may draw, ns.
    pub hold_burst_ns: u64,
    /// Sources that are watched at once; rounded up to a power of two.
    pub sources: u32,
}

/// A source that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Suspect {
    /// Whose place it is; 0: nobody's.
    pub mark: u64,
    /// Until when its SYNs are dropped (`CLOCK_MONOTONIC`, ns); 0: they are not.
    pub held_ns: u64,
    /// When its bucket of SYNs is empty.
    pub bucket_ns: u64,
    /// Until when it is not told again that it is above the rate.
    pub limited_ns: u64,
    /// Packets that were withheld, and are of no verdict yet.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    /// Since when its ports are counted, in [`UNIT_NS`](crate::evidence::UNIT_NS).
    pub began: u32,
    /// Its last SYN, the same.
    pub seen: u32,
    /// The generation of the allow list that did not have it.
    pub unlisted: u32,
    /// Ports that it tried.
    pub count: u16,
    /// Not 0: its hold was told.
    pub told: u8,
    /// Zero.
    pub reserved: u8,
    /// Its ports, a bit each.
    pub ports: [u64; 16],
}

// SAFETY: all fields are integers or arrays of them, in the order of `struct tg_suspect`, without padding, as the
// assertion below shows.
unsafe impl aya::Pod for Suspect {}

const _: () = assert!(size_of::<Suspect>() == 192);

// === impl Guard ===

impl Default for Guard {
    /// It is off.
    fn default() -> Self {
        Self::OFF
    }
}

impl Guard {
    /// One that is off.
    pub const OFF: Self = Self {
        distinct_ports: 0,
        enforce: false,
        hold_ns: 10_000_000_000,
        alive_ns: 5_000_000_000,
        syn_interval_ns: 0,
        syn_burst_ns: 0,
        hold_interval_ns: 300_000_000,
        hold_burst_ns: 60_000_000_000,
        sources: 2,
    };

    /// Tells a loader; `mask` is [`mask`](Self::mask)'s.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the loader borrows it until it loads")]
    pub(crate) fn tell<'a>(&'a self, loader: &mut EbpfLoader<'a>, mask: &'a u32) {
        loader.override_global("tg_guard_ports", &self.distinct_ports, true);
        let enforces = if self.enforce { &1_u32 } else { &0_u32 };
        loader.override_global("tg_guard_enforces", enforces, true);
        loader.override_global("tg_guard_mask", mask, true);
        for (name, value) in [
            ("tg_guard_hold_ns", &self.hold_ns),
            ("tg_guard_alive_ns", &self.alive_ns),
            ("tg_syn_interval_ns", &self.syn_interval_ns),
            ("tg_syn_burst_ns", &self.syn_burst_ns),
            ("tg_guard_interval_ns", &self.hold_interval_ns),
            ("tg_guard_burst_ns", &self.hold_burst_ns),
        ] {
            loader.override_global(name, value, true);
        }
        for map in ["tg_suspects", "tg_firsts", "tg_vouched"] {
            loader.map_max_entries(map, mask + 1);
        }
    }

    /// The number of sources, less one.
    pub(crate) fn mask(&self) -> u32 {
        self.sources.clamp(2, MAX_SOURCES).next_power_of_two() - 1
    }
}

// === impl Suspect ===

impl Suspect {
    /// Its fields and where each is.
    pub const FIELDS: [(&str, usize); 13] = [
        ("mark", offset_of!(Self, mark)),
        ("held_ns", offset_of!(Self, held_ns)),
        ("bucket_ns", offset_of!(Self, bucket_ns)),
        ("limited_ns", offset_of!(Self, limited_ns)),
        ("packets", offset_of!(Self, packets)),
        ("bytes", offset_of!(Self, bytes)),
        ("began", offset_of!(Self, began)),
        ("seen", offset_of!(Self, seen)),
        ("unlisted", offset_of!(Self, unlisted)),
        ("count", offset_of!(Self, count)),
        ("told", offset_of!(Self, told)),
        ("reserved", offset_of!(Self, reserved)),
        ("ports", offset_of!(Self, ports)),
    ];

    /// It is held no longer, and its ports are counted anew; what its bucket of SYNs holds stays.
    #[must_use]
    pub(crate) fn released(self) -> Self {
        Self {
            held_ns: 0,
            packets: 0,
            bytes: 0,
            began: self.seen,
            count: 0,
            told: 0,
            ports: [0; 16],
            ..self
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
        types.assert("tg_suspect", size_of::<Suspect>(), &Suspect::FIELDS);
    }

    #[test]
    fn who_is_released_keeps_its_place_and_its_bucket() {
        let held = Suspect {
            mark: 7,
            held_ns: 1,
            bucket_ns: 2,
            packets: 3,
            bytes: 180,
            seen: 4,
            count: 32,
            told: 1,
            ports: [3; 16],
            ..Suspect::default()
        };
        let released = Suspect { mark: 7, bucket_ns: 2, seen: 4, began: 4, ..Suspect::default() };
        assert_eq!(held.released(), released);
    }
}
