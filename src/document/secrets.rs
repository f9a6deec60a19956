//! What must never be printed: values that came from a variable or a file, values of keys that name
//! a credential, and addresses with a password in them.

use super::{
    text::{Span, Text},
    tree::{Node, Origin, Value},
};

/// What is printed instead.
const MASK: &str = "********";
/// Shorter secrets are hidden at their own place only: anywhere else they would hide plain words.
const SHORTEST: usize = 4;
/// So many secrets are also looked for elsewhere in the text.
const MAX_SEARCHED: usize = 100;
/// Parts of key names that hold credentials.
const NAMES: [&str; 8] =
    ["password", "passwd", "passphrase", "token", "secret", "api_key", "apikey", "credential"];

/// What not to print of one config.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// Places of literal secrets in the text, in order.
    spans: Vec<Span>,
    /// Texts of secrets, the longest first.
    values: Vec<String>,
}

/// Marks the scalars of a tree that are secret and remembers them, and the `values` that were
/// substituted.
pub(crate) fn mark(root: &mut Node, text: &Text, values: Vec<String>) -> Secrets {
    let mut secrets = Secrets { spans: Vec::new(), values };
    secrets.values.retain(|value| value.len() >= SHORTEST);
    secrets.visit(root, false, 0, text);
    secrets.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    secrets.values.dedup();
    // They may stand in a comment as well, or where they don't belong.
    for value in secrets.values.iter().take(MAX_SEARCHED) {
        let found = text.content.match_indices(value.as_str());
        secrets.spans.extend(found.map(|(at, _)| Span::new(at, at + value.len())));
    }
    secrets.spans.sort();
    secrets
}

fn names_a_secret(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    NAMES.iter().any(|name| key.contains(name))
}

/// Whether it is an address with a user's password, `https://user:password@host`.
fn has_userinfo(value: &str) -> bool {
    value
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next())
        .is_some_and(|authority| authority.contains('@'))
}

// === impl Secrets ===

impl Secrets {
    /// What can be told to be secret in a text that is no tree: the rest of a line behind the name
    /// of a credential, with a colon, a `=` or nothing behind it, and the lines below that are indented deeper.
    pub fn guess(text: &Text) -> Self {
        let mut secrets = Self::default();
        let mut offset = 0;
        let mut hidden_below = None;
        for line in text.content.split_inclusive('\n') {
            let indent = line.len() - line.trim_start().len();
            let userinfo = line.split_whitespace().any(has_userinfo);
            let end = offset + line.trim_end().len();
            let tabs = line.bytes().take(indent).any(|byte| byte == b'\t');
            if hidden_below.is_some_and(|above| indent > above || tabs) {
                secrets.spans.push(Span::new(offset + indent, end));
            } else if let Some(from) = line
                .match_indices(':')
                .map(|(colon, _)| colon + 1)
                .find(|from| userinfo || names_a_secret(key_before(line, from - 1)))
                .or_else(|| behind_name(line))
            {
                hidden_below = Some(indent);
                secrets.spans.push(Span::new((offset + from).min(end), end));
            } else if !line.trim().is_empty() {
                hidden_below = None;
            }
            offset += line.len();
        }
        secrets.spans.retain(|span| span.start < span.end);
        secrets
    }

    fn visit(&mut self, node: &mut Node, named: bool, depth: usize, text: &Text) {
        match &mut node.value {
            Value::Mapping(entries) => {
                for entry in entries {
                    let is_id = depth == 1 && entry.value.entries().is_some();
                    let named = named || (names_a_secret(&entry.key) && !is_id);
                    self.visit(&mut entry.value, named, depth + 1, text);
                }
            }
            Value::Sequence(items) => {
                for item in items {
                    self.visit(item, named, depth + 1, text);
                }
            }
            Value::Scalar(scalar) => {
                let written =
                    scalar.origin != Origin::Substituted && !text.at(node.span).contains("${");
                scalar.secret |= named || has_userinfo(&scalar.text);
                if !scalar.secret || scalar.text.is_empty() || scalar.origin == Origin::Unset {
                    return;
                }
                if written || has_userinfo(text.at(node.span)) {
                    self.spans.push(node.span);
                }
                if scalar.text.len() >= SHORTEST {
                    self.values.push(scalar.text.clone());
                }
            }
        }
    }

    /// A message without them.
    pub fn hide(&self, message: &str) -> String {
        let mut message = message.to_owned();
        for value in &self.values {
            message = hide_value(&message, value);
        }
        message
    }

    /// Lines of the text, of which the first begins at `start`, without them, and where `span` then
    /// lies in them.
    pub fn hide_in_quote(&self, start: usize, lines: &str, span: Span) -> (String, Span) {
        let end = start + lines.len();
        let piece =
            |from: usize, to: usize| lines.get(from - start..to - start).unwrap_or_default();
        let mut out = String::new();
        // Each hidden stretch of the text, and where its mask lies in `out`.
        let mut hidden: Vec<(Span, Span)> = Vec::new();
        let mut from = start;
        for secret in &self.spans {
            let secret = Span::new(secret.start.max(from), secret.end.min(end));
            if secret.start >= secret.end {
                continue;
            }
            out.push_str(piece(from, secret.start));
            let mask_at = out.len();
            out.push_str(MASK);
            // The lines below keep their numbers.
            let breaks = piece(secret.start, secret.end).matches('\n').count();
            out.extend(std::iter::repeat_n('\n', breaks));
            hidden.push((secret, Span::new(mask_at, out.len())));
            from = secret.end;
        }
        out.push_str(piece(from, end));
        let at = |offset: usize, inside: fn(Span) -> usize| {
            let offset = offset.clamp(start, end);
            match hidden.iter().rev().find(|(secret, _)| secret.start < offset) {
                None => offset - start,
                Some((secret, mask)) if offset < secret.end => inside(*mask),
                Some((secret, mask)) => mask.end + offset - secret.end,
            }
        };
        let moved = Span::new(at(span.start, |mask| mask.start), at(span.end, |mask| mask.end));
        (out, moved)
    }
}

/// `message` without `value`, whether it stands there plainly or escaped as `{:?}` writes it.
pub(crate) fn hide_value(message: &str, value: &str) -> String {
    let escaped = value.escape_debug().to_string();
    message.replace(value, MASK).replace(&escaped, MASK)
}

/// Where the value begins of a line that begins with the name of a credential, whose colon is missing.
fn behind_name(line: &str) -> Option<usize> {
    let trimmed = line.trim_start().trim_start_matches(['-', ' ', '{', '"', '\'']);
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = trimmed.split(|c| !word(c)).next().filter(|name| names_a_secret(name))?;
    Some(line.len() - trimmed.len() + name.len() + 1)
}

/// The word before the colon, without quotes.
fn key_before(line: &str, colon: usize) -> &str {
    let before = line.get(..colon).unwrap_or_default().trim_end();
    let before = before.trim_end_matches(['"', '\'']);
    let word = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    before.rsplit(word).next().unwrap_or_default()
}
