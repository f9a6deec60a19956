//! Reads one capture to its end, again if somebody killed the reader.

use std::process::Stdio;

use super::order::Emitter;
use super::process::{
    child::{Ended, Exit},
    worker::{Finish, Tshark, Worker},
};
use crate::component::Error;
use crate::metrics::{ERRORS, ErrorType};

/// How often a capture is read whose reader was killed.
const TRIES: u32 = 3;

/// A capture that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    worker: Option<Worker>,
    tries: u32,
}

/// How the reading of a capture ended.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// All of it was read.
    Complete,
    /// Its complete packets were read, and then tshark said this.
    Damaged(String),
    /// Each tshark died of it, or the last one said nothing any more: this is how.
    Died(String),
    /// tshark could not be started again.
    NotStarted(Error),
    /// tshark refused its command line, with these words.
    Refused(String),
}

// === impl Reading ===

impl Reading {
    /// Of what `worker` prints.
    pub(super) fn new(worker: Worker) -> Self {
        Self { worker: Some(worker), tries: 1 }
    }

    /// Whether tshark is done, though perhaps not all of its lines are handed on.
    pub(super) fn is_done(&self) -> bool {
        self.worker.as_ref().is_none_or(Worker::is_done)
    }

    /// Hands on what has come; `Some` at the end. `open` opens the capture once more, if that is needed.
    ///
    /// # Errors
    /// If a component downstream has ended.
    pub(super) async fn step(
        &mut self,
        reader: &Tshark,
        open: impl Future<Output = Result<Stdio, Error>>,
        emitter: &mut Emitter<'_>,
    ) -> Result<Option<ReadEnd>, Error> {
        let Some(worker) = &mut self.worker else {
            return Ok(Some(ReadEnd::Complete));
        };
        if let Some(block) = worker.blocks.recv().await {
            emitter.emit(block).await?;
            return Ok(None);
        }
        let finish = match self.worker.take() {
            Some(worker) => worker.finish().await?,
            None => return Ok(Some(ReadEnd::Complete)),
        };
        let meter = &reader.meter;
        if finish.stalled {
            meter.count(ERRORS, ErrorType::TsharkStalled, 1);
            return Ok(Some(ReadEnd::Died("it said nothing any more and was killed".to_owned())));
        }
        if let Exit::Signal(signal) = finish.ended.exit {
            meter.count(ERRORS, ErrorType::TsharkKilled, 1);
            if self.tries < TRIES {
                self.tries += 1;
                tracing::warn!(signal, "tshark was killed; the capture is read again");
                emitter.again();
                let started = match open.await {
                    Ok(capture) => reader.start(capture).await,
                    Err(error) => Err(error),
                };
                return match started {
                    Ok(worker) => {
                        self.worker = Some(worker);
                        Ok(None)
                    }
                    Err(error) => Ok(Some(ReadEnd::NotStarted(error))),
                };
            }
        }
        Ok(Some(end(&finish, emitter.packets(), || {
            meter.count(ERRORS, ErrorType::LineCut, 1);
        })))
    }
}

fn end(finish: &Finish, packets: u64, cut: impl FnOnce()) -> ReadEnd {
    if finish.cut {
        cut();
    }
    let Ended { exit, words } = &finish.ended;
    match exit {
        Exit::Code(0) => ReadEnd::Complete,
        Exit::Code(1 | 126 | 127) if packets == 0 => ReadEnd::Refused(words.clone()),
        Exit::Signal(_) => ReadEnd::Died(format!("it was ended by {exit} each time")),
        Exit::Code(_) if words.is_empty() => ReadEnd::Damaged(format!("tshark ended with {exit}")),
        Exit::Code(_) => ReadEnd::Damaged(words.clone()),
    }
}
