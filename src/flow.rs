//! The flow table: packets in, reports of bidirectional flows and contacts out.
//!
//! A packet's headers make a key; the key finds the flow or begins one; TCP segments move the states
//! of both sides; deadlines and a full table end flows. Nothing here waits, reads a clock or depends
//! on how packets were batched: time is the latest packet time seen, and what comes out is ordered
//! by that time. [`Shards`] splits the work by address pair and merges what comes out.
//!
//! Semantics: initiator rules, TCP states, `conn_state` and history are those of Zeek's `conn.log`;
//! bytes are IP bytes as in IPFIX; reports carry deltas.

mod clock;
mod contacts;
mod entry;
mod fragments;
mod key;
mod lists;
mod output;
mod policy;
mod protocols;
mod reassembly;
pub mod server_ports;
mod shards;
mod slab;
mod table;
mod tcp;
#[cfg(test)]
mod tests;

pub use self::{
    output::{Output, Report},
    policy::{Policy, Timeouts},
    server_ports::ServerPorts,
    shards::Shards,
};
