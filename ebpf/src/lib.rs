//! The kernel's side of Tidegate: an XDP program, its maps, and what loads and reads them.
//!
//! A frame passes the program (`bpf/`): headers → verdict → statistics → passed or dropped; what passed, and
//! what this host sends, is looked at for contacts, which go into a ring ([`Evidence`]). User space
//! loads it ([`Gate`]), attaches it to an interface, and puts verdicts into the maps ([`Maps`]), which
//! are pinned so that the command line finds them with the daemon dead. What both sides share is in
//! [`abi`]; which maps there are, and how they have to be, is in [`layout`].
//!
//! This crate has all of Tidegate's unsafe code, a safe API, and knows nothing of the main crate
//! (docs/adr/0015).

pub mod abi;
#[cfg(test)]
mod btf;
mod error;
pub mod evidence;
pub mod layout;
mod loader;
mod maps;
pub mod pins;
mod sys;

pub use self::{
    error::Error,
    evidence::{Evidence, Watch},
    loader::{Attached, Gate, Mode, Ran, Wanted},
    maps::{Maps, now_ns, tick_ns},
};

/// The compiled program.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tidegate.bpf.o"));

/// The compiled program as an ELF file, for whoever compares its BTF with [`abi`].
pub fn object() -> &'static [u8] {
    OBJECT
}
