//! Where records come from.

pub mod dead_letters;
pub mod health;
pub mod tshark;
pub mod xdp;
