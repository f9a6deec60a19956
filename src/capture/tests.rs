//! Captures of every format, whole, in pieces, cut and wrong.

mod damage;
mod formats;
mod made;
mod pieces;

use std::io::{self, Read};

use super::{Damage, Part, Reader};
use crate::record::{CaptureInterface, FramePlace};

/// A frame with the bytes and the interface that its place stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    place: FramePlace,
    bytes: Vec<u8>,
    interface: CaptureInterface,
}

/// Everything in a capture, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    frames: Vec<Seen>,
    end: Result<(), Damage>,
}

/// Gives its bytes in reads of these sizes, over and over; a size of 0 is an end that is none.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: &'a [usize],
    at: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.at % self.sizes.len()].min(buffer.len()).min(self.bytes.len());
        self.at += 1;
        let (now, later) = self.bytes.split_at(size);
        buffer[..size].copy_from_slice(now);
        self.bytes = later;
        Ok(size)
    }
}

fn read(capture: &[u8]) -> Outcome {
    drain(Reader::new(capture), 0)
}

/// Reads to the end, on past `pauses` ends.
fn drain<R: Read>(mut reader: Reader<R>, pauses: usize) -> Outcome {
    let mut frames = Vec::new();
    let mut ends = 0;
    loop {
        match reader.read() {
            Ok(Part::Frames(part)) => {
                assert!(!part.is_empty());
                frames.extend(part.places.iter().map(|place| Seen {
                    // Where in its buffer a frame lies depends on the pieces.
                    place: FramePlace { offset: 0, interface: 0, ..*place },
                    bytes: part.of(place).to_vec(),
                    interface: part.interfaces[usize::from(place.interface)].clone(),
                }));
            }
            Ok(Part::End) if ends < pauses => ends += 1,
            Ok(Part::End) => return Outcome { frames, end: reader.finish() },
            Err(damage) => {
                assert_eq!(reader.read(), Err(damage.clone()), "damage stays");
                return Outcome { frames, end: Err(damage) };
            }
        }
    }
}
