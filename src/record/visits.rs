//! What is asked of, and done to, the records of a batch whatever their kind.

use std::sync::Arc;

use super::{Id, Kind, Record, Visit, VisitMut};

/// How many there are.
pub(super) struct Count;

/// The bytes of memory they hold.
pub(super) struct MemoryBytes;

/// The kind of the record at an index; that of the batch past the end.
pub(super) struct KindAt(pub(super) usize);

/// Whether their kind has names.
pub(super) struct HasNames;

/// The other sensor that saw the record at an index.
pub(super) struct ObserverAt(pub(super) usize);

/// Says that another sensor saw them.
pub(super) struct SeenBy<'a>(pub(super) &'a Arc<str>);

/// The identity of the record at an index.
pub(super) struct IdentityAt<'a>(pub(super) usize, pub(super) &'a str);

impl<R> Visit<R, usize> for Count {
    fn visit(self, records: &[R]) -> usize {
        records.len()
    }
}

impl<R: Record> Visit<R, usize> for MemoryBytes {
    fn visit(self, records: &[R]) -> usize {
        records.iter().map(R::memory_bytes).sum()
    }
}

impl<R: Record> Visit<R, bool> for HasNames {
    fn visit(self, _records: &[R]) -> bool {
        R::HAS_NAMES
    }
}

impl<R: Record> Visit<R, Kind> for KindAt {
    fn visit(self, records: &[R]) -> Kind {
        records.get(self.0).map_or(R::KIND, R::kind)
    }
}

impl<R: Record> Visit<R, Option<(Id, Option<u32>)>> for IdentityAt<'_> {
    fn visit(self, records: &[R]) -> Option<(Id, Option<u32>)> {
        let record = records.get(self.0)?;
        let other = record.origin().observer();
        record.identity(other.as_deref().unwrap_or(self.1))
    }
}

impl<R: Record> Visit<R, Option<Arc<str>>> for ObserverAt {
    fn visit(self, records: &[R]) -> Option<Arc<str>> {
        records.get(self.0)?.origin().observer()
    }
}

impl<R: Record> VisitMut<R, ()> for SeenBy<'_> {
    fn visit_mut(self, records: &mut Arc<Vec<R>>) {
        // Neighbours are of the same point.
        let mut last = None;
        for origin in Arc::make_mut(records).iter_mut().filter_map(R::origin_mut) {
            let seen = match last {
                Some((own, seen)) if own == *origin => seen,
                _ => origin.seen_by(self.0),
            };
            last = Some((*origin, seen));
            *origin = seen;
        }
    }
}
