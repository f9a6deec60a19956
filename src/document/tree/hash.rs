//! What identifies a config, without telling its secrets.

use super::{Node, Scalar, Value};
use crate::record::{Id, IdBuilder};

impl Node {
    /// The hash of all keys and values, in the order of the text. Of a secret only its place counts:
    /// whoever knows the rest of the file could try out passwords until the hash fits.
    pub(crate) fn hash(&self) -> String {
        self.add_to(Id::of("config", "")).finish().to_string()
    }

    fn add_to(&self, id: IdBuilder) -> IdBuilder {
        match &self.value {
            Value::Scalar(Scalar { secret: true, .. }) => id.number(0),
            Value::Scalar(Scalar { text, .. }) => id.number(1).bytes(text.as_bytes()),
            Value::Sequence(items) => {
                let id = id.number(2).number(items.len() as u64);
                items.iter().fold(id, |id, item| item.add_to(id))
            }
            Value::Mapping(entries) => {
                let id = id.number(3).number(entries.len() as u64);
                let add = |id: IdBuilder, entry: &super::Entry| {
                    entry.value.add_to(id.bytes(entry.key.as_bytes()))
                };
                entries.iter().fold(id, add)
            }
        }
    }
}
