//! A compiled condition.

use std::sync::Arc;

use super::test::Test;
use crate::{
    field::{Accessor, Fields, Origin, PerKind, Query, Slot},
    record::{Records, Visit},
};

/// A condition that is ready to be asked of records.
#[derive(Debug, Clone)]
pub struct Predicate(Arc<PerKind>);

/// A condition that is ready to be asked of records of one kind.
#[derive(Debug)]
pub struct Question<R: 'static>(Node<Option<Accessor<R>>>);

/// A condition, whose fields are told by an `F`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node<F> {
    /// All hold.
    All(Box<[Node<F>]>),
    /// One holds at least.
    Any(Box<[Node<F>]>),
    /// It does not hold.
    Not(Box<Node<F>>),
    /// The record has the field, or has not.
    Exists(F, bool),
    /// One of the field's values passes.
    Field(F, Arc<Test>),
}

/// Finds the fields of a condition in a kind's table.
struct Compile<'a>(&'a Node<Query>);

// === impl Predicate ===

impl Predicate {
    pub(super) fn new(node: &Node<Query>) -> Self {
        Self(Arc::new(PerKind::new(|kind| Records::none(kind).visit(Compile(node)))))
    }

    /// Whether it holds for a record of the run that `origin` tells of.
    pub fn holds<R: Fields>(&self, record: &R, origin: &Origin) -> bool {
        self.of().holds(record, origin)
    }

    /// What is asked of records of the kind `R`, for whoever has several of them.
    pub fn of<R: Fields>(&self) -> &Question<R> {
        self.0.get::<R, Question<R>>().expect("it was compiled for each kind")
    }
}

impl<R: Fields> Visit<R, Slot> for Compile<'_> {
    fn visit(self, _records: &[R]) -> Slot {
        Box::new(Question::<R>(self.0.map(&mut Query::accessor)))
    }
}

// === impl Question ===

impl<R: Fields> Question<R> {
    /// Whether it holds for a record of the run that `origin` tells of.
    pub fn holds(&self, record: &R, origin: &Origin) -> bool {
        self.0.holds(record, origin)
    }
}

// === impl Node ===

impl<F> Node<F> {
    /// What stands for a condition that could not be read, until its problem is reported.
    pub(super) fn none() -> Self {
        Self::All(Box::default())
    }

    /// The same condition with its fields told otherwise.
    fn map<G>(&self, tell: &mut impl FnMut(&F) -> G) -> Node<G> {
        match self {
            Self::All(nodes) => Node::All(nodes.iter().map(|node| node.map(tell)).collect()),
            Self::Any(nodes) => Node::Any(nodes.iter().map(|node| node.map(tell)).collect()),
            Self::Not(node) => Node::Not(Box::new(node.map(tell))),
            Self::Exists(field, there) => Node::Exists(tell(field), *there),
            Self::Field(field, test) => Node::Field(tell(field), Arc::clone(test)),
        }
    }
}

impl<R: Fields> Node<Option<Accessor<R>>> {
    fn holds(&self, record: &R, origin: &Origin) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(record, origin)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(record, origin)),
            Self::Not(node) => !node.holds(record, origin),
            Self::Exists(field, there) => {
                let value = field.as_ref().map(|field| field.value(record, origin));
                value.is_some_and(|value| !value.is_absent()) == *there
            }
            Self::Field(Some(field), test) => test.passes(&field.value(record, origin)),
            Self::Field(None, _) => false,
        }
    }
}
