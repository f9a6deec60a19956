//! What the kernel says of its clock.

use crate::record::ClockState;

/// What it says; `None` where it can't be asked: in a build without the gate, whose crate makes the call, and where
/// a filter of system calls forbids it.
#[cfg(feature = "xdp")]
pub fn clock() -> Option<ClockState> {
    let read = tidegate_ebpf::Clock::read().ok()?;
    Some(ClockState { offset_nanos: read.offset_ns, synchronised: read.is_synchronised })
}

/// In a build without the gate nobody can ask.
#[cfg(not(feature = "xdp"))]
pub fn clock() -> Option<ClockState> {
    None
}
