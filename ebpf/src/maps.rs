//! The maps, typed.

mod heart;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
};

use aya::maps::{
    Array, HashMap, LpmTrie, Map, MapData, MapError, MapInfo, PerCpuArray, lpm_trie::Key,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use heart::counted;
pub use heart::{Heart, LetThrough};

use crate::{
    Error, Mode,
    abi::{Block, Count, Daemon, Outcome, Word},
    layout::{self, Spec},
    sys,
};

/// The maps of a program.
pub struct Maps {
    block4: HashMap<MapData, [u8; 4], Block>,
    block6: HashMap<MapData, [u8; 16], Block>,
    net4: LpmTrie<MapData, [u8; 4], Block>,
    net6: LpmTrie<MapData, [u8; 16], Block>,
    allow4: LpmTrie<MapData, [u8; 4], u32>,
    allow6: LpmTrie<MapData, [u8; 16], u32>,
    heart: Heart,
    state: Array<MapData, u64>,
    stats: Arc<PerCpuArray<MapData, Count>>,
}

/// Verdicts that other maps held when they were copied, by their ids.
pub(crate) type Copied = BTreeMap<IpNet, [u8; 16]>;

/// A map of this name by its type, of whatever finds maps by their names.
pub(crate) fn typed<T: TryFrom<Map, Error = MapError>>(
    find: &mut impl FnMut(&'static str) -> Result<Map, Error>,
    name: &'static str,
) -> Result<T, Error> {
    T::try_from(find(name)?).map_err(|error| Error::of_map(name, error))
}

// === impl Maps ===

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // aya's arrays can't be printed; what they are is in the layout.
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

impl Maps {
    /// Of whatever finds a map by its name.
    pub(crate) fn new(
        mut find: impl FnMut(&'static str) -> Result<Map, Error>,
    ) -> Result<Self, Error> {
        Ok(Self {
            block4: typed(&mut find, "tg_block4")?,
            block6: typed(&mut find, "tg_block6")?,
            net4: typed(&mut find, "tg_net4")?,
            net6: typed(&mut find, "tg_net6")?,
            allow4: typed(&mut find, "tg_allow4")?,
            allow6: typed(&mut find, "tg_allow6")?,
            heart: Heart::new(typed(&mut find, "tg_daemon")?),
            state: typed(&mut find, "tg_state")?,
            stats: Arc::new(typed(&mut find, "tg_stats")?),
        })
    }

    /// Those pinned in a folder of ours. That keys and values have our sizes is checked, their number is not:
    /// it is whatever the daemon was told.
    ///
    /// # Errors
    /// If one is missing or of another layout.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::open_any(folder)
    }

    /// How many verdicts those pinned in this folder may hold: the map of one address family has room for all.
    ///
    /// # Errors
    /// If that can't be read.
    pub fn room(folder: &Path) -> Result<u32, Error> {
        let name = "tg_block4";
        let info = MapInfo::from_pin(folder.join(name));
        Ok(info.map_err(|error| Error::of_map(name, error))?.max_entries())
    }

    pub(crate) fn open_any(folder: &Path) -> Result<Self, Error> {
        Self::new(|name| {
            let data = MapData::from_pin(folder.join(name));
            data.and_then(Map::from_map_data).map_err(|error| Error::of_map(name, error))
        })
    }

    /// The same, if all that these specs say but the number of entries holds.
    pub(crate) fn open_readable(folder: &Path, specs: &[Spec]) -> Result<Self, Error> {
        for spec in specs {
            let path = folder.join(spec.name);
            let info = MapInfo::from_pin(&path).map_err(|error| Error::of_map(spec.name, error))?;
            if !spec.is_readable(&info) {
                spec.check(&path, &info)?;
            }
        }
        let maps = Self::open_any(folder)?;
        let (found, expected) = (maps.word(Word::Layout)?, layout::of_blocks());
        if found != expected {
            let path = folder.join("tg_block4");
            return Err(Error::Layout { path, what: "verdicts of layout", found, expected });
        }
        Ok(maps)
    }

    /// The verdict on exactly this network.
    ///
    /// # Errors
    /// If the map can't be read.
    pub fn block(&self, network: IpNet) -> Result<Option<Block>, Error> {
        let (map, found) = match (network, is_address(network)) {
            (IpNet::V4(net), true) => ("tg_block4", self.block4.get(&net.addr().octets(), 0)),
            (IpNet::V6(net), true) => ("tg_block6", self.block6.get(&net.addr().octets(), 0)),
            (IpNet::V4(net), false) => ("tg_net4", self.net4.get(&key4(net), 0)),
            (IpNet::V6(net), false) => ("tg_net6", self.net6.get(&key6(net), 0)),
        };
        match found {
            Ok(block) => {
                let counted = Some(block.counted());
                Ok(counted.filter(|block| block.prefix == network.prefix_len()))
            }
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(Error::of_map(map, error)),
        }
    }

    /// Puts a verdict on a network in force, in place of the one on it. The program looks it up from the
    /// moment that this returns.
    ///
    /// # Errors
    /// If it can't be written: each reason is an error of its own.
    pub fn insert(&mut self, network: IpNet, block: Block) -> Result<(), Error> {
        let block = Block { prefix: network.prefix_len(), ..block };
        let (map, word, done) = match (network, is_address(network)) {
            (IpNet::V4(net), true) => {
                ("tg_block4", None, self.block4.insert(net.addr().octets(), block, 0))
            }
            (IpNet::V6(net), true) => {
                ("tg_block6", None, self.block6.insert(net.addr().octets(), block, 0))
            }
            (IpNet::V4(net), false) => {
                ("tg_net4", Some(Word::HasNet4), self.net4.insert(&key4(net), block, 0))
            }
            (IpNet::V6(net), false) => {
                ("tg_net6", Some(Word::HasNet6), self.net6.insert(&key6(net), block, 0))
            }
        };
        done.map_err(|error| Error::of_map(map, error))?;
        word.map_or(Ok(()), |word| self.set(word, 1))
    }

    /// Takes a verdict back. False if there was none.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn remove(&mut self, network: IpNet) -> Result<bool, Error> {
        let (map, done) = match (network, is_address(network)) {
            (IpNet::V4(net), true) => ("tg_block4", self.block4.remove(&net.addr().octets())),
            (IpNet::V6(net), true) => ("tg_block6", self.block6.remove(&net.addr().octets())),
            (IpNet::V4(net), false) => ("tg_net4", self.net4.remove(&key4(net))),
            (IpNet::V6(net), false) => ("tg_net6", self.net6.remove(&key6(net))),
        };
        removed(map, done)
    }

    /// All verdicts, those whose time is over too.
    ///
    /// # Errors
    /// If a map can't be read.
    pub fn blocks(&self) -> Result<Vec<(IpNet, Block)>, Error> {
        let mut blocks = Vec::new();
        for found in &self.block4 {
            let (address, block) = found.map_err(|error| Error::of_map("tg_block4", error))?;
            blocks.push((IpNet::from(IpAddr::from(address)), block));
        }
        for found in &self.block6 {
            let (address, block) = found.map_err(|error| Error::of_map("tg_block6", error))?;
            blocks.push((IpNet::from(IpAddr::from(address)), block));
        }
        for found in &self.net4 {
            let (key, block) = found.map_err(|error| Error::of_map("tg_net4", error))?;
            blocks.extend(net4(key).map(|network| (network, block)));
        }
        for found in &self.net6 {
            let (key, block) = found.map_err(|error| Error::of_map("tg_net6", error))?;
            blocks.extend(net6(key).map(|network| (network, block)));
        }
        for (_, block) in &mut blocks {
            *block = block.counted();
        }
        Ok(blocks)
    }

    /// Makes the allow list hold these networks and no others.
    ///
    /// # Errors
    /// If it can't be written, or there are more than it has room for: then some of them may be on it.
    pub fn allow(&mut self, networks: &[IpNet]) -> Result<(), Error> {
        let written = self.write_allowed(networks);
        // After it is written, be it in part: what the program finds by the new number is the new list.
        let counted = |daemon: Daemon| Daemon {
            allow_generation: daemon.allow_generation.wrapping_add(1).max(1),
            ..daemon
        };
        written.and(self.heart.change(counted).map(drop))
    }

    fn write_allowed(&mut self, networks: &[IpNet]) -> Result<(), Error> {
        // First what is new: at no moment is somebody missing who is on both lists.
        for network in networks {
            match network {
                IpNet::V4(net) => {
                    let done = self.allow4.insert(&key4(*net), 1, 0);
                    done.map_err(|error| Error::of_map("tg_allow4", error))?;
                    self.set(Word::HasAllow4, 1)?;
                }
                IpNet::V6(net) => {
                    let done = self.allow6.insert(&key6(*net), 1, 0);
                    done.map_err(|error| Error::of_map("tg_allow6", error))?;
                    self.set(Word::HasAllow6, 1)?;
                }
            }
        }
        let wanted: BTreeSet<_> = networks.iter().collect();
        for former in self.allowed()? {
            if wanted.contains(&former) {
                continue;
            }
            let (map, done) = match former {
                IpNet::V4(net) => ("tg_allow4", self.allow4.remove(&key4(net))),
                IpNet::V6(net) => ("tg_allow6", self.allow6.remove(&key6(net))),
            };
            removed(map, done)?;
        }
        Ok(())
    }

    /// The allow list.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn allowed(&self) -> Result<Vec<IpNet>, Error> {
        let mut networks = Vec::new();
        for key in self.allow4.keys() {
            networks.extend(net4(key.map_err(|error| Error::of_map("tg_allow4", error))?));
        }
        for key in self.allow6.keys() {
            networks.extend(net6(key.map_err(|error| Error::of_map("tg_allow6", error))?));
        }
        Ok(networks)
    }

    /// A word of the state.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn word(&self, word: Word) -> Result<u64, Error> {
        self.state.get(&(word as u32), 0).map_err(|error| Error::of_map("tg_state", error))
    }

    /// Writes a word of the state.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn set(&mut self, word: Word, value: u64) -> Result<(), Error> {
        self.state.set(word as u32, value, 0).map_err(|error| Error::of_map("tg_state", error))
    }

    /// What the daemon wrote last.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn daemon(&self) -> Result<Daemon, Error> {
        self.heart.daemon()
    }

    /// The daemon's sign of life, for whoever gives it beside all else that is done with the maps.
    pub fn heart(&self) -> Heart {
        self.heart.clone()
    }

    /// Packets that a verdict would have dropped, and that passed because the daemon was silent; for the same.
    pub fn let_through(&self) -> LetThrough {
        LetThrough(Arc::clone(&self.stats))
    }

    /// Says that the daemon lives.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn beat(&mut self) -> Result<(), Error> {
        self.beat_at(now_ns())
    }

    /// Says that the daemon lived at this time of `CLOCK_MONOTONIC`, ns.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn beat_at(&mut self, heartbeat_ns: u64) -> Result<(), Error> {
        self.heart.change(|daemon| Daemon { heartbeat_ns, ..daemon }).map(drop)
    }

    /// How long ago the daemon last said that it lives; `None` if it never did.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn silent_ns(&self) -> Result<Option<u64>, Error> {
        let beat = self.daemon()?.heartbeat_ns;
        Ok((beat > 0).then(|| now_ns().saturating_sub(beat)))
    }

    /// How the program is attached, if it was.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn mode(&self) -> Result<Option<Mode>, Error> {
        Ok(match self.word(Word::Attached)? {
            1 => Some(Mode::Native),
            2 => Some(Mode::Skb),
            _ => None,
        })
    }

    /// Whether the daemon was told to enforce; `None` if it never attached.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn enforces(&self) -> Result<Option<bool>, Error> {
        Ok(match self.word(Word::Mode)? {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        })
    }

    /// What became of packets, over all processors.
    ///
    /// # Errors
    /// If the statistics can't be read.
    pub fn counts(&self) -> Result<[(Outcome, Count); Outcome::ALL.len()], Error> {
        let mut counts = Outcome::ALL.map(|outcome| (outcome, Count::default()));
        for (outcome, sum) in &mut counts {
            *sum = counted(&self.stats, *outcome)?;
        }
        Ok(counts)
    }

    /// Takes over verdicts and allow list of other maps, and nothing else is there; into a gate that enforces only
    /// verdicts that were enforced. Gives what the others held.
    pub(crate) fn copy_from(&mut self, before: &Self, enforce: bool) -> Result<Copied, Error> {
        let held = before.blocks()?;
        let taken: BTreeMap<_, _> = held
            .iter()
            .filter_map(|(network, block)| Some((*network, kept(block, enforce)?)))
            .collect();
        for (network, _) in self.blocks()? {
            if !taken.contains_key(&network) {
                self.remove(network)?;
            }
        }
        for (network, block) in taken {
            self.insert(network, block)?;
        }
        self.allow(&before.allowed()?)?;
        Ok(held.into_iter().map(|(network, block)| (network, block.id)).collect())
    }

    /// Takes all verdicts back.
    pub(crate) fn clear(&mut self) -> Result<(), Error> {
        for (network, _) in self.blocks()? {
            self.remove(network)?;
        }
        Ok(())
    }

    /// Does here what was done to the verdicts of other maps since they were copied. True if there was anything.
    pub(crate) fn catch_up(
        &mut self,
        before: &Self,
        copied: &Copied,
        enforce: bool,
    ) -> Result<bool, Error> {
        let held = before.blocks()?;
        let mut gone = copied.clone();
        let mut is_news = false;
        for (network, block) in held {
            if gone.remove(&network) == Some(block.id) {
                continue;
            }
            if let Some(block) = kept(&block, enforce) {
                self.insert(network, block)?;
                is_news = true;
            }
        }
        for (network, id) in gone {
            if self.block(network)?.is_some_and(|block| block.id == id) {
                is_news |= self.remove(network)?;
            }
        }
        Ok(is_news)
    }
}

