//! A replay's captures in the place of what a config's source reads, before anything is checked: so
//! all checks are made of what will run.

use std::path::{PathBuf, absolute};

use crate::component::Role;
use crate::document::{
    text::Span,
    tree::{Entry, Node, Origin, Scalar, Value},
};

/// Keys of a source that say what it reads.
const READS: [&str; 4] = ["mode", "interface", "capture_filter", "files"];
const DISSECT: &str = "dissect";

/// What a replay reads, and how.
#[derive(Debug, Clone, Copy)]
pub struct Replayed<'a> {
    /// The id of the source to replace; `None` for the only one there is.
    pub source: Option<&'a str>,
    /// The captures.
    pub captures: &'a [PathBuf],
    /// `dissect` of the source, where it is not to be the config's.
    pub dissect: Option<&'a str>,
}

// === impl Replayed ===

impl Replayed<'_> {
    /// Replaces it in the tree of a config. Where there is no such source, or several, nothing: that
    /// is said once the config is read.
    pub(super) fn put_into(&self, root: &mut Node) {
        let is_tshark = |entry: &Entry| {
            let kind = entry.value.get("type").and_then(|kind| kind.value.scalar());
            kind.is_some_and(|kind| kind.text == "tshark")
        };
        let Some(sources) = entries(root).and_then(|all| {
            let section = all.iter_mut().find(|entry| entry.key == Role::Source.section());
            section.and_then(|section| entries(&mut section.value))
        }) else {
            return;
        };
        let mut sources: Vec<_> = sources.iter_mut().filter(|entry| is_tshark(entry)).collect();
        if let Some(id) = self.source {
            sources.retain(|entry| entry.key == id);
        }
        if let [source] = sources.as_mut_slice() {
            self.replace(source);
        }
    }

    fn replace(&self, source: &mut Entry) {
        let span = source.key_span;
        let Some(keys) = entries(&mut source.value) else { return };
        keys.retain(|entry| {
            let replaced = entry.key == DISSECT && self.dissect.is_some();
            !replaced && !READS.contains(&entry.key.as_str())
        });
        let captures = self.captures.iter().map(|path| {
            // They begin where the command was given, not at the folder of the config.
            let whole = absolute(path).unwrap_or_else(|_| path.clone());
            text(span, &whole.to_string_lossy())
        });
        let files = Node { span, value: Value::Sequence(captures.collect()) };
        let dissect = self.dissect.map(|depth| (DISSECT, text(span, depth)));
        let values = [("mode", text(span, "file")), ("files", files)].into_iter().chain(dissect);
        keys.extend(values.map(|(key, value)| Entry {
            key: key.to_owned(),
            key_span: span,
            value,
        }));
    }
}

fn entries(node: &mut Node) -> Option<&mut Vec<Entry>> {
    match &mut node.value {
        Value::Mapping(entries) => Some(entries),
        Value::Scalar(_) | Value::Sequence(_) => None,
    }
}

fn text(span: Span, text: &str) -> Node {
    let origin = Origin::Substituted;
    let scalar = Scalar { text: text.to_owned(), plain: false, origin, secret: false };
    Node { span, value: Value::Scalar(scalar) }
}
