//! The project's own files: each config that is shipped loads, and the service is confined.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{Case, Outcome, Scene, expected, process, tidegate::Tidegate};

/// The cases about shipped files.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_shipped_config_is_valid),
        Case::new(every_example_finds_on_this_machine_what_it_names),
        Case::new(the_service_may_write_where_shipped_configs_do),
        Case::new(contacts_are_shipped_in_the_order_that_a_judge_needs),
        Case::new(the_first_example_runs),
        Case::new(the_service_is_confined),
        Case::new(a_build_without_clang_or_headers_says_what_to_install),
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

fn every_example_finds_on_this_machine_what_it_names(scene: &Scene) -> Outcome {
    let mut examples = Vec::new();
    yaml_below(&Scene::project("examples"), &mut examples)?;
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        Tidegate::new(scene, ["validate", &example.display().to_string()])
            .env("TIDEGATE_OUT", &scene.folder)
            .env("TIDEGATE_SPLUNK_TOKEN", "11111111-2222-3333-4444-555555555555")
            .run()?
            .expect(0)?;
    }
    Ok(())
}

/// `ProtectSystem=strict` lets it write where the unit says, and nowhere else.
fn the_service_may_write_where_shipped_configs_do(_scene: &Scene) -> Outcome {
    let unit = fs::read_to_string(Scene::project("config/systemd/tidegate.service"))?;
    assert!(unit.lines().any(|line| line == "ProtectSystem=strict"), "{unit}");
    let named = |key: &str, root: &str| -> Result<PathBuf, Failed> {
        let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        Ok(Path::new(root).join(value.ok_or_else(|| format!("the unit has no {key}"))?))
    };
    let writable = [named("StateDirectory", "/var/lib")?, named("LogsDirectory", "/var/log")?];
    let mut looked_at = 0;
    for (config, document) in shipped()? {
        let mut places = Vec::new();
        outputs(&document, &mut places);
        for place in places {
            assert!(
                writable.iter().any(|folder| Path::new(place).starts_with(folder)),
                "{}: the service may write to {writable:?}, not to {place}",
                config.display()
            );
            looked_at += 1;
        }
    }
    assert!(looked_at >= 10, "only {looked_at} places were found");
    Ok(())
}

/// As docs/kafka.md says: a judge takes each source's contacts as they come.
fn contacts_are_shipped_in_the_order_that_a_judge_needs(_scene: &Scene) -> Outcome {
    let mut looked_at = 0;
    for (config, document) in shipped()? {
        for (id, sink) in document["sinks"].as_object().ok_or("no sinks")? {
            let of_contacts =
                |input: &Value| input.as_str().is_some_and(|id| id.ends_with(".contacts"));
            let inputs = sink["inputs"].as_array().ok_or("no inputs")?;
            if sink["type"] == "kafka" && inputs.iter().any(of_contacts) {
                let told = (&sink["key"], &sink["request"]["concurrency"]);
                assert_eq!(told, (&"source".into(), &1.into()), "{}: {id}", config.display());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 0, "no config ships contacts");
    Ok(())
}

/// The configs for production, as they stand there.
fn shipped() -> Result<Vec<(PathBuf, Value)>, Failed> {
    let mut configs = Vec::new();
    yaml_below(&Scene::project("config"), &mut configs)?;
    let read = |config: PathBuf| {
        let text = fs::read_to_string(&config)?;
        let document = serde_saphyr::from_str(&text)
            .map_err(|error| format!("{}: {error}", config.display()))?;
        Ok((config, document))
    };
    configs.into_iter().map(read).collect()
}

/// The absolute paths that are written to by a config: files of sinks, and folders of its own.
fn outputs<'a>(document: &'a Value, found: &mut Vec<&'a str>) {
    let Some(keys) = document.as_object() else { return };
    for (key, value) in keys {
        match value.as_str() {
            Some(path) if ["data_dir", "dir", "path", "snapshot"].contains(&key.as_str()) => {
                found.extend(path.starts_with('/').then_some(path));
            }
            _ => outputs(value, found),
        }
    }
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

/// The gate's build script, as cargo runs it.
fn a_build_without_clang_or_headers_says_what_to_install(scene: &Scene) -> Outcome {
    let script = scene.path("build");
    let mut compile = Command::new("rustc");
    compile.args(["--edition", "2024", "-o"]).arg(&script);
    process::output(compile.arg(Scene::project("ebpf/build.rs")))?;
    let without_headers = scene.write_program(
        "clang",
        "#!/bin/sh\necho \"bpf/tidegate.bpf.c:3:10: fatal error: 'bpf/bpf_helpers.h' file not found\" >&2\nexit 1\n",
    )?;
    for (clang, why) in
        [(Path::new("/nonexistent/clang"), "can't be run"), (&without_headers, "can't compile")]
    {
        let mut build = Command::new(&script);
        build.current_dir(Scene::project("ebpf")).env("CLANG", clang);
        build.env("OUT_DIR", &scene.folder).env("CARGO_CFG_TARGET_ARCH", "x86_64");
        let ended = build.output()?;
        let said = String::from_utf8(ended.stdout)?;
        let error = said.lines().find_map(|line| line.strip_prefix("cargo::error="));
        let error = error.ok_or_else(|| format!("no error in\n{said}"))?;
        assert!(!ended.status.success(), "{said}");
        let clang = clang.display().to_string();
        let remedies = ["apt-get install clang libbpf-dev", "--no-default-features"];
        for words in [clang.as_str(), why].into_iter().chain(remedies) {
            assert!(error.contains(words), "no {words} in: {error}");
        }
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
