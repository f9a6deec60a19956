//! Ways through the tree: to a value by its dotted key, and to a node by its place.

use super::{Entry, Node, Value};
use crate::document::text::Span;

/// One step down from a node, by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The entry of a mapping.
    Entry(usize),
    /// The item of a list.
    Item(usize),
}

impl Node {
    /// Where the value of a dotted key (`segment.dir`, `files[1]`) stands, or the deepest part of
    /// the way to it that exists; `None` if nothing of it does.
    pub(crate) fn locate(&self, key: &str) -> Option<Span> {
        match &self.value {
            Value::Mapping(entries) => {
                // Keys may hold dots themselves (`sasl.mechanism`): the longest that fits counts.
                let (entry, rest) = entries
                    .iter()
                    .filter_map(|entry| Some((entry, rest_behind(entry, key)?)))
                    .min_by_key(|(_, rest)| rest.len())?;
                Some(entry.value.locate(rest).unwrap_or_else(|| entry.value_span()))
            }
            Value::Sequence(items) => {
                let (index, rest) = key.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                let rest = rest.strip_prefix('.').unwrap_or(rest);
                Some(item.locate(rest).unwrap_or(item.span))
            }
            Value::Scalar(_) => None,
        }
    }

    /// The node at `steps`, outermost first.
    pub(crate) fn follow(&self, steps: &[Step]) -> Option<&Self> {
        steps.iter().try_fold(self, |node, step| match (step, &node.value) {
            (Step::Entry(at), Value::Mapping(entries)) => {
                entries.get(*at).map(|entry| &entry.value)
            }
            (Step::Item(at), Value::Sequence(items)) => items.get(*at),
            _ => None,
        })
    }

    /// The dotted key that `steps` lead to; items of lists are not counted.
    pub(crate) fn dotted(&self, steps: &[Step]) -> String {
        let mut node = self;
        let mut keys = Vec::new();
        for step in steps {
            match (step, &node.value) {
                (Step::Entry(at), Value::Mapping(entries)) if *at < entries.len() => {
                    let entry = &entries[*at];
                    keys.push(entry.key.as_str());
                    node = &entry.value;
                }
                (Step::Item(at), Value::Sequence(items)) if *at < items.len() => node = &items[*at],
                _ => break,
            }
        }
        keys.join(".")
    }

    /// Takes out the node at `steps`; says whether there was one.
    pub(crate) fn prune(&mut self, steps: &[Step]) -> bool {
        let Some((step, rest)) = steps.split_first() else {
            return false;
        };
        match (step, &mut self.value) {
            (Step::Entry(at), Value::Mapping(entries)) if *at < entries.len() => {
                if rest.is_empty() {
                    entries.remove(*at);
                    return true;
                }
                entries[*at].value.prune(rest)
            }
            (Step::Item(at), Value::Sequence(items)) if *at < items.len() => {
                if rest.is_empty() {
                    items.remove(*at);
                    return true;
                }
                items[*at].prune(rest)
            }
            _ => false,
        }
    }
}

/// What of `key` is left behind the entry's own key.
fn rest_behind<'a>(entry: &Entry, key: &'a str) -> Option<&'a str> {
    let rest = key.strip_prefix(entry.key.as_str())?;
    if rest.is_empty() || rest.starts_with('[') { Some(rest) } else { rest.strip_prefix('.') }
}
