//! Names of addresses: from DNS answers in our own capture, else from PTR look-ups.
//!
//! [`Directory`] decides without I/O and without a clock what is known, what is to be asked, when
//! and where; a [`Resolver`] asks, and is the only thing here that touches the network.
//! [`PassiveNames`] learns from packets. Whoever runs them gives the time.

mod cache;
mod directory;
mod host_name;
mod limits;
mod passive;
mod range;
mod resolver;
#[cfg(test)]
pub(crate) mod scripted;
mod server;

pub use self::{
    cache::{Answer, Failure},
    directory::{Directory, Options, Question},
    host_name::host_name,
    passive::{ALL_FIELDS, FIELDS, PassiveNames},
    range::{Range, Route},
    resolver::{Error, Resolver},
    server::{Private, Server},
};
