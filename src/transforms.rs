//! Transforms and stages: each a config and a call into the pure layers.

pub mod reverse_dns;
