//! A compiled condition.

use super::{Asked, Field, operand::Test};

/// A condition that is ready to be asked of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicate(pub(super) Node);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// All hold.
    All(Box<[Node]>),
    /// One holds at least.
    Any(Box<[Node]>),
    /// It does not hold.
    Not(Box<Node>),
    /// The record has the field, or has not.
    Exists(Field, bool),
    /// One of the field's values passes.
    Field(Field, Test),
}

// === impl Predicate ===

impl Predicate {
    /// Whether it holds for the record.
    pub fn holds(&self, record: &impl Asked) -> bool {
        self.0.holds(record)
    }
}

// === impl Node ===

impl Node {
    /// What stands for a condition that could not be read, until its problem is reported.
    pub(super) fn none() -> Self {
        Self::All(Box::default())
    }

    fn holds(&self, record: &impl Asked) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(record)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(record)),
            Self::Not(node) => !node.holds(record),
            Self::Exists(field, there) => record.any(*field, &Test::Present) == *there,
            Self::Field(field, test) => record.any(*field, test),
        }
    }
}
