//! Tidegate: a network-flow shipper that acknowledges or accounts for every record.

pub mod ack;
pub mod api;
pub mod batch;
pub mod capture;
pub mod cli;
pub mod codec;
pub mod component;
pub mod condition;
pub mod config;
pub mod decode;
pub mod dns;
mod document;
pub mod ek;
pub mod flow;
pub mod metrics;
pub mod record;
pub mod retry;
pub mod sinks;
pub mod sources;
pub mod topology;
pub mod transforms;
