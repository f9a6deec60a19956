//! The kernel's side of Tidegate: an XDP program, its maps, and what loads and reads them.
//!
//! A frame passes the program (`bpf/`): headers → verdict → [`Guard`] → statistics → passed or dropped; what passed,
//! and what this host sends, is counted by flow ([`Flows`]) and looked at for contacts, which go into a ring
//! ([`Evidence`]); frames themselves go into another one ([`Packets`]); what is dropped is counted by where it was for
//! ([`Denials`]). User space
//! loads it ([`Gate`]), attaches it to an interface, and puts verdicts into the maps ([`Maps`]), which
//! are pinned so that the command line finds them with the daemon dead. What both sides share is in
//! [`abi`]; which maps there are, and how they have to be, is in [`layout`].
//!
//! This crate has all of Tidegate's unsafe code, a safe API, and knows nothing of the main crate
//! (docs/adr/0015).

pub mod abi;
#[cfg(test)]
mod btf;
mod clock;
mod clsact;
pub mod denied;
mod error;
pub mod evidence;
pub mod flows;
pub mod guard;
pub mod layout;
mod loader;
mod maps;
pub mod packets;
pub mod pins;
pub mod promiscuous;
mod route;
mod sys;

pub use self::{
    clock::Clock,
    denied::{Denials, Denying},
    error::Error,
    evidence::{Evidence, Watch},
    flows::{Accounting, Flows},
    guard::Guard,
    loader::{Attached, Duties, Gate, Mode, Ran, Standing, Wanted},
    maps::{Heart, LetThrough, Maps, now_ns, tick_ns},
    packets::{Packets, Sampling},
    promiscuous::Promiscuous,
    route::xdp_program,
};

/// The compiled program.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tidegate.bpf.o"));

/// The compiled program as an ELF file, for whoever compares its BTF with [`abi`].
pub fn object() -> &'static [u8] {
    OBJECT
}
