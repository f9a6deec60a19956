//! Where records come from.

pub mod tshark;
