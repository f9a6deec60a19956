//! What nobody reads, what two want, and what a pipeline can't do without.

use std::collections::HashMap;

use super::{
    declare::Draft,
    edges::Flowing,
    family::Facts,
    inputs::{Wire, Wiring},
};
use crate::{
    component::{Carries, Evidence, Port, PortSpec, Role},
    document::{report::Diagnostic, suggest::nearest, tree::Node},
    record::Kind,
};

/// Sources and transforms whose records go nowhere.
pub(super) fn unused(
    drafts: &[Draft<'_>],
    wiring: &Wiring,
    flowing: &Flowing,
    problems: &mut Vec<Diagnostic>,
) {
    let wires: Vec<&Wire> = wiring.edges.iter().flatten().collect();
    let referred = |id: &str| {
        let facts = drafts.iter().filter_map(|draft| draft.facts.as_ref());
        facts.flat_map(|facts| &facts.references).any(|reference| reference.id == id)
    };
    for (at, draft) in drafts.iter().enumerate() {
        let is_sink = draft.belongs.unwrap_or(draft.role) == Role::Sink;
        let exempt = is_sink || wiring.meant.contains(&at) || referred(draft.id);
        // A gate without a main output serves people and lists.
        let serves = |facts: &Facts| facts.takes_verdicts && facts.signature.port(None).is_none();
        if exempt || draft.facts.as_ref().is_some_and(serves) {
            continue;
        }
        let readers: Vec<_> = wires.iter().filter(|wire| wire.from == at).collect();
        let is_read =
            |port: Port| readers.iter().any(|wire| wire.port.is_none_or(|read| read == port));
        let ports = draft.facts.as_ref().map_or(&[][..], |facts| &facts.signature.ports);
        let output = |name: &str| {
            let dot = if name.is_empty() { "" } else { "." };
            format!("{}{dot}{name}", draft.id)
        };
        if draft.facts.as_ref().is_some_and(|facts| facts.has_outputs_to_choose)
            && !readers.is_empty()
        {
            continue;
        }
        if readers.is_empty() {
            let message = format!("{}: nobody reads this {}", draft.name(""), draft.role.name());
            let output = output(ports.first().map_or("", |spec| &spec.name));
            problems.push(Diagnostic::error(draft.span, message).hint(format!(
                "name `{output}` in the `inputs` of a transform or a sink, or remove it"
            )));
            continue;
        }
        let passes = draft.facts.as_ref().and_then(|facts| facts.passes_on);
        let has_nothing = passes.is_some_and(|kind| !arrives(kind, &wiring.edges[at], flowing));
        for (port, spec) in ports.iter().enumerate() {
            let is_empty = spec.name.is_empty() && has_nothing;
            if !is_expected(&spec.name, ports) || is_read(Port(port)) || is_empty {
                continue;
            }
            let which = match &*spec.name {
                "" => "main output".to_owned(),
                name => format!("output `{name}`"),
            };
            let message = format!("{}: nobody reads its {which}", draft.name(""));
            let output = output(&spec.name);
            problems.push(Diagnostic::warning(draft.span, message).hint(format!(
                "name `{output}` in the `inputs` of a sink, if its records are wanted"
            )));
        }
    }
}

/// Whether a kind of record arrives by one of these wires, or may: of what can't be read it isn't known.
fn arrives(kind: Kind, wires: &[Wire], flowing: &Flowing) -> bool {
    wires.iter().any(|wire| {
        let carried = wire.port.and_then(|port| flowing[wire.from].get(port.0));
        carried.is_none_or(|carried| carried.contains(kind))
    })
}

/// Whether a port is one that somebody is expected to read: the main one, or without one, those the
/// config names.
fn is_expected(name: &str, ports: &[PortSpec]) -> bool {
    let has_main = ports.iter().any(|spec| spec.name.is_empty());
    if has_main { name.is_empty() } else { !name.starts_with('_') }
}

/// Two components that want the same thing for themselves.
pub(super) fn claims(drafts: &[Draft<'_>], problems: &mut Vec<Diagnostic>) {
    let mut taken: HashMap<&str, (&Draft<'_>, &str)> = HashMap::new();
    for draft in drafts {
        for claim in draft.facts.iter().flat_map(|facts| &facts.claims) {
            if draft.is_consequence(&claim.key) {
                continue;
            }
            let Some((first, key)) = taken.get(claim.what.as_str()) else {
                taken.insert(&claim.what, (draft, &claim.key));
                continue;
            };
            let message = format!(
                "{}: `{}` has the {} already",
                draft.name(&claim.key),
                first.id,
                claim.what
            );
            problems.push(
                Diagnostic::error(draft.locate(&claim.key), message)
                    .note(first.locate(key), "it was given here")
                    .hint("only one component can have it"),
            );
        }
    }
}

/// Sources that others act through have to exist.
pub(super) fn references(
    drafts: &[Draft<'_>],
    wiring: &mut Wiring,
    problems: &mut Vec<Diagnostic>,
) {
    let sources = || drafts.iter().filter(|draft| draft.role == Role::Source);
    for draft in drafts {
        for reference in draft.facts.iter().flat_map(|facts| &facts.references) {
            if draft.is_consequence(&reference.key) {
                continue;
            }
            if let Some(source) = sources().find(|source| source.id == reference.id) {
                problems.extend(blocks_nothing(draft, &reference.key, source));
                continue;
            }
            let message =
                format!("{}: there is no source `{}`", draft.name(&reference.key), reference.id);
            let near = nearest(&reference.id, sources().map(|source| source.id));
            let meant = |draft: &Draft<'_>| near == Some(draft.id);
            wiring.meant.extend(drafts.iter().position(meant));
            let hint = near.map_or_else(
                || "name a source of this config".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            problems.push(Diagnostic::error(draft.locate(&reference.key), message).hint(hint));
        }
    }
}

/// A gate that enforces by evidence that comes late alone drops packets of who has long stopped.
pub(super) fn late_evidence(drafts: &[Draft<'_>], wiring: &Wiring, problems: &mut Vec<Diagnostic>) {
    let facts = |at: usize| drafts[at].facts.as_ref();
    for (at, draft) in drafts.iter().enumerate() {
        for reference in draft.facts.iter().flat_map(|facts| &facts.references) {
            let enforces = |source: &&Draft<'_>| {
                source.id == reference.id
                    && source.facts.as_ref().is_some_and(|facts| facts.enforces)
            };
            let Some(gate) = drafts.iter().find(enforces) else { continue };
            let origins = origins(at, drafts, wiring);
            let [first, ..] = origins[..] else { continue };
            if !origins
                .iter()
                .all(|at| facts(*at).is_some_and(|facts| facts.evidence == Evidence::Late))
            {
                continue;
            }
            let message = format!(
                "{}: `{}` enforces, and all that this judges by comes late: `{}` reads in segments",
                draft.name(&reference.key),
                gate.id,
                drafts[first].id,
            );
            let problem = Diagnostic::error(draft.locate(&reference.key), message);
            problems.push(
                problem.note(drafts[first].span, "it is this one").hint(
                    "capture with `mode: pipe`, or let the firewall observe: `mode: observe`",
                ),
            );
        }
    }
}

/// A try whose answer was not chosen would count as one that failed.
pub(super) fn sampled_evidence(
    drafts: &[Draft<'_>],
    wiring: &Wiring,
    problems: &mut Vec<Diagnostic>,
) {
    let facts = |at: usize| drafts[at].facts.as_ref();
    for (reader, wires) in drafts.iter().zip(&wiring.edges) {
        for wire in wires {
            let from = &drafts[wire.from];
            let spec = facts(wire.from)
                .zip(wire.port)
                .and_then(|(facts, port)| facts.signature.ports.get(port.0));
            let carries_contacts =
                spec.is_some_and(|spec| spec.carries == Carries::Only(Kind::Contact));
            if !carries_contacts || (reader.role, from.role) != (Role::Transform, Role::Transform) {
                continue;
            }
            let is_sampled =
                |at: &usize| facts(*at).is_some_and(|facts| facts.evidence == Evidence::Sampled);
            let Some(sampled) = origins(wire.from, drafts, wiring).into_iter().find(is_sampled)
            else {
                continue;
            };
            let source = &drafts[sampled];
            let message = format!(
                "{}: `{}` makes contacts of what `{}` samples: a try whose answer was not chosen would be one that failed",
                reader.name("inputs"),
                from.id,
                source.id,
            );
            let hint = format!("take `{}.contacts`, which is never sampled", source.id);
            let problem = Diagnostic::error(wire.span, message);
            problems.push(problem.note(source.span, "it is this one").hint(hint));
        }
    }
}

/// The sources that what a component reads comes from.
fn origins(reader: usize, drafts: &[Draft<'_>], wiring: &Wiring) -> Vec<usize> {
    let (mut found, mut seen, mut next) = (Vec::new(), vec![false; drafts.len()], vec![reader]);
    while let Some(at) = next.pop() {
        for wire in wiring.edges.get(at).into_iter().flatten() {
            if std::mem::replace(&mut seen[wire.from], true) {
                continue;
            }
            if drafts[wire.from].role == Role::Source {
                found.push(wire.from);
            }
            next.push(wire.from);
        }
    }
    found.sort_unstable();
    found
}

/// A source that takes no verdicts is none to act through; of one of an unknown type it isn't known.
fn blocks_nothing(draft: &Draft<'_>, key: &str, source: &Draft<'_>) -> Option<Diagnostic> {
    source.facts.as_ref().filter(|facts| !facts.takes_verdicts)?;
    let message =
        format!("{}: `{}` is a {}, which blocks nothing", draft.name(key), source.id, source.kind);
    let problem = Diagnostic::error(draft.locate(key), message);
    Some(problem.note(source.span, "it is this one").hint("name a source with a firewall"))
}

/// A pipeline begins and ends somewhere.
pub(super) fn ends(root: &Node, drafts: &[Draft<'_>], problems: &mut Vec<Diagnostic>) {
    for (role, does) in [(Role::Source, "brings records in"), (Role::Sink, "takes records out")] {
        let section = root.get(role.section());
        let unreadable =
            section.is_some_and(|entry| entry.value.entries().is_none() && !entry.value.is_null());
        let is_there = |draft: &Draft<'_>| draft.belongs.unwrap_or(draft.role) == role;
        if unreadable || drafts.iter().any(is_there) {
            continue;
        }
        let span = section.map_or(root.span, |entry| entry.key_span);
        let message = format!("the config has no {}: nothing {does}", role.name());
        problems.push(
            Diagnostic::error(span, message).hint(format!("add one under `{}`", role.section())),
        );
    }
}
