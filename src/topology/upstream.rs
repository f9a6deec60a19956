//! What is known of a component from the sources above it.

use std::collections::{BTreeSet, HashSet};

use crate::config::{Components, Config, Edge, SourceConfig};

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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Components, Surroundings, load};

    #[test]
    fn the_interface_of_what_a_sink_takes_is_known_where_it_is_one() {
        let text = "
sources:
  one: { type: tshark, interface: lo }
  two: { type: tshark, interface: eth0 }
  self: { type: health }
  file: { type: tshark, mode: file, files: [a.pcap] }
transforms:
  from_file: { type: extract, inputs: [file] }
  from_one: { type: extract, inputs: [one] }
  from_two: { type: extract, inputs: [two] }
  flows: { type: flow, inputs: [from_one] }
sinks:
  single: { type: console, inputs: [flows, self] }
  double: { type: blackhole, inputs: [flows, from_two] }
  mixed: { type: blackhole, inputs: [flows, from_file] }
";
        let surroundings = Surroundings {
            variable: &|_| None,
            directory: Path::new("/nonexistent"),
            lenient: false,
        };
        let config =
            load::<Components>("t", text.as_bytes(), surroundings).expect("it loads").config;
        let above = |sink: usize| config.interface_above(&config.sinks[sink].inputs);
        assert_eq!([above(0), above(1), above(2)], [Some("lo"), None, None]);
    }
}
