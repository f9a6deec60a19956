//! The judge: contacts in, verdicts and alerts out.
//!
//! Data passes: [`Contact`](crate::record::Contact)s → the ledger, which keeps one entry a source and
//! moves its signals → a score, with the part of each signal → levels, with hysteresis → a verdict, put
//! in force by a [`Store`](crate::verdict::Store), and a record of it with its reasons.
//!
//! Nothing here reads a clock or does I/O: time comes with the contacts, so that live, in a replay and in
//! a tuning run the same code judges. What is kept is bounded, whoever sends what.
//!
//! Sources: the walk is that of Jung, Paxson, Berger and Balakrishnan, "Fast Portscan Detection Using
//! Sequential Hypothesis Testing" (2004); the flood's that of Wang, Zhang and Shin, "Detecting SYN
//! Flooding Attacks" (2002).

mod breaker;
mod evidence;
mod flood;
#[cfg(fuzzing)]
pub mod fuzzing;
mod judge;
mod ledger;
mod policy;
mod preference;
mod reasons;
mod recent;
mod report;
mod salted;
mod seen;
mod settings;
pub mod snapshot;
mod source;
#[cfg(test)]
mod tests;
mod trail;
mod window;

pub use self::{
    judge::{Judge, Seat},
    settings::{
        AckProbe, AuthAttempts, Block, CircuitBreaker, DestinationFlood, External, IcmpSweep,
        IdleConnections, Levels, Rate, Scan, Settings, Signals, SplitHeader, StealthFlags,
    },
    snapshot::Snapshot,
    source::Source,
};
