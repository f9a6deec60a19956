//! What is left of a frame. The bounds are checked here, and nowhere else.

use super::Skipped;

/// A part of a frame: the bytes captured of it, and how many it had on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// Never more than were on the wire.
    bytes: &'a [u8],
    wire: u32,
}

// === impl View ===

impl<'a> View<'a> {
    /// `bytes` captured of `wire`; what goes beyond that is no part of the frame.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], wire: u32) -> Self {
        Self { bytes: bytes.get(..wire as usize).unwrap_or(bytes), wire }
    }

    /// What was captured.
    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// How many bytes there were on the wire.
    #[inline]
    pub(super) fn wire(self) -> u32 {
        self.wire
    }

    /// Whether all of it was captured.
    #[inline]
    pub(super) fn is_whole(self) -> bool {
        self.bytes.len() == self.wire as usize
    }

    /// The first bytes, if they were captured.
    #[inline]
    pub(super) fn first<const N: usize>(self) -> Option<&'a [u8; N]> {
        self.bytes.first_chunk()
    }

    /// The bytes at an offset, if they were captured.
    #[inline]
    pub(super) fn chunk<const N: usize>(self, at: usize) -> Option<&'a [u8; N]> {
        self.bytes.get(at..)?.first_chunk()
    }

    /// The byte at an offset.
    #[inline]
    pub(super) fn byte(self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    /// A number at an offset, in network order.
    #[inline]
    pub(super) fn number(self, at: usize) -> Option<u16> {
        self.chunk(at).map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// The first bytes, or why they are not there.
    #[inline]
    pub(super) fn need<const N: usize>(self) -> Result<&'a [u8; N], Skipped> {
        self.first().ok_or(if self.wire as usize >= N {
            Skipped::CutShort
        } else {
            Skipped::Malformed
        })
    }

    /// What is behind the first bytes; `None` if there were not as many on the wire.
    #[inline]
    pub(super) fn skip(self, count: usize) -> Option<Self> {
        let wire = self.wire.checked_sub(u32::try_from(count).ok()?)?;
        Some(Self { bytes: self.bytes.get(count..).unwrap_or_default(), wire })
    }

    /// What is behind a header of this length.
    #[inline]
    pub(super) fn behind(self, count: usize) -> Result<Self, Skipped> {
        self.skip(count).ok_or(Skipped::Malformed)
    }

    /// No more than the first bytes.
    #[inline]
    pub(super) fn limit(self, wire: u32) -> Self {
        Self::new(self.bytes, self.wire.min(wire))
    }
}
