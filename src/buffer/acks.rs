//! How far a log is acknowledged: places of 16 bytes, each on a page of its own, written in turn into a file
//! that was written in full when it was made. So acknowledging takes no room on a full disk, and a write
//! that is torn spoils no other place than its own. The highest valid position is the one that holds.

use std::sync::Arc;

use super::{
    Error,
    disk::{Disk, DiskFile},
    log::given,
    segment::Place,
};
use crate::storage::medium;

const PLACES: u64 = 16;
const PAGE_BYTES: u64 = 4096;
const PLACE_BYTES: usize = 16;
const MARK: [u8; 4] = *b"ACKD";
const PREFIX: &str = "acks-";
/// Bytes of the file.
pub(super) const BYTES: u64 = PLACES * PAGE_BYTES;

/// The acknowledged position of a log.
#[derive(Debug)]
pub(super) struct Acks<F> {
    /// The file in use and its number; `None` if the last one failed and no other could be made yet.
    file: Option<Arc<F>>,
    number: u32,
    place: u64,
    /// What all below of is acknowledged.
    position: u64,
    unsynced: bool,
}

/// The number of the file of this name.
pub(super) fn number(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn name(number: u32) -> String {
    format!("{PREFIX}{number:04}")
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The highest valid position, and its place.
    pub(super) highest: Option<(u64, u64)>,
    /// Places that the disk does not give back.
    pub(super) unreadable: Vec<Place>,
    /// Whether some place was written and has no valid position: the highest one may have been there.
    is_damaged: bool,
}

/// Reads a file, but for what the disk does not give back.
pub(super) fn read(file: &impl DiskFile, name: &str) -> Result<Said, Error> {
    let mut said = Said::default();
    for place in 0..PLACES {
        let (mut bytes, offset) = ([0; PLACE_BYTES], place * PAGE_BYTES);
        match file.read_at(offset, &mut bytes) {
            Ok(PLACE_BYTES) => {
                let position = decode(bytes);
                said.highest = said.highest.max(position.map(|position| (position, place)));
                said.is_damaged |= position.is_none() && bytes != [0; PLACE_BYTES];
            }
            Ok(_) => {}
            Err(error) if medium::is_damaged(&error) => {
                let (name, error) = (name.to_owned(), error.to_string());
                said.unreadable.push(Place { name, offset, bytes: PAGE_BYTES, error });
            }
            Err(error) => return Err(Error::io("read", name)(error)),
        }
    }
    said.is_damaged |= !said.unreadable.is_empty();
    Ok(said)
}

fn encode(position: u64) -> [u8; PLACE_BYTES] {
    let mut bytes = [0; PLACE_BYTES];
    let (mark, rest) = bytes.split_at_mut(4);
    mark.copy_from_slice(&MARK);
    let (number, crc) = rest.split_at_mut(8);
    number.copy_from_slice(&position.to_le_bytes());
    crc.copy_from_slice(&crc32fast::hash(number).to_le_bytes());
    bytes
}

fn decode(bytes: [u8; PLACE_BYTES]) -> Option<u64> {
    let position = u64::from_le_bytes(bytes.get(4..12)?.try_into().ok()?);
    (encode(position) == bytes).then_some(position)
}

// === impl Acks ===

impl<F: DiskFile> Acks<F> {
    /// Reads the position out of all such files among `names`, and goes on with the last one: a new one may
    /// not find room. Where the highest position may be gone, what is below `begin` is taken for acknowledged:
    /// there are no segments of it.
    ///
    /// # Errors
    /// If the system refuses to read one, or there is none and none can be made.
    pub(super) fn open<D: Disk<File = F>>(
        disk: &D,
        names: &[String],
        begin: u64,
        unreadable: &mut Vec<Place>,
    ) -> Result<Self, Error> {
        let (mut is_damaged, mut is_found) = (false, false);
        let mut acks = Self { file: None, number: 0, place: 0, position: 0, unsynced: true };
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable();
        for number in &numbers {
            let name = name(*number);
            acks.number = *number;
            let Some(file) = given(disk.open(&name), "open", &name, unreadable)? else {
                (acks.file, is_damaged) = (None, true);
                continue;
            };
            let said = read(&file, &name)?;
            let (position, place) = said.highest.unwrap_or_default();
            acks.position = acks.position.max(position);
            let bytes = given(file.bytes(), "inspect", &name, unreadable)?;
            let is_whole = bytes == Some(BYTES) && said.unreadable.is_empty();
            acks.file = is_whole.then(|| Arc::new(file));
            acks.place = place;
            is_damaged |= said.is_damaged;
            is_found |= said.highest.is_some();
            unreadable.extend(said.unreadable);
        }
        if is_damaged || !is_found {
            acks.position = acks.position.max(begin);
        }
        if acks.file.is_none() {
            acks.number = numbers.last().map_or(0, |last| last.wrapping_add(1));
            let made = acks.begin(disk);
            if made.is_err() && !numbers.is_empty() {
                // It is made once there is room: until then the others have the position.
                return Ok(acks);
            }
            made?;
        }
        if numbers.len() > 1 {
            // The position may be that of another file: it stays when that one goes.
            acks.note(disk)?;
            acks.sync(disk)?;
        }
        for number in numbers.into_iter().filter(|number| *number != acks.number) {
            let name = name(number);
            let removed = disk.remove(&name);
            given(removed, "remove", &name, &mut Vec::new())?;
        }
        Ok(acks)
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Notes a position. It survives the process's end; a power loss only once it is [synced](Self::sync).
    pub(super) fn advance<D: Disk<File = F>>(&mut self, disk: &D, to: u64) -> Result<(), Error> {
        if to <= self.position {
            return Ok(());
        }
        self.position = to;
        self.note(disk)
    }

    /// Writes the position to the next place.
    fn note<D: Disk<File = F>>(&mut self, disk: &D) -> Result<(), Error> {
        let Some(file) = self.file.clone() else { return self.begin(disk) };
        self.place = (self.place + 1) % PLACES;
        self.unsynced = true;
        let written = file.write_at(self.place * PAGE_BYTES, &encode(self.position));
        written.map_err(|error| self.failed("write", error))
    }

    /// Makes the position survive a power loss.
    pub(super) fn sync<D: Disk<File = F>>(&mut self, disk: &D) -> Result<(), Error> {
        let Some(file) = self.file.clone() else { return self.begin(disk) };
        if self.unsynced {
            file.sync().map_err(|error| self.failed("sync", error))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// A file that failed is never tried again.
    fn failed(&mut self, action: &'static str, error: std::io::Error) -> Error {
        self.file = None;
        let name = name(self.number);
        self.number = self.number.wrapping_add(1);
        Error::io(action, &name)(error)
    }

    /// Makes the next file, with the position in its first place.
    fn begin<D: Disk<File = F>>(&mut self, disk: &D) -> Result<(), Error> {
        let name = name(self.number);
        let write = || {
            let file = disk.create(&name)?;
            let mut bytes = vec![0; usize::try_from(BYTES).unwrap_or_default()];
            if let Some(place) = bytes.first_chunk_mut() {
                *place = encode(self.position);
            }
            file.write_at(0, &bytes)?;
            file.sync()?;
            disk.sync()?;
            Ok(file)
        };
        match write() {
            Ok(file) => {
                (self.file, self.place, self.unsynced) = (Some(Arc::new(file)), 0, false);
                Ok(())
            }
            Err(error) => {
                disk.remove(&name).unwrap_or_default();
                Err(self.failed("write", error))
            }
        }
    }
}
