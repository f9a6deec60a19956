//! What a field did not like.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::document::{
    secrets::hide_value,
    suggest::nearest,
    text::Span,
    tree::{Entry, Node, Scalar, Step},
};

/// An error, the key it belongs to, and its place.
#[derive(Debug, Clone)]
pub(crate) struct Error {
    /// What is wrong.
    pub fault: Box<Fault>,
    /// Where; `None` for the node that was read itself.
    pub span: Option<Span>,
    /// The way to it, innermost first.
    pub(super) steps: Vec<Step>,
    /// The dotted key of it.
    pub key: String,
}

/// What is wrong.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A key nobody reads.
    UnknownKey(String, &'static [&'static str]),
    /// A word that is none of those possible.
    UnknownWord(String, &'static [&'static str]),
    /// A key is missing.
    Missing(&'static str),
    /// Something else was expected.
    Mismatch {
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
        /// The keys of it, if a mapping was expected that has these.
        keys: &'static [&'static str],
    },
    /// The field's own words.
    Other(String),
}

// === impl Error ===

impl Error {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault: Box::new(fault), span: None, steps: Vec::new(), key: String::new() }
    }

    pub(super) fn mismatch(node: &Node, expected: impl Into<String>) -> Self {
        Self::new(Fault::Mismatch { found: node.describe(), expected: expected.into(), keys: &[] })
    }

    /// Notes which keys the mapping has that was expected.
    pub(super) fn with_keys(mut self, known: &'static [&'static str]) -> Self {
        if let Fault::Mismatch { keys, .. } = &mut *self.fault {
            *keys = known;
        }
        self
    }

    /// Notes that it came from within an entry.
    pub(super) fn within(mut self, step: Step, span: Span) -> Self {
        self.span.get_or_insert(span);
        self.steps.push(step);
        self
    }

    /// Notes that it came from behind the name of an enum's variant. An empty mapping is no enum, so
    /// what can be left out is the enum as a whole, or something deeper.
    pub(super) fn within_variant(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        if !self.steps.is_empty() {
            self.steps.push(Step::Entry(0));
        }
        self
    }

    /// Notes that a key itself is wrong.
    pub(super) fn at_key(self, entry: &Entry, at: usize) -> Self {
        self.within(Step::Entry(at), entry.key_span)
    }

    /// Takes out the text of a secret.
    pub(super) fn about(mut self, scalar: &Scalar) -> Self {
        if scalar.secret && !scalar.text.is_empty() {
            match &mut *self.fault {
                Fault::Mismatch { found, .. } => "a hidden value".clone_into(found),
                Fault::UnknownWord(word, _) => "(hidden)".clone_into(word),
                Fault::Other(message) => *message = hide_value(message, &scalar.text),
                Fault::UnknownKey(..) | Fault::Missing(_) => {}
            }
        }
        self
    }

    /// The message and the remedy; `more` are names that are known beside the field's own.
    pub(crate) fn explain(&self, more: &[&str]) -> (String, Option<String>) {
        match &*self.fault {
            Fault::UnknownKey(name, known) => {
                let known = || known.iter().copied().chain(more.iter().copied());
                let hint = choose(name, known, "known keys");
                (format!("unknown key `{name}`"), hint)
            }
            Fault::UnknownWord(word, known) => {
                let known = || known.iter().copied();
                let hint = choose(word, known, "possible values");
                (format!("unknown value `{word}`"), hint)
            }
            Fault::Missing(name) => {
                (format!("the key `{name}` is missing"), Some(format!("add `{name}`")))
            }
            Fault::Mismatch { found, expected, keys } => {
                let quoted = found.starts_with("the text `") || found == "a hidden value";
                let digits = |c: char| c.is_ascii_digit() || matches!(c, '`' | '-' | '+');
                let is_fraction = found.starts_with('`') && !found.chars().all(digits);
                let hint = match expected.as_str() {
                    _ if found == "nothing" => Some("give a value, or remove the key"),
                    "true or false" => Some("write true or false, without quotes"),
                    number if (quoted || is_fraction) && number.starts_with("a whole number") => {
                        Some("write digits only, without quotes; the unit is in the key's name")
                    }
                    "text" => Some("give one value"),
                    "a list" => Some("write a list: [A, B]"),
                    _ => None,
                };
                let keys = || choose("", || keys.iter().copied(), "it has the keys");
                let hint = hint.map(str::to_owned).or_else(keys);
                (format!("expected {expected}, found {found}"), hint)
            }
            Fault::Other(message) => {
                // What the standard library says of a `SocketAddr`.
                let hint = (message == "invalid socket address syntax").then(|| {
                    "write ADDRESS:PORT with the address in digits: 127.0.0.1:9598, [::1]:9598"
                        .to_owned()
                });
                (message.clone(), hint)
            }
        }
    }

    /// The name that was probably meant.
    pub(crate) fn meant(&self) -> Option<&'static str> {
        match &*self.fault {
            Fault::UnknownKey(name, known) => nearest(name, known.iter().copied()),
            _ => None,
        }
    }
}

/// "did you mean", or all there is.
pub(crate) fn choose<'a, I: Iterator<Item = &'a str>>(
    name: &str,
    known: impl Fn() -> I,
    all: &str,
) -> Option<String> {
    if let Some(near) = nearest(name, known()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let names: Vec<_> = known().take(40).collect();
    (!names.is_empty()).then(|| format!("{all}: {}", names.join(", ")))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain(&[]).0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Fault::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Fault::Mismatch {
            found: found.to_string(),
            expected: expected.to_string(),
            keys: &[],
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownWord(word.to_owned(), known))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownKey(name.to_owned(), known))
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(Fault::Missing(name))
    }
}
