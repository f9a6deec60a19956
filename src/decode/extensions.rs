//! The headers between an IPv6 header and what it carries.
//!
//! Sources: RFC 8200 section 4; IANA, "IPv6 Extension Header Types"; RFC 2675 (jumbograms), RFC 4302
//! (AH), RFC 5095, 6275 and 8754 (routing headers).

use std::net::Ipv6Addr;

use super::view::View;
use crate::record::Fragment;

/// Hop-by-hop options.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
/// Authentication header.
pub(super) const AUTHENTICATION: u8 = 51;
/// "No next header".
pub(super) const NO_NEXT_HEADER: u8 = 59;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
/// Host identity protocol.
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Extension headers walked; behind more of them nothing is read.
const MAX_HEADERS: usize = 128;

/// What the headers say.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    /// What they carry; where the chain can't be followed further, how far it came.
    pub(super) transport: u8,
    /// The final destination, if a routing header names one that is still ahead.
    pub(super) destination: Option<Ipv6Addr>,
    pub(super) fragment: Option<Fragment>,
    /// What follows them; `None` if no transport header can be there.
    pub(super) payload: Option<View<'a>>,
    /// Whether it ends within a header, or the capture does.
    pub(super) damaged: bool,
}

/// Walks the headers behind an IPv6 header.
pub(super) fn walk(next: u8, view: View<'_>) -> Chain<'_> {
    let mut chain = Chain {
        transport: next,
        destination: None,
        fragment: None,
        payload: Some(view),
        damaged: false,
    };
    for _ in 0..MAX_HEADERS {
        let Some(header) = chain.payload.filter(|_| is_extension(chain.transport)) else {
            return chain;
        };
        chain.pass(header);
    }
    if is_extension(chain.transport) {
        chain.payload = None;
    }
    chain
}

/// The payload length that hop-by-hop options give a jumbogram.
pub(super) fn jumbo(next: u8, view: View<'_>) -> Option<u32> {
    const PAD_ONE: u8 = 0;
    const JUMBO: u8 = 0xc2;
    if next != HOP_BY_HOP {
        return None;
    }
    let end = 8 + usize::from(view.byte(1)?) * 8;
    let mut at = 2;
    while at < end {
        at += match (view.byte(at)?, view.byte(at + 1)) {
            (PAD_ONE, _) => 1,
            (JUMBO, Some(4)) => {
                return view.chunk(at + 2).map(|length| u32::from_be_bytes(*length));
            }
            (_, length) => 2 + usize::from(length?),
        };
    }
    None
}

/// Length of an authentication header of which the second byte is this.
pub(super) fn authentication_bytes(length: u8) -> usize {
    (usize::from(length) + 2) * 4
}

const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}

// === impl Chain ===

impl<'a> Chain<'a> {
    /// Passes over one header.
    fn pass(&mut self, header: View<'a>) {
        let kind = self.transport;
        let Some(&[next, length]) = header.first() else {
            self.payload = None;
            self.damaged = true;
            return;
        };
        let bytes = match kind {
            FRAGMENT => 8,
            AUTHENTICATION => authentication_bytes(length),
            _ => 8 + usize::from(length) * 8,
        };
        self.payload = header.skip(bytes);
        self.damaged |= self.payload.is_none();
        match kind {
            // Signalling that carries nothing is the message itself.
            MOBILITY | HOST_IDENTITY | SHIM6 if next == NO_NEXT_HEADER => self.payload = None,
            FRAGMENT => {
                self.transport = next;
                self.part(header);
            }
            ROUTING => {
                self.transport = next;
                self.destination =
                    last_stop(header.limit(u32::try_from(bytes).unwrap_or(0))).or(self.destination);
            }
            _ => self.transport = next,
        }
    }

    fn part(&mut self, header: View<'_>) {
        self.fragment = header.first().map(|&[_, _, high, low, a, b, c, d]| {
            let place = u16::from_be_bytes([high, low]);
            Fragment {
                id: u32::from_be_bytes([a, b, c, d]),
                offset: u32::from(place & !7),
                more: place & 1 != 0,
            }
        });
        self.damaged |= self.fragment.is_none();
        if self.fragment.is_none_or(|fragment| fragment.offset > 0) {
            self.payload = None;
        }
    }
}

/// The last address of a routing header that is not done.
fn last_stop(header: View<'_>) -> Option<Ipv6Addr> {
    const SOURCE_ROUTE: u8 = 0;
    const MOBILE: u8 = 2;
    const SEGMENTS: u8 = 4;
    const ADDRESS: usize = 16;
    let &[_, length, kind, left] = header.first()?;
    let addresses = usize::from(length) / 2;
    if left == 0 || usize::from(left) > addresses {
        return None;
    }
    let at = match kind {
        SOURCE_ROUTE => 8 + (addresses - 1) * ADDRESS,
        // One address; or the segments in reverse, the last one first.
        MOBILE | SEGMENTS => 8,
        _ => return None,
    };
    header.chunk::<ADDRESS>(at).map(|bytes| Ipv6Addr::from(*bytes))
}
