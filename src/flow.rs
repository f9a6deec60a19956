//! The flow table: packets in, reports of bidirectional flows and contacts out.
//!
//! A packet's headers make a key; the key finds the flow or begins one; TCP segments move the states
//! of both sides; deadlines and a full table end flows. Nothing here waits, reads a clock or depends
//! on how packets were batched: time is the latest packet time seen, and what comes out is ordered
//! by that time. Each observation point has a clock of its own, whose jumps are doubted until three
//! packets in a row agree; where packets were seen tells flows apart, as VLANs and tunnels do. Who began
//! what is over is remembered for its stragglers. [`Shards`] splits the work by address pair and merges what comes out.
//!
//! Semantics: TCP states, `conn_state` and history are those of Zeek's `conn.log`, and so is all else in
//! the profile `zeek`; what is of one connection follows RFC 9293 and RFC 5961; bytes are IP bytes as
//! in IPFIX; reports carry deltas.

mod clock;
mod contacts;
pub mod counted;
pub mod denied;
mod entry;
mod fragments;
mod key;
mod lists;
mod output;
mod policy;
mod protocols;
mod reassembly;
mod recent;
pub mod server_ports;
mod shards;
mod slab;
mod table;
mod tally;
mod tcp;
#[cfg(test)]
mod tests;
mod timeouts;

pub use self::{
    output::{Output, Report},
    policy::{Policy, Timeouts},
    server_ports::ServerPorts,
    shards::Shards,
    timeouts::TimeoutSecs,
};
