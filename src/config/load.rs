//! From bytes to a config: every step's problems are gathered before the first is reported.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf, absolute},
};

use super::{
    Components, Config, Declared, Edge,
    declare::{Draft, Place, Typed, declare},
    edges::{self, Flowing},
    family::{Families, Family, types},
    globals::Globals,
    inputs::{self, Wiring},
    replaced::Replayed,
    usage,
};
use crate::component::{Error, Problem, Role, with_causes};
use crate::document::{
    interpolate::{Surroundings, interpolate},
    report::{Diagnostic, Report, Severity},
    secrets::{Secrets, mark},
    text::{Span, Text},
    tree::{Node, parse},
};

/// Bytes read of a file; one more than a config may have.
const MAX_READ: u64 = 4 << 20;

/// A config without errors, and what is still to be said about it.
#[derive(Debug)]
pub struct Loaded<F: Families = Components> {
    /// The config.
    pub config: Config<F>,
    /// Warnings.
    pub warnings: Report,
    text: Text,
    secrets: Secrets,
    root: Node,
}

/// Loads a config file; variables come from the process's environment.
///
/// With `lenient`, a variable or a file for a value may be missing: its key is then not checked.
///
/// # Errors
/// All problems of the config, if there is an error among them.
pub fn load_file<F: Families>(path: &Path, lenient: bool) -> Result<Loaded<F>, Box<Report>> {
    read_file(path, lenient, None, false)
}

/// Loads a config file to check it as a whole: if it has mistakes, what this machine lacks for the components that
/// have none is among its problems.
///
/// # Errors
/// All problems of the config, if there is an error among them.
pub fn load_checked<F: Families>(path: &Path) -> Result<Loaded<F>, Box<Report>> {
    read_file(path, false, None, true)
}

/// Loads a config file with a replay's captures in the place of what its source reads.
///
/// # Errors
/// All problems of the config as it is then, if there is an error among them.
pub fn load_replay<F: Families>(
    path: &Path,
    replayed: &Replayed<'_>,
) -> Result<Loaded<F>, Box<Report>> {
    read_file(path, false, Some(replayed), false)
}

fn read_file<F: Families>(
    path: &Path,
    lenient: bool,
    replayed: Option<&Replayed<'_>>,
    machine: bool,
) -> Result<Loaded<F>, Box<Report>> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = |bytes: &mut Vec<u8>| -> io::Result<()> {
        File::open(path)?.take(MAX_READ).read_to_end(bytes)?;
        Ok(())
    };
    if let Err(error) = read(&mut bytes) {
        return Err(Box::new(Report::unreadable(name, &error)));
    }
    let directory = &directory_of(path);
    if directory.to_str().is_none() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "its folder's name is not UTF-8");
        return Err(Box::new(Report::unreadable(name, &error)));
    }
    let surroundings =
        Surroundings { variable: &|name| std::env::var(name).ok(), directory, lenient };
    load_with(name, &bytes, surroundings, replayed, machine)
}

/// The whole path of the directory that a config file lies in.
fn directory_of(path: &Path) -> PathBuf {
    let whole = absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = whole.parent().unwrap_or(Path::new("/"));
    let goes_up = directory.components().any(|part| part == Component::ParentDir);
    let plain = goes_up.then(|| directory.canonicalize().ok()).flatten();
    plain.unwrap_or_else(|| directory.to_owned())
}

/// Loads a config from the bytes of a file called `name`.
///
/// # Errors
/// All problems of the config, if there is an error among them.
pub fn load<F: Families>(
    name: impl Into<String>,
    bytes: &[u8],
    surroundings: Surroundings<'_>,
) -> Result<Loaded<F>, Box<Report>> {
    load_with(name, bytes, surroundings, None, false)
}

fn load_with<F: Families>(
    name: impl Into<String>,
    bytes: &[u8],
    surroundings: Surroundings<'_>,
    replayed: Option<&Replayed<'_>>,
    machine: bool,
) -> Result<Loaded<F>, Box<Report>> {
    let (text, mut problems) = Text::decode(name, bytes);
    let root = problems.is_empty().then(|| parse(&text, &mut problems)).flatten();
    let Some(mut root) = root else {
        let secrets = Secrets::guess(&text);
        return Err(Box::new(Report::new(text, secrets, problems)));
    };
    if root.scalar().is_some() && !root.is_null() {
        // Of another language, or a sentence: a credential in it is not known by its key.
        let secrets = Secrets::guess(&text);
        let is_toml = text.content.lines().any(|line| line.contains(" = "));
        let (start, line) = text.lines_of(Span::new(root.span.start, root.span.start));
        let first = Span::new(root.span.start, start + line.trim_end().len());
        let problem = Diagnostic::error(first, "expected a mapping, found text");
        problems.push(problem.hint(if is_toml {
            "this looks like TOML: a config is YAML or JSON"
        } else {
            "a config has `sources`, `transforms` and `sinks`"
        }));
        return Err(Box::new(Report::new(text, secrets, problems)));
    }
    let values = interpolate(&mut root, &text, surroundings, &mut problems);
    let secrets = mark(&mut root, &text, values);
    if let Some(replayed) = replayed {
        replayed.put_into(&mut root);
    }
    let end = Span::new(text.content.len(), text.content.len());
    let config = pipeline::<F>(&root, machine.then_some(end), surroundings, &mut problems);
    let failed = |problem: &Diagnostic| problem.severity == Severity::Error;
    match config {
        Some(config) if !problems.iter().any(failed) => Ok(Loaded {
            config,
            warnings: Report::new(text.clone(), secrets.clone(), problems),
            text,
            secrets,
            root,
        }),
        _ => Err(Box::new(Report::new(text, secrets, problems))),
    }
}

