//! Live capture: dumpcap kept going, and what it writes read as segments or from a pipe.

mod attend;
pub(super) mod backlog;
pub(super) mod capture;
pub(super) mod frames;
mod left;
pub(super) mod pipe;
pub(super) mod segments;
mod shelf;
pub(super) mod silence;
pub(super) mod supervise;
