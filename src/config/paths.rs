//! Paths in a config → whole paths: one that is relative begins at the folder of the config file.
//!
//! Which keys are paths says the schema: `format: path`, or `path-pattern` for one with directives of
//! `strftime`.

use std::path::Path;

use serde_json::Value as Schema;

use crate::{
    component::Problem,
    document::tree::{Node, Origin, Scalar, Typed, Value},
};

/// Makes the paths whole that `schema` names in `node`. `folder` has to be absolute.
pub(super) fn anchor(schema: &Schema, node: &mut Node, folder: &Path) {
    visit(schema, node, schema["format"].as_str(), folder);
}

/// The paths in `node` that begin as a shell writes those below a home directory. Nobody expands that here: it would
/// be a folder called `~`.
pub(super) fn unexpanded(schema: &Schema, node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    look(schema, node, schema["format"].as_str(), "", &mut problems);
    problems
}

fn look(
    schema: &Schema,
    node: &Node,
    format: Option<&str>,
    key: &str,
    problems: &mut Vec<Problem>,
) {
    let shapes = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array());
    let format = shapes.flatten().find_map(|shape| shape["format"].as_str()).or(format);
    match &node.value {
        Value::Scalar(scalar) => {
            let is_path = matches!(format, Some("path" | "path-pattern"));
            if is_path && (scalar.text == "~" && !node.is_null() || scalar.text.starts_with("~/")) {
                let problem = Problem::new(key, "`~` is no home directory here");
                problems.push(problem.hint("write the whole path, or ${HOME}/…"));
            }
        }
        Value::Sequence(items) => {
            let own = &schema["items"];
            for (at, item) in items.iter().enumerate() {
                let format = own["format"].as_str().or(format);
                look(own, item, format, &format!("{key}[{at}]"), problems);
            }
        }
        Value::Mapping(entries) => {
            let dot = if key.is_empty() { "" } else { "." };
            for entry in entries {
                let own = &schema["properties"][&entry.key];
                let key = format!("{key}{dot}{}", entry.key);
                look(own, &entry.value, own["format"].as_str(), &key, problems);
            }
        }
    }
}

/// `format` is that of the list which `node` is an item of, if the schema gives it none.
fn visit(schema: &Schema, node: &mut Node, format: Option<&str>, folder: &Path) {
    let shapes = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array());
    for shape in shapes.flatten() {
        visit(shape, node, shape["format"].as_str(), folder);
    }
    match &mut node.value {
        Value::Scalar(scalar) => match format {
            Some("path") => make_whole(scalar, folder, str::to_owned),
            Some("path-pattern") => make_whole(scalar, folder, |text| text.replace('%', "%%")),
            _ => {}
        },
        Value::Sequence(items) => {
            let own = &schema["items"];
            for item in items {
                visit(own, item, own["format"].as_str().or(format), folder);
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                let own = &schema["properties"][&entry.key];
                visit(own, &mut entry.value, own["format"].as_str(), folder);
            }
        }
    }
}

/// `written` spells the folder as the key wants it.
fn make_whole(scalar: &mut Scalar, folder: &Path, written: fn(&str) -> String) {
    let missing = scalar.origin == Origin::Unset || scalar.typed() == Typed::Null;
    if missing || scalar.text.is_empty() || scalar.text.starts_with('/') {
        return;
    }
    let mut rest = scalar.text.as_str();
    while let Some(shorter) = rest.strip_prefix("./") {
        rest = shorter.trim_start_matches('/');
    }
    let folder = written(&folder.to_string_lossy());
    scalar.text = format!("{}/{rest}", folder.trim_end_matches('/'));
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        config::{Components, Config, SinkConfig, SourceConfig, TransformConfig, load},
        document::interpolate::Surroundings,
    };

    fn config(text: &str, folder: &str) -> Config<Components> {
        let variable = |name: &str| (name == "OUT").then(|| "from/outside".to_owned());
        let directory = Path::new(folder);
        let surroundings = Surroundings { variable: &variable, directory, lenient: false };
        load("test.yaml", text.as_bytes(), surroundings).unwrap_or_else(|e| panic!("{e}")).config
    }

    /// One of each key that names something on disk.
    fn of_each_key(config: &Config<Components>) -> Vec<(&'static str, Option<PathBuf>)> {
        let mut found = vec![("data_dir", Some(config.globals.data_dir.clone()))];
        found.push(("allow_files", config.networks.allow_files.first().cloned()));
        for source in &config.sources {
            match &source.config {
                SourceConfig::Tshark(tshark) => {
                    found.push(("files", tshark.files.first().cloned()));
                    found.push(("segment.dir", tshark.segment.dir.clone()));
                }
                SourceConfig::Xdp(xdp) => {
                    found.push(("block_files", xdp.firewall.block_files.first().cloned()));
                }
                SourceConfig::Health(_) => {}
                #[cfg(feature = "kafka")]
                SourceConfig::Kafka(_) => {}
            }
        }
        for transform in &config.transforms {
            if let TransformConfig::Score(score) = &transform.config {
                found.push(("assets", score.alerts.assets.clone()));
            }
        }
        for sink in &config.sinks {
            found.push(("buffer.path", sink.common.buffer.path.clone()));
            found.push(("dead_letter", sink.common.dead_letter.clone().map(|at| at.path)));
            match &sink.config {
                SinkConfig::File(file) => found.push(("path", Some(file.path.clone().into()))),
                SinkConfig::Elasticsearch(siem) => {
                    found.push(("tls.ca", siem.tls.ca.clone()));
                    found.push(("tls.cert", siem.tls.cert.clone()));
                    found.push(("tls.key", siem.tls.key.clone()));
                }
                _ => {}
            }
        }
        found
    }

    const EACH_KEY: &str = r#"
