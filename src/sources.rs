//! Where records come from.

pub mod dead_letters;
pub mod health;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod tshark;
pub mod xdp;
