//! The log on stderr, for people or for machines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::{filter::LevelFilter, fmt, prelude::*};

use super::stderr;

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
    // A reader of stderr that has gone away is nothing to report, least of all there.
    let to_stderr = fmt::layer()
        .with_writer(stderr::Line::default)
        .with_target(false)
        .log_internal_errors(false);
    match format {
        LogFormat::Human => tracing_subscriber::registry()
            .with(to_stderr.with_ansi(std::io::stderr().is_terminal()).with_filter(level))
            .init(),
        LogFormat::Json => {
            tracing_subscriber::registry().with(to_stderr.json().with_filter(level)).init();
        }
    }
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
