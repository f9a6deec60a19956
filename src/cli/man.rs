//! `tidegate man`: manual pages, made of what `--help` says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use clap_mangen::{Man, generate_to};

use super::{Cli, exit::Exit, output};
use crate::component::Error;

/// Print the manual page, or write those of all commands.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder to write the pages of all commands to (`tidegate.1`, `tidegate-run.1`, …); it is made if it is
    /// not there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Exit {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        return match Man::new(Cli::command()).render(&mut page) {
            Ok(()) => output::data(&String::from_utf8_lossy(&page)),
            Err(error) => {
                output::report(format_args!("error: the page can't be written: {error}"));
                Exit::Failure
            }
        };
    };
    match write(dir) {
        Ok(()) => Exit::Clean,
        Err(error) => {
            output::error(&error);
            Exit::Failure
        }
    }
}

fn write(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).and_then(|()| generate_to(Cli::command(), dir)).map_err(|error| {
        Error::failure(format!("the pages can't be written to {}", dir.display())).because(error)
    })
}
