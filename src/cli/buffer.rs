//! `tidegate buffer`: what is in a disk buffer, and mending it.

use std::path::PathBuf;

use clap::Subcommand;

use super::{exit::Exit, output};
use crate::{
    buffer::inspect::{self, Inspection},
    component::Error,
    storage::directory::OwnDirectory,
};

/// Look into a disk buffer, or mend it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what each segment holds, and what waits. Exit status 3 if something can't be read.
    Inspect(Directory),
    /// Write damaged segments anew with their whole records; the damaged ones are kept as `.damaged`.
    /// Prints what was there before.
    Repair(Directory),
}

#[derive(Debug, clap::Args)]
struct Directory {
    /// The buffer's directory: `buffer.path` of its sink, or `buffers/ID` in `data_dir`.
    #[arg(value_name = "DIR")]
    path: PathBuf,
}

pub(super) fn run(args: &Args) -> Exit {
    let done = match &args.command {
        Command::Inspect(directory) => inspect(&directory.path),
        Command::Repair(directory) => repair(&directory.path),
    };
    match done {
        Ok((found, exit)) => {
            output::data(&found.to_string());
            exit
        }
        Err(error) => {
            output::error(&error);
            Exit::Failure
        }
    }
}

fn inspect(path: &std::path::Path) -> Result<(Inspection, Exit), Error> {
    let found = inspect::inspect(path).map_err(|error| unreadable(path).because(error))?;
    let exit = if found.is_whole() { Exit::Clean } else { Exit::Unclean };
    Ok((found, exit))
}

/// Nobody may write to it meanwhile.
fn repair(path: &std::path::Path) -> Result<(Inspection, Exit), Error> {
    if !path.is_dir() {
        return Err(unreadable(path).hint("name the directory of a disk buffer"));
    }
    let _own = OwnDirectory::open(path).map_err(|error| unreadable(path).because(error))?;
    let found = inspect::repair(path).map_err(|error| unreadable(path).because(error))?;
    Ok((found, Exit::Clean))
}

fn unreadable(path: &std::path::Path) -> Error {
    Error::failure(format!("the disk buffer in {} can't be read", path.display()))
}
