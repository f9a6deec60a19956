//! What is known of a component from the sources above it.

use std::collections::{BTreeSet, HashSet};

use super::{Components, Config, Edge, SourceConfig};

// === impl Config ===

impl Config<Components> {
    /// The interface on which all that these inputs carry was captured, if it is one.
    pub fn interface_above(&self, inputs: &[Edge]) -> Option<&str> {
        let mut rest: Vec<_> = inputs.iter().map(|edge| edge.from.as_str()).collect();
        let (mut seen, mut interfaces) = (HashSet::new(), BTreeSet::new());
        while let Some(id) = rest.pop() {
            if !seen.insert(id) {
                continue;
            }
            // What the sensor says of itself comes from no interface, and from no other one either.
            let about_itself = |source: &SourceConfig| matches!(source, SourceConfig::Health(_));
            let source = self.sources.iter().find(|source| source.id == id);
            let source = source.filter(|source| !about_itself(&source.config));
            interfaces.extend(source.map(|source| source.config.configure().interface()));
            let transform = self.transforms.iter().find(|transform| transform.id == id);
            let above = transform.into_iter().flat_map(|transform| &transform.inputs);
            rest.extend(above.map(|edge| edge.from.as_str()));
        }
        let interface = interfaces.pop_first().flatten();
        interface.filter(|_| interfaces.is_empty())
    }
}
