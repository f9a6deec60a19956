//! The project's own files: each config that is shipped loads, and the service is confined.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::{Case, Outcome, Scene, expected, process, tidegate::Tidegate};

/// The cases about shipped files.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_shipped_config_is_valid),
        Case::new(the_first_example_runs),
        Case::new(the_service_is_confined),
        Case::new(each_fuzz_target_has_inputs_to_begin_with_and_is_described),
    ]
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

/// As systemd rates a unit that is not started: 0 is best, 10 is worst.
fn the_service_is_confined(scene: &Scene) -> Outcome {
    let unit = fs::read_to_string(Scene::project("config/systemd/tidegate.service"))?;
    let gate = fs::read_to_string(Scene::project("config/systemd/tidegate.service.d/gate.conf"))?;
    for (name, text) in
        [("tidegate.service", unit.clone()), ("gated.service", format!("{unit}{gate}"))]
    {
        let unit = scene.write(name, text);
        let mut rate = Command::new("systemd-analyze");
        let rated =
            process::output(rate.args(["security", "--offline=true", "--no-pager"]).arg(unit))?;
        let overall = rated.lines().find(|line| line.contains("Overall exposure level"));
        let level = overall.and_then(|line| line.split_once(": ")?.1.split(' ').next());
        let level: f32 = level.ok_or_else(|| format!("no level in\n{rated}"))?.parse()?;
        assert!(level <= 2.5, "{name} is rated {level}");
    }
    Ok(())
}

fn each_fuzz_target_has_inputs_to_begin_with_and_is_described(_scene: &Scene) -> Outcome {
    let described = fs::read_to_string(Scene::project("docs/fuzzing.md"))?;
    let mut targets = 0;
    for file in fs::read_dir(Scene::project("fuzz/fuzz_targets"))? {
        let file = file?.path();
        let target = file.file_stem().and_then(OsStr::to_str).ok_or("a target without a name")?;
        let folders = ["fuzz/seeds", "tests/data"].map(|all| Scene::project(all).join(target));
        let inputs = folders.map(|seeds| fs::read_dir(seeds).map_or(0, Iterator::count));
        assert!(inputs != [0, 0], "{target} has no inputs: `make fuzz` would end there");
        assert!(described.contains(&format!("| `{target}` |")), "docs/fuzzing.md lacks {target}");
        targets += 1;
    }
    assert!(targets > 0);
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
