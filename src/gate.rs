//! Verdicts in the kernel: a [`Store`](crate::verdict::Store) over the maps of the XDP program.
//!
//! Data passes: a judge, a list or the command line → [`GateStore`], which refuses what is never blocked
//! ([`Protected`]) → [`Kernel`], the maps behind a small trait → the program. Each change is a line of the
//! verdict log ([`log`]), from which reasons come back after a restart, and verdicts of people and lists
//! after a reboot; what others than the judge changed, and each end, becomes a record from there ([`Unseen`]).
//! Whom it never blocks, and why, the daemon writes down for the command line ([`Spared`]).
//! What the program tells of contacts becomes records in `evidence`, and whom its guard holds off a verdict in `guard`. The daemon and the command line use the same
//! store; either works without the other.

#[cfg(feature = "xdp")]
pub mod evidence;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(feature = "xdp")]
pub mod guard;
mod kernel;
pub mod log;
#[cfg(feature = "xdp")]
mod pinned;
mod protected;
mod spared;
mod store;
#[cfg(test)]
mod tests;
mod unseen;

#[cfg(feature = "xdp")]
pub use self::pinned::{MAX_ALLOWED, Pinned};
pub use self::{
    kernel::{Held, Kernel, MapError},
    protected::Protected,
    spared::Spared,
    store::{GateStore, Last, Occasion, Policy},
    unseen::{Unseen, alert},
};
