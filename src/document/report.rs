//! Problems with a config, and how they are printed: headline, place, the line quoted with a caret,
//! the remedy. Secrets are never printed, neither from a message nor from the quoted line.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{
    secrets::Secrets,
    text::{Span, Text},
};

/// More problems than these are only counted.
const MAX_SHOWN: usize = 100;
/// Bytes; lines longer than this are not quoted.
const MAX_QUOTED: usize = 2_000;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The config can't be run.
    Error,
    /// It can, but may do something else than meant.
    Warning,
}

/// One problem and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// Another place that matters, and why.
    pub note: Option<(Span, String)>,
}

/// All problems of one config, in the order of the text.
#[derive(Debug, Clone, Default)]
pub struct Report {
    text: Text,
    secrets: Secrets,
    diagnostics: Vec<Diagnostic>,
}

// === impl Diagnostic ===

impl Diagnostic {
    /// An error at `span`.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span, message: message.into(), hint: None, note: None }
    }

    /// A warning at `span`.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn note(mut self, span: Span, label: impl Into<String>) -> Self {
        self.note = Some((span, label.into()));
        self
    }
}

// === impl Report ===

impl Report {
    /// Sorts the problems by place.
    pub fn new(text: Text, secrets: Secrets, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|diagnostic| diagnostic.span);
        Self { text, secrets, diagnostics }
    }

    /// A file that could not be read at all.
    pub fn unreadable(name: impl Into<String>, error: &std::io::Error) -> Self {
        let text = Text { name: name.into(), content: String::new() };
        let message = format!("can't read the config `{}`: {error}", text.name);
        let problem = Diagnostic::error(Span::default(), message)
            .hint("give a file that exists and that this user may read");
        Self::new(text, Secrets::default(), vec![problem])
    }

    /// The problems, in the order of the text.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        let is_error = |diagnostic: &&Diagnostic| diagnostic.severity == Severity::Error;
        self.diagnostics.iter().filter(is_error).count()
    }

    /// The text for a terminal, with or without colours.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for diagnostic in self.diagnostics.iter().take(MAX_SHOWN) {
            out.push_str(&self.render_one(&renderer, diagnostic));
            out.push_str("\n\n");
        }
        if let Some(more) = self.diagnostics.len().checked_sub(MAX_SHOWN)
            && more > 0
        {
            out.push_str(&more.to_string());
            out.push_str(" more problems are not shown\n\n");
        }
        out
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let message = self.printable(&diagnostic.message);
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(message).elements(Vec::<Origin<'_>>::new());
        group = self.quote(group, diagnostic.span, AnnotationKind::Primary, None);
        if let Some((span, label)) = &diagnostic.note {
            let label = self.printable(label);
            group = self.quote(group, *span, AnnotationKind::Context, Some(label));
        }
        if let Some(hint) = &diagnostic.hint {
            let hint = self.printable(hint);
            group = group.element(Level::HELP.with_name("hint").message(hint));
        }
        renderer.render(&[group])
    }

    /// Adds the lines around `span`, without the secrets on them.
    fn quote<'a>(
        &'a self,
        group: Group<'a>,
        span: Span,
        kind: AnnotationKind,
        label: Option<String>,
    ) -> Group<'a> {
        let (line, column) = self.text.position(span.start);
        let (start, lines) = self.text.lines_of(span);
        if lines.trim().is_empty() || lines.len() > MAX_QUOTED {
            let origin = Origin::path(&self.text.name).line(line).char_column(column);
            return group.element(origin);
        }
        let (lines, span) = self.secrets.hide_in_quote(start, lines, span);
        let annotation = kind.span(span.range()).label(label);
        group.element(
            Snippet::source(lines).path(&self.text.name).line_start(line).annotation(annotation),
        )
    }

    /// Without secrets, and without what could steer a terminal; in one line, as another program's words may have
    /// several.
    fn printable(&self, text: &str) -> String {
        let text = self.secrets.hide(text);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let text = lines.collect::<Vec<_>>().join(" ");
        let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        text.chars().map(visible).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}
