//! Compression of whole requests.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use flate2::write::GzEncoder;
use schemars::JsonSchema;
use serde::Deserialize;
use zstd::zstd_safe::CParameter;

/// How requests are compressed: each into a gzip member or zstd frame of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Gzip (RFC 1952), level 6.
    Gzip,
    /// Zstandard (RFC 8878), level 3, with a checksum.
    Zstd,
}

// === impl Compression ===

impl Compression {
    /// Compresses one request.
    ///
    /// # Errors
    /// When the compressor has no memory.
    pub fn compress(self, bytes: &[u8]) -> io::Result<Cow<'_, [u8]>> {
        Ok(match self {
            Self::None => Cow::Borrowed(bytes),
            Self::Gzip => {
                let out = Vec::with_capacity(bytes.len() / 4);
                let mut encoder = GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(bytes)?;
                Cow::Owned(encoder.finish()?)
            }
            Self::Zstd => {
                let mut compressor = zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
                compressor.set_parameter(CParameter::ChecksumFlag(true))?;
                Cow::Owned(compressor.compress(bytes)?)
            }
        })
    }
}
