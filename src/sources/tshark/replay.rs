//! Capture files: cut into chunks, and the chunks read by several tsharks at once; or read by ourselves.

pub(super) mod chunks;
mod cuts;
pub(super) mod file;
pub(super) mod frames;
