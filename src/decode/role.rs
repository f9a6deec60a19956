//! Whether a datagram asks or answers, by protocols whose two ends may both use the server's port.
//!
//! Sources: RFC 1035 section 4.1.1 and its kin (RFC 1002, 4795, 6762), RFC 5905 section 7.3.

use super::view::View;
use crate::record::{Marks, Ports};

/// The highest of the ports.
const HIGHEST: u16 = 5355;
const NTP: u16 = 123;
const NETBIOS: u16 = 137;

/// What a datagram between these ports says of its sender. The receiver's port tells more than the
/// sender's.
#[inline]
pub(super) fn marks(ports: Ports, payload: View<'_>) -> Marks {
    if ports.source.min(ports.destination) > HIGHEST {
        return Marks::default();
    }
    let told = by_port(ports.destination, payload).or_else(|| by_port(ports.source, payload));
    told.unwrap_or_default()
}

fn by_port(port: u16, payload: View<'_>) -> Option<Marks> {
    match port {
        NTP => ntp(payload),
        NETBIOS => dns(payload),
        // Queries, notifications and updates; others may be anything.
        53 | 5353 | HIGHEST => dns(payload).filter(|_| {
            let opcode = payload.byte(2).map(|flags| flags >> 3 & 0x0f);
            matches!(opcode, Some(0 | 4 | 5))
        }),
        _ => None,
    }
}

/// The first bit of the flags of a DNS message.
fn dns(payload: View<'_>) -> Option<Marks> {
    const ANSWER: u8 = 0x80;
    let &[_, _, flags, ..] = payload.first::<12>()?;
    Some(if flags & ANSWER == 0 { Marks::ASKS } else { Marks::ANSWERS })
}

/// The mode of a message of NTP: that of a client or of a server, or another one.
fn ntp(payload: View<'_>) -> Option<Marks> {
    let &[first, ..] = payload.first::<48>()?;
    match first & 7 {
        3 => Some(Marks::ASKS),
        4 => Some(Marks::ANSWERS),
        _ => None,
    }
}
