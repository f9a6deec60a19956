//! Checks of the pipeline as a whole: circles, kinds on edges, fields asked for upstream.

use std::collections::BTreeSet;

use super::{
    declare::Draft,
    inputs::{Wire, Wiring},
};
use crate::document::{report::Diagnostic, suggest};
use crate::{
    component::{Asks, Carries, Need, Role},
    field,
    record::{Kind, Kinds},
};

/// The kinds that come out of each draft's ports.
pub(super) type Flowing = Vec<Vec<Kinds>>;

/// Names each circle once; gives back the drafts outside of circles, writers before readers.
pub(super) fn circles(
    drafts: &[Draft<'_>],
    wiring: &Wiring,
    problems: &mut Vec<Diagnostic>,
) -> Vec<usize> {
    let mut order = Vec::new();
    let mut left = vec![true; drafts.len()];
    loop {
        settle(wiring, &mut left, &mut order);
        // What is left waits for itself: going upstream from anywhere leads round a circle.
        let Some(mut at) = left.iter().position(|left| *left) else {
            return order;
        };
        let mut way = Vec::new();
        while !way.contains(&at) {
            way.push(at);
            let mut upstream = wiring.edges[at].iter().map(|wire| wire.from);
            at = upstream
                .find(|from| left[*from])
                .expect("what is not settled waits for another that is not");
        }
        let start = way.iter().position(|seen| *seen == at).unwrap_or_default();
        let circle: Vec<usize> = way.drain(start..).rev().collect();
        problems.extend(describe(drafts, wiring, &circle));
        for member in circle {
            left[member] = false;
        }
    }
}

/// Moves every draft whose writers are settled from `left` to `order`.
fn settle(wiring: &Wiring, left: &mut [bool], order: &mut Vec<usize>) {
    loop {
        let before = order.len();
        for at in 0..left.len() {
            if left[at] && wiring.edges[at].iter().all(|wire| !left[wire.from]) {
                left[at] = false;
                order.push(at);
            }
        }
        if order.len() == before {
            return;
        }
    }
}

/// The circle, beginning with the member that comes first in the file.
fn describe(drafts: &[Draft<'_>], wiring: &Wiring, circle: &[usize]) -> Option<Diagnostic> {
    let first = circle.iter().enumerate().min_by_key(|(_, at)| **at)?.0;
    let mut members: Vec<usize> = circle.to_vec();
    members.rotate_left(first);
    let (reader, writer) = (*members.first()?, *members.last()?);
    let wire = wiring.edges[reader].iter().find(|wire| wire.from == writer)?;
    let names: Vec<_> =
        members.iter().chain([&reader]).map(|at| format!("`{}`", drafts[*at].id)).collect();
    let message = format!(
        "{}: the data would run in a circle: {}",
        drafts[reader].name("inputs"),
        names.join(" → ")
    );
    Some(Diagnostic::error(wire.span, message).hint("take one of these inputs out"))
}

/// Follows the kinds along the edges and refuses what a reader doesn't take.
pub(super) fn kinds(
    drafts: &[Draft<'_>],
    wiring: &Wiring,
    order: &[usize],
    problems: &mut Vec<Diagnostic>,
) -> Flowing {
    let mut flowing: Flowing = vec![Vec::new(); drafts.len()];
    for at in order.iter().copied() {
        let draft = &drafts[at];
        let Some(facts) = &draft.facts else {
            continue;
        };
        let accepts = facts.signature.accepts;
        let mut arriving = Kinds::NONE;
        for wire in &wiring.edges[at] {
            let port = wire.port.map_or(usize::MAX, |port| port.0);
            let Some(carried) = flowing[wire.from].get(port).copied() else {
                continue;
            };
            arriving = arriving.union(carried);
            let refused = carried.minus(accepts);
            if !refused.is_empty() {
                let writer = &drafts[wire.from];
                let dot = super::graph::port_name(writer, port);
                let message = format!(
                    "{}: `{}{dot}` carries {refused} records, and `{}` takes {accepts}",
                    draft.name("inputs"),
                    writer.id,
                    draft.kind,
                );
                problems.push(Diagnostic::error(wire.span, message).hint(remedy(refused)));
            }
        }
        let passed = arriving.minus(arriving.minus(accepts));
        let ports = facts.signature.ports.iter().map(|port| match port.carries {
            Carries::Only(kind) => kind.into(),
            Carries::Inputs => passed,
        });
        flowing[at] = ports.collect();
    }
    flowing
}

fn remedy(refused: Kinds) -> &'static str {
    if refused.contains(Kind::Frame) {
        "frames become packets in a transform of type `extract`"
    } else if refused.contains(Kind::Raw) {
        "raw lines become packets in a transform of type `extract`"
    } else {
        "read another output, or put a transform between that makes what it takes"
    }
}

/// Fields a component asks for have to come from every source of lines upstream of it.
pub(super) fn needs(
    drafts: &[Draft<'_>],
    wiring: &Wiring,
    flowing: &Flowing,
    problems: &mut Vec<Diagnostic>,
) {
    for (at, draft) in drafts.iter().enumerate() {
        let needs = draft.facts.as_ref().map_or(&[][..], |facts| &facts.needs);
        let needs: Vec<_> = needs.iter().filter(|need| !draft.is_consequence(&need.key)).collect();
        if needs.is_empty() {
            continue;
        }
        for source in above(drafts, wiring, at, Role::Source) {
            let writer = &drafts[source];
            let Some(facts) = &writer.facts else { continue };
            let carries = |kind| flowing[source].first().is_some_and(|kinds| kinds.contains(kind));
            let frames = carries(Kind::Frame);
            if !(frames || carries(Kind::Raw)) || writer.is_consequence("fields") {
                continue;
            }
            let missing = |need: &&&Need| !facts.provides.contains(&need.field);
            for (key, what, they) in by_key(needs.iter().filter(missing)) {
                let fields = writer.name("fields");
                let (note, hint) = if frames {
                    let hint = format!("set `dissect: application`, and add {they} to `{fields}`");
                    ("this source reads headers: only tshark has such fields", hint)
                } else {
                    ("this source has to print it", format!("add {they} to `{fields}`"))
                };
                let message = format!("{}: {what} not come from `{}`", draft.name(key), writer.id);
                problems.push(
                    Diagnostic::error(draft.locate(key), message)
                        .note(writer.span, note)
                        .hint(hint),
                );
            }
        }
        for between in above(drafts, wiring, at, Role::Transform) {
            let keeper = &drafts[between];
            let Some(facts) = &keeper.facts else { continue };
            if !makes_of_lines(between, wiring, flowing) || keeper.is_consequence("fields") {
                continue;
            }
            let missing = |need: &&&Need| !facts.provides.contains(&need.field);
            for (key, what, they) in by_key(needs.iter().filter(missing)) {
                let message = format!("{}: {what} not get past `{}`", draft.name(key), keeper.id);
                problems.push(
                    Diagnostic::error(draft.locate(key), message)
                        .note(keeper.span, "this transform has to keep that")
                        .hint(format!("add {they} to `{}`", keeper.name("fields"))),
                );
            }
        }
    }
}

/// What is missing, each key's fields at once: the key, the fields with their verb, and how to write them.
fn by_key<'a>(missing: impl Iterator<Item = &'a &'a Need>) -> Vec<(&'a str, String, String)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for need in missing {
        match found.last_mut().filter(|(key, _)| *key == need.key) {
            Some((_, fields)) => fields.push(&need.field),
            None => found.push((need.key.as_str(), vec![need.field.as_str()])),
        }
    }
    let told = found.into_iter().map(|(key, fields)| match fields.as_slice() {
        [only] => (key, format!("the field `{only}` does"), "it".to_owned()),
        all => {
            let (named, list) = (all.join("`, `"), all.join(", "));
            (key, format!("the fields `{named}` do"), format!("[{list}]"))
        }
    });
    told.collect()
}

/// Whether a transform makes records of tshark's lines: what it does not keep of them is gone.
fn makes_of_lines(at: usize, wiring: &Wiring, flowing: &Flowing) -> bool {
    let carried = |wire: &Wire| flowing[wire.from].get(wire.port?.0).copied();
    let has_lines = |kinds: Kinds| kinds.contains(Kind::Raw);
    wiring.edges[at].iter().filter_map(carried).any(has_lines)
        && flowing[at].first().copied().is_some_and(|kinds| !has_lines(kinds))
}

/// A field a component asks for has to be one that some record on its inputs can have.
pub(super) fn asks(
    drafts: &[Draft<'_>],
    wiring: &Wiring,
    flowing: &Flowing,
    problems: &mut Vec<Diagnostic>,
) {
    for (at, draft) in drafts.iter().enumerate() {
        let Some(facts) = &draft.facts else { continue };
        let carried = wiring.edges[at].iter().filter_map(|wire| {
            let port = wire.port?;
            flowing[wire.from].get(port.0).copied()
        });
        let arriving = carried.fold(Kinds::NONE, Kinds::union);
        let arriving = arriving.minus(arriving.minus(facts.signature.accepts));
        for asks in &facts.asks {
            if arriving.is_empty() || draft.is_consequence(&asks.key) {
                continue;
            }
            if let Some(extra) = &asks.extra
                && let Err(hint) = is_kept(drafts, wiring, at, extra, asks)
            {
                let message =
                    format!("{}: there is no field `{}`", draft.name(&asks.key), asks.field);
                problems.push(Diagnostic::error(draft.locate(&asks.key), message).hint(hint));
                continue;
            }
            if arriving.minus(asks.kinds) != arriving {
                continue;
            }
            let message =
                format!("{}: {arriving} records have no `{}`", draft.name(&asks.key), asks.field);
            problems.push(
                Diagnostic::error(draft.locate(&asks.key), message)
                    .hint(format!("only {} records have it", asks.kinds)),
            );
        }
    }
}

/// Whether some transform before a component keeps tshark's field, else what may have been meant.
fn is_kept(
    drafts: &[Draft<'_>],
    wiring: &Wiring,
    at: usize,
    extra: &str,
    asks: &Asks,
) -> Result<(), String> {
    let kept: Vec<_> = above(drafts, wiring, at, Role::Transform)
        .into_iter()
        .filter_map(|at| drafts[at].facts.as_ref())
        .flat_map(|facts| &facts.provides)
        .map(String::as_str)
        .collect();
    if kept.iter().any(|name| name.replace('.', "_") == extra) {
        return Ok(());
    }
    let nearest = suggest::nearest(&asks.field, kept).or_else(|| field::nearest(&asks.field, None));
    Err(match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => {
            "docs/fields.md lists the fields; one of tshark's has to be among the `fields` of an \
                 `extract` before it"
                .to_owned()
        }
    })
}

/// The components of a role whose records may reach a component.
fn above(drafts: &[Draft<'_>], wiring: &Wiring, from: usize, role: Role) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for wire in &wiring.edges[at] {
            if seen.insert(wire.from) {
                open.push(wire.from);
            }
        }
    }
    seen.retain(|at| drafts[*at].role == role);
    seen
}
