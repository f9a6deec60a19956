//! gzip (RFC 1952), one member after the other, giving every byte before the damage: the readers of
//! flate2 keep back some 32 KiB of what they had unpacked.

use std::io::{self, BufRead, Read as _};

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Bits of a header's flags: a checksum of it, further fields, a name, a comment; the rest is reserved.
const HEADER_CRC: u8 = 0x02;
const EXTRA: u8 = 0x04;
const NAME: u8 = 0x08;
const COMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;

/// A header's bytes before what its flags announce.
const HEADER_BYTES: usize = 10;

/// `deflate`, the only method there is.
const DEFLATE: u8 = 8;

/// A gzip file that is read.
pub(in crate::capture) struct Gzip<R> {
    input: R,
    inflate: Decompress,
    crc: Crc,
    place: Place,
}

/// Where in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a member; `true` before the first.
    Between(bool),
    Data,
    End,
}

// === impl Gzip ===

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(input: R) -> Self {
        let inflate = Decompress::new(false);
        Self { input, inflate, crc: Crc::new(), place: Place::Between(true) }
    }

    fn header(&mut self) -> io::Result<()> {
        let mut header = [0; HEADER_BYTES];
        self.input.read_exact(&mut header)?;
        let [0x1f, 0x8b, DEFLATE, flags, ..] = header else {
            return Err(wrong("what follows is no member of gzip"));
        };
        if flags & RESERVED != 0 {
            return Err(wrong("reserved flags are set"));
        }
        if flags & EXTRA != 0 {
            let mut length = [0; 2];
            self.input.read_exact(&mut length)?;
            self.pass(u64::from(u16::from_le_bytes(length)))?;
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 && self.input.skip_until(0)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if flags & HEADER_CRC != 0 {
            self.pass(2)?;
        }
        self.inflate.reset(false);
        self.crc.reset();
        Ok(())
    }

    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.input.by_ref().take(bytes), &mut io::sink())?;
        if passed < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Unpacks into `buffer`; 0 at the end of the member.
    fn data(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.input.fill_buf()?;
            let is_end = input.is_empty();
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, buffer, FlushDecompress::None);
            // Neither is more than there was.
            let read = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(usize::MAX);
            let made = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(usize::MAX);
            self.input.consume(read);
            self.crc.update(buffer.get(..made).unwrap_or_default());
            if made > 0 {
                // What is wrong will be so again.
                return Ok(made);
            }
            match status {
                Err(error) => return Err(wrong(&error.to_string())),
                Ok(Status::StreamEnd) => return Ok(0),
                Ok(_) if is_end => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
            }
        }
    }

    fn trailer(&mut self) -> io::Result<()> {
        let (mut sum, mut amount) = ([0; 4], [0; 4]);
        self.input.read_exact(&mut sum)?;
        self.input.read_exact(&mut amount)?;
        let own = (self.crc.sum(), self.crc.amount());
        if (u32::from_le_bytes(sum), u32::from_le_bytes(amount)) != own {
            return Err(wrong("its checksum is not that of its content"));
        }
        Ok(())
    }
}

impl<R: BufRead> io::Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            match self.place {
                Place::End => break,
                Place::Between(first) => {
                    if !first && self.input.fill_buf()?.is_empty() {
                        self.place = Place::End;
                        break;
                    }
                    self.header()?;
                    self.place = Place::Data;
                }
                Place::Data => match self.data(buffer)? {
                    0 => {
                        self.trailer()?;
                        self.place = Place::Between(false);
                    }
                    made => return Ok(made),
                },
            }
        }
        Ok(0)
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}
