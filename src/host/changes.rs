//! Tells when addresses or routes of this host have changed.

use std::io;

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};

/// `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`, of
/// `linux/rtnetlink.h`.
const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;

/// A socket that the kernel writes to when something changes. What it writes is not looked at: the facts are
/// read anew.
#[derive(Debug)]
pub struct Changes(OwnedFd);

// === impl Changes ===

impl Changes {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the kernel has no such socket.
    pub fn listen() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // The protocol 0 of this family is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    /// Whether anything has changed since it was asked last. Does not wait.
    pub fn any(&self) -> bool {
        let mut any = false;
        let mut buffer = [0_u8; 8192];
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                // NOBUFS: more than there was room for, so something has changed.
                Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => any = true,
                Err(_) => return any,
            }
        }
    }
}
