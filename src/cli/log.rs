//! The log on stderr, for people or for machines.

mod format;

use clap::ValueEnum;
use tracing_subscriber::{filter::LevelFilter, fmt, prelude::*};

use self::format::{Human, Json, Speakers};
use super::{output, stderr};

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// One line an event, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object an event.
    Json,
}

/// The least severe events that are logged.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum LogLevel {
    /// Data was lost, or can't be delivered now.
    Error,
    /// Something went wrong and was mended.
    Warn,
    /// What the pipeline does.
    #[default]
    Info,
    /// What each component does.
    Debug,
    /// Everything.
    Trace,
}

/// Starts logging for the whole process.
pub(super) fn start(format: LogFormat, level: LogLevel, quiet: bool) {
    let level = if quiet { LevelFilter::ERROR } else { level.into() };
    // Components' spans alone: with no filter it would have every event of every level made.
    let speakers = Speakers.with_filter(LevelFilter::ERROR);
    // A reader of stderr that has gone away is nothing to report, least of all there.
    let to_stderr = fmt::layer().with_writer(stderr::Line::default).log_internal_errors(false);
    let lines = match format {
        LogFormat::Human => to_stderr.with_ansi(output::colours()).event_format(Human).boxed(),
        LogFormat::Json => to_stderr.with_ansi(false).event_format(Json).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(level)).with(speakers).init();
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}
