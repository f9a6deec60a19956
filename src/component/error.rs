//! Why a component can't begin or can't go on, in words for the person who runs it.

use std::error::Error as StdError;

use super::Closed;

/// A component's failure: what failed and with which value, how to mend it, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    message: String,
    hint: Option<String>,
    fault: Fault,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Configuration,
    Downstream,
    Other,
}

/// Writes what `error` says and why, on one line.
pub fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

// === impl Error ===

impl Error {
    /// It can't go on; trying again later may help.
    pub fn failure(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, fault: Fault::Other, source: None }
    }

    /// What the config asks for can't be had: the run ends with exit code 78.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { fault: Fault::Configuration, ..Self::failure(message) }
    }

    /// It had to stop because a component downstream ended early; that one says why.
    pub fn downstream(closed: Closed) -> Self {
        Self { fault: Fault::Downstream, ..Self::failure(closed.to_string()) }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// How to mend it, if that is known.
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the config is at fault: trying again with the same one fails again.
    pub fn is_configuration(&self) -> bool {
        self.fault == Fault::Configuration
    }

    /// Whether it only stopped because a component downstream had ended early.
    pub fn is_downstream(&self) -> bool {
        self.fault == Fault::Downstream
    }
}

impl From<Closed> for Error {
    fn from(closed: Closed) -> Self {
        Self::downstream(closed)
    }
}
