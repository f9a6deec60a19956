//! Lines of `tshark -T ek -e FIELD…`: which fields we ask for and, from them, packets.
//!
//! A line goes through simd-json into a tape, its values are found by name ([`values`]), and
//! `frame.protocols` says which header each of them belongs to ([`layout`], [`headers`]). A frame that
//! aggregates several packets gives each of them.

mod application;
mod error;
pub mod fields;
mod headers;
mod layout;
mod network;
mod number;
mod parser;
mod plain;
mod points;
#[cfg(test)]
mod tests;
mod transport;
mod values;

pub use self::{
    error::Error,
    parser::{Line, Parser},
};
