//! `tidegate graph`: a config's pipeline as a mermaid flowchart.

use std::path::PathBuf;

use super::{exit::Exit, output};
use crate::config::{Components, load_file, mermaid};

/// Draw a config's pipeline as a mermaid flowchart.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The config file, YAML or JSON.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Exit {
    match load_file::<Components>(&args.file, true) {
        Ok(loaded) => output::data(&mermaid(&loaded.config)),
        Err(report) => {
            output::report(report.render(output::colours()));
            Exit::Configuration
        }
    }
}
