//! What a command says to people on stderr: errors with their causes and remedy, and summaries.
#![expect(clippy::print_stderr, reason = "this is where commands speak to people")]

use std::{
    error::Error as StdError,
    io::{self, IsTerminal, Write, stderr, stdout},
    path::Path,
};

use super::exit::Exit;
use crate::{
    component::Error,
    config::{Components, Loaded, Replayed, Report, load_file, load_replay as load_replayed},
    topology::{Ended, Unbuilt},
};

/// Loads a config to run; prints its problems, and gives `None` if it can't be used.
pub(super) fn load(path: &Path) -> Option<Loaded<Components>> {
    usable(load_file(path, false))
}

/// The same of a config whose source reads a replay's captures instead.
pub(super) fn load_replay(path: &Path, replayed: &Replayed<'_>) -> Option<Loaded<Components>> {
    usable(load_replayed(path, replayed))
}

fn usable(loaded: Result<Loaded<Components>, Box<Report>>) -> Option<Loaded<Components>> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            report(problems.render(colours()));
            return None;
        }
    };
    let unwritable = loaded.check_destinations();
    for problems in [&loaded.warnings, &unwritable] {
        if !problems.is_empty() {
            report(problems.render(colours()));
        }
    }
    (unwritable.errors() == 0).then_some(loaded)
}

/// Prints data to stdout. A reader that has gone away is no failure.
pub(super) fn data(text: &str) -> Exit {
    match stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => Exit::Clean,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Clean,
        Err(error) => {
            report(format_args!("error: stdout can't be written: {error}"));
            Exit::Failure
        }
    }
}

/// Prints why a pipeline was not started.
pub(super) fn unbuilt(unbuilt: &Unbuilt) -> Exit {
    if !unbuilt.component.is_empty() {
        eprint!("{}: ", unbuilt.component);
    }
    error(&unbuilt.error);
    if unbuilt.error.is_configuration() { Exit::Configuration } else { Exit::Failure }
}

/// Whether colours make sense on stderr.
pub(super) fn colours() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints a line of progress or news, unless `quiet`.
pub(super) fn say(quiet: bool, text: impl std::fmt::Display) {
    if !quiet {
        eprintln!("{text}");
    }
}

/// Prints text that is an error report already.
pub(super) fn report(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// Prints `error:` with the chain of causes, and `hint:` with the remedy.
pub(super) fn error(error: &Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    if let Some(hint) = error.remedy() {
        eprintln!("hint: {hint}");
    }
}

/// Prints why a run failed, what it left unfinished, and its account.
pub(super) fn ended(ended: &Ended, quiet: bool) {
    for failure in ended.failures.iter().filter(|failure| !failure.error.is_downstream()) {
        eprint!("{}: ", failure.component);
        error(&failure.error);
    }
    if !ended.unfinished.is_empty() {
        eprintln!("error: cut off before they had finished: {}", ended.unfinished.join(", "));
    }
    if !quiet {
        eprint!("{}", ended.summary);
    }
}
