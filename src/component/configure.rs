//! What a component's config answers, before anything starts and when it does.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::watch;

use super::{Clock, Component, Error, Signature};
use crate::{
    ack::Receipts,
    metrics::{Books, Meter},
    record::Kinds,
};

/// What every component is built with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Counts what the component does, under its id.
    pub meter: Arc<Meter>,
    /// The run's ledger.
    pub receipts: Receipts,
    /// Which clock the run goes by.
    pub clock: Clock,
    /// Where buffers, segments and the verdict log lie.
    pub data_dir: PathBuf,
    /// The sensor's name: part of every record id.
    pub observer: Arc<str>,
    /// The interface on which all that it reads was captured, if it is one.
    pub interface: Option<Arc<str>>,
    /// How frames that it reads are to be decoded.
    pub decoding: Decoding,
    /// The hash of the config as it was loaded, without its secrets.
    pub config_hash: Arc<str>,
    /// The accounts of all components.
    pub books: Books,
    /// Changes on SIGHUP: files are reopened and lists read again.
    pub reload: watch::Receiver<u64>,
}

/// How frames are to be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decoding {
    /// How many threads may do so; 0 where no source above gives frames.
    pub workers: u16,
    /// Whether somebody below reads DNS answers.
    pub dns: bool,
}

/// Something wrong with a component's config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key within the component, dotted (`segment.dir`, `files[1]`); empty for the whole.
    pub key: String,
    /// What is wrong, with the value.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

/// Something only one component may use: the path of an output file, reports on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The key within the component that asks for it.
    pub key: String,
    /// What is claimed (`file /var/log/a.ndjson`), as the message names it.
    pub what: String,
}

/// A tshark field that some source upstream has to be told to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The key within the component that asks for it.
    pub key: String,
    /// The field, in tshark's dotted name (`dns.a`).
    pub field: String,
}

/// A field of records that a component asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asks {
    /// The key within the component that names it.
    pub key: String,
    /// The field.
    pub field: &'static str,
    /// The kinds of record that may have it.
    pub kinds: Kinds,
}

/// A source that a component acts through, beside the edges (`block.via`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The key within the component that names it.
    pub key: String,
    /// The source's id.
    pub id: String,
}

/// The config of a source or a transform.
pub trait Configure {
    /// Its ports.
    fn signature(&self) -> Signature;

    /// What is wrong with the values, seen without looking at the machine.
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// What this machine lacks (a program, an interface, a permission).
    fn check_environment(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// The interface it captures on.
    fn interface(&self) -> Option<&str> {
        None
    }

    /// What nobody else may use.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    /// Fields it needs from upstream beyond the base fields.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    /// Fields it makes use of where they are there, beyond the base fields.
    fn uses(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is right but better said otherwise: warnings.
    fn remarks(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Fields of records it asks for: one that no record on its inputs can have is a mistake.
    fn asks(&self) -> Vec<Asks> {
        Vec::new()
    }

    /// Fields it provides beyond the base fields.
    fn provides(&self) -> Vec<String> {
        Vec::new()
    }

    /// Sources it acts through; such a source counts as used.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// Bytes of records that may wait in it, beside those in the buffer before it.
    fn memory_bytes(&self) -> u64 {
        0
    }

    /// Builds the component.
    ///
    /// # Errors
    /// When something it needs to begin is missing.
    fn build(&self, context: &Context) -> Result<Component, Error>;
}

impl Problem {
    /// A problem with the value of `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), hint: None }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
