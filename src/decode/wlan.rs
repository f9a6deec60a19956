//! IEEE 802.11 data frames, and radiotap before them.
//!
//! Sources: IEEE 802.11-2020, 9.2 and 9.3.2; radiotap.org.

use super::{
    Skipped,
    link::{Layer, Step},
    view::View,
};

/// A data frame, its header filled up to a multiple of `alignment`: what follows is IEEE 802.2, if it is
/// not encrypted. Of an aggregate, the packet that is wanted.
pub(super) fn frame(view: View<'_>, alignment: usize, part: Option<u16>) -> Step<'_> {
    const DATA: u8 = 2;
    const NO_DATA: u8 = 0x40;
    const QOS: u8 = 0x80;
    const TO_AND_FROM_DISTRIBUTION: u8 = 0x03;
    const FROM_DISTRIBUTION: u8 = 0x02;
    const MESH: u8 = 0x01;
    const PROTECTED: u8 = 0x40;
    const ORDER: u8 = 0x80;
    const AGGREGATE: u8 = 0x80;
    let &[kind, flags] = view.need()?;
    if kind >> 2 & 3 != DATA || kind & NO_DATA != 0 {
        return Err(Skipped::NotIp);
    }
    if flags & PROTECTED != 0 {
        return Err(Skipped::Encrypted);
    }
    let &[.., sequence, _] = view.need::<24>()?;
    if sequence & 0x0f != 0 {
        // A later fragment has no header of its own.
        return Err(Skipped::NotIp);
    }
    let fourth_address = flags & TO_AND_FROM_DISTRIBUTION == TO_AND_FROM_DISTRIBUTION;
    let mut length = if fourth_address { 30 } else { 24 };
    let mut may_be_mesh = false;
    if kind & QOS != 0 {
        let &[control, more] = view.behind(length)?.need()?;
        may_be_mesh = flags & FROM_DISTRIBUTION != 0 && more & MESH != 0;
        length += if flags & ORDER != 0 { 6 } else { 2 };
        if control & AGGREGATE != 0 {
            let aggregate = view.behind(length.next_multiple_of(alignment))?;
            let payload = in_aggregate(aggregate, part.ok_or(Skipped::SeveralPackets)?)?;
            return Ok((Layer::Llc, behind_mesh(payload, may_be_mesh)?));
        }
    }
    let payload = view.behind(length.next_multiple_of(alignment))?;
    Ok((Layer::Llc, behind_mesh(payload, may_be_mesh)?))
}

/// What is behind the control field of a mesh (IEEE 802.11-2020, 9.2.4.7.3): flags, time to live, a
/// number, and up to two addresses. The bit that announces it means other things outside a mesh, and what
/// else may be there, IEEE 802.2, begins with an access point that these flags can't be.
fn behind_mesh(payload: View<'_>, may_be_mesh: bool) -> Result<View<'_>, Skipped> {
    const ADDRESS: usize = 6;
    match payload.byte(0) {
        Some(addresses @ 0..=2) if may_be_mesh => {
            payload.behind(6 + usize::from(addresses) * ADDRESS)
        }
        _ => Ok(payload),
    }
}

/// A packet of an A-MSDU (IEEE 802.11-2020, 9.3.2.2): each is preceded by receiver, sender and length,
/// and filled up to four bytes.
fn in_aggregate(aggregate: View<'_>, part: u16) -> Result<View<'_>, Skipped> {
    const HEADER: usize = 14;
    let mut rest = aggregate;
    for _ in 0..part {
        let length = rest.number(12).ok_or(Skipped::SeveralPackets)?;
        let bytes = (HEADER + usize::from(length)).next_multiple_of(4);
        rest = rest.skip(bytes).ok_or(Skipped::SeveralPackets)?;
    }
    if rest.bytes().is_empty() {
        return Err(Skipped::SeveralPackets);
    }
    let length = rest.number(12).ok_or(Skipped::Malformed)?;
    Ok(rest.behind(HEADER)?.limit(length.into()))
}

/// Radiotap: version, padding, the header's length, which fields there are; little-endian.
pub(super) fn radiotap(view: View<'_>) -> Step<'_> {
    let &[_, _, low, high] = view.need()?;
    let payload = view.behind(u16::from_le_bytes([low, high]).into())?;
    Ok((if is_padded(view) { Layer::PaddedWlan } else { Layer::Wlan }, payload))
}

/// Whether the flags say that the 802.11 header was filled up.
fn is_padded(view: View<'_>) -> bool {
    const MAX_WORDS: usize = 32;
    const TIMER: u8 = 1;
    const FLAGS: u8 = 2;
    const PADDED: u8 = 0x20;
    let word = |at: usize| view.chunk::<4>(4 + at * 4);
    let Some(&[present, ..]) = word(0).filter(|[present, ..]| present & FLAGS != 0) else {
        return false;
    };
    let goes_on = |at: &usize| word(*at).is_some_and(|[.., last]| last & 0x80 != 0);
    let words = (0..MAX_WORDS).take_while(goes_on).count() + 1;
    let first = 4 + words * 4;
    let at = if present & TIMER == 0 { first } else { first.next_multiple_of(8) + 8 };
    view.byte(at).is_some_and(|flags| flags & PADDED != 0)
}
