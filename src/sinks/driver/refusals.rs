//! Items that a destination will never take: to the dead letter, many at once, or dropped.

use tracing::error;

use super::{delivery::Delivery, request::Request, tries::Tries};
use crate::{
    ack::End,
    component::{Clock, Item, Sink, with_causes},
    metrics::{DISCARDED, Reason},
    sinks::dead_letter::Letters,
};

/// An item and the destination's reason.
pub(super) type Refused<M> = (Item<M>, String);

impl<S: Sink> Delivery<S> {
    /// Ends items that were refused. While the dead letter can't be written they are held rather than
    /// lost; without a dead letter they are dropped and counted.
    pub(super) async fn refused(
        &self,
        request: &mut Request<S::Meta>,
        refused: &[Refused<S::Meta>],
        tries: &mut Tries<'_>,
    ) {
        let Some((_, reason)) = refused.last() else { return };
        let Some(dead_letter) = &self.dead_letter else {
            self.dropped(refused.len() as u64, reason);
            return end(request, refused, End::Dropped);
        };
        let mut waited = false;
        let mut left = refused;
        while !left.is_empty() && !tries.are_spared() {
            let (written, rest) = dead_letter.write(self.letters(request, left)).await;
            let (done, not_yet) = left.split_at(written.min(left.len()));
            self.meter.dead_lettered(done.len() as u64);
            end(request, done, End::DeadLettered);
            left = not_yet;
            if let Err(error) = rest {
                tries.wait(None, &with_causes(&error)).await;
                waited = true;
            }
        }
        if waited {
            tries.recovered();
        }
    }

    fn dropped(&self, records: u64, reason: &str) {
        self.meter.count(DISCARDED, Reason::Refused, records);
        if let Some(suppressed) = self.refused.admit(records, Clock::Wall.now(None)) {
            error!(
                records,
                suppressed, "records refused and dropped, as there is no dead_letter: {reason}",
            );
        }
    }

    /// As many of them, from the first on, as are written at once.
    fn letters(&self, request: &Request<S::Meta>, refused: &[Refused<S::Meta>]) -> Letters {
        let mut letters = Letters::new();
        for (item, reason) in refused {
            let record = self.sink.returned(item.kind, &request.body[item.range.clone()]);
            letters.push(self.meter.id(), reason, &record);
            if letters.is_full() {
                break;
            }
        }
        letters
    }
}

fn end<M>(request: &mut Request<M>, refused: &[Refused<M>], end: End) {
    for (item, _) in refused {
        request.shares.end(item.batch, end);
    }
}
