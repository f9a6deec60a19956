//! Where the last whole record of a file ends.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

use serde::de::IgnoredAny;

const CHUNK: usize = 64 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What a file holds one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Lines, each ended by a newline.
    Lines,
    /// `MessagePack` maps.
    Msgpack,
    /// Gzip members (RFC 1952).
    Gzip,
    /// Zstandard frames (RFC 8878).
    Zstd,
}

/// Counts what is taken from a reader.
struct Counted<R> {
    reader: R,
    taken: u64,
}

// === impl Content ===

impl Content {
    /// Whether a file may be of this content, by its first bytes (up to four).
    pub(super) fn may_begin_with(self, bytes: &[u8]) -> bool {
        // A file cut within its magic is torn, not foreign.
        let begins = |magic: &[u8]| bytes.iter().zip(magic).all(|(byte, magic)| byte == magic);
        match self {
            Self::Lines => !(bytes.starts_with(&GZIP_MAGIC) || bytes.starts_with(&ZSTD_MAGIC)),
            Self::Msgpack => matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf) | None),
            Self::Gzip => begins(&GZIP_MAGIC),
            Self::Zstd => begins(&ZSTD_MAGIC),
        }
    }

    /// Where the last whole record ends, at least `from`, where one is known to end. Lines are
    /// searched from the file's end; the others are read through from `from`, in bounded memory.
    pub(super) fn whole_bytes(self, file: &File, from: u64) -> io::Result<u64> {
        if self == Self::Lines {
            return last_newline(file, from);
        }
        let mut reader = file;
        reader.seek(SeekFrom::Start(from))?;
        let mut reader = Counted { reader: BufReader::with_capacity(CHUNK, reader), taken: from };
        loop {
            let whole = reader.taken;
            if reader.fill_buf()?.is_empty() {
                return Ok(whole);
            }
            match self.skip(&mut reader) {
                Ok(()) => {}
                // The disk's error, not the record's.
                Err(error) if error.raw_os_error().is_some() => return Err(error),
                Err(_) => return Ok(whole),
            }
        }
    }

    fn skip(self, reader: &mut impl BufRead) -> io::Result<()> {
        match self {
            Self::Lines => reader.skip_until(b'\n').map(|_| ()),
            Self::Msgpack => match rmp_serde::from_read::<_, IgnoredAny>(reader) {
                Ok(IgnoredAny) => Ok(()),
                Err(
                    rmp_serde::decode::Error::InvalidMarkerRead(error)
                    | rmp_serde::decode::Error::InvalidDataRead(error),
                ) => Err(error),
                Err(error) => Err(io::Error::other(error)),
            },
            Self::Gzip => {
                let mut member = flate2::bufread::GzDecoder::new(reader);
                io::copy(&mut member, &mut io::sink()).map(|_| ())
            }
            Self::Zstd => {
                let mut frame = zstd::stream::read::Decoder::with_buffer(reader)?.single_frame();
                io::copy(&mut frame, &mut io::sink()).map(|_| ())
            }
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "lines of text",
            Self::Msgpack => "msgpack maps",
            Self::Gzip => "gzip members",
            Self::Zstd => "zstd frames",
        })
    }
}

fn last_newline(file: &File, from: u64) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut chunk = vec![0; CHUNK];
    while end > from {
        let start = end.saturating_sub(CHUNK as u64).max(from);
        let length = usize::try_from(end - start).unwrap_or(CHUNK).min(CHUNK);
        let part = chunk.get_mut(..length).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(from)
}

// === impl Counted ===

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(out)?;
        self.taken += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.taken += bytes as u64;
    }
}
