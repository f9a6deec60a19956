//! `tidegate buffer`: what is in a disk buffer, and mending it.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

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

fn inspect(path: &Path) -> Result<(Inspection, Exit), Error> {
    check(path)?;
    let found = inspect::inspect(path).map_err(|error| unreadable(path).because(error))?;
    let exit = if found.is_whole() { Exit::Clean } else { Exit::Unclean };
    Ok((found, exit))
}

/// Nobody may write to it meanwhile.
fn repair(path: &Path) -> Result<(Inspection, Exit), Error> {
    check(path)?;
    let _own = OwnDirectory::open(path).map_err(|error| unreadable(path).because(error))?;
    let found = inspect::repair(path).map_err(|error| unreadable(path).because(error))?;
    Ok((found, Exit::Clean))
}

/// Fails if the directory is no disk buffer: one that holds none of its files would be taken for an empty one.
fn check(path: &Path) -> Result<(), Error> {
    let names = names(path).map_err(|error| {
        unreadable(path).because(error).hint("name the directory of a disk buffer")
    })?;
    if names.iter().any(|name| inspect::is_of_a_buffer(name)) {
        return Ok(());
    }
    let message = format!("{} is no disk buffer: it holds none of its files", path.display());
    Err(Error::failure(message).hint(buffers_below(path)))
}

/// Which directory may have been meant.
fn buffers_below(path: &Path) -> String {
    let below = if path.file_name() == Some(OsStr::new("buffers")) {
        path.to_owned()
    } else {
        path.join("buffers")
    };
    match names(&below).unwrap_or_default().first() {
        Some(id) => format!("name that of a sink: {}", below.join(id).display()),
        None => "name `buffer.path` of the sink, or `buffers/ID` in `data_dir`".to_owned(),
    }
}

/// The names in a directory, sorted.
fn names(path: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().into_string().ok());
    let names: io::Result<Vec<_>> = fs::read_dir(path)?.map(name).collect();
    let mut names: Vec<_> = names?.into_iter().flatten().collect();
    names.sort_unstable();
    Ok(names)
}

fn unreadable(path: &Path) -> Error {
    Error::failure(format!("the disk buffer in {} can't be read", path.display()))
}
