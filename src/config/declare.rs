//! One section of the tree → drafts of its components, each read for itself.

use std::path::Path;

use serde::Deserialize;

use super::{
    family::{Facts, Family, plain, types},
    paths, ranges,
    schema::{component_schema, keys_of, schema_of},
};
use crate::component::{Problem, Role};
use crate::document::{
    de::{Deserializer, choose, read},
    report::{Diagnostic, Severity},
    suggest::nearest,
    text::Span,
    tree::{Entry, Node, Origin, Value},
};

/// Components of one section at most.
const MAX_COMPONENTS: usize = 250;
/// Inputs of one component at most.
const MAX_INPUTS: usize = 250;

/// A component before it is connected.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) role: Role,
    pub(super) id: &'a str,
    /// Where its id stands.
    pub(super) span: Span,
    /// Its `type`, as written.
    pub(super) kind: &'a str,
    pub(super) node: &'a Node,
    /// `None` if its type is unknown.
    pub(super) facts: Option<Facts>,
    /// Dotted keys that could not be read: what is said of them would be a consequence.
    pub(super) left_out: Vec<String>,
    /// Whether no mistake was found in its own keys.
    pub(super) is_sound: bool,
    /// What it reads, as written, and where.
    pub(super) inputs: Vec<(&'a str, Span)>,
    /// What it is by its type, where it stands in another section.
    pub(super) belongs: Option<Role>,
}

/// Where sections are read from, and what each can hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The config.
    pub(super) root: &'a Node,
    /// Where relative paths begin.
    pub(super) folder: &'a Path,
    /// The types of each section.
    pub(super) known: [(Role, &'static [&'static str]); 3],
}

/// A component's typed config, if it could be read.
pub(super) type Typed<F> = Option<(F, <F as Family>::Common)>;

/// Reads a section; the drafts and the typed configs are in the same order.
pub(super) fn declare<'a, F: Family>(
    place: Place<'a>,
    role: Role,
    drafts: &mut Vec<Draft<'a>>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Typed<F>> {
    let Some(section) = place.root.get(role.section()) else {
        return Vec::new();
    };
    let Some(entries) = section.value.entries() else {
        if !section.value.is_null() {
            let found = section.value.describe();
            let message = format!("{}: expected a mapping, found {found}", role.section());
            problems.push(
                Diagnostic::error(section.key_span, message)
                    .hint("write each component as `id: { type: … }`"),
            );
        }
        return Vec::new();
    };
    if entries.len() > MAX_COMPONENTS {
        let message = format!("{}: more than {MAX_COMPONENTS} components", role.section());
        problems.push(Diagnostic::error(section.key_span, message));
    }
    let common = keys_of::<F::Common>();
    let mut typed = Vec::new();
    for entry in entries.iter().take(MAX_COMPONENTS) {
        check_id(entry, role, problems);
        let mut draft = Draft {
            role,
            id: &entry.key,
            span: entry.key_span,
            kind: "",
            node: &entry.value,
            facts: None,
            left_out: Vec::new(),
            is_sound: false,
            inputs: Vec::new(),
            belongs: place.belongs(&entry.value, role),
        };
        let before = problems.len();
        typed.push(match draft.belongs {
            Some(belongs) => draft.misplace(belongs, problems),
            None => draft.fill::<F>(&common, place.folder, problems),
        });
        let mut own = problems.iter().skip(before);
        draft.is_sound =
            draft.left_out.is_empty() && own.all(|problem| problem.severity != Severity::Error);
        drafts.push(draft);
    }
    typed
}

impl Place<'_> {
    /// The role that a component's type is of, if that is not the one of its section.
    fn belongs(self, node: &Node, role: Role) -> Option<Role> {
        let kind = &node.get("type")?.value.scalar()?.text;
        let has = |role: Role| {
            let mut of_role = self.known.iter().filter(|(known, _)| *known == role);
            of_role.any(|(_, types)| types.contains(&kind.as_str()))
        };
        if has(role) { None } else { Role::ALL.into_iter().find(|role| has(*role)) }
    }
}

/// What an id is.
pub const ID: &str = "an id is made of letters, digits, `_` and `-`, at most 64 of them";

fn check_id(entry: &Entry, role: Role, problems: &mut Vec<Diagnostic>) {
    if !is_id(&entry.key) {
        let message = format!("`{}` can't be the id of a {}", entry.key, role.name());
        problems.push(Diagnostic::error(entry.key_span, message).hint(ID));
    }
}

