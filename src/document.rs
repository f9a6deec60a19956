//! The text of a config as a document: bytes → [`text`] → a [`tree`] of nodes with their places →
//! variables substituted ([`interpolate`]) → values read by serde ([`de`]). Problems are gathered in a
//! [`report`], which quotes the lines but never a secret ([`secrets`]).
//!
//! Nothing here knows what a pipeline is.

pub(crate) mod de;
pub(crate) mod interpolate;
pub(crate) mod report;
pub(crate) mod secrets;
pub(crate) mod suggest;
pub(crate) mod text;
pub(crate) mod tree;
