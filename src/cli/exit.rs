//! Exit codes.

use std::process::ExitCode;

use crate::{component::Error, topology::Ended};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Everything was delivered.
    Clean,
    /// It could not go on.
    Failure,
    /// The command line is wrong.
    Usage,
    /// It ended, but something was refused, lost or dropped, or the input was damaged.
    Unclean,
    /// The config is wrong (`EX_CONFIG` of sysexits.h).
    Configuration,
}

impl Exit {
    /// The exit of a run that ended so.
    pub(super) fn of(ended: &Ended) -> Self {
        match ended.failures.first() {
            Some(failure) if failure.error.is_configuration() => Self::Configuration,
            Some(_) => Self::Failure,
            None if ended.is_clean() => Self::Clean,
            None => Self::Unclean,
        }
    }

    /// The exit of a command that an error ended.
    pub(super) fn of_error(error: &Error) -> Self {
        if error.is_configuration() { Self::Configuration } else { Self::Failure }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Unclean => 3,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