/// A key that was meant to be `inputs`: that it is none is said of it as an unknown key.
fn almost_inputs(node: &Node, role: Role) -> Option<&Entry> {
    let mut entries = node.entries()?.iter().filter(|_| role != Role::Source);
    entries.find(|entry| nearest(&entry.key, ["inputs"]).is_some())
}

/// The names in a value, whatever else is in it.
fn names(entry: &Entry) -> Vec<(&str, Span)> {
    let items = match &entry.value.value {
        Value::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    };
    let scalars = items.iter().filter_map(|item| Some((item.scalar()?, item.span)));
    let written = scalars.filter(|(scalar, _)| scalar.origin != Origin::Unset);
    written.map(|(scalar, span)| (scalar.text.as_str(), span)).collect()
}

/// Whether a component can have this id; files are named by it.
pub fn is_id(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !text.is_empty() && text.chars().all(allowed) && text.len() <= 64
}

/// Gives the last problem the key's own range, where it names that of every number of the field's size.
fn narrow(error: &crate::document::de::Error, range: Option<String>, problems: &mut [Diagnostic]) {
    let crate::document::de::Fault::Mismatch { expected, .. } = &*error.fault else { return };
    if let (Some(range), Some(problem)) = (range, problems.last_mut())
        && expected.starts_with("a whole number from ")
    {
        problem.message =
            problem.message.replace(expected, &format!("a whole number from {range}"));
    }
}

/// `all[1].field` as `all.field`.
fn without_places(key: &str) -> String {
    let mut inside = false;
    let outside = |c: &char| {
        let was_inside = inside || *c == '[';
        inside = was_inside && *c != ']';
        !was_inside
    };
    key.chars().filter(outside).collect()
}

// === impl Draft ===

