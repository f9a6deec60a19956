//! The transforms: each a config and a thin layer over pure logic.

pub mod extract;
pub mod filter;
pub mod flow;
pub mod reverse_dns;
pub mod route;
pub mod score;
