//! Tuning: the judge over captures and flow logs that people have, with what is known of their sources.
//!
//! Data passes: a capture → `capture` → `decode` → `flow` → contacts; a flow log → its rows → contacts →
//! [`score`](crate::score) → for each source what became of it → a measurement over all of them. The same
//! code judges live and in a replay.

mod capture;
mod counts;
mod ecs;
mod eve;
#[cfg(fuzzing)]
pub mod fuzzing;
mod labels;
mod left_out;
mod log;
mod measure;
mod observe;
mod open;
mod page;
mod rotated;
mod statistics;
mod table;
#[cfg(test)]
mod tests;
mod zeek;

pub use self::{
    labels::Labels,
    measure::{Ablated, Measured, SourceOutcome, ThresholdOutcome, measure},
    observe::{Gravest, Judged, Met},
    open::{Input, Progress, gather, read},
    page::page,
    rotated::judge,
    table::table,
};
