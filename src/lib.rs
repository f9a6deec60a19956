//! Tidegate: a network-flow shipper that acknowledges or accounts for every record.

pub mod ack;
pub mod api;
pub mod batch;
pub mod component;
pub mod dns;
pub mod ek;
pub mod metrics;
pub mod record;
pub mod retry;
pub mod topology;
pub mod transforms;
