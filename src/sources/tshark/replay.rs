//! Capture files: cut into chunks, and the chunks read by several tsharks at once; or read by ourselves.

pub(super) mod chunks;
pub(super) mod file;
pub(super) mod frames;
