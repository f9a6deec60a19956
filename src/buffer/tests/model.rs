//! A disk in memory that loses power. What was not synced may then be there or not, in any combination, in
//! part, or as zeros; names that were not synced likewise. A sync may fail: then what it was to sync is
//! gone, and the next one succeeds all the same.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::buffer::disk::{Disk, DiskFile};

/// The disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Model(Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct ModelFile {
    disk: Model,
    inode: usize,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Naming>,
    /// Operations until the power is lost; `None` for never.
    left: Option<usize>,
    operations: usize,
    /// One in so many writes and syncs fails; 0 for none.
    fault_every: u64,
    /// The next so many writes and syncs fail.
    faults: usize,
    /// What can't be read: of these files these bytes, with this error; all of it is a file that can't be opened.
    unreadable: Vec<(usize, Range<u64>, i32)>,
    random: Random,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Clone)]
enum Naming {
    Given(String, usize),
    Changed(String, String),
    Taken(String),
}

/// xorshift64*: the same numbers for the same seed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Random(pub(super) u64);

// === impl Random ===

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound.max(1)
    }
}

// === impl Change ===

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                to.resize(to.len().max(end), 0);
                to[*offset..end].copy_from_slice(bytes);
            }
            Self::Cut(bytes) => to.truncate(*bytes),
        }
    }
}

// === impl State ===

impl State {
    /// An operation begins.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is lost")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn fails(&mut self) -> bool {
        if let Some(left) = self.faults.checked_sub(1) {
            self.faults = left;
            return true;
        }
        self.fault_every > 0 && self.random.below(self.fault_every) == 0
    }

    fn name(&mut self, naming: Naming) {
        apply(&naming, &mut self.names);
        self.pending_names.push(naming);
    }
}

fn apply(naming: &Naming, to: &mut BTreeMap<String, usize>) {
    match naming {
        Naming::Given(name, inode) => {
            to.insert(name.clone(), *inode);
        }
        Naming::Changed(name, new) => {
            if let Some(inode) = to.remove(name) {
                to.insert(new.clone(), inode);
            }
        }
        Naming::Taken(name) => {
            to.remove(name);
        }
    }
}

// === impl Model ===

impl Model {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The power is lost after so many further operations.
    pub(super) fn lose_power_after(&self, operations: usize) {
        self.state().left = Some(operations);
    }

    pub(super) fn fail_every(&self, operations: u64, seed: u64) {
        let mut state = self.state();
        (state.fault_every, state.random) = (operations, Random(seed));
    }

    pub(super) fn fail_next(&self, operations: usize) {
        self.state().faults = operations;
    }

    pub(super) fn operations(&self) -> usize {
        self.state().operations
    }

    /// What is on the disk when the power comes back.
    pub(super) fn after_power_loss(&self, seed: u64) -> Self {
        let mut random = Random(seed);
        let state = self.state();
        let mut names = state.durable_names.clone();
        for naming in &state.pending_names {
            if random.below(2) == 0 {
                apply(naming, &mut names);
            }
        }
        let surviving = |inode: &Inode, random: &mut Random| {
            let mut content = inode.durable.clone();
            for change in &inode.pending {
                match (random.below(4), change) {
                    (0, _) => {}
                    (1, Change::Write(offset, bytes)) => {
                        let some = random.below(bytes.len() as u64 + 1);
                        Change::Write(*offset, bytes[..some as usize].to_vec()).apply(&mut content);
                    }
                    (2, Change::Write(offset, bytes)) => {
                        let end = offset + bytes.len();
                        content.resize(content.len().max(end), 0);
                    }
                    (_, change) => change.apply(&mut content),
                }
            }
            Inode { live: content.clone(), durable: content, pending: Vec::new() }
        };
        let inodes = state.inodes.iter().map(|inode| surviving(inode, &mut random)).collect();
        Self(Arc::new(Mutex::new(State {
            inodes,
            durable_names: names.clone(),
            names,
            ..State::default()
        })))
    }

    /// Changes a file's content on the disk itself.
    pub(super) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[name];
        change(&mut state.inodes[inode].live);
        state.inodes[inode].durable = state.inodes[inode].live.clone();
    }

    /// These bytes of a file can't be read any more.
    pub(super) fn break_at(&self, name: &str, bytes: Range<u64>, errno: i32) {
        let mut state = self.state();
        let inode = state.names[name];
        state.unreadable.push((inode, bytes, errno));
    }

    fn readable(&self, inode: usize, bytes: &Range<u64>) -> io::Result<()> {
        let touches = |place: &Range<u64>| place.start < bytes.end && bytes.start < place.end;
        let state = self.state();
        let broken = state.unreadable.iter().find(|(of, place, _)| *of == inode && touches(place));
        broken.map_or(Ok(()), |(.., errno)| Err(io::Error::from_raw_os_error(*errno)))
    }

    pub(super) fn files(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl Disk for Model {
    type File = ModelFile;

    fn names(&self) -> io::Result<Vec<String>> {
        self.state().operate()?;
        Ok(self.files())
    }

    fn create(&self, name: &str) -> io::Result<ModelFile> {
        let mut state = self.state();
        state.operate()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.name(Naming::Given(name.to_owned(), inode));
        Ok(ModelFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<ModelFile> {
        let mut state = self.state();
        state.operate()?;
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let whole =
            |(of, place, _): &&(usize, Range<u64>, i32)| *of == inode && *place == (0..u64::MAX);
        match state.unreadable.iter().find(whole) {
            Some((.., errno)) => Err(io::Error::from_raw_os_error(*errno)),
            None => Ok(ModelFile { disk: self.clone(), inode }),
        }
    }

    fn rename(&self, name: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.name(Naming::Changed(name.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.name(Naming::Taken(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let pending = std::mem::take(&mut state.pending_names);
        for naming in &pending {
            apply(naming, &mut state.durable_names);
        }
        Ok(())
    }
}

impl DiskFile for ModelFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].live.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.disk.readable(self.inode, &(offset..offset + into.len() as u64))?;
        let state = self.disk.state();
        let content = &state.inodes[self.inode].live;
        let from = (offset as usize).min(content.len());
        let bytes = into.len().min(content.len() - from);
        into[..bytes].copy_from_slice(&content[from..from + bytes]);
        Ok(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        let fails = state.fails();
        let some =
            if fails { state.random.below(bytes.len() as u64) as usize } else { bytes.len() };
        let change = Change::Write(offset as usize, bytes[..some].to_vec());
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.live);
        inode.pending.push(change);
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        let change = Change::Cut(bytes as usize);
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.live);
        inode.pending.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        let fails = state.fails();
        let inode = &mut state.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        for change in &pending {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }
}
