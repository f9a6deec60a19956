//! Several batches of frames decoded at once, and handed on in the order in which they came.

use std::{collections::VecDeque, sync::Arc};

use tokio::task::{JoinError, JoinHandle};

use super::{Extract, Part, frames::Decoder};
use crate::{
    batch::Batch,
    component::{Clock, Error, Input, Outputs, Stage},
    decode::Decoded,
    record::{Records, Timestamp},
    task,
};

/// `extract` with a task of its own.
pub(super) struct Parallel {
    pub(super) extract: Extract,
    pub(super) decoder: Decoder,
    pub(super) clock: Clock,
    /// Batches that are decoded at once.
    pub(super) workers: usize,
}

/// A batch, and what is being made of it if it holds frames.
struct Job {
    batch: Batch,
    decoding: Option<JoinHandle<Decoded>>,
}

// === impl Parallel ===

impl Stage for Parallel {
    async fn run(mut self, mut input: Input, out: Outputs) -> Result<(), Error> {
        let mut jobs = VecDeque::new();
        let mut ended = false;
        loop {
            tokio::select! {
                decoded = decoded(&mut jobs), if !jobs.is_empty() => {
                    let decoded = decoded.map_err(|error| {
                        Error::failure("a decoder of frames has failed").because(error)
                    })?;
                    if let Some(Job { batch, .. }) = jobs.pop_front() {
                        let now = self.clock.now(input.watermark());
                        self.hand_on(batch, decoded, now, &out).await?;
                    }
                }
                batch = input.recv(), if !ended && jobs.len() < self.workers => match batch {
                    Some(batch) => jobs.push_back(self.begin(batch)),
                    None => ended = true,
                },
                else => return Ok(()),
            }
        }
    }
}

impl Parallel {
    fn begin(&self, batch: Batch) -> Job {
        let decoding = match &batch.records {
            Records::Frames(frames) => {
                let (frames, decoder) = (Arc::clone(frames), self.decoder.clone());
                Some(task::spawn(async move { decoder.decode(&frames) }))
            }
            _ => None,
        };
        Job { batch, decoding }
    }

    async fn hand_on(
        &mut self,
        batch: Batch,
        decoded: Option<Decoded>,
        now: Timestamp,
        out: &Outputs,
    ) -> Result<(), Error> {
        let connected = out.connected();
        for Part { port, batch, further } in self.extract.take(batch, decoded, now, &connected) {
            out.pass_with(port, batch, further).await?;
        }
        Ok(())
    }
}

/// What was made of the first batch; `None` if it holds no frames. Dropping the future loses nothing.
async fn decoded(jobs: &mut VecDeque<Job>) -> Result<Option<Decoded>, JoinError> {
    match jobs.front_mut() {
        Some(Job { decoding: Some(decoding), .. }) => decoding.await.map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        ack::Receipts,
        component::{
            Decoding, Outbox, Port, Transform as _,
            edge::{Bounds, WhenFull, edge},
        },
        metrics::Meter,
        record::{Kind, Kinds, ObservationPoint, Raw},
        transforms::extract::{
            Config,
            frames::tests::{frames, udp},
        },
    };

    fn extract() -> (Extract, Decoder, Arc<Meter>) {
        let (decoder, meter) =
            (Decoder::new(&[], Decoding::default()), Meter::new("packets", "extract"));
        (Extract::new(&Config::default(), decoder.clone(), Arc::clone(&meter)), decoder, meter)
    }

    /// Batches of frames, long ones first, one of lines among them.
    fn batches() -> Vec<Records> {
        let batch = |at: u32| {
            let list = vec![(1, udp([1, 2], b"x")); if at.is_multiple_of(3) { 900 } else { 2 }];
            Records::Frames(Arc::new(frames(at * 1_000, &list)))
        };
        let mut batches: Vec<_> = (1..40).map(batch).collect();
        let line =
            Raw { line: "no line".into(), epoch: 4, first: 0, origin: ObservationPoint::default() };
        batches.insert(7, Records::Raw(Arc::new(vec![line])));
        batches
    }

    /// The records of a batch as they compare.
    fn told(batch: &Batch) -> String {
        format!("{:?} {:?}", batch.watermark, batch.records)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn several_workers_hand_on_what_one_does_in_the_same_order() {
        let (mut one, _, meter) = extract();
        let receipts = Receipts::default();
        let mut expected = Vec::new();
        for records in batches() {
            let mut out = Outbox::new(&mut expected, &[true], &meter, &receipts);
            let batch = Batch { records, ack: receipts.open(), watermark: None };
            one.apply(batch, Timestamp::default(), &mut out);
        }
        let (extract, decoder, meter) = extract();
        let stage = Parallel { extract, decoder, clock: Clock::Event, workers: 4 };
        let (input_edge, input_end) = edge(Bounds::default(), WhenFull::Block, &meter);
        let mut input = Input::new(Clock::Event, Arc::clone(&meter));
        input.add(input_end, Kinds::of(&[Kind::Raw, Kind::Frame]));
        let mut out = Outputs::new(1, Arc::clone(&meter), receipts.clone());
        let (edge, mut end) = edge(Bounds::default(), WhenFull::Block, &Meter::new("end", "test"));
        out.connect(Port::MAIN, edge);
        let running = tokio::spawn(stage.run(input, out));
        let (sender, mut got) = mpsc::channel(100);
        tokio::spawn(async move {
            while let Some(batch) = std::future::poll_fn(|cx| end.poll_recv(cx)).await {
                sender.send(batch).await.unwrap();
            }
        });
        for records in batches() {
            let batch = Batch { records, ack: receipts.open(), watermark: None };
            input_edge.send(batch).await.unwrap();
        }
        drop(input_edge);
        let mut told_by_stage = Vec::new();
        while let Some(batch) = got.recv().await {
            told_by_stage.push(told(&batch));
        }
        running.await.unwrap().unwrap();
        let expected: Vec<_> = expected.iter().map(|(_, batch)| told(batch)).collect();
        assert_eq!(told_by_stage.len(), 40);
        assert!(told_by_stage == expected);
        let balance = meter.balance();
        assert_eq!((balance.held, balance.dropped_total()), (0, 1));
        assert!(balance.holds());
    }
}
