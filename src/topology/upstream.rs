//! What is known of a component from the sources above it, and from what reads it.

use std::collections::{BTreeSet, HashSet};

use crate::{
    component::{Decoding, Port},
    config::{Components, Config, Declared, Edge, SourceConfig},
    decode, dns,
};

// === impl Config ===

impl Config<Components> {
    /// The interface on which all that these inputs carry was captured, if it is one.
    pub fn interface_above(&self, inputs: &[Edge]) -> Option<&str> {
        // What the sensor says of itself comes from no interface, and from no other one either.
        let about_itself = |source: &SourceConfig| matches!(source, SourceConfig::Health(_));
        let sources = self.sources_above(inputs).into_iter();
        let sources = sources.filter(|source| !about_itself(source));
        let mut interfaces: BTreeSet<_> =
            sources.map(|source| source.configure().interface()).collect();
        let interface = interfaces.pop_first().flatten();
        interface.filter(|_| interfaces.is_empty())
    }

    /// The ports of a component that somebody reads.
    pub fn read(&self, id: &str) -> Vec<Port> {
        let transforms = self.transforms.iter().flat_map(|transform| &transform.inputs);
        let edges = transforms.chain(self.sinks.iter().flat_map(|sink| &sink.inputs));
        let mut ports: Vec<_> =
            edges.filter(|edge| edge.from == id).map(|edge| edge.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Whether any of what these inputs carry was seen by other sensors.
    pub fn is_from_others(&self, inputs: &[Edge]) -> bool {
        self.sources_above(inputs).into_iter().any(|source| match source {
            SourceConfig::Health(_) | SourceConfig::Tshark(_) | SourceConfig::Xdp(_) => false,
            #[cfg(feature = "kafka")]
            SourceConfig::Kafka(_) => true,
        })
    }

    /// How the component of this id and with these inputs is to decode frames that it reads.
    pub fn decoding(&self, id: &str, inputs: &[Edge]) -> Decoding {
        let sources = self.sources_above(inputs).into_iter();
        let tsharks: Vec<_> = sources
            .filter_map(|source| match source {
                SourceConfig::Tshark(tshark) => Some(tshark),
                SourceConfig::Health(_) | SourceConfig::Xdp(_) => None,
                #[cfg(feature = "kafka")]
                SourceConfig::Kafka(_) => None,
            })
            .collect();
        let looks = match self.sources.iter().find(|source| source.id == id) {
            Some(Declared { config: SourceConfig::Xdp(gate), .. }) => gate.reports_packets(),
            _ => tsharks.iter().any(|tshark| tshark.looks_behind_ports()),
        };
        let workers = tsharks.iter().filter_map(|tshark| tshark.decoders());
        let below = self.below(id);
        let users = self.transforms.iter().filter(|transform| below.contains(&*transform.id));
        let used: HashSet<_> =
            users.flat_map(|transform| transform.config.configure().uses()).collect();
        Decoding {
            workers: workers.max().unwrap_or(0),
            dns: dns::ALL_FIELDS
                .iter()
                .any(|field| used.contains(*field) && !decode::NAMES.contains(field)),
            names: looks && decode::NAMES.iter().any(|field| used.contains(*field)),
        }
    }

    fn sources_above(&self, inputs: &[Edge]) -> Vec<&SourceConfig> {
        let mut rest: Vec<_> = inputs.iter().map(|edge| edge.from.as_str()).collect();
        let (mut seen, mut sources) = (HashSet::new(), Vec::new());
        while let Some(id) = rest.pop() {
            if !seen.insert(id) {
                continue;
            }
            let source = self.sources.iter().find(|source| source.id == id);
            sources.extend(source.map(|source| &source.config));
            let transform = self.transforms.iter().find(|transform| transform.id == id);
            let above = transform.into_iter().flat_map(|transform| &transform.inputs);
            rest.extend(above.map(|edge| edge.from.as_str()));
        }
        sources
    }

    /// The ids of the transforms that read what a component gives, directly or not.
    fn below(&self, id: &str) -> HashSet<&str> {
        let mut below = HashSet::new();
        let reads = |inputs: &[Edge], below: &HashSet<&str>| {
            inputs.iter().any(|edge| edge.from == id || below.contains(&*edge.from))
        };
        loop {
            let before = below.len();
            for transform in &self.transforms {
                if reads(&transform.inputs, &below) {
                    below.insert(transform.id.as_str());
                }
            }
            if below.len() == before {
                return below;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{
        component::Port,
        config::{Components, Surroundings, load},
    };

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

    #[test]
    fn the_ports_that_are_read_are_known() {
        let text = "
sources:
  one: { type: tshark, interface: lo }
transforms:
  packets: { type: extract, inputs: [one] }
  flows: { type: flow, inputs: [packets] }
  scored: { type: score, inputs: [flows, flows.contacts] }
sinks:
  all: { type: console, inputs: [scored.alerts, flows] }
";
        let surroundings = Surroundings {
            variable: &|_| None,
            directory: Path::new("/nonexistent"),
            lenient: false,
        };
        let config =
            load::<Components>("t", text.as_bytes(), surroundings).expect("it loads").config;
        assert_eq!(config.read("flows"), [Port(0), Port(1)]);
        assert_eq!(config.read("scored"), [Port(1)]);
        assert!(config.read("all").is_empty());
    }

    #[test]
    fn a_gate_that_reports_packets_decodes_as_those_below_need_it() {
        for (report, reader, expected) in [
            ("packets", "flow, inputs: [gate]", (false, true)),
            (
                "packets",
                "filter, inputs: [gate], condition: { field: source.ip, exists: true }",
                (false, false),
            ),
            ("packets", "reverse_dns, inputs: [gate]", (true, true)),
            ("flows", "reverse_dns, inputs: [gate]", (true, false)),
        ] {
            let text = format!(
                "sources:\n  gate: {{ type: xdp, interface: eth0, report: {report} }}\ntransforms:\n  \
                 reader: {{ type: {reader} }}\nsinks:\n  out: {{ type: blackhole, inputs: [reader] }}\n"
            );
            let surroundings = Surroundings {
                variable: &|_| None,
                directory: Path::new("/nonexistent"),
                lenient: false,
            };
            let loaded = load::<Components>("t", text.as_bytes(), surroundings);
            let decoding = loaded.expect("it loads").config.decoding("gate", &[]);
            assert_eq!((decoding.dns, decoding.names), expected, "{report}: {reader}");
        }
    }

    #[test]
    fn frames_are_decoded_as_their_source_says_and_as_those_below_need_it() {
        let text = "
sources:
  one: { type: tshark, mode: file, files: [a.pcap], dissect: headers, workers: 3 }
  two: { type: tshark, mode: file, files: [b.pcap] }
transforms:
  learnt: { type: extract, inputs: [one] }
  plain: { type: extract, inputs: [one] }
  lines: { type: extract, inputs: [two] }
  flows: { type: flow, inputs: [learnt, plain] }
  named: { type: reverse_dns, inputs: [flows, learnt], packets: learn }
  unnamed: { type: reverse_dns, inputs: [plain], passive: false }
  asked: { type: extract, inputs: [one] }
  more_flows: { type: flow, inputs: [asked] }
sinks:
  all: { type: console, inputs: [named, unnamed, lines, more_flows] }
";
        let surroundings = Surroundings {
            variable: &|_| None,
            directory: Path::new("/nonexistent"),
            lenient: false,
        };
        let config =
            load::<Components>("t", text.as_bytes(), surroundings).expect("it loads").config;
        let decoding = |at: usize| {
            let transform = &config.transforms[at];
            let decoding = config.decoding(&transform.id, &transform.inputs);
            (decoding.workers, decoding.dns, decoding.names)
        };
        // What `plain` gives is joined with the rest in `flows`, which `named` reads.
        let frames = (3, true, true);
        assert_eq!([decoding(0), decoding(1), decoding(2)], [frames, frames, (0, false, false)]);
        let at = config.transforms.iter().position(|one| &*one.id == "asked");
        assert_eq!(decoding(at.expect("it is there")), (3, false, true));
    }
}
