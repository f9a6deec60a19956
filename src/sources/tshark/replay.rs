//! Capture files: cut into chunks, and the chunks read by several tsharks at once.

pub(super) mod chunks;
mod cuts;
pub(super) mod file;
