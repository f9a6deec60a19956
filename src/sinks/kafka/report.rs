//! What a delivery report means for its message.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::{again, needs_new_producer};
use crate::component::ItemEnd;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The broker has it.
    Delivered,
    /// It is too large, or not what the topic takes: it will never be taken.
    Refused(String),
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
            | Code::InvalidTimestamp => Self::Refused(reason),
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
            | Code::MessageTimedOut => Self::NotTaken(code, reason),
            _ => Self::Unclear(code, reason),
        }
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
            Self::Forbidden(_, reason) | Self::NotTaken(_, reason) | Self::Unclear(_, reason) => {
                again(reason)
            }
        }
    }
}
