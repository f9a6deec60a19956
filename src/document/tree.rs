//! YAML text (JSON is a subset of it) → one tree of nodes, each with its place in the text.
//!
//! Scalars stay text: what type they are is decided by the field that reads them. Anchors, aliases
//! and tags are refused, so a tree is never larger than its text.

mod build;
mod hash;
mod path;
mod syntax;

pub(crate) use self::{build::parse, path::Step};
use super::text::Span;

/// One value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Where: for a list or a mapping, its first character only.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text, number, bool or null, as written.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order of the text; keys are unique.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

/// A scalar's text and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    /// Its text, without quotes, escapes resolved and variables substituted.
    pub text: String,
    /// Whether it was written without quotes, so that it may be a number, a bool or null.
    pub plain: bool,
    /// Where its text comes from.
    pub origin: Origin,
    /// Never to be shown.
    pub secret: bool,
}

/// Where a scalar's text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The file, as it stands.
    Written,
    /// At least one part was substituted.
    Substituted,
    /// A variable is not set and that was allowed: the text is still the placeholder.
    Unset,
}

/// What a plain scalar is by the core schema of YAML 1.2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Typed {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A finite number.
    Float(f64),
    /// Anything else.
    Text,
}

// === impl Node ===

impl Node {
    /// The entries, if it is a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The scalar, if it is one.
    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The entry with this key, if it is a mapping and has one.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    /// Whether nothing stands here.
    pub(crate) fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.typed() == Typed::Null)
    }

    /// A mapping of the entries that `keep` names.
    #[must_use]
    pub(crate) fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        let entries = self.entries().unwrap_or_default();
        let kept = entries.iter().filter(|entry| keep(&entry.key));
        Self { span: self.span, value: Value::Mapping(kept.cloned().collect()) }
    }

    /// What it is, for a message, without a secret's text.
    pub(crate) fn describe(&self) -> String {
        let scalar = match &self.value {
            Value::Sequence(_) => return "a list".to_owned(),
            Value::Mapping(_) => return "a mapping".to_owned(),
            Value::Scalar(scalar) => scalar,
        };
        match scalar.typed() {
            Typed::Null => "nothing".to_owned(),
            _ if scalar.secret => "a hidden value".to_owned(),
            Typed::Text => format!("the text `{}`", scalar.shown()),
            _ => format!("`{}`", scalar.shown()),
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Where to point for its value: at a scalar itself, else at the key.
    pub(crate) fn value_span(&self) -> Span {
        match &self.value.value {
            Value::Scalar(scalar) if self.value.span.start < self.value.span.end => {
                if scalar.text.contains('\n') { self.key_span } else { self.value.span }
            }
            _ => self.key_span,
        }
    }
}

// === impl Scalar ===

impl Scalar {
    /// Its type where the field leaves it open. A substituted value is always text.
    pub(crate) fn typed(&self) -> Typed {
        if !self.plain || self.origin != Origin::Written {
            return Typed::Text;
        }
        if matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
            return Typed::Null;
        }
        if let Some(value) = self.as_bool() {
            return Typed::Bool(value);
        }
        if let Some(value) = self.as_integer() {
            return Typed::Integer(value);
        }
        self.as_float().map_or(Typed::Text, Typed::Float)
    }

    /// As a bool, for a field that wants one.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if self.plain => Some(true),
            "false" | "False" | "FALSE" if self.plain => Some(false),
            _ => None,
        }
    }

    /// As a whole number, for a field that wants one: decimal without leading zeros, `0x…` or `0o…`.
    pub(crate) fn as_integer(&self) -> Option<i128> {
        if !self.plain {
            return None;
        }
        let (negative, digits) = match self.text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, self.text.strip_prefix('+').unwrap_or(&self.text)),
        };
        let (radix, digits) = if let Some(hex) = digits.strip_prefix("0x") {
            (16, hex)
        } else if let Some(octal) = digits.strip_prefix("0o") {
            (8, octal)
        } else {
            (10, digits)
        };
        let first = digits.chars().next()?;
        if !first.is_digit(radix) || (radix == 10 && first == '0' && digits.len() > 1) {
            return None;
        }
        let value = i128::from_str_radix(digits, radix).ok()?;
        Some(if negative { -value } else { value })
    }

    /// As a finite number, for a field that wants one.
    pub(crate) fn as_float(&self) -> Option<f64> {
        let number = self
            .text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        if !self.plain || !number {
            return None;
        }
        self.text.parse().ok().filter(|value: &f64| value.is_finite())
    }

    /// Its text for a message, cut to a readable length.
    pub(crate) fn shown(&self) -> String {
        const LONGEST: usize = 60;
        match self.text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", self.text.get(..end).unwrap_or_default()),
            None => self.text.clone(),
        }
    }
}
