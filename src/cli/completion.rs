//! `tidegate completion`: a shell's completions of the command line.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, exit::Exit, output};

/// Print what lets a shell complete the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Exit {
    let mut text = Vec::new();
    generate(args.shell, &mut Cli::command(), "tidegate", &mut text);
    output::data(&String::from_utf8_lossy(&text))
}