impl Draft<'_> {
    /// How messages name it, and a key of it.
    pub(super) fn name(&self, key: &str) -> String {
        let dot = if key.is_empty() { "" } else { "." };
        format!("{}.{}{dot}{key}", self.role.section(), self.id)
    }

    /// Where a key of it stands, or the component itself.
    pub(super) fn locate(&self, key: &str) -> Span {
        self.node.locate(key).unwrap_or(self.span)
    }

    /// Whether what is said of `key` would only follow from an error already found.
    pub(super) fn is_consequence(&self, key: &str) -> bool {
        // What was left out is known without its places in lists.
        let key = &without_places(key);
        let below = |long: &str, short: &str| {
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.left_out.iter().any(|out| below(out, key) || below(key, out) || key.is_empty())
    }

    fn error(&self, span: Span, key: &str, message: &str) -> Diagnostic {
        Diagnostic::error(span, format!("{}: {message}", self.name(key)))
    }

    fn fill<F: Family>(
        &mut self,
        common: &[String],
        folder: &Path,
        problems: &mut Vec<Diagnostic>,
    ) -> Typed<F> {
        if self.node.entries().is_none() {
            let message = format!("expected a mapping, found {}", self.node.describe());
            problems.push(
                self.error(self.span, "", &message).hint("write a component as `id: { type: … }`"),
            );
            return None;
        }
        self.read_inputs(problems);
        let kind = self.read_type::<F>(problems)?;
        let (schema, common_schema) = (component_schema::<F>(self.kind), schema_of::<F::Common>());
        let mut own = self.node.only(|key| {
            !matches!(key, "type" | "inputs") && !common.iter().any(|name| name == key)
        });
        paths::anchor(&schema, &mut own, folder);
        let tagged = Node {
            span: own.span,
            value: Value::Mapping(vec![Entry {
                key: self.kind.to_owned(),
                key_span: kind,
                value: own,
            }]),
        };
        let config = read::<F>(tagged, 1);
        let mut more: Vec<&str> = common.iter().map(String::as_str).collect();
        more.push("type");
        if self.role != Role::Source {
            more.push("inputs");
        }
        for error in &config.errors {
            let wrong_type = error.key.is_empty() && error.span == Some(kind);
            let key = match error.key.split_once('.') {
                _ if wrong_type => "type",
                Some((_, key)) => key,
                None => "",
            };
            self.report(error, key, wrong_type, &more, problems);
            narrow(error, ranges::of_key(&schema, key), problems);
            if let (true, Some(how), Some(problem)) =
                (wrong_type, F::left_out(self.kind), problems.last_mut())
            {
                problem.hint = Some(how.to_owned());
            }
        }
        let keys = config.left_out.iter().filter_map(|key| key.split_once('.'));
        self.left_out.extend(keys.map(|(_, key)| key.to_owned()));

        let mut shared = self.node.only(|key| common.iter().any(|name| name == key));
        paths::anchor(&common_schema, &mut shared, folder);
        let shared = read::<F::Common>(shared, 0);
        for error in &shared.errors {
            self.report(error, &error.key, false, &[], problems);
            narrow(error, ranges::of_key(&common_schema, &error.key), problems);
        }
        self.left_out.extend(shared.left_out);
        self.note_unset();

        self.check_ranges(&schema, problems);
        self.check_ranges(&common_schema, problems);

        // With a type that is known, a component whose keys are beyond reading still has its ports.
        let without_keys = config.value.is_none().then(|| plain::<F>(self.kind)).flatten();
        let no_keys = Node { span: self.span, value: Value::Mapping(Vec::new()) };
        let shared =
            shared.value.or_else(|| F::Common::deserialize(Deserializer::new(&no_keys)).ok())?;
        if let Some(config) = without_keys {
            self.facts = Some(config.facts(&shared).ports_only());
            return None;
        }
        let config = config.value?;
        self.facts = Some(config.facts(&shared));
        self.check_values(problems);
        Some((config, shared))
    }

    fn report(
        &mut self,
        error: &crate::document::de::Error,
        key: &str,
        wrong_type: bool,
        more: &[&str],
        problems: &mut Vec<Diagnostic>,
    ) {
        let more = if key.contains('.') { &[] } else { more };
        let (message, hint) = error.explain(more);
        let span = error.span.unwrap_or(self.span);
        let unknown_key = matches!(*error.fault, crate::document::de::Fault::UnknownKey(..));
        let message = if wrong_type {
            format!("unknown {} type `{}`", self.role.name(), self.kind)
        } else {
            message
        };
        // An unknown key is named by the message already.
        let key = match key.rsplit_once('.') {
            _ if !unknown_key => key,
            Some((parent, _)) => parent,
            None => "",
        };
        if let Some(meant) = error.meant() {
            let dot = if key.is_empty() { "" } else { "." };
            self.left_out.push(format!("{key}{dot}{meant}"));
        }
        let mut problem = self.error(span, key, &message);
        problem.hint = hint;
        problems.push(problem);
    }

    /// Its type is one of another section: all else that is said of it would follow from that.
    fn misplace<T>(&mut self, belongs: Role, problems: &mut Vec<Diagnostic>) -> Option<T> {
        self.inputs = self.node.get("inputs").map(names).unwrap_or_default();
        let entry = self.node.get("type");
        let span = entry.map_or(self.span, |entry| entry.value.span);
        let kind = entry.and_then(|entry| entry.value.scalar()).map_or("", |kind| &kind.text);
        let (is, other) = (self.role.name(), belongs.name());
        let message = format!("`{kind}` is a {other}, and no {is}");
        let hint = format!("move `{}` under `{}`", self.id, belongs.section());
        problems.push(self.error(span, "type", &message).hint(hint));
        None
    }

    /// What stands behind `type` where its colon is missing (`{ type tshark }`).
    fn type_without_colon(&self) -> Option<&str> {
        let mut keys = self.node.entries()?.iter().map(|entry| entry.key.as_str());
        keys.find_map(|key| key.strip_prefix("type ")).map(str::trim)
    }

    /// A key that was meant to be `type`.
    fn almost_type(&self) -> Option<&Entry> {
        let mut entries = self.node.entries()?.iter();
        entries.find(|entry| nearest(&entry.key, ["type"]).is_some())
    }

    /// The place of a `type` that can be looked up.
    fn read_type<F: Family>(&mut self, problems: &mut Vec<Diagnostic>) -> Option<Span> {
        let known = || types::<F>().iter().copied();
        let Some(entry) = self.node.get("type") else {
            let (span, hint) = match (self.type_without_colon(), self.almost_type()) {
                (Some(kind), _) => {
                    (self.span, format!("write `type: {kind}`: there is no colon behind `type`"))
                }
                (None, Some(entry)) => {
                    (entry.key_span, format!("did you mean `type` by `{}`?", entry.key))
                }
                (None, None) => (self.span, choose("", known, "known types").unwrap_or_default()),
            };
            problems.push(self.error(span, "", "the key `type` is missing").hint(hint));
            return None;
        };
        match entry.value.scalar() {
            Some(scalar) if !scalar.text.is_empty() && scalar.origin != Origin::Unset => {
                self.kind = &scalar.text;
                Some(entry.value.span)
            }
            Some(scalar) if scalar.origin == Origin::Unset => None,
            _ => {
                let message = format!("expected a name, found {}", entry.value.describe());
                let hint = choose("", known, "known types").unwrap_or_default();
                problems.push(self.error(entry.value_span(), "type", &message).hint(hint));
                None
            }
        }
    }

    /// `inputs`: one name or a list of names.
    fn read_inputs(&mut self, problems: &mut Vec<Diagnostic>) {
        const HINT: &str = "name what it reads: `inputs: [ID]` or `inputs: [ID.PORT]`";
        let entry = self.node.get("inputs").or_else(|| almost_inputs(self.node, self.role));
        let Some(entry) = entry.filter(|_| self.role != Role::Source) else {
            let problem = match (self.role, entry) {
                (Role::Source, None) => return,
                (Role::Source, Some(entry)) => self
                    .error(entry.key_span, "", "a source has no `inputs`")
                    .hint("remove the key"),
                _ => self.error(self.span, "", "the key `inputs` is missing").hint(HINT),
            };
            problems.push(problem);
            return;
        };
        let items = match &entry.value.value {
            Value::Sequence(items) => items.as_slice(),
            _ if entry.value.is_null() => &[],
            _ => std::slice::from_ref(&entry.value),
        };
        if items.is_empty() {
            problems.push(self.error(entry.key_span, "inputs", "there is no input").hint(HINT));
        }
        if items.len() > MAX_INPUTS {
            let message = format!("more than {MAX_INPUTS} inputs");
            problems.push(
                self.error(entry.key_span, "inputs", &message)
                    .hint("name several at once with `*`"),
            );
        }
        for item in items.iter().take(MAX_INPUTS) {
            match item.scalar() {
                Some(scalar) if scalar.origin == Origin::Unset => {}
                Some(scalar) if !scalar.text.is_empty() => {
                    if self.inputs.iter().any(|(earlier, _)| *earlier == scalar.text) {
                        let message = format!("`{}` is listed twice", scalar.shown());
                        problems.push(
                            self.error(item.span, "inputs", &message)
                                .hint("remove one: each record would arrive twice"),
                        );
                    } else {
                        self.inputs.push((&scalar.text, item.span));
                    }
                }
                _ => {
                    let message = format!("expected a name, found {}", item.describe());
                    let span = if item.scalar().is_some() { item.span } else { entry.key_span };
                    problems.push(self.error(span, "inputs", &message).hint(HINT));
                }
            }
        }
    }

    /// Numbers out of the ranges that a schema of some of the keys gives, and paths that nobody expands.
    fn check_ranges(&self, schema: &serde_json::Value, problems: &mut Vec<Diagnostic>) {
        let found = ranges::problems(schema, self.node).into_iter();
        let found = found.chain(paths::unexpanded(schema, self.node));
        self.report_values(found.map(|problem| (problem, Severity::Error)), problems);
    }

    /// What a component finds wrong with its values, and its remarks, where the key could be read.
    fn check_values(&mut self, problems: &mut Vec<Diagnostic>) {
        let Some(facts) = &mut self.facts else { return };
        let errors = std::mem::take(&mut facts.problems).into_iter();
        let remarks = std::mem::take(&mut facts.remarks).into_iter();
        let found = errors
            .map(|problem| (problem, Severity::Error))
            .chain(remarks.map(|remark| (remark, Severity::Warning)));
        self.report_values(found, problems);
    }

    pub(super) fn report_values(
        &self,
        found: impl Iterator<Item = (Problem, Severity)>,
        problems: &mut Vec<Diagnostic>,
    ) {
        for (problem, severity) in found {
            if self.is_consequence(&problem.key) {
                continue;
            }
            let mut located = self.error(self.locate(&problem.key), &problem.key, &problem.message);
            (located.hint, located.severity) = (problem.hint, severity);
            problems.push(located);
        }
    }

    /// Keys whose variable is not set, where that is allowed, are not judged by their placeholder.
    fn note_unset(&mut self) {
        fn visit(node: &Node, key: &str, out: &mut Vec<String>) {
            match &node.value {
                Value::Scalar(scalar) if scalar.origin == Origin::Unset => out.push(key.to_owned()),
                Value::Scalar(_) => {}
                Value::Sequence(items) => items.iter().for_each(|item| visit(item, key, out)),
                Value::Mapping(entries) => {
                    for entry in entries {
                        let dot = if key.is_empty() { "" } else { "." };
                        visit(&entry.value, &format!("{key}{dot}{}", entry.key), out);
                    }
                }
            }
        }
        visit(self.node, "", &mut self.left_out);
    }
}
