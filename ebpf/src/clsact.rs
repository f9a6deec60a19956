//! The queueing discipline `clsact`, which programs at tc egress need where there is no tcx (before Linux 6.6).
//!
//! Source: rtnetlink(7), `linux/rtnetlink.h`, `linux/pkt_sched.h`.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use crate::sys;

const DELETE_QDISC: u16 = 37;
const GET_FILTER: u16 = 46;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
/// `TC_H_CLSACT`: what it hangs on; its own handle; and the two that filters hang on.
const PARENT: u32 = 0xffff_fff1;
const HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Bytes of `nlmsghdr`, and of `tcmsg` behind it.
const HEADER: usize = 16;
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
    let mut request = Vec::with_capacity(HEADER + MESSAGE);
    let length = u32::try_from(HEADER + MESSAGE).map_err(io::Error::other)?;
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    // Number and port: the kernel's answer is the only one on this socket.
    request.extend([0; 8]);
    // Family and padding.
    request.extend([0; 4]);
    for word in [interface, handle, parent, 0] {
        request.extend(word.to_ne_bytes());
    }
    let mut socket = File::from(sys::route_socket()?);
    socket.write_all(&request)?;
    let mut buffer = vec![0; 1 << 16];
    let mut count = 0;
    loop {
        let read = socket.read(&mut buffer)?;
        let mut rest = buffer.get(..read).unwrap_or_default();
        while let Some((kind, body, behind)) = message(rest) {
            match kind {
                DONE => return Ok(count),
                ERROR => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return if code == 0 {
                        Ok(count)
                    } else {
                        Err(io::Error::from_raw_os_error(-code))
                    };
                }
                _ => count += 1,
            }
            rest = behind;
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The first message: its type, what it holds, and what comes behind it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?);
    let length = usize::try_from(length).ok().filter(|length| *length >= HEADER)?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let behind = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, bytes.get(HEADER..length)?, behind))
}
