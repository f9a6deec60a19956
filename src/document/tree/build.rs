//! The parser's events → the tree, within bounds.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::{Entry, Node, Origin, Scalar, Value, syntax};
use crate::document::{
    report::Diagnostic,
    text::{Span, Text},
};

/// How deep lists and mappings may nest.
const MAX_DEPTH: usize = 64;
/// Scalars, lists and mappings in one file.
const MAX_NODES: usize = 100_000;

/// A list or a mapping that is not closed yet.
enum Open {
    Sequence(Span, Vec<Node>),
    Mapping {
        span: Span,
        entries: Vec<Entry>,
        seen: HashMap<String, Span>,
        key: Option<(String, Span)>,
    },
}

struct Builder<'a> {
    offsets: Offsets,
    open: Vec<Open>,
    nodes: usize,
    root: Option<Node>,
    problems: &'a mut Vec<Diagnostic>,
}

/// The parser counts characters, everything else bytes.
enum Offsets {
    Ascii(usize),
    Table(Vec<usize>, usize),
}

/// The tree of the text's one document; `None` if its syntax is wrong, with the reason in `problems`.
pub(crate) fn parse(text: &Text, problems: &mut Vec<Diagnostic>) -> Option<Node> {
    let mut builder = Builder {
        offsets: Offsets::new(&text.content),
        open: Vec::new(),
        nodes: 0,
        root: None,
        problems,
    };
    let mut parser = Parser::new_from_str(&text.content);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => {
                let span = builder.offsets.span(span.start, span.end);
                builder.take(event, span)
            }
            Err(error) => {
                let at = builder.offsets.of(*error.marker());
                Err(syntax::explain(text, at, error.info()))
            }
        };
        if let Err(problem) = step {
            builder.problems.push(problem);
            return None;
        }
    }
    if builder.root.is_none() {
        builder.problems.push(
            Diagnostic::error(Span::default(), "the file has no content")
                .hint("a config has `sources`, `transforms` and `sinks`"),
        );
    }
    builder.root
}

// === impl Builder ===

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let first = Span::new(span.start, span.start);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => Err(Diagnostic::error(
                span,
                "a second document begins here; a config is one document",
            )
            .hint("remove the `---`")),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(_) => {
                Err(Diagnostic::error(span, "aliases (`*name`) are not taken in a config")
                    .hint("write the value out"))
            }
            Event::Scalar(_, _, _, Some(tag))
            | Event::SequenceStart(_, Some(tag))
            | Event::MappingStart(_, Some(tag)) => {
                Err(Diagnostic::error(span, format!("the tag `{tag}` is not taken in a config"))
                    .hint("remove the tag; quotes make a value text"))
            }
            Event::Scalar(text, style, _, None) => {
                let plain = style == ScalarStyle::Plain;
                // The span of an absent value may lie anywhere behind its key.
                let span = if plain && text.is_empty() { first } else { span };
                let scalar = Scalar {
                    text: text.into_owned(),
                    plain,
                    origin: Origin::Written,
                    secret: false,
                };
                self.node(span, Value::Scalar(scalar))
            }
            Event::SequenceStart(_, None) => self.enter(span, Open::Sequence(first, Vec::new())),
            Event::MappingStart(_, None) => self.enter(
                span,
                Open::Mapping { span: first, entries: Vec::new(), seen: HashMap::new(), key: None },
            ),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence(span, items)) => self.node(span, Value::Sequence(items)),
                Some(Open::Mapping { span, entries, .. }) => {
                    self.node(span, Value::Mapping(entries))
                }
                None => Ok(()),
            },
        }
    }

    fn enter(&mut self, span: Span, open: Open) -> Result<(), Diagnostic> {
        self.keyless(span)?;
        if self.open.len() == MAX_DEPTH {
            return Err(Diagnostic::error(span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(open);
        Ok(())
    }

    /// Refuses a list or a mapping in the place of a key.
    fn keyless(&self, span: Span) -> Result<(), Diagnostic> {
        match self.open.last() {
            Some(Open::Mapping { key: None, .. }) => {
                Err(Diagnostic::error(span, "a key has to be text, not a list or a mapping")
                    .hint("put quotes around a key or value that begins with { or ["))
            }
            _ => Ok(()),
        }
    }

    fn node(&mut self, span: Span, value: Value) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Diagnostic::error(
                span,
                format!("more than {MAX_NODES} values in one config"),
            )
            .hint("keep long lists in files of their own"));
        }
        let node = Node { span, value };
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence(_, items)) => items.push(node),
            Some(Open::Mapping { entries, seen, key, .. }) => match (key.take(), node.value) {
                (None, Value::Scalar(scalar)) => {
                    if scalar.plain && scalar.text.is_empty() {
                        return Err(Diagnostic::error(span, "a key is missing before the `:`"));
                    }
                    *key = Some((scalar.text, span));
                }
                (None, _) => {}
                (Some((key, key_span)), value) => {
                    if let Some(earlier) = seen.get(&key) {
                        self.problems.push(
                            Diagnostic::error(key_span, format!("the key `{key}` is given twice"))
                                .note(*earlier, "it was given here")
                                .hint("remove one of them"),
                        );
                    } else {
                        seen.insert(key.clone(), key_span);
                        let value = Node { span, value };
                        entries.push(Entry { key, key_span, value });
                    }
                }
            },
        }
        Ok(())
    }
}

// === impl Offsets ===

impl Offsets {
    fn new(text: &str) -> Self {
        if text.is_ascii() {
            Self::Ascii(text.len())
        } else {
            Self::Table(text.char_indices().map(|(at, _)| at).collect(), text.len())
        }
    }

    fn of(&self, marker: Marker) -> usize {
        match self {
            Self::Ascii(end) => marker.index().min(*end),
            Self::Table(table, end) => table.get(marker.index()).copied().unwrap_or(*end),
        }
    }

    fn span(&self, start: Marker, end: Marker) -> Span {
        let start = self.of(start);
        Span::new(start, self.of(end).max(start))
    }
}
