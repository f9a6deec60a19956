//! The children: how each is asked, started, watched and read, and what its end means.

pub(super) mod arguments;
pub(super) mod child;
pub(super) mod lines;
pub(super) mod pcap;
pub(super) mod programs;
pub(super) mod question;
pub(super) mod refusal;
pub(super) mod spawn;
pub(super) mod statistics;
pub(super) mod version;
pub(super) mod worker;