/// With the text's `end`, this machine is looked at if anything is wrong.
fn pipeline<F: Families>(
    root: &Node,
    end: Option<Span>,
    surroundings: Surroundings<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Config<F>> {
    if root.entries().is_none() {
        let message = format!("expected a mapping, found {}", root.describe());
        problems.push(
            Diagnostic::error(root.span, message)
                .hint("a config has `sources`, `transforms` and `sinks`"),
        );
        return None;
    }
    let folder =
        &absolute(surroundings.directory).unwrap_or_else(|_| surroundings.directory.to_owned());
    let globals = Globals::read(root, &Role::ALL.map(Role::section), folder, problems);
    let are_sound = are_sound(problems);
    let networks = globals.networks.lists(root, surroundings, problems);
    let mut drafts = Vec::new();
    let known = [
        (Role::Source, types::<F::Source>()),
        (Role::Transform, types::<F::Transform>()),
        (Role::Sink, types::<F::Sink>()),
    ];
    let place = Place { root, folder, known };
    let sources = declare::<F::Source>(place, Role::Source, &mut drafts, problems);
    let transforms = declare::<F::Transform>(place, Role::Transform, &mut drafts, problems);
    let sinks = declare::<F::Sink>(place, Role::Sink, &mut drafts, problems);

    let mut wiring = inputs::resolve(&drafts, has_unread(root), problems);
    let order = edges::circles(&drafts, &wiring, problems);
    let flowing = edges::kinds(&drafts, &wiring, &order, problems);
    edges::needs(&drafts, &wiring, &flowing, problems);
    edges::asks(&drafts, &wiring, &flowing, problems);
    usage::references(&drafts, &mut wiring, problems);
    usage::late_evidence(&drafts, &wiring, problems);
    usage::sampled_evidence(&drafts, &wiring, problems);
    usage::unused(&drafts, &wiring, &flowing, problems);
    usage::claims(&drafts, problems);
    usage::ends(root, &drafts, problems);
    if let Some(end) = end.filter(|_| !self::are_sound(problems)) {
        let (own, others) = drafts.split_at(sources.len());
        lacking(own, &sources, problems);
        let (own, others) = others.split_at(transforms.len());
        lacking(own, &transforms, problems);
        lacking(others, &sinks, problems);
        if are_sound {
            problems.extend(globals_lacking(&globals, root, end));
        }
    }

    let mut finisher = Finisher { drafts: &drafts, wiring: &wiring, flowing: &flowing, next: 0 };
    Some(Config {
        hash: root.hash().as_str().into(),
        globals,
        networks,
        sources: finisher.finish(sources)?,
        transforms: finisher.finish(transforms)?,
        sinks: finisher.finish(sinks)?,
    })
}

/// Whether components may stand where nobody reads them: in a section that is no mapping, or at the top level.
fn has_unread(root: &Node) -> bool {
    let sections = Role::ALL.map(Role::section);
    root.entries().unwrap_or_default().iter().any(|entry| {
        let is_section = sections.contains(&entry.key.as_str());
        let has_components = |node: &Node| {
            let mut inner = node.entries().unwrap_or_default().iter();
            inner.any(|entry| entry.value.get("type").is_some())
        };
        if is_section {
            entry.value.entries().is_none() && !entry.value.is_null()
        } else {
            entry.value.get("type").is_some() || has_components(&entry.value)
        }
    })
}

/// Whether nothing of it keeps the config from running.
fn are_sound(problems: &[Diagnostic]) -> bool {
    problems.iter().all(|problem| problem.severity != Severity::Error)
}

/// What this machine lacks for the components of a section that have no mistakes: what is said of the others
/// might be about a default that nobody chose.
fn lacking<F: Family>(drafts: &[Draft<'_>], typed: &[Typed<F>], problems: &mut Vec<Diagnostic>) {
    for (draft, typed) in drafts.iter().zip(typed) {
        let Some((config, _)) = typed.as_ref().filter(|_| draft.is_sound) else { continue };
        let found = config.check_environment().into_iter().map(|problem| {
            let severity = if problem.is_warning { Severity::Warning } else { Severity::Error };
            (problem, severity)
        });
        draft.report_values(found, problems);
    }
}

/// What this machine lacks for the top level's keys; `end` is where those stand that the text does not have.
fn globals_lacking(globals: &Globals, root: &Node, end: Span) -> Vec<Diagnostic> {
    let located = |problem: Problem| {
        let place = root.locate(&problem.key);
        let default = if place.is_some() { "" } else { " (the key's default)" };
        let message = format!("{}: {}{default}", problem.key, problem.message);
        let span = place.unwrap_or(end);
        let mut located = if problem.is_warning {
            Diagnostic::warning(span, message)
        } else {
            Diagnostic::error(span, message)
        };
        located.hint = problem.hint;
        located
    };
    globals.check_environment().into_iter().map(located).collect()
}

/// Joins drafts and typed configs, section by section.
struct Finisher<'a> {
    drafts: &'a [Draft<'a>],
    wiring: &'a Wiring,
    flowing: &'a Flowing,
    next: usize,
}

