//! Questions to rtnetlink(7), and which program an interface has.
//!
//! Source: netlink(7), `linux/rtnetlink.h`, `linux/if_link.h`.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use crate::sys;

pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACKNOWLEDGE: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
/// Bytes of `nlmsghdr`, of `ifinfomsg`, and of `rtattr`.
const HEADER: usize = 16;
const LINK: usize = 16;
const ATTRIBUTE: usize = 4;
/// `IFLA_XDP`, and in it `IFLA_XDP_PROG_ID`, `IFLA_XDP_DRV_PROG_ID`, `IFLA_XDP_SKB_PROG_ID`, `IFLA_XDP_HW_PROG_ID`.
const XDP: u16 = 43;
const PROGRAMS: [u16; 4] = [4, 5, 6, 7];

/// The id of the XDP program that an interface has, if it has one. It takes no privileges.
///
/// # Errors
/// If there is no such interface.
pub fn xdp_program(interface: &str) -> io::Result<Option<u32>> {
    Ok(xdp_programs(interface)?.first().copied())
}

/// The ids of all XDP programs that an interface has: in the driver, generic, and on the card.
///
/// # Errors
/// If there is no such interface.
pub(crate) fn xdp_programs(interface: &str) -> io::Result<Vec<u32>> {
    let mut body = vec![0; LINK];
    let index = sys::index(interface)?;
    body.get_mut(4..8).into_iter().for_each(|place| place.copy_from_slice(&index.to_ne_bytes()));
    let mut found = Vec::new();
    ask((GET_LINK, REQUEST | ACKNOWLEDGE), &body, |kind, body| {
        if kind == NEW_LINK {
            found.extend(programs(body.get(LINK..).unwrap_or_default()));
        }
    })?;
    Ok(found)
}

/// The programs that the attributes of an interface name.
fn programs(attributes: &[u8]) -> impl Iterator<Item = u32> {
    let xdp = each(attributes).find(|(kind, _)| *kind == XDP).map_or(&[][..], |(_, xdp)| xdp);
    let ids = each(xdp).filter(|(kind, _)| PROGRAMS.contains(kind));
    ids.filter_map(|(_, id)| Some(u32::from_ne_bytes(*id.first_chunk()?))).filter(|id| *id > 0)
}

/// Attributes, each with its type; without the bits above that.
fn each(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & 0x3fff;
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Sends a message of this type with these flags, and gives each that comes before the one that ends the answer.
pub(crate) fn ask(
    (kind, flags): (u16, u16),
    body: &[u8],
    mut each: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
    let mut request = Vec::with_capacity(HEADER + body.len());
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    // Number and port: the kernel's answer is the only one on this socket.
    request.extend([0; 8]);
    request.extend(body);
    let mut socket = File::from(sys::route_socket()?);
    socket.write_all(&request)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = socket.read(&mut buffer)?;
        let mut rest = buffer.get(..read).unwrap_or_default();
        while let Some((kind, body, behind)) = message(rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return if code == 0 {
                        Ok(())
                    } else {
                        Err(io::Error::from_raw_os_error(-code))
                    };
                }
                _ => each(kind, body),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn program(attributes: &[u8]) -> Option<u32> {
        programs(attributes).next()
    }

    #[test]
    fn an_interface_s_program_is_found_in_whichever_place_it_is() {
        let attached = attribute(2, &[2]);
        let name = attribute(3, b"wire\0");
        for kind in PROGRAMS {
            let id = attribute(kind, &77_u32.to_ne_bytes());
            let xdp = attribute(XDP | 0x8000, &[attached.clone(), id].concat());
            assert_eq!(program(&[name.clone(), xdp].concat()), Some(77), "{kind}");
        }
        assert_eq!(program(&[name.clone(), attribute(XDP, &attached)].concat()), None);
        let xdp = attribute(XDP, &attribute(4, &77_u32.to_ne_bytes()));
        let all = [name, xdp].concat();
        for length in 0..all.len() {
            assert_eq!(program(&all[..length]), None, "cut off at {length}");
        }
    }
}
