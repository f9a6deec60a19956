//! Live capture: dumpcap kept going, and what it writes read as segments or from a pipe.

pub(super) mod backlog;
pub(super) mod capture;
pub(super) mod pipe;
pub(super) mod segments;
pub(super) mod silence;
pub(super) mod supervise;
