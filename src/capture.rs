//! Capture files: pcap and pcapng, read in pieces, as frames that share their buffers.
//!
//! Data passes: file → [`unpack`] (gzip, zstd) → a buffer of the [`Reader`] → [`Parser`], which finds
//! the frames in it without copying any → [`Frames`](crate::record::Frames).
//!
//! The parser is pure: it takes bytes in pieces of any size and says how many must follow, so a file
//! may be read while it grows. A length in a file is believed only as far as bytes for it are there.

mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod number;
mod parser;
mod pcap;
mod pcapng;
mod reader;
#[cfg(test)]
mod tests;
mod timing;
mod unpack;
mod variant;

pub use self::{
    error::{Damage, Fault},
    parser::{MAX_FRAME_BYTES, Parsed, Parser, Want},
    reader::{Part, Reader},
};
