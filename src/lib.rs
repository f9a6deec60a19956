//! Tidegate: a network-flow shipper that acknowledges or accounts for every record.

#![forbid(unsafe_code)]

pub mod ack;
pub mod api;
pub mod batch;
pub mod buffer;
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
pub mod field;
pub mod flow;
pub mod gate;
pub mod host;
pub mod log_limit;
pub mod metrics;
pub mod networks;
pub mod record;
pub mod remote;
pub mod retry;
pub mod score;
pub mod sinks;
pub mod sources;
pub mod storage;
pub mod task;
pub mod topology;
pub mod transforms;
pub mod tune;
pub mod verdict;
