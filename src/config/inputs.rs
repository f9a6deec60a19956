//! What each component reads: `ID`, `ID.PORT` and globs → edges between drafts.

use std::collections::{HashMap, HashSet};

use wildmatch::WildMatch;

use super::declare::Draft;
use crate::component::{Port, Role};
use crate::document::{report::Diagnostic, suggest::nearest, text::Span};

/// With so many problems nobody reads suggestions, and they are what costs time.
const MAX_SUGGESTIONS: usize = 100;

/// What was resolved.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    /// Of each draft, what it reads.
    pub(super) edges: Vec<Vec<Wire>>,
    /// Drafts whose names were probably meant where nothing fitted.
    pub(super) meant: Vec<usize>,
}

/// One edge, seen from its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    /// The draft it comes from.
    pub(super) from: usize,
    /// The port; `None` where the writer's ports are not known.
    pub(super) port: Option<Port>,
    /// Where it is asked for.
    pub(super) span: Span,
}

struct Resolver<'a> {
    drafts: &'a [Draft<'a>],
    by_id: HashMap<&'a str, usize>,
    /// Ids that a source and a transform have: which of them a reader means isn't known.
    shared: HashSet<&'a str>,
    /// Whether the config has components that could not be read: one of them may have a name that no other has.
    has_unread: bool,
    wiring: Wiring,
    problems: &'a mut Vec<Diagnostic>,
}

