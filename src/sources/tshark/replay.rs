//! Capture files: cut into chunks, and the chunks read by several tsharks at once.

pub(super) mod chunks;
pub(super) mod file;
