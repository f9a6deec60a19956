//! Compressed captures, known by their first bytes.

mod gzip;

use std::io::{self, BufReader, Chain, Cursor, Read};

use self::gzip::Gzip;
use super::error::Fault;

/// Bytes that tell a compression.
const MAGIC_BYTES: usize = 4;

/// What compressed bytes are read in.
const BUFFER_BYTES: usize = 64 << 10;

/// zstd is unpacked in pieces of this size: where it finds something wrong, the last one is lost.
const ZSTD_PIECE_BYTES: usize = 256;

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Compressions that are known and not read.
const NOT_READ: [(&[u8], &str); 3] =
    [(b"\x04\x22\x4d\x18", "lz4"), (b"\xfd7zX", "xz"), (b"BZh", "bzip2")];

/// The input with the bytes that were looked at put back.
type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// A capture's bytes, unpacked.
pub(super) enum Unpacked<R: Read> {
    /// It is not compressed.
    Plain(Whole<R>),
    /// One or more members of gzip (RFC 1952).
    Gzip(Box<Gzip<BufReader<Whole<R>>>>),
    /// One or more frames of zstd (RFC 8878), with windows of 128 MiB at most.
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Whole<R>>>>),
}

// === impl Unpacked ===

impl<R: Read> Unpacked<R> {
    /// Looks at the first bytes of `input`.
    pub(super) fn open(mut input: R) -> Result<Self, Fault> {
        let reading = |error: io::Error| Fault::Reading(error.to_string());
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        input.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic).map_err(reading)?;
        if let Some((_, name)) = NOT_READ.iter().find(|(known, _)| magic.starts_with(known)) {
            return Err(Fault::UnknownCompression(name));
        }
        let is = |known| magic.starts_with(known);
        let (gzip, zstd) = (is(GZIP), is(ZSTD));
        let whole = Cursor::new(magic).chain(input);
        let buffered = |whole| BufReader::with_capacity(BUFFER_BYTES, whole);
        Ok(if gzip {
            Self::Gzip(Box::new(Gzip::new(buffered(whole))))
        } else if zstd {
            let decoder = zstd::stream::read::Decoder::with_buffer(buffered(whole));
            Self::Zstd(Box::new(decoder.map_err(reading)?))
        } else {
            Self::Plain(whole)
        })
    }

    /// Whether it is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(whole) => whole.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => {
                let piece = buffer.len().min(ZSTD_PIECE_BYTES);
                decoder.read(buffer.get_mut(..piece).unwrap_or_default())
            }
        }
    }
}