/// Resolves the inputs of all drafts; with `has_unread` there may be more components than these.
pub(super) fn resolve(
    drafts: &[Draft<'_>],
    has_unread: bool,
    problems: &mut Vec<Diagnostic>,
) -> Wiring {
    let (mut by_id, mut shared) = (HashMap::new(), HashSet::new());
    let mut wiring = Wiring::default();
    for (at, draft) in drafts.iter().enumerate() {
        if let Some(first) = by_id.get(draft.id).copied() {
            let first: &Draft<'_> = &drafts[first];
            problems.push(
                Diagnostic::error(
                    draft.span,
                    format!("{}: the id is taken by a {}", draft.name(""), first.role.name()),
                )
                .note(first.span, "it was given here")
                .hint("ids are unique over sources, transforms and sinks"),
            );
            if draft.role != Role::Sink {
                shared.insert(draft.id);
                let same = |other: &Draft<'_>| other.id == draft.id;
                wiring.meant.extend((0..drafts.len()).filter(|at| same(&drafts[*at])));
            }
        } else {
            by_id.insert(draft.id, at);
        }
    }
    let mut resolver = Resolver { drafts, by_id, shared, has_unread, wiring, problems };
    for at in 0..drafts.len() {
        let wires = resolver.wires_of(at);
        resolver.wiring.edges.push(wires);
    }
    resolver.wiring
}

// === impl Resolver ===

impl Resolver<'_> {
    fn wires_of(&mut self, reader: usize) -> Vec<Wire> {
        let drafts = self.drafts;
        let mut wires = Vec::new();
        let mut seen = HashSet::new();
        for (pattern, span) in &drafts[reader].inputs {
            let found = if pattern.contains('*') {
                self.glob(reader, pattern, *span)
            } else {
                self.name(reader, pattern, *span).into_iter().collect()
            };
            for wire in found {
                if seen.insert((wire.from, wire.port)) {
                    wires.push(wire);
                }
            }
        }
        wires
    }

    /// A name without a dot matches main ports, one with a dot named ports.
    fn glob(&mut self, reader: usize, pattern: &str, span: Span) -> Vec<Wire> {
        let (id, port) = pattern.split_once('.').unwrap_or((pattern, ""));
        let (id, port) = (WildMatch::new(id), WildMatch::new(port));
        let mut found = Vec::new();
        for (from, draft) in self.drafts.iter().enumerate() {
            if from == reader || draft.role == Role::Sink || !id.matches(draft.id) {
                continue;
            }
            let ports =
                draft.facts.iter().flat_map(|facts| facts.signature.ports.iter().enumerate());
            let matching = ports.filter(|(_, spec)| {
                port.matches(&spec.name) && spec.name.is_empty() != pattern.contains('.')
            });
            found.extend(matching.map(|(at, _)| Wire { from, port: Some(Port(at)), span }));
            if draft.facts.is_none() {
                found.push(Wire { from, port: None, span });
            }
        }
        if found.is_empty() {
            let message = format!("`{pattern}` matches no source and no transform");
            self.problem(reader, span, &message, None);
        }
        found
    }

    fn name(&mut self, reader: usize, name: &str, span: Span) -> Option<Wire> {
        let (id, port) = match name.split_once('.') {
            Some((id, port)) if !self.by_id.contains_key(name) => (id, Some(port)),
            _ => (name, None),
        };
        let drafts = self.drafts;
        let Some(from) = self.by_id.get(id).copied() else {
            let hint = self.several(name).or_else(|| self.suggest(name));
            if hint.is_some() || !self.has_unread {
                self.problem(reader, span, &format!("there is no `{id}`"), hint);
            }
            return None;
        };
        let draft = &drafts[from];
        if self.shared.contains(id) && drafts[reader].id != id {
            return Some(Wire { from, port: None, span });
        }
        if draft.role == Role::Sink {
            let message = format!("`{id}` is a sink, and nothing comes out of a sink");
            self.problem(reader, span, &message, None);
            return None;
        }
        let Some(facts) = &draft.facts else {
            return Some(Wire { from, port: None, span });
        };
        let found = facts.signature.port(port).filter(|_| port != Some(""));
        if found.is_none() && draft.left_out.is_empty() {
            let ports = &facts.signature.ports;
            let names: Vec<String> = ports
                .iter()
                .map(|spec| {
                    if spec.name.is_empty() { id.to_owned() } else { format!("{id}.{}", spec.name) }
                })
                .collect();
            let hint = format!("what comes out of it: {}", names.join(", "));
            let message = match port {
                Some(port) => format!("`{id}` has no port `{port}`"),
                None => format!("`{id}` has no main output"),
            };
            self.wiring.meant.push(from);
            self.problem(reader, span, &message, Some(hint));
            return None;
        }
        Some(Wire { from, port: found, span })
    }

    /// How to write several names that stand in one text.
    fn several(&mut self, text: &str) -> Option<String> {
        let separator = |c: char| c == ',' || c.is_whitespace();
        let names: Vec<_> = text.split(separator).filter(|name| !name.is_empty()).collect();
        if names.len() < 2 || self.problems.len() > MAX_SUGGESTIONS {
            return None;
        }
        let ids = names.iter().map(|name| name.split_once('.').map_or(*name, |(id, _)| id));
        self.wiring.meant.extend(ids.filter_map(|id| self.by_id.get(id)));
        Some(format!("write several as a list: [{}]", names.join(", ")))
    }

    /// The nearest output to a name that is none.
    fn suggest(&mut self, name: &str) -> Option<String> {
        if self.problems.len() > MAX_SUGGESTIONS {
            return None;
        }
        let (id, port) = name.split_once('.').unwrap_or((name, ""));
        let dot = if port.is_empty() { "" } else { "." };
        let writers = self.drafts.iter().filter(|draft| draft.role != Role::Sink);
        let near = nearest(id, writers.map(|draft| draft.id))?;
        self.wiring.meant.extend(self.by_id.get(near));
        Some(format!("did you mean `{near}{dot}{port}`?"))
    }

    fn problem(&mut self, reader: usize, span: Span, message: &str, hint: Option<String>) {
        let message = format!("{}: {message}", self.drafts[reader].name("inputs"));
        let problem = Diagnostic::error(span, message);
        let hint =
            hint.unwrap_or_else(|| "name a source or a transform, or a port of one".to_owned());
        self.problems.push(problem.hint(hint));
    }
}
