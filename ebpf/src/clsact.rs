//! The queueing discipline `clsact`, which programs at tc egress need where there is no tcx (before Linux 6.6).
//!
//! Source: rtnetlink(7), `linux/rtnetlink.h`, `linux/pkt_sched.h`.

use std::io;

use crate::route::{self, ACKNOWLEDGE, DUMP, REQUEST};

const DELETE_QDISC: u16 = 37;
const GET_FILTER: u16 = 46;
/// `TC_H_CLSACT`: what it hangs on; its own handle; and the two that filters hang on.
const PARENT: u32 = 0xffff_fff1;
const HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Bytes of `tcmsg`.
const MESSAGE: usize = 20;

/// Removes it from an interface, unless somebody has a filter there.
///
/// # Errors
/// If there is none, or this process may not.
pub(crate) fn remove_if_empty(interface: u32) -> io::Result<()> {
    for parent in [INGRESS, EGRESS] {
        if has_filters(interface, parent)? {
            return Ok(());
        }
    }
    ask(DELETE_QDISC, REQUEST | ACKNOWLEDGE, interface, (HANDLE, PARENT)).map(drop)
}

fn has_filters(interface: u32, parent: u32) -> io::Result<bool> {
    Ok(ask(GET_FILTER, REQUEST | DUMP, interface, (0, parent))? > 0)
}

/// Sends a `tcmsg`; answers how many messages came before the one that ends it.
fn ask(kind: u16, flags: u16, interface: u32, (handle, parent): (u32, u32)) -> io::Result<usize> {
    let mut body = Vec::with_capacity(MESSAGE);
    // Family and padding.
    body.extend([0; 4]);
    for word in [interface, handle, parent, 0] {
        body.extend(word.to_ne_bytes());
    }
    let mut count = 0;
    route::ask((kind, flags), &body, |_, _| count += 1)?;
    Ok(count)
}
