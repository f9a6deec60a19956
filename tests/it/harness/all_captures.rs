//! Every capture of the data folder, through one replay that writes what several cases look at.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use libtest_mimic::Failed;
use tidegate::decode::NAMES;

use super::{Outcome, Scene, captures, tidegate::Tidegate};

/// Hundreds of thousands of packets, on a machine that does other things besides.
const LIMIT: Duration = Duration::from_mins(15);

/// What is written: packets in three schemas, flows in two, one of them twice.
const FILES: [(&str, &str, &str); 6] = [
    ("packets", "packets", "simple"),
    ("packets", "packets", "ecs"),
    ("packets", "packets", "cim"),
    ("flows", "flows", "ecs"),
    ("flows", "flows", "cim"),
    ("named", "flows", "ecs"),
];

/// The lines of the packets (`packets`) or flows (`flows`, and `named` once more) of all captures, in the
/// order of [`captures::below`], in a schema. Each file is for one case: it is deleted once all of it was taken.
///
/// # Errors
/// When the replay, which the first case starts, did not deliver all; or what `take` ends with.
pub(crate) fn each(
    scene: &Scene,
    kind: &str,
    schema: &str,
    mut take: impl FnMut(String) -> Outcome,
) -> Outcome {
    static FOLDER: OnceLock<Result<PathBuf, Failed>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| replay(scene)).clone()?;
    let path = file(&folder, kind, schema);
    BufReader::new(File::open(&path)?).lines().try_for_each(|line| take(line?))?;
    Ok(fs::remove_file(path)?)
}

fn file(folder: &Path, kind: &str, schema: &str) -> PathBuf {
    folder.join(format!("{kind}.{schema}"))
}

fn replay(scene: &Scene) -> Result<PathBuf, Failed> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replayed");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut config = format!(
        "data_dir: {}
sources: {{ wire: {{ type: tshark, mode: file, files: [replaced.pcap], fields: [{names}] }} }}
transforms:
  packets: {{ type: extract, inputs: [wire], fields: [{names}] }}
  flows: {{ type: flow, inputs: [packets], tunnels: inner, internal_networks: [10.0.0.0/8] }}
sinks:
",
        folder.join("state").display(),
        names = NAMES.join(", ")
    );
    for (name, kind, schema) in FILES {
        writeln!(
            config,
            "  {name}_{schema}: {{ type: file, inputs: [{kind}], path: {}, \
             encoding: {{ schema: {schema} }} }}",
            file(&folder, name, schema).display()
        )?;
    }
    let config = scene.write("replayed.yaml", config);
    let command = Tidegate::new(scene, ["replay", "-c"]).arg(config);
    let command = captures::below(&scene.data)?.iter().fold(command, Tidegate::arg);
    command.start()?.wait(LIMIT)?.expect(0)?;
    Ok(folder)
}
