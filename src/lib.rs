//! Tidegate: a network-flow shipper that acknowledges or accounts for every record.

pub mod ack;
pub mod batch;
pub mod component;
pub mod config;
pub mod ek;
pub mod metrics;
pub mod record;
pub mod topology;
