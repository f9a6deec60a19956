//! `tidegate validate`: every problem of config files, and what they lack on this machine.

use std::path::{Path, PathBuf};

use super::{exit::Exit, output};
use crate::{
    config::{Components, Config, Declared, Loaded, SourceConfig, load_checked, load_file},
    topology::budget,
};

/// Check config files, and what they need on this machine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The config files, YAML or JSON.
    #[arg(required_unless_present = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The same, named as for `run`.
    #[arg(short, long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Leave the machine out of it: programs, interfaces, directories, environment variables.
    #[arg(long)]
    no_environment: bool,
}

pub(super) fn run(args: &Args, quiet: bool) -> Exit {
    let mut valid = true;
    for file in args.files.iter().chain(&args.config) {
        match check(file, !args.no_environment) {
            Some(checked) => output::say(quiet, format_args!("{}: ok: {checked}", file.display())),
            None => valid = false,
        }
    }
    if valid { Exit::Clean } else { Exit::Configuration }
}

/// Prints what is wrong with a file; what was checked, if nothing is.
fn check(file: &Path, environment: bool) -> Option<String> {
    let loaded = if environment { load_checked(file) } else { load_file(file, true) };
    let loaded: Loaded<Components> = match loaded {
        Ok(loaded) => loaded,
        Err(report) => {
            output::problems(&report);
            if environment {
                output::report(format_args!(
                    "{}: not checked: this machine, for what has a mistake: mend that and validate again",
                    file.display()
                ));
            }
            return None;
        }
    };
    output::problems(&loaded.warnings);
    let config = &loaded.config;
    let mut valid = true;
    if let Err(error) = budget::check(config) {
        output::problems(&loaded.at("memory_budget_bytes", &error));
        valid = false;
    }
    let (networks, _) = config.networks.read();
    for source in &config.sources {
        let SourceConfig::Xdp(gate) = &source.config else { continue };
        // Files of networks are a part of the machine.
        if let Err(error) = gate.allows_somebody(&networks)
            && (environment || config.networks.allow_files.is_empty())
        {
            output::error(&error);
            valid = false;
        }
    }
    if environment {
        let missing = loaded.check_environment();
        output::problems(&missing);
        valid &= missing.errors() == 0;
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let parts = [
        count(config.sources.len(), "source"),
        count(config.transforms.len(), "transform"),
        count(config.sinks.len(), "sink"),
    ];
    let machine = if environment {
        let mut machine =
            "this machine's programs, interfaces, capture filters, files, folders and API port"
                .to_owned();
        let unchecked = unchecked(config);
        if !unchecked.is_empty() {
            machine.push_str("; not checked: ");
            machine.push_str(&unchecked.join(", "));
        }
        machine
    } else {
        "not checked: this machine's programs, interfaces, files, folders and variables".to_owned()
    };
    valid.then(|| format!("keys, values and the edges of {}; {machine}", parts.join(", ")))
}

/// What could not be checked here, by the names of its keys.
fn unchecked(config: &Config<Components>) -> Vec<String> {
    let of = |source: &Declared<SourceConfig>| {
        let keys = source.config.configure().unchecked();
        keys.into_iter().map(|key| format!("sources.{}.{key}", source.id)).collect::<Vec<_>>()
    };
    config.sources.iter().flat_map(of).collect()
}
