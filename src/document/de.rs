//! Our own `serde::Deserializer` over the tree: a derived struct reads its keys from a node, and an
//! error knows the place and the key.
//!
//! Serde stops at the first error. [`read`] takes the value that caused it out of a copy of the node
//! and tries again, so it finds every error, and yields the config with defaults in their places.

mod access;
mod fault;
mod scalar;

use serde::de::DeserializeOwned;

pub(crate) use self::{
    access::Deserializer,
    fault::{Error, Fault, choose},
};
use super::tree::{Node, Origin, Step};

/// Errors in one component that are looked for.
const MAX_ERRORS: usize = 50;

/// What [`read`] found.
#[derive(Debug)]
pub(crate) struct Reading<T> {
    /// The value; what was wrong has its default. `None` if there is nothing to begin with.
    pub value: Option<T>,
    /// Everything that was wrong.
    pub errors: Vec<Error>,
    /// The dotted keys that were left out.
    pub left_out: Vec<String>,
}

/// Reads a `T` from a copy of `node`. Nothing is taken out of the `floor` outermost levels.
pub(crate) fn read<T: DeserializeOwned>(mut node: Node, floor: usize) -> Reading<T> {
    let mut errors = Vec::new();
    let mut left_out = Vec::new();
    loop {
        let mut error = match T::deserialize(Deserializer::new(&node)) {
            Ok(value) => {
                return Reading { value: Some(value), errors, left_out };
            }
            Err(error) => error,
        };
        let steps: Vec<Step> = error.steps.iter().rev().copied().collect();
        error.key = node.dotted(&steps);
        left_out.push(error.key.clone());
        let unset = node
            .follow(&steps)
            .and_then(Node::scalar)
            .is_some_and(|scalar| scalar.origin == Origin::Unset);
        let pruned = steps.len() > floor && node.prune(&steps);
        // What an unset variable stands in has been said; a key that nobody knows has not.
        if !unset || matches!(*error.fault, Fault::UnknownKey(..)) {
            errors.push(error);
        }
        if !pruned || errors.len() >= MAX_ERRORS {
            return Reading { value: None, errors, left_out };
        }
    }
}
