//! The program's ring → batches of contacts → the port `contacts`.
//!
//! A thread of its own takes what is in the ring every few milliseconds, whoever else is busy; the program
//! wakes nobody. A task hands the batches on: its port sheds, so it does not wait, and if it did, the ring
//! would fill up and the program count what it lost.

use std::{sync::Arc, thread, time::Duration};

use tidegate_ebpf::{evidence::Tally, now_ns};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::reports::Report;
use crate::{
    batch::Watermark,
    component::{Closed, Context, Outputs, Port},
    gate::evidence::{Moment, Ring, Teller, View},
    metrics::{ERRORS, ErrorType, XDP_EVENTS, XDP_RING_LOST, XdpEvent},
    record::{Contact, Records},
};

/// From one look into the ring to the next.
const PAUSE: Duration = Duration::from_millis(5);
/// Events of one look at most, and so of a batch.
const MAX_EVENTS: usize = 8_192;
/// Batches that may wait for the task.
const MAX_BATCHES: usize = 16;
/// Looks from one reading of the program's account to the next.
const SELDOM: u64 = 200;

/// What runs in the thread.
struct Drain {
    ring: Box<dyn Ring>,
    teller: Teller,
    view: watch::Receiver<View>,
    batches: mpsc::Sender<Vec<Contact>>,
    context: Context,
    counted: Tally,
    fails: bool,
}

/// Begins to tell, on `port` of `out`.
pub(super) fn report(
    ring: Box<dyn Ring>,
    teller: Teller,
    view: watch::Receiver<View>,
    context: Context,
    (out, port): (Arc<Outputs>, Port),
) -> Report {
    let (batches, waiting) = mpsc::channel(MAX_BATCHES);
    let drain =
        Drain { ring, teller, view, batches, context, counted: Tally::default(), fails: false };
    Report::begin("contacts", move |stop| drain.run(stop), pass(waiting, out, port))
}

/// Hands batches on until there is nobody who makes any.
pub(super) async fn pass(
    mut waiting: mpsc::Receiver<Vec<Contact>>,
    out: Arc<Outputs>,
    port: Port,
) -> Result<(), Closed> {
    while let Some(contacts) = waiting.recv().await {
        let newest = contacts.iter().map(|contact| contact.time).max();
        let watermark = newest.map(|time| Watermark { epoch: 0, time });
        out.emit(port, Records::Contacts(Arc::new(contacts)), watermark).await?;
    }
    Ok(())
}

// === impl Drain ===

impl Drain {
    fn run(mut self, stop: &CancellationToken) {
        let mut looks = 0_u64;
        while !stop.is_cancelled() {
            // A full batch means that there is more.
            if self.look() < MAX_EVENTS {
                thread::sleep(PAUSE);
            }
            looks += 1;
            if looks.is_multiple_of(SELDOM) {
                self.count();
            }
        }
        while self.look() == MAX_EVENTS {}
        self.count();
    }

    /// One look into the ring. Gives how many events there were.
    fn look(&mut self) -> usize {
        let now = Moment { monotonic_ns: now_ns(), wall: self.context.clock.now(None) };
        let mut contacts = Vec::new();
        let view = self.view.borrow().clone();
        let received = self.teller.turn(&mut *self.ring, &view, now, MAX_EVENTS, &mut contacts);
        self.context.meter.count(XDP_EVENTS, XdpEvent::Received, received as u64);
        if !contacts.is_empty() {
            // Whoever reads them has gone: the task says so.
            self.batches.blocking_send(contacts).unwrap_or_default();
        }
        received
    }

    /// What the program did not tell, since the last time.
    fn count(&mut self) {
        let meter = &self.context.meter;
        match self.ring.tally() {
            Ok(tally) => {
                let before = std::mem::replace(&mut self.counted, tally);
                meter.count(XDP_RING_LOST, (), tally.lost - before.lost);
                for (result, count) in [
                    (XdpEvent::SourceLimit, tally.by_source - before.by_source),
                    (XdpEvent::CpuLimit, tally.by_cpu - before.by_cpu),
                    (XdpEvent::Displaced, tally.displaced - before.displaced),
                    (XdpEvent::Evicted, tally.evicted - before.evicted),
                    (XdpEvent::HoldLimit, tally.unheld - before.unheld),
                ] {
                    meter.count(XDP_EVENTS, result, count);
                }
                self.fails = false;
            }
            Err(error) => {
                meter.count(ERRORS, ErrorType::GateMap, 1);
                if !std::mem::replace(&mut self.fails, true) {
                    warn!(%error, "what the gate's program lost is not known");
                }
            }
        }
    }
}