data_dir: STATE/data
networks: { allow_files: [STATE/allow.txt] }
sources:
  file: { type: tshark, mode: file, files: STATE/a.pcap, dissect: headers }
  wire: { type: tshark, interface: eth0, dissect: headers, segment: { dir: "STATE/segments" } }
  gate: { type: xdp, interface: eth1, report: none, firewall: { block_files: [STATE/block.txt] } }
transforms:
  packets: { type: extract, inputs: [file, wire] }
  flows: { type: flow, inputs: [packets] }
  scored: { type: score, inputs: [flows.contacts, flows], alerts: { host: asset, assets: STATE/hosts.csv }, block: { via: gate } }
sinks:
  out:
    type: file
    inputs: [scored]
    path: STATE/%Y/flows.ndjson
    buffer: { type: disk, path: STATE/buffer }
    dead_letter: { path: STATE/dead.ndjson }
  siem:
    type: elasticsearch
    inputs: [scored.alerts]
    endpoints: ["https://localhost:9200"]
    tls: { ca: STATE/ca.pem, cert: STATE/cert.pem, key: STATE/key.pem }
"#;

    #[test]
    fn every_path_begins_at_the_folder_of_the_config() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        std::fs::write(folder.path().join("state/allow.txt"), "192.0.2.1").unwrap();
        std::fs::write(folder.path().join("state/hosts.csv"), "").unwrap();
        let here = folder.path().to_str().unwrap();
        for spelling in ["state", "./state", ".//./state", &format!("{here}/state")] {
            let found = of_each_key(&config(&EACH_KEY.replace("STATE", spelling), here));
            let given: Vec<_> = found.iter().filter(|(_, path)| path.is_some()).collect();
            assert_eq!(given.len(), 12, "{found:?}");
            for (key, path) in given {
                let path = path.as_deref().unwrap();
                assert!(path.starts_with(folder.path().join("state")), "{key}: {path:?}");
            }
        }
    }

    #[test]
    fn a_folder_with_a_percent_sign_is_no_pattern_and_a_variable_may_be_relative() {
        let text = r#"
sources: { file: { type: tshark, mode: file, files: [a.pcap], dissect: headers } }
transforms: { packets: { type: extract, inputs: [file] } }
sinks: { out: { type: file, inputs: [packets], path: "${OUT}/%F.ndjson" } }
"#;
        let config = config(text, "/100%Y/b");
        let SinkConfig::File(file) = &config.sinks[0].config else { panic!("{config:?}") };
        assert_eq!(file.path, "/100%%Y/b/from/outside/%F.ndjson");
        let SourceConfig::Tshark(tshark) = &config.sources[0].config else { panic!("{config:?}") };
        assert_eq!(tshark.files, [PathBuf::from("/100%Y/b/a.pcap")]);
    }

    #[test]
    fn the_hash_of_a_config_does_not_tell_where_it_lies() {
        let text = r"
sources: { file: { type: tshark, mode: file, files: [a.pcap], dissect: headers } }
transforms: { packets: { type: extract, inputs: [file] } }
sinks: { out: { type: file, inputs: [packets], path: a.ndjson } }
";
        assert_eq!(config(text, "/a").hash, config(text, "/b").hash);
    }
}
