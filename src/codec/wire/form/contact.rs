//! Contacts.

use serde::{Deserialize, Serialize};

use super::super::values::{Address, PointForm};
use crate::record::{Contact, Outcome, TcpFlags, Timestamp, Transport};

/// A contact.
#[derive(Serialize, Deserialize)]
pub(in crate::codec::wire) struct ContactForm<'a> {
    time: i64,
    origin: PointForm<'a>,
    source: Address,
    destination: Address,
    port: u16,
    transport: u8,
    outcome: OutcomeForm,
    path_proven: bool,
    /// Since version 2.
    #[serde(default)]
    source_port: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeForm {
    Attempt,
    Success,
    Refused,
    TimedOut,
    OddFlags(u16),
    SplitHeader,
    AckProbe,
    Echo,
    /// Nanoseconds, bytes sent, bytes received.
    Ended(u64, u64, u64),
    /// Connections, bytes.
    Open(u32, u64),
    /// Packets, SYNs, handshakes.
    Counts(u64, u64, u64),
}

// === contacts ===

impl From<&Contact> for ContactForm<'_> {
    fn from(contact: &Contact) -> Self {
        let Contact {
            time,
            origin,
            source,
            destination,
            port,
            source_port,
            transport,
            outcome,
            path_proven,
        } = *contact;
        Self {
            time: time.nanos(),
            origin: origin.into(),
            source: Address(source),
            destination: Address(destination),
            port,
            transport: transport.0,
            outcome: outcome.into(),
            path_proven,
            source_port,
        }
    }
}

impl From<ContactForm<'_>> for Contact {
    fn from(form: ContactForm<'_>) -> Self {
        Self {
            time: Timestamp::from_nanos(form.time),
            origin: form.origin.into(),
            source: form.source.0,
            destination: form.destination.0,
            port: form.port,
            source_port: form.source_port,
            transport: Transport(form.transport),
            outcome: form.outcome.into(),
            path_proven: form.path_proven,
        }
    }
}

impl From<Outcome> for OutcomeForm {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Attempt => Self::Attempt,
            Outcome::Success => Self::Success,
            Outcome::Refused => Self::Refused,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::OddFlags(flags) => Self::OddFlags(flags.0),
            Outcome::SplitHeader => Self::SplitHeader,
            Outcome::AckProbe => Self::AckProbe,
            Outcome::Echo => Self::Echo,
            Outcome::Ended { duration_nanos, sent_bytes, received_bytes } => {
                Self::Ended(duration_nanos, sent_bytes, received_bytes)
            }
            Outcome::Open { count, bytes } => Self::Open(count, bytes),
            Outcome::Counts { packets, syns, completed } => Self::Counts(packets, syns, completed),
        }
    }
}

impl From<OutcomeForm> for Outcome {
    fn from(form: OutcomeForm) -> Self {
        match form {
            OutcomeForm::Attempt => Self::Attempt,
            OutcomeForm::Success => Self::Success,
            OutcomeForm::Refused => Self::Refused,
            OutcomeForm::TimedOut => Self::TimedOut,
            OutcomeForm::OddFlags(flags) => Self::OddFlags(TcpFlags(flags)),
            OutcomeForm::SplitHeader => Self::SplitHeader,
            OutcomeForm::AckProbe => Self::AckProbe,
            OutcomeForm::Echo => Self::Echo,
            OutcomeForm::Ended(duration_nanos, sent_bytes, received_bytes) => {
                Self::Ended { duration_nanos, sent_bytes, received_bytes }
            }
            OutcomeForm::Open(count, bytes) => Self::Open { count, bytes },
            OutcomeForm::Counts(packets, syns, completed) => {
                Self::Counts { packets, syns, completed }
            }
        }
    }
}
