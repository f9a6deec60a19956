//! The Splunk add-on: its files agree with what we send and with the data models.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use libtest_mimic::Failed;
use serde_json::Value;
use tidegate::{
    field::{self, Schema},
    record::{Kind, Kinds},
};

use crate::harness::{Case, Outcome, Scene};

const FOLDER: &str = "config/splunk/TA-tidegate/default";

/// Keys and values of each stanza.
type Stanzas = BTreeMap<String, BTreeMap<String, String>>;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_source_type_has_its_properties_and_its_event_type),
        Case::new(event_types_have_the_tags_of_their_data_models).needs_data(),
    ]
}

fn conf(name: &str) -> Result<Stanzas, Failed> {
    let text = fs::read_to_string(Scene::project(FOLDER).join(name))?;
    let mut stanzas = Stanzas::new();
    let mut current = None;
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            current = Some(stanzas.entry(name.to_owned()).or_default());
        } else {
            let (key, value) = line.split_once(" = ").ok_or_else(|| format!("{name}: {line:?}"))?;
            let stanza =
                current.as_mut().ok_or_else(|| format!("{name}: a key before a stanza"))?;
            stanza.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(stanzas)
}

fn every_source_type_has_its_properties_and_its_event_type(_scene: &Scene) -> Outcome {
    let (props, event_types) = (conf("props.conf")?, conf("eventtypes.conf")?);
    for kind in Kinds::REPORTS.iter() {
        let stanza = &props[&format!("tidegate:{kind}")];
        assert_eq!(stanza["KV_MODE"], "json");
        let search = &event_types[&format!("tidegate_{kind}")]["search"];
        assert_eq!(*search, format!("sourcetype=\"tidegate:{kind}\""));
        let aliased: BTreeSet<_> = stanza
            .iter()
            .filter(|(key, _)| key.starts_with("FIELDALIAS-"))
            .map(|(_, alias)| alias.clone())
            .collect();
        let lists = field::named(Schema::Cim).filter(|field| field.kind == kind && field.is_list);
        let expected: BTreeSet<_> =
            lists.map(|field| format!("\"{0}{{}}\" AS {0}", field.name)).collect();
        assert_eq!(aliased, expected, "the lists of {kind}");
    }
    assert_eq!(props.len(), Kinds::REPORTS.iter().count());
    Ok(())
}

fn event_types_have_the_tags_of_their_data_models(scene: &Scene) -> Outcome {
    let tags = conf("tags.conf")?;
    for (kind, model) in [(Kind::Flow, "Network_Traffic"), (Kind::Alert, "Intrusion_Detection")] {
        let path = scene.data.join(format!("cim/{model}.json"));
        let model: Value = serde_json::from_slice(&fs::read(path)?)?;
        let wanted = model["objects"][0]["tags"][0].as_array().ok_or("a model has tags")?;
        let ours = &tags[&format!("eventtype=tidegate_{kind}")];
        assert!(ours.values().all(|state| state == "enabled"));
        let ours: BTreeSet<_> = ours.keys().map(String::as_str).collect();
        assert_eq!(ours, wanted.iter().filter_map(Value::as_str).collect(), "{kind}");
    }
    assert_eq!(tags.len(), 2, "packets beside flows would count twice");
    Ok(())
}
