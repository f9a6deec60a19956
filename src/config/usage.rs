//! What nobody reads, what two want, and what a pipeline can't do without.

use std::collections::HashMap;

use super::{
    declare::Draft,
    family::Facts,
    inputs::{Wire, Wiring},
};
use crate::component::{Port, PortSpec, Role};
use crate::document::{report::Diagnostic, suggest::nearest, tree::Node};

/// Sources and transforms whose records go nowhere.
pub(super) fn unused(drafts: &[Draft<'_>], wiring: &Wiring, problems: &mut Vec<Diagnostic>) {
    let wires: Vec<&Wire> = wiring.edges.iter().flatten().collect();
    let referred = |id: &str| {
        let facts = drafts.iter().filter_map(|draft| draft.facts.as_ref());
        facts.flat_map(|facts| &facts.references).any(|reference| reference.id == id)
    };
    for (at, draft) in drafts.iter().enumerate() {
        let exempt = draft.role == Role::Sink || wiring.meant.contains(&at) || referred(draft.id);
        // A gate whose outputs may go unread serves people and lists.
        let serves = |facts: &Facts| {
            facts.takes_verdicts && facts.signature.ports.iter().all(|port| port.sheds)
        };
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
        if readers.is_empty() {
            let message = format!("{}: nobody reads this {}", draft.name(""), draft.role.name());
            let output = output(ports.first().map_or("", |spec| &spec.name));
            problems.push(Diagnostic::error(draft.span, message).hint(format!(
                "name `{output}` in the `inputs` of a transform or a sink, or remove it"
            )));
            continue;
        }
        for (port, spec) in ports.iter().enumerate() {
            if !is_expected(&spec.name, ports) || is_read(Port(port)) {
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
        if unreadable || drafts.iter().any(|draft| draft.role == role) {
            continue;
        }
        let span = section.map_or(root.span, |entry| entry.key_span);
        let message = format!("the config has no {}: nothing {does}", role.name());
        problems.push(
            Diagnostic::error(span, message).hint(format!("add one under `{}`", role.section())),
        );
    }
}
