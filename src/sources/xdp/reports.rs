//! What the program tells, as it is handed on: each kind by a thread of its own, which takes it out, and a task, which
//! waits for room downstream.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context as Waiter, Poll},
};

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    batch::Watermark,
    component::{Closed, Error, Outputs, Port},
    record::{Flow, Records},
    task,
};

/// Those that somebody reads, until they are stopped.
#[derive(Debug)]
pub(super) struct Reports(Vec<Report>);

/// The thread and the task of one, until they are stopped.
#[derive(Debug)]
pub(super) struct Report {
    what: &'static str,
    read: JoinHandle<()>,
    pass: JoinHandle<Result<(), Closed>>,
    stop: DropGuard,
}

// === impl Reports ===

impl Reports {
    /// In the order in which they are ended.
    pub(super) fn new(reports: impl IntoIterator<Item = Report>) -> Self {
        Self(reports.into_iter().collect())
    }

    /// Waits until nobody takes what one of them hands on; for ever if there are none.
    pub(super) async fn closed(&mut self) -> Result<(), Error> {
        poll_fn(|waiter| {
            let mut ends = self.0.iter_mut().map(|report| report.poll_closed(waiter));
            ends.find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }

    /// Hands on what is left, and ends.
    pub(super) async fn finish(self) -> Result<(), Error> {
        for report in self.0 {
            report.finish().await?;
        }
        Ok(())
    }
}

// === impl Report ===

impl Report {
    /// Begins to report `what`: `read` takes it out until it is cancelled, `pass` ends when there is nobody who takes
    /// more, or who makes any.
    pub(super) fn begin(
        what: &'static str,
        read: impl FnOnce(&CancellationToken) + Send + 'static,
        pass: impl Future<Output = Result<(), Closed>> + Send + 'static,
    ) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        Self {
            what,
            read: task::blocking(move || read(&stopped)),
            pass: task::spawn(pass),
            stop: stop.drop_guard(),
        }
    }

    /// Whether nobody takes it any more.
    fn poll_closed(&mut self, waiter: &mut Waiter<'_>) -> Poll<Result<(), Error>> {
        let what = self.what;
        Pin::new(&mut self.pass).poll(waiter).map(|ended| match ended {
            // It ends by itself when its thread is gone, and nothing has told that to stop.
            Ok(Ok(())) => Err(Error::failure(format!("the thread of {what} ended"))),
            Ok(Err(closed)) => Err(closed.into()),
            Err(join) => Err(Error::failure(format!("the task of {what} ended")).because(join)),
        })
    }

    /// Hands on what is left, and ends.
    pub(super) async fn finish(self) -> Result<(), Error> {
        let Self { what, read, pass, stop } = self;
        drop(stop);
        let ended = |join| Error::failure(format!("the thread of {what} ended")).because(join);
        read.await.map_err(ended)?;
        Ok(pass.await.map_err(ended)??)
    }
}

/// Hands flows on until there is nobody who makes any.
pub(super) async fn pass_flows(
    mut waiting: mpsc::Receiver<Vec<Flow>>,
    out: Arc<Outputs>,
    port: Port,
) -> Result<(), Closed> {
    while let Some(flows) = waiting.recv().await {
        let newest = flows.iter().map(|flow| flow.end).max();
        let watermark = newest.map(|time| Watermark { epoch: 0, time });
        out.emit(port, Records::Flows(Arc::new(flows)), watermark).await?;
    }
    Ok(())
}