/// A verdict of other maps as it is taken over, if it is.
fn kept(block: &Block, enforce: bool) -> Option<Block> {
    // What the program knows of the allow list goes by the generation of the other maps' list.
    let kept = Block { enforce: u8::from(enforce), unlisted: 0, ..*block };
    (block.enforce != 0 || !enforce).then_some(kept)
}

/// Length of a tick of the kernel, ns.
pub fn tick_ns() -> u64 {
    sys::tick_ns()
}

/// `CLOCK_MONOTONIC` in nanoseconds, by which deadlines and the heartbeat go.
pub fn now_ns() -> u64 {
    sys::monotonic_ns()
}

fn is_address(network: IpNet) -> bool {
    network.prefix_len() == network.max_prefix_len()
}

fn removed(map: &'static str, done: Result<(), MapError>) -> Result<bool, Error> {
    match done {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(false),
        Err(error) => match Error::of_map(map, error) {
            Error::Map { source, .. } if source.kind() == io::ErrorKind::NotFound => Ok(false),
            error => Err(error),
        },
    }
}

fn key4(network: Ipv4Net) -> Key<[u8; 4]> {
    Key::new(network.prefix_len().into(), network.network().octets())
}

fn key6(network: Ipv6Net) -> Key<[u8; 16]> {
    Key::new(network.prefix_len().into(), network.network().octets())
}

fn net4(key: Key<[u8; 4]>) -> Option<IpNet> {
    let prefix = u8::try_from(key.prefix_len()).ok()?;
    Ipv4Net::new(Ipv4Addr::from(key.data()), prefix).ok().map(IpNet::V4)
}

fn net6(key: Key<[u8; 16]>) -> Option<IpNet> {
    let prefix = u8::try_from(key.prefix_len()).ok()?;
    Ipv6Net::new(Ipv6Addr::from(key.data()), prefix).ok().map(IpNet::V6)
}
