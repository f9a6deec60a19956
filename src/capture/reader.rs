//! Reads a capture into buffers, and gives its frames in batches that share them.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use bytes::Bytes;

use super::{
    error::{Damage, Fault},
    parser::{Parser, Want},
    unpack::Unpacked,
};
use crate::record::{FramePlace, Frames};

/// Room of a buffer: frames of a capture with short frames come in batches of [`MAX_FRAMES`] all the
/// same, those of one with long frames in fewer.
const BUFFER_BYTES: usize = 256 << 10;

/// Frames in a batch, at most.
const MAX_FRAMES: usize = 1024;

/// A capture that is read.
pub struct Reader<R: Read> {
    /// None if it could not be begun to read.
    input: Option<Unpacked<R>>,
    parser: Parser,
    /// What was read; behind `at` what was not consumed.
    buffer: Bytes,
    at: usize,
    /// A buffer that was used and not given away.
    spare: Vec<u8>,
    haste: Haste,
    /// Why nothing more can be read, to be said once all that was read is consumed.
    failed: Option<Fault>,
}

/// When frames are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// Once a buffer is full: the input has all it will have.
    WhenFull,
    /// As soon as there are any: the input may pause.
    AtOnce,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Some frames, at least one; their epoch is 0.
    Frames(Frames),
    /// The input has no more, at least for now.
    End,
}

// === impl Reader ===

impl Reader<File> {
    /// Opens a capture file. What is no regular file may pause: its frames are given as they come.
    ///
    /// # Errors
    /// When it can't be opened, with the system's words.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let is_regular = file.metadata()?.is_file();
        let reader = Self::new(file);
        Ok(if is_regular { reader } else { reader.at_once() })
    }
}

impl<R: Read> Reader<R> {
    /// Reads `input` from its beginning. Its first bytes are waited for here.
    pub fn new(input: R) -> Self {
        let mut reader = Self {
            input: None,
            parser: Parser::default(),
            buffer: Bytes::new(),
            at: 0,
            spare: Vec::new(),
            haste: Haste::WhenFull,
            failed: None,
        };
        match Unpacked::open(input) {
            Ok(input) => reader.input = Some(input),
            Err(fault) => reader.failed = Some(fault),
        }
        reader
    }

    /// Gives frames as soon as they are there, rather than once a buffer is full.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.haste = Haste::AtOnce;
        self
    }

    /// Numbers frames on from `first`, the number of the last frame before.
    #[must_use]
    pub fn counting_from(mut self, first: u64) -> Self {
        self.parser.count_from(first);
        self
    }

    /// The next frames. After an [`End`](Part::End) it may be asked again: the capture may have grown.
    ///
    /// # Errors
    /// The capture is damaged here, or can't be read on; all frames before were given.
    pub fn read(&mut self) -> Result<Part, Damage> {
        let mut ended = false;
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let before = self.parser.offset();
            let mut places = Vec::new();
            let parsed = self.parser.parse(rest, ended, &mut places, MAX_FRAMES);
            // No more than the rest's length.
            let consumed = usize::try_from(self.parser.offset() - before).unwrap_or(usize::MAX);
            let begin = self.at;
            self.at += consumed;
            if !places.is_empty() {
                // Damage is said again when the next frames are asked for.
                return Ok(Part::Frames(self.frames(places, begin)));
            }
            let needed = match parsed {
                Ok(parsed) => match parsed.want {
                    Want::Bytes(bytes) => bytes,
                    Want::Room => 0,
                },
                Err(damage) => return Err(self.mark(damage)),
            };
            if needed <= self.buffer.len() - self.at {
                continue;
            }
            if !ended {
                ended = self.failed.is_some() || !self.fill(needed);
                continue;
            }
            return match self.failed.take() {
                Some(fault) => {
                    let damage = self.parser.damaged(fault);
                    Err(self.mark(damage))
                }
                None => Ok(Part::End),
            };
        }
    }

    /// There will be no more: whether the capture ended where it should.
    ///
    /// # Errors
    /// It is empty, or its last record is cut.
    pub fn finish(mut self) -> Result<(), Damage> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let ended = self.parser.end(rest);
        ended.map_err(|damage| self.mark(damage))
    }

    fn frames(&mut self, places: Vec<FramePlace>, begin: usize) -> Frames {
        Frames {
            bytes: self.buffer.slice(begin..self.at),
            places: places.into(),
            interfaces: self.parser.interfaces(),
            ..Frames::default()
        }
    }

    /// Reads on into a new buffer, behind what is left of the present one; false at the input's end.
    fn fill(&mut self, needed: usize) -> bool {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let begun = rest.len();
        let room = BUFFER_BYTES.max(needed);
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.resize(room, 0);
        if let Some(place) = buffer.get_mut(..begun) {
            place.copy_from_slice(rest);
        }
        let enough = match self.haste {
            Haste::WhenFull => room,
            Haste::AtOnce => needed,
        };
        let mut filled = begun;
        while filled < enough {
            match self.read_into(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(fault) => {
                    self.failed = Some(fault);
                    break;
                }
            }
        }
        if filled < room / 2 {
            // A small part of a large buffer is not worth keeping the whole of it.
            self.buffer = Bytes::copy_from_slice(buffer.get(..filled).unwrap_or_default());
            self.spare = buffer;
        } else {
            buffer.truncate(filled);
            self.buffer = buffer.into();
        }
        self.at = 0;
        filled > begun
    }

    fn read_into(&mut self, place: &mut [u8]) -> Result<usize, Fault> {
        let Some(input) = &mut self.input else { return Ok(0) };
        loop {
            match input.read(place) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if input.is_compressed() => {
                    return Err(Fault::Unpacking(error.to_string()));
                }
                Err(error) => return Err(Fault::Reading(error.to_string())),
            }
        }
    }

    fn mark(&self, damage: Damage) -> Damage {
        let unpacked = self.input.as_ref().is_some_and(Unpacked::is_compressed);
        Damage { unpacked, ..damage }
    }
}
