//! QUIC's long header, which begins each connection (RFC 9000, 17.2).

/// A first byte has at least this value in a long header: its two highest bits are set.
pub(super) const LONG_HEADER: u8 = 0xc0;

/// The longest connection id.
const MAX_ID: u8 = 20;
/// Versions 1 and 2 (RFC 9369), and where the numbers of drafts begin.
const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6b33_43cf;
const DRAFTS: u32 = 0xff00_0000;

/// Whether a datagram begins with a long header of a version that is known.
pub(super) fn is_long_header(bytes: &[u8]) -> bool {
    let Some((&[first, a, b, c, d, length], rest)) = bytes.split_first_chunk() else {
        return false;
    };
    let version = u32::from_be_bytes([a, b, c, d]);
    let is_known = matches!(version, VERSION_1 | VERSION_2) || (version & !0xff) == DRAFTS;
    let other = rest.get(usize::from(length)).copied();
    first >= LONG_HEADER
        && is_known
        && length <= MAX_ID
        && other.is_some_and(|length| length <= MAX_ID)
}
