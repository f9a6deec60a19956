//! `tidegate validate`: every problem of config files, and what they lack on this machine.

use std::path::PathBuf;

use super::{exit::Exit, output};
use crate::{
    config::{Components, load_file},
    topology::budget,
};

/// Check config files, and what they need on this machine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The config files, YAML or JSON.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Leave the machine out of it: programs, interfaces, directories, environment variables.
    #[arg(long)]
    no_environment: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let mut valid = true;
    for file in &args.files {
        let colours = output::colours();
        let loaded = match load_file::<Components>(file, args.no_environment) {
            Ok(loaded) => loaded,
            Err(report) => {
                output::report(report.render(colours));
                valid = false;
                continue;
            }
        };
        if !loaded.warnings.is_empty() {
            output::report(loaded.warnings.render(colours));
        }
        if let Err(error) = budget::check(&loaded.config) {
            output::error(&error);
            valid = false;
        }
        if !args.no_environment {
            let missing = loaded.check_environment();
            if !missing.is_empty() {
                output::report(missing.render(colours));
                valid &= missing.errors() == 0;
            }
        }
    }
    if valid { Exit::Clean } else { Exit::Configuration }
}
