//! What the program tells, as it is handed on: each kind by a thread of its own, which takes it out, and a task, which
//! waits for room downstream.

use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Waiter, Poll},
};

use futures_util::future::join_all;

use tokio::{
    sync::mpsc::{self, WeakSender},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    batch::Watermark,
    component::{Closed, Error, Outputs, Port},
    metrics::Meter,
    record::{Flow, Records},
    task,
};

/// Flows of one batch at most.
const MAX_BATCH: usize = 1024;

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
    /// Flows that it has to hand on.
    ahead: Option<Ahead>,
}

/// Flows that were taken out, or are to be, and were not handed on yet. Dropped with the report, as a run that is cut
/// off does, they are counted as lost.
#[derive(Debug)]
pub(super) struct Ahead {
    flows: Arc<AtomicU64>,
    meter: Arc<Meter>,
}

/// Where a thread puts flows, in batches, for the task.
#[derive(Debug)]
pub(super) struct FlowsOut {
    waiting: mpsc::Sender<Vec<Flow>>,
    batch: Vec<Flow>,
    ahead: Arc<AtomicU64>,
    /// Flows that are counted already.
    expected: u64,
}

/// Where the task takes them.
#[derive(Debug)]
pub(super) struct FlowsIn {
    waiting: mpsc::Receiver<Vec<Flow>>,
    ahead: Arc<AtomicU64>,
}

/// A way for flows, of which so many batches may wait.
pub(super) fn way(batches: usize, meter: &Arc<Meter>) -> (FlowsOut, FlowsIn, Ahead) {
    let flows = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel(batches);
    let out =
        FlowsOut { waiting: sender, batch: Vec::new(), ahead: Arc::clone(&flows), expected: 0 };
    let end = FlowsIn { waiting: receiver, ahead: Arc::clone(&flows) };
    (out, end, Ahead { flows, meter: Arc::clone(meter) })
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

    /// Hands on what is left, and ends. All at once: one that finds no room keeps none of the others.
    pub(super) async fn finish(self) -> Result<(), Error> {
        let ended = join_all(self.0.into_iter().map(Report::finish)).await;
        ended.into_iter().collect()
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
            ahead: None,
        }
    }

    /// The same, which has these flows to hand on.
    pub(super) fn ahead(self, ahead: Ahead) -> Self {
        Self { ahead: Some(ahead), ..self }
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
        let Self { what, read, pass, stop, ahead } = self;
        drop(stop);
        let ended = |join| Error::failure(format!("the thread of {what} ended")).because(join);
        read.await.map_err(ended)?;
        let passed = pass.await.map_err(ended)?;
        drop(ahead);
        Ok(passed?)
    }
}

// === impl Ahead ===

impl Drop for Ahead {
    fn drop(&mut self) {
        self.meter.cut_off(self.flows.load(Ordering::Relaxed));
    }
}

// === impl FlowsOut ===

impl FlowsOut {
    /// How many more flows find room at once.
    pub(super) fn room(&self) -> impl Fn() -> usize + use<> {
        let waiting: WeakSender<_> = self.waiting.downgrade();
        // One batch is being filled.
        move || {
            let batches = waiting.upgrade().map_or(0, |waiting| waiting.capacity());
            batches.saturating_sub(1) * MAX_BATCH
        }
    }

    /// So many are to come.
    pub(super) fn expect(&mut self, flows: u64) {
        self.ahead.fetch_add(flows, Ordering::Relaxed);
        self.expected += flows;
    }

    /// Puts one there; waits for room for a batch.
    pub(super) fn push(&mut self, flow: Flow) {
        if self.expected > 0 {
            self.expected -= 1;
        } else {
            self.ahead.fetch_add(1, Ordering::Relaxed);
        }
        self.batch.push(flow);
        if self.batch.len() == MAX_BATCH {
            self.send();
        }
    }

    /// Those of one look are there.
    pub(super) fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.send();
        }
        self.ahead.fetch_sub(mem::take(&mut self.expected), Ordering::Relaxed);
    }

    fn send(&mut self) {
        // Whoever reads them has gone: the task says so.
        self.waiting.blocking_send(mem::take(&mut self.batch)).unwrap_or_default();
    }
}

// === impl FlowsIn ===

impl FlowsIn {
    /// Hands flows on until there is nobody who makes any.
    pub(super) async fn pass(mut self, out: Arc<Outputs>, port: Port) -> Result<(), Closed> {
        while let Some(flows) = self.waiting.recv().await {
            let newest = flows.iter().map(|flow| flow.end).max();
            let watermark = newest.map(|time| Watermark { epoch: 0, time });
            let count = flows.len() as u64;
            out.emit(port, Records::Flows(Arc::new(flows)), watermark).await?;
            self.ahead.fetch_sub(count, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread, time::Duration};

    use super::*;
    use crate::record::{Endpoint, Id, Transport};

    const PAUSE: Duration = Duration::from_millis(1);

    fn flow(number: u64) -> Flow {
        let end = |last| Endpoint::new([10, 0, 0, last].into(), Some(53));
        Flow::new(Id::of("flow", "test").number(number).finish(), Transport::UDP, end(1), end(2))
    }

    fn wait(stop: &CancellationToken) {
        while !stop.is_cancelled() {
            thread::sleep(PAUSE);
        }
    }

    #[tokio::test]
    async fn a_report_without_room_keeps_no_other_and_what_it_had_is_counted_when_it_is_cut_off() {
        let meter = Meter::new("gate", "xdp");
        let (mut sender, receiver, ahead) = way(2, &meter);
        // Three of those that are expected are not found.
        let read = move |stop: &CancellationToken| {
            sender.expect(10);
            (0..7).for_each(|number| sender.push(flow(number)));
            sender.flush();
            sender.push(flow(8));
            sender.flush();
            wait(stop);
        };
        let stuck = async move {
            let _receiver = receiver;
            std::future::pending().await
        };
        let stuck = Report::begin("flows", read, stuck).ahead(ahead);
        let has_ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&has_ended);
        let read = move |stop: &CancellationToken| {
            wait(stop);
            ends.store(true, Ordering::SeqCst);
        };
        let other = Report::begin("others", read, std::future::ready(Ok(())));
        let finishing = tokio::spawn(Reports::new([stuck, other]).finish());
        while !has_ended.load(Ordering::SeqCst) {
            tokio::time::sleep(PAUSE).await;
        }
        assert_eq!(meter.balance().unmade, 0);
        finishing.abort();
        assert!(finishing.await.unwrap_err().is_cancelled());
        assert_eq!(meter.balance().unmade, 8);
    }
}
