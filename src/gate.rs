//! Verdicts in the kernel: a [`Store`](crate::verdict::Store) over the maps of the XDP program.
//!
//! Data passes: a judge, a list or the command line → [`GateStore`], which refuses what is never blocked
//! ([`Protected`]) → [`Kernel`], the maps behind a small trait → the program. Each change is a line of the
//! verdict log ([`log`]), from which reasons come back after a restart, and verdicts of people and lists
//! after a reboot. What the program tells of contacts becomes records in `evidence`. The daemon and the command line use the same store; either works without the other.

#[cfg(feature = "xdp")]
pub mod evidence;
mod kernel;
pub mod log;
#[cfg(feature = "xdp")]
mod pinned;
mod protected;
mod store;
#[cfg(test)]
mod tests;

#[cfg(feature = "xdp")]
pub use self::pinned::Pinned;
pub use self::{
    kernel::{Held, Kernel, MapError},
    protected::Protected,
    store::{GateStore, Policy},
};
