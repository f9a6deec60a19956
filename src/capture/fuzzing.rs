//! What `fuzz/` reaches of this module.

use std::io::{self, Read};

use super::{Part, Reader};

/// Gives its bytes in pieces of one size, and then an end.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.1.min(buffer.len());
        self.0.read(buffer.get_mut(..size).unwrap_or_default())
    }
}

/// Reads `bytes` as a capture, whole and in pieces of this size: both give the same frames and end alike,
/// and no frame has bytes that are not there.
pub fn capture(bytes: &[u8], piece: usize) {
    let whole = read(Reader::new(bytes));
    let pieces = read(Reader::new(Pieces(bytes, piece.max(1))).at_once());
    assert_eq!(whole, pieces);
}

/// The frames' numbers, times and bytes, and how the capture ended.
fn read<R: Read>(mut reader: Reader<R>) -> (Vec<(u64, i64, Vec<u8>)>, String) {
    let mut frames = Vec::new();
    let ended = loop {
        match reader.read() {
            Ok(Part::Frames(part)) => {
                for place in part.places.iter() {
                    let bytes = part.of(place);
                    assert_eq!(bytes.len(), place.captured as usize);
                    assert!(usize::from(place.interface) < part.interfaces.len());
                    frames.push((place.number, place.time.nanos(), bytes.to_vec()));
                }
            }
            Ok(Part::End) => break reader.finish(),
            Err(damage) => break Err(damage),
        }
    };
    (frames, ended.err().map_or_else(String::new, |damage| damage.to_string()))
}
