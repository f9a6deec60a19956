//! One thing for each kind of record, of a type of its own.

use std::any::Any;

use crate::record::{Kind, Record};

/// Something of a type of its own for each kind of record: `Layout<Packet>`, `Layout<Flow>`…
#[derive(Debug)]
pub(crate) struct PerKind([Slot; Kind::ALL.len()]);

/// What a [`PerKind`] holds for one kind.
pub(crate) type Slot = Box<dyn Any + Send + Sync>;

// === impl PerKind ===

impl PerKind {
    /// Makes that of each kind.
    pub(crate) fn new(make: impl FnMut(Kind) -> Slot) -> Self {
        Self(Kind::ALL.map(make))
    }

    /// That of the kind `R`, if it is a `T`.
    pub(crate) fn get<R: Record, T: 'static>(&self) -> Option<&T> {
        self.0.get(R::KIND as usize)?.downcast_ref()
    }
}
