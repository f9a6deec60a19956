//! What a command says on stderr: errors with their causes and remedy, and summaries. To people as text,
//! with `--log-format json` as events of the log, so that each line is an object.

use std::{
    env,
    error::Error as StdError,
    ffi::OsStr,
    fmt::Display,
    io::{self, IsTerminal, Write, stdout},
    path::Path,
    sync::OnceLock,
};

use tracing::{Level, enabled};

use super::{exit::Exit, log::LogFormat, stderr};
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
            self::problems(&problems);
            return None;
        }
    };
    let unwritable = loaded.check_destinations();
    for problems in [&loaded.warnings, &unwritable] {
        self::problems(problems);
    }
    (unwritable.errors() == 0).then_some(loaded)
}

/// How stderr is written; text until it is set.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Sets how stderr is written, for the whole process.
pub(super) fn set_format(format: LogFormat) {
    FORMAT.get_or_init(|| format);
}

/// Whether each line has to be an object.
pub(super) fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

/// Prints data to stdout. A reader that has gone away is no failure.
pub(super) fn data(text: &str) -> Exit {
    written(stdout().lock().write_all(text.as_bytes()))
}

/// What came of writing data to stdout.
pub(super) fn written(result: io::Result<()>) -> Exit {
    match result {
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
    of_component(&unbuilt.component, &unbuilt.error);
    if unbuilt.error.is_configuration() { Exit::Configuration } else { Exit::Failure }
}

/// Whether colours make sense on stderr.
pub(super) fn colours() -> bool {
    !is_json()
        && io::stderr().is_terminal()
        && takes_colours(env::var_os("NO_COLOR").as_deref(), env::var_os("TERM").as_deref())
}

/// Whether a line on stderr can be taken back: a terminal of people's that knows how.
pub(super) fn can_change_a_line() -> bool {
    !is_json()
        && io::stderr().is_terminal()
        && env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Whether a terminal is to have colours, by `NO_COLOR`, which counts unless it is empty, and `TERM`.
fn takes_colours(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|name| name != "dumb")
}

/// Prints a line of progress or news, unless `quiet`.
pub(super) fn say(quiet: bool, text: impl Display) {
    if quiet {
        return;
    }
    if is_json() {
        tracing::info!("{text}");
    } else {
        stderr::print(&format!("{text}\n"));
    }
}

/// Prints the problems of a config, if there are any: as an error if one of them is.
pub(super) fn problems(problems: &Report) {
    if problems.is_empty() {
        return;
    }
    let text = problems.render(colours());
    if is_json() && problems.errors() == 0 {
        tracing::warn!("{text}");
    } else {
        report(text);
    }
}

/// Prints a line about what may be other than meant.
pub(super) fn warning(text: impl Display) {
    if is_json() {
        tracing::warn!("{text}");
    } else {
        report(format_args!("warning: {text}"));
    }
}

/// Prints text that is an error report already.
pub(super) fn report(text: impl Display) {
    if is_json() {
        tracing::error!("{text}");
    } else {
        stderr::print(&format!("{text}\n"));
    }
}

/// Prints `error:` with the chain of causes, and `hint:` with the remedy.
pub(super) fn error(error: &Error) {
    of_component("", error);
}

/// Prints an error of a component; of the whole if it has no id.
fn of_component(component: &str, error: &Error) {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let hint = error.remedy();
    if is_json() {
        let causes = (!causes.is_empty()).then(|| causes.join(": "));
        let component = Some(component).filter(|id| !id.is_empty());
        tracing::error!(component, causes, hint, "{error}");
        return;
    }
    let who = if component.is_empty() { String::new() } else { format!("{component}: ") };
    let causes = causes.iter().map(|cause| format!("  because: {cause}\n"));
    let hint = hint.map(|hint| format!("hint: {hint}\n"));
    let lines = [format!("{who}error: {error}\n")].into_iter().chain(causes).chain(hint);
    stderr::print(&lines.collect::<String>());
}

/// Prints why a run failed, what it left unfinished, and its account.
pub(super) fn ended(ended: &Ended, quiet: bool) {
    for failure in ended.failures.iter().filter(|failure| !failure.error.is_downstream()) {
        of_component(&failure.component, &failure.error);
    }
    if !ended.unfinished.is_empty() {
        let names = ended.unfinished.join(", ");
        report(format_args!("error: cut off before they had finished: {names}"));
    }
    if quiet {
        return;
    }
    if !is_json() {
        stderr::print(&ended.summary.to_string());
    } else if enabled!(Level::INFO) {
        for line in ended.summary.to_string().lines().filter(|line| !line.trim().is_empty()) {
            tracing::info!("{}", line.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dumb terminal showed the codes; an empty `NO_COLOR` is none (no-color.org).
    #[test]
    fn colours_are_for_terminals_that_take_them() {
        let takes = |no_color: Option<&str>, term: Option<&str>| {
            takes_colours(no_color.map(OsStr::new), term.map(OsStr::new))
        };
        for term in [None, Some("xterm"), Some("")] {
            assert!(takes(None, term) && takes(Some(""), term), "{term:?}");
            assert!(!takes(Some("1"), term) && !takes(Some("0"), term), "{term:?}");
        }
        assert!(!takes(None, Some("dumb")) && !takes(Some(""), Some("dumb")));
    }
}
