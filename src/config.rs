//! The config: a YAML or JSON file → a typed pipeline, or every problem it has at once.
//!
//! `document` gives one tree of nodes with their places, variables substituted. Of it each component is
//! read for itself → inputs resolved to edges → the pipeline checked as a whole. Problems are gathered in
//! a [`Report`], which quotes the lines but never a secret.

mod components;
mod declare;
mod edges;
mod family;
mod globals;
mod graph;
mod inputs;
mod load;
mod networks;
mod paths;
mod ranges;
#[cfg(test)]
mod reference;
mod replaced;
mod schema;
#[cfg(test)]
mod tests;
mod usage;

use std::sync::Arc;

use crate::{
    component::{Port, Signature},
    networks::Lists,
    record::Kinds,
};

pub use self::{
    components::{Components, SinkConfig, SourceConfig, TransformConfig},
    declare::{ID, is_id},
    family::{Facts, Families, Family, NoKeys},
    globals::{Api, Globals, Observer},
    graph::mermaid,
    load::{Loaded, load, load_checked, load_file, load_replay},
    networks::{Allow, Ignore, Networks},
    replaced::Replayed,
    schema::schema,
};
pub use crate::document::{
    interpolate::Surroundings,
    report::{Diagnostic, Report, Severity},
    text::Span,
};

/// A config without errors.
#[derive(Debug)]
pub struct Config<F: Families = Components> {
    /// The hash of what the file says: of its keys and values, but not of secrets, nor of what came
    /// from variables and files. Comments and layout don't count.
    pub hash: Arc<str>,
    /// What holds for the whole process.
    pub globals: Globals,
    /// The networks that it lists for everybody.
    pub networks: Lists,
    /// The sources, in the order of the file.
    pub sources: Vec<Declared<F::Source>>,
    /// The transforms, in the order of the file.
    pub transforms: Vec<Declared<F::Transform>>,
    /// The sinks, in the order of the file.
    pub sinks: Vec<Declared<F::Sink>>,
}

/// A component of a config.
#[derive(Debug, Clone)]
pub struct Declared<F: Family> {
    /// Its id, unique over all sections.
    pub id: String,
    /// Where the id stands in the text.
    pub span: Span,
    /// Its `type`.
    pub kind: &'static str,
    /// Its ports.
    pub signature: Signature,
    /// What it reads; nothing for a source.
    pub inputs: Vec<Edge>,
    /// Its own keys.
    pub config: F,
    /// The keys it shares with others of its section.
    pub common: F::Common,
}

/// One edge, seen from its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The id of the component it comes from.
    pub from: String,
    /// The port there.
    pub port: Port,
    /// The kinds that come over it.
    pub carries: Kinds,
}
