//! What a delivery report means for its message.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::{again, needs_new_producer};
use crate::component::ItemEnd;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The broker has it.
    Delivered,
    /// It will never be taken.
    Refused(String),
    /// Its batch was too large, or held what the topic does not take; perhaps it was another message.
    Suspect(Code, String),
    /// We may not write there: nothing is wrong with the message.
    Forbidden(Code, String),
    /// It was not taken.
    NotTaken(Code, String),
    /// Nobody knows whether it was taken.
    Unclear(Code, String),
}

// === impl Verdict ===

impl Verdict {
    /// What an error means; `topic` is where the message was to go.
    pub(super) fn of(error: &KafkaError, topic: &str) -> Self {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let reason = format!("{topic}: {error}");
        match code {
            Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::InvalidTimestamp => Self::Suspect(code, reason),
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::PolicyViolation
            | Code::InvalidTopic => Self::Forbidden(code, reason),
            // Never sent, or refused before anything was written.
            Code::PurgeQueue
            | Code::QueueFull
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::NotEnoughReplicas
            | Code::InvalidRequiredAcks
            | Code::UnsupportedCompressionType
            | Code::InvalidDifferentRecord
            | Code::MessageTimedOut => Self::NotTaken(code, reason),
            _ => Self::Unclear(code, reason),
        }
    }

    /// The same of a message that was alone, or did not get as far as a batch: what was said is about it.
    pub(super) fn alone(self) -> Self {
        match self {
            Self::Suspect(_, reason) => Self::Refused(reason),
            other => other,
        }
    }

    /// Whether it has to be sent alone to know what becomes of it.
    pub(super) fn is_suspect(&self) -> bool {
        matches!(self, Self::Suspect(..))
    }

    /// Whether its batch was larger than the topic takes.
    pub(super) fn is_too_large(&self) -> bool {
        matches!(self, Self::Suspect(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge, _))
    }

    /// Whether the message may be there although it is sent again.
    pub(super) fn may_be_there(&self) -> bool {
        matches!(self, Self::Unclear(..))
    }

    /// Why the producer has to be made anew, if it has to.
    pub(super) fn wants_new_producer(&self) -> Option<String> {
        match self {
            Self::Forbidden(code, reason)
            | Self::NotTaken(code, reason)
            | Self::Unclear(code, reason)
                if needs_new_producer(*code) =>
            {
                Some(reason.clone())
            }
            _ => None,
        }
    }

    /// Why we may not write there.
    pub(super) fn refusal(&self) -> Option<String> {
        match self {
            Self::Forbidden(_, reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// The end of its item.
    pub(super) fn end(self) -> ItemEnd {
        match self {
            Self::Delivered => ItemEnd::Delivered,
            Self::Refused(reason) => ItemEnd::Refused(reason),
            Self::Suspect(_, reason)
            | Self::Forbidden(_, reason)
            | Self::NotTaken(_, reason)
            | Self::Unclear(_, reason) => again(reason),
        }
    }
}
