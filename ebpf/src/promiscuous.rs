//! A mirror port's interface has to take in frames that are for others.

use std::{io, os::fd::OwnedFd};

use crate::sys;

/// Keeps an interface taking in frames for others until it is dropped; the kernel ends it with the process too,
/// however that ends.
#[derive(Debug)]
pub struct Promiscuous {
    _socket: OwnedFd,
}

// === impl Promiscuous ===

impl Promiscuous {
    /// Begins, on an interface by its index.
    ///
    /// # Errors
    /// If this process may not (`CAP_NET_RAW`), or there is no such interface.
    pub fn hold(interface: u32) -> io::Result<Self> {
        sys::promiscuous(interface).map(|socket| Self { _socket: socket })
    }
}

/// Whether the interface takes them in whoever runs: `ip link set dev NAME promisc on`.
///
/// # Errors
/// If there is no such interface.
pub fn is_set(interface: &str) -> io::Result<bool> {
    sys::is_set_promiscuous(interface)
}
