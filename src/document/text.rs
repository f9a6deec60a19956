//! A config file's bytes, decoded and refused early where no YAML can be.

use std::ops::Range;

use super::report::Diagnostic;

/// Bytes of a config file at most.
const MAX_BYTES: usize = 2 << 20;

/// A place in the text: byte offsets, the end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One behind the last byte.
    pub end: usize,
}

/// A named text.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// The file's name as the user gave it.
    pub name: String,
    /// What it says.
    pub content: String,
}

// === impl Span ===

impl Span {
    /// From `start` to `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// As a range of bytes.
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

// === impl Text ===

impl Text {
    /// Decodes a file's bytes; what can't be a config is refused with a place.
    pub fn decode(name: impl Into<String>, bytes: &[u8]) -> (Self, Vec<Diagnostic>) {
        let name = name.into();
        if bytes.len() > MAX_BYTES {
            let content = String::new();
            let problem = Diagnostic::error(
                Span::default(),
                format!("the file has {} bytes, a config at most {MAX_BYTES}", bytes.len()),
            )
            .hint("keep long lists in files of their own");
            return (Self { name, content }, vec![problem]);
        }
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let (mut problems, mut checked) = (Vec::new(), true);
        let content = match std::str::from_utf8(bytes) {
            Ok(content) => content.to_owned(),
            Err(error) => {
                let at = error.valid_up_to();
                problems.push(
                    Diagnostic::error(
                        Span::new(at, at + '\u{fffd}'.len_utf8()),
                        format!("byte {at} of the file is not UTF-8"),
                    )
                    .hint("save the file as UTF-8"),
                );
                // What such bytes look like tells nothing more.
                checked = false;
                String::from_utf8_lossy(bytes).into_owned()
            }
        };
        let unprintable =
            |&(_, c): &(usize, char)| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
        if let Some((at, c)) = content.char_indices().find(unprintable).filter(|_| checked) {
            problems.push(
                Diagnostic::error(
                    Span::new(at, at + c.len_utf8()),
                    format!("control character U+{:04X} in the file", u32::from(c)),
                )
                .hint("write it as an escape in double quotes, for example \"\\u0007\""),
            );
        }
        (Self { name, content }, problems)
    }

    /// Line and column of a byte offset, both from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.content.get(..offset).unwrap_or(&self.content);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// What stands at `span`; empty if there is no such place.
    pub fn at(&self, span: Span) -> &str {
        self.content.get(span.range()).unwrap_or_default()
    }

    /// The whole lines that `span` touches, and where they start.
    pub fn lines_of(&self, span: Span) -> (usize, &str) {
        let text = &self.content;
        let start =
            text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let last = span.end.max(span.start + 1) - 1;
        let end =
            text.get(last..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| last + at);
        let lines = text.get(start..end).unwrap_or_default();
        (start, lines.strip_suffix('\r').unwrap_or(lines))
    }
}
