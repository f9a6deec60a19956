//! `tidegate graph`: a config's pipeline as a mermaid flowchart.

use super::{ConfigFile, exit::Exit, output};
use crate::config::{Components, load_file, mermaid};

/// Draw a config's pipeline as a mermaid flowchart.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(args: &Args) -> Exit {
    match load_file::<Components>(args.config.path(), true) {
        Ok(loaded) => output::data(&mermaid(&loaded.config)),
        Err(report) => {
            output::problems(&report);
            Exit::Configuration
        }
    }
}
