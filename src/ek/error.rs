//! Why a line is no packet.

use crate::metrics::{ErrorType, Reason};

/// Bytes of a wrong value that a message quotes.
const MAX_QUOTED: usize = 40;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no JSON, or was cut.
    #[error("the line of {bytes} bytes is not JSON ({cause}): is its writer tshark?")]
    NotJson {
        /// Length of the line.
        bytes: usize,
        /// What simd-json says.
        cause: String,
    },
    /// A field every line must have is not there.
    #[error("{field} is missing: does the source ask tshark for it?")]
    Missing {
        /// The field, in tshark's dotted name.
        field: &'static str,
    },
    /// Something is not what `-T ek` writes there.
    #[error("{field} is no {expected}: was the line written by tshark -T ek -e?")]
    WrongType {
        /// The field, in tshark's name.
        field: Box<str>,
        /// What it has to be.
        expected: &'static str,
    },
    /// The same field came twice.
    #[error("{field} comes twice in one line: is each -e given once?")]
    Duplicate {
        /// The field, in tshark's name.
        field: Box<str>,
    },
    /// A value can't be read.
    #[error("{field} has the value {value:?}, which is no {expected}")]
    Unreadable {
        /// The field, in tshark's dotted name.
        field: &'static str,
        /// The beginning of the value.
        value: Box<str>,
        /// What it has to be.
        expected: &'static str,
    },
    /// A number or a time is too large or too small.
    #[error("{field} has the value {value:?}, outside {range}")]
    OutOfRange {
        /// The field, in tshark's dotted name.
        field: &'static str,
        /// The beginning of the value.
        value: Box<str>,
        /// What would do.
        range: &'static str,
    },
}

// === impl Error ===

impl Error {
    /// The reason under which the line counts as dropped.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotJson { .. } => Reason::NotJson,
            Self::Missing { .. } => Reason::MissingField,
            Self::WrongType { .. } => Reason::WrongType,
            Self::Duplicate { .. } => Reason::DuplicateKey,
            Self::Unreadable { .. } => Reason::UnreadableValue,
            Self::OutOfRange { .. } => Reason::OutOfRange,
        }
    }

    /// Where to look.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotJson { .. } | Self::WrongType { .. } | Self::Duplicate { .. } => {
                "look at what runs as tshark (`command -v tshark`): a wrapper has to leave its output as it is"
            }
            Self::Missing { .. } => {
                "give the source's `fields` what the config needs, and no more of its own"
            }
            Self::Unreadable { .. } | Self::OutOfRange { .. } => {
                "compare the packet with what `tshark -T ek` prints of it"
            }
        }
    }

    /// The type under which it counts as an error; it has the reason's name.
    pub const fn error_type(&self) -> ErrorType {
        match self {
            Self::NotJson { .. } => ErrorType::NotJson,
            Self::Missing { .. } => ErrorType::MissingField,
            Self::WrongType { .. } => ErrorType::WrongType,
            Self::Duplicate { .. } => ErrorType::DuplicateKey,
            Self::Unreadable { .. } => ErrorType::UnreadableValue,
            Self::OutOfRange { .. } => ErrorType::OutOfRange,
        }
    }
}

/// The beginning of a value, for a message.
pub(super) fn quoted(value: &str) -> Box<str> {
    let end = value.floor_char_boundary(MAX_QUOTED);
    value.get(..end).unwrap_or_default().into()
}
