//! Wiring: bounded edges between the parts of a plan, and one run loop for each task.

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    chain::Chain,
    plan::{Part, Plan},
};
use crate::{
    component::{
        Component, Input, Outputs, Run, Transform,
        edge::{WhenFull, edge},
    },
    metrics::Meter,
};

/// A task that is ready to be spawned.
pub(super) struct Task {
    /// The components it runs, in the data's order.
    pub(super) members: Vec<Arc<Meter>>,
    /// Their run loop.
    pub(super) run: Run,
}

/// The run loop of one task's components before it has its ends.
enum Body {
    Whole(Component),
    Chain(Vec<(Box<dyn Transform>, Arc<Meter>)>),
}

/// Connects the parts and gives one task for each source, chain of transforms, stage and sink.
pub(super) fn wire(plan: Plan, stop: &CancellationToken) -> Vec<Task> {
    let Plan { parts, clock, receipts, .. } = plan;
    let groups = groups(&parts);

    let mut outputs: Vec<Outputs> = parts
        .iter()
        .map(|part| {
            let ports = part.signature.ports.len();
            Outputs::new(ports, Arc::clone(&part.meter), receipts.clone())
        })
        .collect();
    let inputs: Vec<Input> = groups
        .iter()
        .map(|group| {
            let reader = &parts[group[0]];
            let input = Input::new(clock, Arc::clone(&reader.meter));
            let mut input = input.stopped_by(stop.child_token());
            for link in &reader.inputs {
                let sheds = parts[link.from].signature.ports[link.port.0].sheds;
                let when_full = if sheds { WhenFull::DropNewest } else { reader.when_full };
                let (sender, receiver) = edge(reader.bounds, when_full, &reader.meter);
                outputs[link.from].connect(link.port, sender);
                input.add(receiver, link.carries);
            }
            input
        })
        .collect();

    let mut ends: BTreeMap<usize, (Part, Outputs)> =
        parts.into_iter().zip(outputs).enumerate().collect();
    let mut tasks = Vec::new();
    for (group, input) in groups.iter().zip(inputs) {
        let (mut members, mut body, mut out) = (Vec::new(), None, None);
        for at in group {
            let Some((part, outputs)) = ends.remove(at) else {
                continue;
            };
            members.push(Arc::clone(&part.meter));
            body = Some(Body::join(body, part));
            out = Some(outputs);
        }
        let (Some(body), Some(out)) = (body, out) else {
            continue;
        };
        let run: Run = match body {
            Body::Chain(links) => {
                Box::pin(Chain::new(links, clock, receipts.clone(), out).run(input))
            }
            Body::Whole(Component::Source(run, _)) => run(out, stop.child_token()),
            Body::Whole(Component::Stage(run)) => run(input, out),
            Body::Whole(Component::Sink(run)) => run(input),
            Body::Whole(Component::Transform(_)) => continue,
        };
        tasks.push(Task { members, run });
    }
    tasks
}

/// The parts each task runs: one, or the transforms of a chain in the data's order.
fn groups(parts: &[Part]) -> Vec<Vec<usize>> {
    let next = fused(parts);
    let is_head = |at: &usize| !next.values().any(|follower| follower == at);
    let chain = |head| std::iter::successors(Some(head), |at| next.get(at).copied()).collect();
    (0..parts.len()).filter(is_head).map(chain).collect()
}

/// For each transform that hands everything to just one other transform: that one. A further port,
/// reader or writer cuts the chain.
fn fused(parts: &[Part]) -> BTreeMap<usize, usize> {
    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        for link in &part.inputs {
            readers.entry(link.from).or_default().push(at);
        }
    }
    let is_transform = |at: usize| matches!(parts[at].component, Component::Transform(_));
    let fuses = |(from, readers): (usize, Vec<usize>)| match readers[..] {
        [reader]
            if is_transform(from)
                && is_transform(reader)
                && parts[from].signature.ports.len() == 1
                && parts[reader].inputs.len() == 1 =>
        {
            Some((from, reader))
        }
        _ => None,
    };
    readers.into_iter().filter_map(fuses).collect()
}

// === impl Body ===

impl Body {
    fn join(before: Option<Self>, part: Part) -> Self {
        match (before, part.component) {
            (Some(Self::Chain(mut links)), Component::Transform(transform)) => {
                links.push((transform, part.meter));
                Self::Chain(links)
            }
            (_, Component::Transform(transform)) => Self::Chain(vec![(transform, part.meter)]),
            (_, whole) => Self::Whole(whole),
        }
    }
}
