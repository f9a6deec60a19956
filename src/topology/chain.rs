//! A fused chain: neighbouring transforms that hand batches to each other within one task.

use std::{collections::VecDeque, sync::Arc};

use tracing::Span;

use crate::{
    ack::Receipts,
    batch::{Batch, Watermark},
    component::{Clock, Error, Input, Outbox, Outputs, Port, Transform},
    metrics::Meter,
    record::Timestamp,
};

/// Transforms that run in one task, in the data's order.
pub(super) struct Chain {
    links: Vec<Link>,
    clock: Clock,
    receipts: Receipts,
    /// Where the last link's batches go; all links before it have one port.
    outputs: Outputs,
    /// How far event time has come at the chain's head.
    watermark: Option<Watermark>,
    /// What has come out at the end of the chain and has not been sent.
    done: VecDeque<(Port, Batch)>,
}

struct Link {
    transform: Box<dyn Transform>,
    meter: Arc<Meter>,
    /// Entered for each call.
    span: Span,
    connected: Vec<bool>,
    ready: Vec<(Port, Batch)>,
}

/// One of the calls a transform gets.
enum Call {
    Apply(Batch),
    Tick,
    Drain,
}

// === impl Chain ===

impl Chain {
    /// A chain of `transforms`; the last one's ports are those of `outputs`.
    pub(super) fn new(
        transforms: Vec<(Box<dyn Transform>, Arc<Meter>)>,
        clock: Clock,
        receipts: Receipts,
        outputs: Outputs,
    ) -> Self {
        let last = transforms.len().saturating_sub(1);
        let links = transforms.into_iter().enumerate().map(|(at, (transform, meter))| {
            let connected = if at == last { outputs.connected() } else { vec![true] };
            let span = meter.span();
            Link { transform, meter, span, connected, ready: Vec::new() }
        });
        let done = VecDeque::new();
        Self { links: links.collect(), clock, receipts, outputs, watermark: None, done }
    }

    /// Runs until the input has ended and every link has drained.
    pub(super) async fn run(mut self, mut input: Input) -> Result<(), Error> {
        loop {
            let deadline = self.links.iter().filter_map(|link| link.transform.deadline()).min();
            let pause = deadline.and_then(|deadline| self.clock.until(deadline));
            tokio::select! {
                biased;
                batch = input.recv() => match batch {
                    Some(batch) => {
                        self.watermark = input.watermark().max(self.watermark);
                        self.call(0, Call::Apply(batch)).await?;
                    }
                    None => break,
                },
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
            self.tick().await?;
        }
        for at in 0..self.links.len() {
            while self.call(at, Call::Drain).await? {}
        }
        Ok(())
    }

    /// Calls every link whose deadline has passed.
    async fn tick(&mut self) -> Result<(), Error> {
        let now = self.clock.now(self.watermark);
        for at in 0..self.links.len() {
            if self.links[at].transform.deadline().is_some_and(|deadline| deadline <= now) {
                self.call(at, Call::Tick).await?;
            }
        }
        Ok(())
    }

    /// Calls link `at`, hands what it makes down the links after it, and sends what arrives at the
    /// end of the chain. True if the link has more to drain.
    async fn call(&mut self, at: usize, call: Call) -> Result<bool, Error> {
        let now = self.clock.now(self.watermark);
        let more = self.call_down(at, call, now);
        while let Some((port, batch)) = self.done.pop_front() {
            self.outputs.send(port, batch).await?;
        }
        Ok(more)
    }

    fn call_down(&mut self, at: usize, call: Call, now: Timestamp) -> bool {
        let link = &mut self.links[at];
        if at > 0
            && let Call::Apply(batch) = &call
        {
            link.meter.received(batch.records.len() as u64);
        }
        let mut ready = std::mem::take(&mut link.ready);
        let mut outbox = Outbox::new(&mut ready, &link.connected, &link.meter, &self.receipts);
        let mut more = false;
        link.span.in_scope(|| match call {
            Call::Apply(batch) => link.transform.apply(batch, now, &mut outbox),
            Call::Tick => link.transform.tick(now, &mut outbox),
            Call::Drain => more = link.transform.drain(now, &mut outbox),
        });
        if at + 1 == self.links.len() {
            self.done.extend(ready.drain(..));
        } else {
            for (_, batch) in ready.drain(..) {
                self.call_down(at + 1, Call::Apply(batch), now);
            }
        }
        self.links[at].ready = ready;
        more
    }
}

/// A chain that is cut off says what it takes with it: nothing, if it has run to its end.
impl Drop for Chain {
    fn drop(&mut self) {
        for (port, batch) in self.done.drain(..) {
            self.outputs.count_unsent(port, batch.records.len() as u64);
        }
        for link in &self.links {
            link.meter.cut_off(link.transform.undrained());
        }
    }
}
