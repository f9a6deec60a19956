//! A record that a destination refused, on its way there a second time.

use std::sync::Arc;

use bytes::Bytes;

use super::{Kind, Record, Records, Timestamp};

/// What is left of a record that was refused: the document that was written of it, and what a sink
/// needs beside it to send it again as what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// What the record was.
    pub kind: Kind,
    /// Its time, if the sink sends that beside the document.
    pub time: Option<Timestamp>,
    /// The id it was sent under, if it was: 1 to 128 letters, digits, `-`, `_`, `.`.
    pub id: Option<Box<str>>,
    /// The document.
    pub document: Bytes,
}

// === impl Returned ===

impl Returned {
    /// A record of which the document says all.
    pub fn new(kind: Kind, document: &[u8]) -> Self {
        Self { kind, time: None, id: None, document: Bytes::copy_from_slice(document) }
    }
}

impl Record for Returned {
    const KIND: Kind = Kind::Returned;

    fn wrap(records: Arc<Vec<Self>>) -> Records {
        Records::Returned(records)
    }

    fn time(&self) -> Option<Timestamp> {
        self.time
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.document.len() + self.id.as_ref().map_or(0, |id| id.len())
    }

    fn kind(&self) -> Kind {
        self.kind
    }
}
