//! The project's own files: each config that is shipped loads.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::{Case, Outcome, Scene, expected, tidegate::Tidegate};

/// The cases about shipped files.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(every_shipped_config_is_valid), Case::new(the_first_example_runs)]
}

fn every_shipped_config_is_valid(scene: &Scene) -> Outcome {
    let mut configs = Vec::new();
    for folder in ["config", "examples"] {
        yaml_below(&Scene::project(folder), &mut configs)?;
    }
    assert!(!configs.is_empty(), "no config is shipped");
    for config in configs {
        let shown = config.display().to_string();
        Tidegate::new(scene, ["validate", "--no-environment", &shown]).run()?.expect(0)?;
    }
    Ok(())
}

fn the_first_example_runs(scene: &Scene) -> Outcome {
    let capture = Scene::project("examples/first/first.pcap");
    Tidegate::new(scene, ["replay", "-c", "examples/first/tidegate.yaml"])
        .arg(&capture)
        .in_folder(&Scene::project(""))
        .env("TIDEGATE_OUT", &scene.folder)
        .run()?
        .expect(0)?;
    let records = fs::read_to_string(scene.path("records.ndjson"))?;
    assert_eq!(records.lines().collect::<Vec<_>>(), expected::simple_json(&capture)?);
    assert_eq!(records.lines().count(), 15);
    let flows = fs::read_to_string(scene.path("flows.ndjson"))?;
    let flows: Vec<Value> = flows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(flows.len(), 6);
    let named = flows.iter().filter(|flow| flow["destination"]["domain"] == "tidegate.example");
    assert!(
        named.count() >= 1,
        "no flow has the name that the capture's DNS answer gives: {flows:?}"
    );
    let packets = |flow: &Value| flow["network"]["packets"].as_u64().unwrap_or_default();
    assert_eq!(flows.iter().map(packets).sum::<u64>(), 15, "each packet is in one flow");
    Ok(())
}

fn yaml_below(folder: &Path, found: &mut Vec<PathBuf>) -> Outcome {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            yaml_below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    Ok(())
}
