//! From a config to a running pipeline and its account: config → plan → wired → running → ended.
//!
//! [`Plan`] lists components with resolved inputs. Wiring makes the bounded edges between them and
//! fuses neighbouring transforms into chains; [`Running`] holds one task for each source, chain,
//! stage and sink. Stopping cancels the sources; channels close in the direction of the data,
//! transforms drain, sinks finish; what a deadline cuts off is named in [`Ended`].

pub mod budget;
mod build;
mod chain;
mod journal;
mod machine;
mod networks;
mod plan;
mod renew;
mod running;
mod stores;
mod summary;
mod upstream;
mod wire;

pub use self::{
    build::{Unbuilt, build, build_dead_letters, build_replay},
    plan::{Link, Part, Plan},
    renew::{Renewal, Renewer},
    running::{Ended, Failure, Running},
    summary::{Account, Observed, Summary, Totals},
};

#[cfg(test)]
mod tests;
