//! A component's fan-in: several edges read as one stream.
//!
//! Live, edges are read in turn. In a replay the edge that is furthest behind in event time is read
//! next, so the merged order depends on the data alone and a run gives the same output twice.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{self, Poll},
};

use super::{Clock, edge::EdgeReceiver};
use crate::{
    batch::{Batch, Watermark},
    metrics::Meter,
    record::{Kind, Kinds},
};

/// What flows into a component.
#[derive(Debug)]
pub struct Input {
    edges: Vec<Edge>,
    clock: Clock,
    next: usize,
    meter: Arc<Meter>,
}

#[derive(Debug)]
struct Edge {
    receiver: EdgeReceiver,
    carries: Kinds,
    watermark: Option<Watermark>,
}

impl Input {
    /// An input of a component that `meter` counts for.
    pub fn new(clock: Clock, meter: Arc<Meter>) -> Self {
        Self { edges: Vec::new(), clock, next: 0, meter }
    }

    /// Adds an edge that carries `kinds`.
    pub fn add(&mut self, receiver: EdgeReceiver, carries: Kinds) {
        self.edges.push(Edge { receiver, carries, watermark: None });
    }

    /// Counts what the component takes in and does.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Which clock the run goes by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Splits off the edges that carry only `kind`, for a stage that reads them first.
    #[must_use]
    pub fn split_off(&mut self, kind: Kind) -> Self {
        let mut apart = Self::new(self.clock, Arc::clone(&self.meter));
        let (matching, rest) =
            std::mem::take(&mut self.edges).into_iter().partition(|e| e.carries == kind.into());
        (apart.edges, self.edges) = (matching, rest);
        self.next = 0;
        apart
    }

    /// How far event time has come on every edge: the watermark of the one furthest behind.
    pub fn watermark(&self) -> Option<Watermark> {
        self.edges.iter().map(|edge| edge.watermark).min().flatten()
    }

    /// Whether nothing comes any more but what waits on the edges.
    pub fn is_closed(&self) -> bool {
        self.edges.iter().all(|edge| edge.receiver.is_closed())
    }

    /// The next batch; `None` once all edges have ended. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Batch> {
        poll_fn(|cx| match self.clock {
            Clock::Wall => self.poll_in_turn(cx),
            Clock::Event => self.poll_in_order(cx),
        })
        .await
    }

    fn poll_in_turn(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Batch>> {
        let mut at = 0;
        while at < self.edges.len() {
            let edge = (self.next + at) % self.edges.len();
            match self.edges[edge].receiver.poll_recv(cx) {
                Poll::Ready(Some(batch)) => {
                    self.next = edge + 1;
                    return Poll::Ready(Some(self.advance(edge, batch)));
                }
                Poll::Ready(None) => {
                    self.edges.remove(edge);
                }
                Poll::Pending => at += 1,
            }
        }
        if self.edges.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }

    fn poll_in_order(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Batch>> {
        loop {
            let behind = self.edges.iter().enumerate().min_by_key(|(_, edge)| edge.watermark);
            let Some((edge, _)) = behind else {
                return Poll::Ready(None);
            };
            match self.edges[edge].receiver.poll_recv(cx) {
                Poll::Ready(Some(batch)) => return Poll::Ready(Some(self.advance(edge, batch))),
                Poll::Ready(None) => {
                    self.edges.remove(edge);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn advance(&mut self, edge: usize, batch: Batch) -> Batch {
        let seen = &mut self.edges[edge].watermark;
        *seen = (*seen).max(batch.watermark);
        batch
    }
}
