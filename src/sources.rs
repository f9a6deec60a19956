//! Where records come from.

pub mod health;
pub mod tshark;