// === impl Finisher ===

impl Finisher<'_> {
    /// The next section's components; `None` if one of them could not be read.
    fn finish<F: Family>(&mut self, typed: Vec<Typed<F>>) -> Option<Vec<Declared<F>>> {
        let declare = |typed: Typed<F>| {
            let at = self.next;
            self.next += 1;
            let draft = &self.drafts[at];
            let (config, common) = typed?;
            Some(Declared {
                id: draft.id.to_owned(),
                span: draft.span,
                kind: types::<F>().iter().find(|kind| **kind == draft.kind)?,
                signature: draft.facts.as_ref()?.signature.clone(),
                inputs: self.edges(at),
                config,
                common,
            })
        };
        typed.into_iter().map(declare).collect()
    }
}

impl Finisher<'_> {
    fn edges(&self, at: usize) -> Vec<Edge> {
        let wires = self.wiring.edges[at].iter().filter_map(|wire| {
            let port = wire.port?;
            Some(Edge {
                from: self.drafts[wire.from].id.to_owned(),
                port,
                carries: *self.flowing[wire.from].get(port.0)?,
            })
        });
        wires.collect()
    }
}

// === impl Loaded ===

impl<F: Families> Loaded<F> {
    /// What this machine lacks for the config, each problem at the key that asks for it.
    pub fn check_environment(&self) -> Report {
        let mut problems = self.lacking(Role::Source, &self.config.sources);
        problems.extend(self.lacking(Role::Transform, &self.config.transforms));
        problems.extend(self.lacking(Role::Sink, &self.config.sinks));
        let end = Span::new(self.text.content.len(), self.text.content.len());
        problems.extend(globals_lacking(&self.config.globals, &self.root, end));
        Report::new(self.text.clone(), self.secrets.clone(), problems)
    }

    /// An error of the config as a whole, at the key that it is about.
    pub fn at(&self, key: &str, error: &Error) -> Report {
        let span = self.root.locate(key).unwrap_or(self.root.span);
        let mut located = Diagnostic::error(span, with_causes(error));
        located.hint = error.remedy().map(str::to_owned);
        Report::new(self.text.clone(), self.secrets.clone(), vec![located])
    }

    /// What keeps the sinks from writing where they are told to: a run that could deliver nothing
    /// is better not begun.
    pub fn check_destinations(&self) -> Report {
        let problems = self.lacking(Role::Sink, &self.config.sinks);
        Report::new(self.text.clone(), self.secrets.clone(), problems)
    }

    fn lacking<C: Family>(&self, role: Role, components: &[Declared<C>]) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        for declared in components {
            let found = declared.config.check_environment();
            self.locate(role, &declared.id, declared.span, found, &mut problems);
        }
        problems
    }

    fn locate(
        &self,
        role: Role,
        id: &str,
        span: Span,
        found: Vec<Problem>,
        problems: &mut Vec<Diagnostic>,
    ) {
        let section = self.root.get(role.section());
        let node = section.and_then(|section| section.value.get(id)).map(|entry| &entry.value);
        for problem in found {
            let span = node.and_then(|node| node.locate(&problem.key)).unwrap_or(span);
            let dot = if problem.key.is_empty() { "" } else { "." };
            let name = format!("{}.{id}{dot}{}", role.section(), problem.key);
            let message = format!("{name}: {}", problem.message);
            let mut located = if problem.is_warning {
                Diagnostic::warning(span, message)
            } else {
                Diagnostic::error(span, message)
            };
            located.hint = problem.hint;
            problems.push(located);
        }
    }
}
