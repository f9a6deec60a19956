//! Why a component can't begin or can't go on, in words for the person who runs it.

use std::error::Error as StdError;

/// A component's failure: what failed and with which value, how to mend it, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    message: String,
    hint: Option<String>,
    configuration: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// It can't go on; trying again later may help.
    pub fn failure(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            configuration: false,
            source: None,
        }
    }

    /// What the config asks for can't be had: the run ends with exit code 78.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self {
            configuration: true,
            ..Self::failure(message)
        }
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

    /// Whether the config, rather than the weather, is at fault.
    pub fn is_configuration(&self) -> bool {
        self.configuration
    }
}
