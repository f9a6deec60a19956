//! Which maps there are, and how each has to be.
//!
//! Pinned maps live on when the program is replaced, and a map is found by its name alone: so its type,
//! sizes and flags are compared with what stands here, and the folder that they are pinned in is named by
//! a hash of all of it.

use std::path::Path;

use aya::maps::{MapInfo, MapType};

use crate::{
    Error,
    abi::{Block, Count, Daemon, Outcome, WORDS},
};

/// `BPF_F_NO_PREALLOC`: a trie has no other form.
const NO_PREALLOC: u32 = 1;

/// How many maps there are.
pub const MAPS: usize = 9;

/// The limits and the mode that a program is loaded with. They hold until it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether verdicts that are to be enforced drop packets.
    pub enforce: bool,
    /// How old the heartbeat may be before everything passes, ns; 0: verdicts hold until their deadline.
    pub fail_open_ns: u64,
    /// Nanoseconds between two packets that begin something, of a source whose rate is limited.
    pub new_interval_ns: u64,
    /// How far ahead it may draw, ns.
    pub new_burst_ns: u64,
    /// The same for all its packets.
    pub all_interval_ns: u64,
    /// How far ahead it may draw, ns.
    pub all_burst_ns: u64,
    /// Verdicts on addresses, of each family.
    pub max_blocks: u32,
    /// Verdicts on networks, of each family.
    pub max_networks: u32,
    /// Entries of the allow list, of each family.
    pub max_allowed: u32,
}

/// How a map has to be.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name in the object and in the folder.
    pub name: &'static str,
    /// Its type.
    pub kind: MapType,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// How many entries it has room for.
    pub entries: u32,
    /// Its flags.
    pub flags: u32,
}

// === impl Settings ===

impl Settings {
    /// The maps of a program with these settings.
    pub fn maps(&self) -> [Spec; MAPS] {
        let block = bytes_of::<Block>();
        let hash = |name, key| Spec {
            name,
            kind: MapType::Hash,
            key,
            value: block,
            entries: self.max_blocks,
            flags: 0,
        };
        let trie = |name, address: u32, value, entries| Spec {
            name,
            kind: MapType::LpmTrie,
            key: 4 + address,
            value,
            entries,
            flags: NO_PREALLOC,
        };
        [
            hash("tg_block4", 4),
            hash("tg_block6", 16),
            trie("tg_net4", 4, block, self.max_networks),
            trie("tg_net6", 16, block, self.max_networks),
            trie("tg_allow4", 4, 4, self.max_allowed),
            trie("tg_allow6", 16, 4, self.max_allowed),
            array("tg_daemon", MapType::Array, bytes_of::<Daemon>(), 1),
            array("tg_state", MapType::Array, 8, WORDS),
            array("tg_stats", MapType::PerCpuArray, bytes_of::<Count>(), outcomes()),
        ]
    }

    /// Names the folder of the maps: it is another one when the layout, a size, or the mode is.
    pub fn folder(&self) -> String {
        let spec = |Spec { name, kind, key, value, entries, flags }: Spec| {
            format!("{name},{},{key},{value},{entries},{flags}", kind as u32)
        };
        let maps = self.maps().map(spec).join(";");
        let text = format!("enforce={};{:x};{maps}", self.enforce, of_blocks());
        format!("{:016x}", fnv(text.as_bytes()))
    }
}

/// Names the layout of a verdict in the maps. Never 0, which is what a version without it has.
pub(crate) fn of_blocks() -> u64 {
    let fields = Block::FIELDS.map(|(name, at)| format!("{name}@{at}"));
    fnv(fields.join(",").as_bytes()).max(1)
}

fn array(name: &'static str, kind: MapType, value: u32, entries: u32) -> Spec {
    Spec { name, kind, key: 4, value, entries, flags: 0 }
}

fn outcomes() -> u32 {
    u32::try_from(Outcome::ALL.len()).unwrap_or(u32::MAX)
}

fn bytes_of<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

/// FNV-1a: nobody chooses the layout to make two hashes alike, and it needs no package.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

// === impl Spec ===

impl Spec {
    /// Fails if the map pinned at `path` is another one.
    pub(crate) fn check(&self, path: &Path, info: &MapInfo) -> Result<(), Error> {
        let kind = info.map_type().map_or(u64::MAX, |kind| kind as u64);
        for (what, found, expected) in [
            ("the type", kind, self.kind as u64),
            ("keys of bytes", info.key_size().into(), self.key.into()),
            ("values of bytes", info.value_size().into(), self.value.into()),
            ("room for entries", info.max_entries().into(), self.entries.into()),
            ("the flags", info.map_flags().into(), self.flags.into()),
        ] {
            if found != expected {
                return Err(Error::Layout { path: path.to_owned(), what, found, expected });
            }
        }
        Ok(())
    }

    /// The same without its size: what is in it can be copied.
    pub(crate) fn is_readable(&self, info: &MapInfo) -> bool {
        info.map_type().is_ok_and(|kind| kind == self.kind)
            && (info.key_size(), info.value_size()) == (self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        enforce: false,
        fail_open_ns: 0,
        new_interval_ns: 1,
        new_burst_ns: 1,
        all_interval_ns: 1,
        all_burst_ns: 1,
        max_blocks: 10,
        max_networks: 10,
        max_allowed: 10,
    };

    #[test]
    fn another_mode_or_size_is_another_folder_and_a_limit_is_not() {
        let folder = SETTINGS.folder();
        assert_eq!(folder.len(), 16);
        assert_ne!(Settings { enforce: true, ..SETTINGS }.folder(), folder);
        assert_ne!(Settings { max_blocks: 11, ..SETTINGS }.folder(), folder);
        assert_ne!(Settings { max_allowed: 11, ..SETTINGS }.folder(), folder);
        assert_eq!(Settings { fail_open_ns: 7, ..SETTINGS }.folder(), folder);
    }
}
