//! A component's fan-in: several edges read as one stream.
//!
//! In a replay the edge that is furthest behind in event time is read next, so the merged order depends
//! on the data alone and a run gives the same output twice. Live, edges are read in turn. Either way, at
//! one watermark records come in the order in which data passes through the kinds: packets before the
//! flows that were made of them, contacts before flows.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{self, Poll},
};

use tokio_util::sync::CancellationToken;

use super::{
    Clock,
    edge::{EdgeReceiver, MAX_BATCHES},
};
use crate::{
    batch::{Batch, Watermark},
    metrics::Meter,
    record::{Kind, Kinds},
};

/// Batches of earlier kinds that are read before one that was due: so many can have been on an edge
/// when it was made. Beyond that they come from elsewhere, and would keep it for ever.
const MAX_PASSES: usize = MAX_BATCHES + 1;

/// What flows into a component.
#[derive(Debug)]
pub struct Input {
    edges: Vec<Edge>,
    clock: Clock,
    next: usize,
    preferred: Kinds,
    meter: Arc<Meter>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Edge {
    receiver: EdgeReceiver,
    carries: Kinds,
    watermark: Option<Watermark>,
    /// Batches of other edges that were read before the one that waits here.
    passed_by: usize,
}

// === impl Input ===

impl Input {
    /// An input of a component that `meter` counts for.
    pub fn new(clock: Clock, meter: Arc<Meter>) -> Self {
        Self {
            edges: Vec::new(),
            clock,
            next: 0,
            preferred: Kinds::NONE,
            meter,
            stop: CancellationToken::new(),
        }
    }

    /// Adds an edge that carries `kinds`.
    pub fn add(&mut self, receiver: EdgeReceiver, carries: Kinds) {
        self.edges.push(Edge { receiver, carries, watermark: None, passed_by: 0 });
    }

    /// The run is stopped by this token.
    #[must_use]
    pub fn stopped_by(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// Cancelled when the run is stopped. What waits on the edges, and what is still made, comes all the same.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled once nothing that came, or is to come, is lost if it is not delivered: the run was stopped, and the
    /// next one has it. Never, where several edges bring it.
    pub fn spared(&self) -> CancellationToken {
        match &self.edges[..] {
            [edge] => edge.receiver.spared().clone(),
            _ => CancellationToken::new(),
        }
    }

    /// Counts what the component takes in and does.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Which clock the run goes by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// From now on edges that carry only `kind` are read before all others, as long as they have
    /// anything: live only. In a replay the order is that of the watermarks still, for any other would
    /// depend on the machine's speed.
    pub fn prefer(&mut self, kind: Kind) {
        self.preferred = kind.into();
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

    /// The next batch of the [preferred](Self::prefer) kind, for one who can take nothing else now. Never
    /// comes if it is not next in a replay, or once all edges of the kind have ended. Dropping the future
    /// loses nothing.
    pub async fn recv_preferred(&mut self) -> Batch {
        poll_fn(|cx| match self.clock {
            Clock::Wall => {
                self.look(cx);
                self.first_preferred().map_or(Poll::Pending, |edge| self.take(edge))
            }
            Clock::Event => match self.poll_furthest_behind(cx) {
                Poll::Ready(Some(edge)) if self.is_preferred(edge) => self.take(edge),
                _ => Poll::Pending,
            },
        })
        .await
    }

    fn poll_in_turn(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Batch>> {
        let coming = self.look(cx);
        if self.edges.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(edge) = self.first_preferred() {
            return self.take(edge).map(Some);
        }
        let in_turn = (0..self.edges.len()).map(|at| (self.next + at) % self.edges.len());
        for due in in_turn.filter(|edge| self.edges[*edge].receiver.head().is_some()) {
            if let Some(before) = self.earlier(due) {
                self.edges[due].passed_by += 1;
                return self.take(before).map(Some);
            }
            if !coming.iter().any(|edge| self.comes_before(*edge, due)) {
                self.next = due + 1;
                return self.take(due).map(Some);
            }
        }
        Poll::Pending
    }

    /// Looks at the next batch of every edge, and takes those away that have ended. Gives the edges that
    /// have none yet, but one on its way.
    fn look(&mut self, cx: &mut task::Context<'_>) -> Vec<usize> {
        let (mut at, mut coming) = (0, Vec::new());
        while at < self.edges.len() {
            let receiver = &mut self.edges[at].receiver;
            let is_coming = receiver.is_coming();
            match receiver.poll_head(cx) {
                Poll::Ready(None) => {
                    self.edges.remove(at);
                    continue;
                }
                Poll::Pending if is_coming => coming.push(at),
                Poll::Ready(Some(_)) | Poll::Pending => {}
            }
            at += 1;
        }
        coming
    }

    fn is_preferred(&self, edge: usize) -> bool {
        !self.preferred.is_empty() && self.edges[edge].carries == self.preferred
    }

    fn first_preferred(&self) -> Option<usize> {
        let in_turn = (0..self.edges.len()).map(|at| (self.next + at) % self.edges.len());
        let mut ready = in_turn.filter(|edge| self.edges[*edge].receiver.head().is_some());
        ready.find(|edge| self.is_preferred(*edge))
    }

    /// The edge whose batch comes before that of `due`, which has one: the first of those with an earlier
    /// kind and a time that is no later.
    fn earlier(&self, due: usize) -> Option<usize> {
        let order = |edge: &Edge| {
            let head = edge.receiver.head()?;
            Some((head.records.kind(), head.watermark?))
        };
        let (kind, time) = order(&self.edges[due])?;
        if self.edges[due].passed_by >= MAX_PASSES {
            return None;
        }
        let ordered =
            self.edges.iter().enumerate().filter_map(|(at, edge)| Some((order(edge)?, at)));
        let earlier = ordered.filter(|((its_kind, its), _)| *its_kind < kind && *its <= time);
        earlier.min_by_key(|((kind, time), at)| (*time, *kind, *at)).map(|(_, at)| at)
    }

    /// Whether what is on its way on an edge may come before the batch of `due`.
    fn comes_before(&self, coming: usize, due: usize) -> bool {
        let (coming, due) = (&self.edges[coming], &self.edges[due]);
        due.receiver.head().is_some_and(|head| {
            first(coming.carries).is_some_and(|kind| kind < head.records.kind())
                && coming.watermark <= head.watermark
        })
    }

    fn poll_in_order(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Batch>> {
        match self.poll_furthest_behind(cx) {
            Poll::Ready(Some(edge)) => self.take(edge).map(Some),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The edge that is furthest behind, once its next batch is there; `None` once all have ended.
    fn poll_furthest_behind(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<usize>> {
        loop {
            let place = |(at, edge): &(usize, &Edge)| (edge.watermark, first(edge.carries), *at);
            let Some((edge, _)) = self.edges.iter().enumerate().min_by_key(place) else {
                return Poll::Ready(None);
            };
            match task::ready!(self.edges[edge].receiver.poll_head(cx)) {
                Some(_) => return Poll::Ready(Some(edge)),
                None => drop(self.edges.remove(edge)),
            }
        }
    }

    /// Takes the batch that was looked at.
    fn take(&mut self, edge: usize) -> Poll<Batch> {
        let edge = &mut self.edges[edge];
        let Some(batch) = edge.receiver.take() else { return Poll::Pending };
        edge.passed_by = 0;
        edge.watermark = edge.watermark.max(batch.watermark);
        Poll::Ready(batch)
    }
}

/// The kind that data passes through first.
fn first(kinds: Kinds) -> Option<Kind> {
    kinds.iter().next()
}

#[cfg(test)]
mod tests;
