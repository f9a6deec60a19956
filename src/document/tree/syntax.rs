//! What a person most likely wrote where the parser stopped: the parser names the place where it could not go
//! on, which often is the line behind the mistake.

use crate::document::{
    report::Diagnostic,
    text::{Span, Text},
};

/// What the parser says where it did not find a key and its colon.
const OF_A_KEY: [&str; 3] =
    ["mapping values are not allowed", "simple key", "block mapping, did not find"];

/// A line of the text that is neither empty nor a comment.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    /// Where its first character that is no blank stands.
    start: usize,
    /// Its blanks at the start.
    indent: usize,
    /// Its text without the blanks around it and a comment.
    text: &'a str,
    /// The whole line.
    whole: &'a str,
}

/// What the parser says at a byte of the text, in a person's words and with a remedy where one is known.
pub(super) fn explain(text: &Text, at: usize, info: &str) -> Diagnostic {
    let said = Diagnostic::error(Span::new(at, at), sentence(info));
    let here = line_at(text, at);
    let before = here.map_or(at, |line| line.start - line.indent);
    let above = line_above(text, before);
    let whole = here.map_or("", |line| line.whole);
    if has_tab(text, at) {
        return said.hint("indent with spaces, not with tabs");
    }
    if whole.contains("${") {
        return said.hint("put quotes around a value with ${…} inside { } or [ ]");
    }
    if whole.contains(" = ") && !whole.contains(": ") {
        return said.hint("this looks like TOML: a config is YAML or JSON");
    }
    let is_key = OF_A_KEY.iter().any(|words| info.contains(words));
    let second =
        here.is_some_and(|line| at > line.start + line.text.find(": ").unwrap_or(line.text.len()));
    if is_key && second {
        return said.hint("put quotes around a value that has `: ` in it");
    }
    if is_key && let Some((place, remedy)) = above.and_then(without_colon) {
        return Diagnostic::error(place, "not YAML: there is no `: ` behind the key").hint(remedy);
    }
    let deeper = |above: &Line<'_>| here.is_some_and(|line| line.indent > above.indent);
    if is_key && let Some(key) = above.filter(deeper).and_then(|line| key_with_value(line.text)) {
        return said.hint(format!(
            "indent it as far as `{key}` above, which has its value on its own line already"
        ));
    }
    match remedy(info) {
        Some(remedy) => said.hint(remedy),
        None => said,
    }
}

/// The parser's words as ours: lower case at the start, no full stop.
fn sentence(info: &str) -> String {
    format!("not YAML: {}", info.trim_end_matches('.'))
}

/// What helps against it, whatever the lines say.
fn remedy(info: &str) -> Option<&'static str> {
    const REMEDIES: [(&str, &str); 10] = [
        ("unexpected character", "put quotes around the value"),
        ("unknown anchor", "put quotes around a value that begins with `*`"),
        ("anchor or alias", "put quotes around a value that begins with `*` or `&`"),
        ("trailing content after", "put a comma before it, or quotes around the whole value"),
        ("quoted scalar", "close the quotes"),
        ("block mapping, did not find", "indent all keys of one mapping alike, with spaces"),
        ("block collection", "indent all items of one list alike, with spaces"),
        ("illegal placement of ':'", "close the `[` or `{` before it"),
        ("flow sequence", "put commas between the items of a list, and close its `[`"),
        ("flow mapping", "put commas between the keys, and close the `{`"),
    ];
    REMEDIES.iter().find(|(words, _)| info.contains(words)).map(|(_, remedy)| *remedy)
}

/// The line that a byte lies in.
fn line_at(text: &Text, at: usize) -> Option<Line<'_>> {
    let (start, whole) = text.lines_of(Span::new(at, at));
    line(start, whole)
}

/// The nearest line above the one that begins at a byte.
fn line_above(text: &Text, before: usize) -> Option<Line<'_>> {
    let mut lines = text.content.get(..before)?.split_inclusive('\n').rev();
    let mut start = before;
    lines.find_map(|whole| {
        start -= whole.len();
        line(start, whole)
    })
}

fn line(start: usize, whole: &str) -> Option<Line<'_>> {
    let uncommented = whole.split(" #").next().unwrap_or_default();
    let text = uncommented.trim();
    let indent = uncommented.len() - uncommented.trim_start().len();
    (!text.is_empty() && !text.starts_with('#')).then_some(Line {
        start: start + indent,
        indent,
        text,
        whole,
    })
}

/// Whether a tab stands where the indentation is, in the line of a byte or the one below.
fn has_tab(text: &Text, at: usize) -> bool {
    let (start, first) = text.lines_of(Span::new(at, at));
    let below = text.content.get(start + first.len() + 1..).and_then(|rest| rest.lines().next());
    first.contains('\t')
        || below
            .is_some_and(|line| line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t'))
}

/// A line that was meant to be `key: value` or `key:`, where it stands, and how to write it. The value is not
/// repeated: it may be a credential.
fn without_colon(line: Line<'_>) -> Option<(Span, String)> {
    let item = line.text.strip_prefix("- ").map(str::trim_start);
    let text = item.unwrap_or(line.text);
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let key = text.split(|c| !is_word(c)).next().filter(|key| !key.is_empty())?;
    let rest = text.get(key.len()..)?;
    if text.contains(": ") || text.ends_with(':') || key.starts_with('-') {
        return None;
    }
    let remedy = match rest.chars().next() {
        None if item.is_none() => format!("write `{key}:`"),
        Some(':') => format!("write `{key}: …`, with a space behind the colon"),
        Some(' ' | '=') => format!("write `{key}: …`"),
        _ => return None,
    };
    let start = line.start + line.text.len() - text.len();
    Some((Span::new(start, start + text.len()), remedy))
}

/// The key of `key: value`; `None` where no value follows in the line.
fn key_with_value(text: &str) -> Option<&str> {
    let (key, value) = text.strip_prefix("- ").unwrap_or(text).split_once(": ")?;
    (!value.trim_start().is_empty() && !value.trim_start().starts_with(['|', '>'])).then_some(key)
}
