//! `${VAR}`, `${VAR:-default}` and `${file:PATH}` inside scalars; `$$` is a dollar sign.
//!
//! It happens after parsing, once, so a value can bring in neither structure nor further variables.
//! What came from a variable or a file is secret.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{
    report::Diagnostic,
    text::{Span, Text},
    tree::{Node, Origin, Scalar, Value},
};

/// Bytes of a value at most.
const MAX_VALUE: u64 = 64 << 10;
/// Bytes of all values of one config together.
const MAX_TOTAL: usize = 16 << 20;

/// Where values come from.
#[expect(missing_debug_implementations, reason = "it holds a closure")]
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// A variable's value.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// What relative paths in `${file:PATH}` start from.
    pub directory: &'a Path,
    /// Whether a variable or file that is missing only gives a warning and leaves its key unchecked.
    pub lenient: bool,
}

/// Substitutes in every scalar of the tree; what can't be is a problem at its place. Gives back the
/// values that came from outside the file.
pub(crate) fn interpolate(
    root: &mut Node,
    text: &Text,
    surroundings: Surroundings<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let mut pass = Pass { text, surroundings, problems, total: 0, values: Vec::new() };
    pass.visit(root);
    pass.values
}

struct Pass<'a> {
    text: &'a Text,
    surroundings: Surroundings<'a>,
    problems: &'a mut Vec<Diagnostic>,
    total: usize,
    values: Vec<String>,
}

/// Why a reference gives no value.
struct Fault {
    message: String,
    hint: String,
    /// It is written wrongly, rather than missing here.
    syntax: bool,
}

// === impl Pass ===

impl Pass<'_> {
    fn visit(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Mapping(entries) => {
                for entry in entries {
                    self.visit(&mut entry.value);
                }
            }
            Value::Sequence(items) => {
                for item in items {
                    self.visit(item);
                }
            }
            Value::Scalar(scalar) => self.substitute(scalar, node.span),
        }
    }

    fn substitute(&mut self, scalar: &mut Scalar, span: Span) {
        if !scalar.text.contains('$') {
            return;
        }
        let written = scalar.text.clone();
        let mut rest = written.as_str();
        let mut out = String::new();
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let Some(after) = after.strip_prefix('{') else {
                self.warn_bare(after, span);
                out.push('$');
                rest = after;
                continue;
            };
            let (reference, after) = after.split_once('}').unwrap_or((after, ""));
            let closed = rest.contains('}');
            rest = after;
            scalar.origin = Origin::Substituted;
            let value = if closed {
                self.value(reference)
            } else {
                Err(Fault {
                    message: "`${` without its `}`".to_owned(),
                    hint: "close it, or write `$$` for a dollar sign".to_owned(),
                    syntax: true,
                })
            };
            match value {
                Ok((value, secret)) => {
                    scalar.secret |= secret;
                    self.total = self.total.saturating_add(value.len());
                    out.push_str(&value);
                    if secret {
                        self.values.push(value);
                    }
                }
                Err(fault) => {
                    self.problem(&fault, reference, span);
                    scalar.origin = Origin::Unset;
                    scalar.text = written;
                    return;
                }
            }
        }
        out.push_str(rest);
        scalar.text = out;
    }

    /// The value of what stands between the braces, and whether it came from outside.
    fn value(&self, reference: &str) -> Result<(String, bool), Fault> {
        if self.total > MAX_TOTAL {
            return Err(Fault {
                message: format!("the substituted values have more than {MAX_TOTAL} bytes"),
                hint: "keep long lists in files of their own".to_owned(),
                syntax: true,
            });
        }
        if reference.contains("${") {
            return Err(Fault {
                message: "a `${…}` can't stand inside another".to_owned(),
                hint: "give a plain default, or set the inner variable where the outer one is set"
                    .to_owned(),
                syntax: true,
            });
        }
        if let Some(path) = reference.strip_prefix("file:") {
            return self.file(path).map(|value| (value, true));
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_name(name) {
            return Err(Fault {
                message: "`${…}` takes the name of a variable: letters, digits and `_`".to_owned(),
                hint: "write ${NAME}, ${NAME:-default} or ${file:PATH}; `$$` is a dollar sign"
                    .to_owned(),
                syntax: true,
            });
        }
        match ((self.surroundings.variable)(name), default) {
            // As in a shell, `:-` also stands in for an empty value.
            (Some(value), None) => Ok((value, true)),
            (Some(value), Some(_)) if !value.is_empty() => Ok((value, true)),
            (_, Some(default)) => Ok((default.to_owned(), false)),
            (None, None) => Err(Fault {
                message: format!("the variable `{name}` is not set"),
                hint: format!("set it, or give a default: ${{{name}:-default}}"),
                syntax: false,
            }),
        }
    }

    fn file(&self, path: &str) -> Result<String, Fault> {
        let full = self.surroundings.directory.join(path);
        read_value(&full).map_err(|error| Fault {
            message: format!("can't read `{}` for a value: {error}", full.display()),
            hint: "give a small UTF-8 file that this user may read".to_owned(),
            syntax: false,
        })
    }

    fn problem(&mut self, fault: &Fault, reference: &str, span: Span) {
        let span = self.narrow(span, &format!("${{{reference}"));
        let problem = if self.surroundings.lenient && !fault.syntax {
            Diagnostic::warning(span, format!("{}; its key is not checked", fault.message))
        } else {
            Diagnostic::error(span, fault.message.clone())
        };
        self.problems.push(problem.hint(&fault.hint));
    }

    /// `$NAME` is how other programs write it, so it is probably not meant as text.
    fn warn_bare(&mut self, after: &str, span: Span) {
        let name: String = after
            .chars()
            .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_')
            .collect();
        if is_name(&name) && name.len() > 1 {
            let span = self.narrow(span, &format!("${name}"));
            self.problems.push(
                Diagnostic::warning(span, "a `$` without braces is taken as it stands")
                    .hint("write ${NAME} for a variable, `$$` for a dollar sign"),
            );
        }
    }

    /// The place of `part` within the scalar at `span`, if it stands there as it is.
    fn narrow(&self, span: Span, part: &str) -> Span {
        match self.text.at(span).find(part) {
            Some(at) => {
                let start = span.start + at;
                let closing = usize::from(
                    self.text
                        .at(span)
                        .get(at + part.len()..)
                        .is_some_and(|rest| rest.starts_with('}')),
                );
                Span::new(start, start + part.len() + closing)
            }
            None => span,
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A file's text without what editors put around it: a byte order mark, and line breaks at either end.
fn read_value(path: &Path) -> io::Result<String> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    // Opening a pipe would wait for its writer.
    if !path.metadata()?.is_file() {
        return Err(invalid("not a regular file"));
    }
    let mut value = String::new();
    File::open(path)?.take(MAX_VALUE + 1).read_to_string(&mut value)?;
    if value.len() as u64 > MAX_VALUE {
        return Err(invalid("larger than 64 KiB"));
    }
    let text = value.strip_prefix('\u{feff}').unwrap_or(&value);
    Ok(text.trim_matches(['\n', '\r']).to_owned())
}
