//! A config as a mermaid flowchart: ids, types, kinds on the edges, and no values.

use std::fmt::Write;

use super::{
    Config, Declared,
    declare::Draft,
    family::{Families, Family},
};
use crate::component::Role;

/// `.PORT` of a draft's named port; empty for the main one.
pub(super) fn port_name(draft: &Draft<'_>, port: usize) -> String {
    let ports = draft.facts.as_ref().map_or(&[][..], |facts| &facts.signature.ports);
    match ports.get(port) {
        Some(spec) if !spec.name.is_empty() => format!(".{}", spec.name),
        _ => String::new(),
    }
}

/// The text `tidegate graph` prints.
pub fn mermaid<F: Families>(config: &Config<F>) -> String {
    let mut nodes = Vec::new();
    nodes.extend(config.sources.iter().map(|declared| Shape::of(declared, Role::Source)));
    nodes.extend(config.transforms.iter().map(|declared| Shape::of(declared, Role::Transform)));
    nodes.extend(config.sinks.iter().map(|declared| Shape::of(declared, Role::Sink)));
    let mut out = String::from("flowchart LR\n");
    let place = |id: &str| nodes.iter().position(|node| node.id == id).unwrap_or_default();
    for (at, node) in nodes.iter().enumerate() {
        let (open, close) = match node.role {
            Role::Source => ("([", "])"),
            Role::Transform => ("[", "]"),
            Role::Sink => ("[(", ")]"),
        };
        line(&mut out, format_args!("  n{at}{open}\"{}<br/>{}\"{close}", node.id, node.kind));
    }
    for (at, node) in nodes.iter().enumerate() {
        for input in node.inputs {
            let from = place(&input.from);
            let port = nodes[from].ports.get(input.port.0).map_or("", String::as_str);
            let dot = if port.is_empty() { String::new() } else { format!("{port}: ") };
            line(&mut out, format_args!("  n{from} -- \"{dot}{}\" --> n{at}", input.carries));
        }
    }
    out
}

struct Shape<'a> {
    id: &'a str,
    kind: &'a str,
    role: Role,
    ports: Vec<String>,
    inputs: &'a [super::Edge],
}

impl<'a> Shape<'a> {
    fn of<F: Family>(declared: &'a Declared<F>, role: Role) -> Self {
        let ports = declared.signature.ports.iter();
        Self {
            id: &declared.id,
            kind: declared.kind,
            role,
            ports: ports.map(|port| port.name.to_string()).collect(),
            inputs: &declared.inputs,
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes every write");
}
