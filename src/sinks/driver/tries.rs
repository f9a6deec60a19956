//! The waits between a request's tries: how long they are, what the log says of them, and what
//! `/health` shows meanwhile.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    component::{Clock, ItemEnd, SendError, SendOutcome, drain},
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, Holding, Meter, State},
    retry::{Delays, jitter},
};

/// What found no room, or came without an answer, so often in a row may never be taken as a whole.
const TRIES_AS_A_WHOLE: u32 = 4;
/// An item that the destination failed at so often in a row, while others were delivered, is refused.
pub(super) const TRIES_OF_AN_ITEM: u32 = 10;
/// Those who are told to wait equally long come back within this time, or a tenth of the wait.
const SPREAD: Duration = Duration::from_secs(1);

/// What the waits of a sink's requests have in common.
#[derive(Debug)]
pub(super) struct Waits {
    meter: Arc<Meter>,
    retry_initial: Duration,
    retry_max: Duration,
    /// Failures of all requests.
    logged: LogLimit,
    /// When the input ended, once it has.
    input_ended: watch::Sender<Option<Instant>>,
    /// Tries that delivered nothing at all, but for those of items that were set aside.
    in_vain: AtomicU64,
    /// Cancelled once nobody need wait: the run was stopped, and the next one has what is left.
    spared: OnceLock<CancellationToken>,
}

/// How often one request failed in a row, and how long to wait now.
#[derive(Debug)]
pub(super) struct Tries<'a> {
    waits: &'a Waits,
    delays: Delays,
    failed: u32,
    /// Whether one of these failures was logged: then the recovery is, too.
    is_logged: bool,
    /// From the first failure to the next success.
    holding: Option<Holding>,
    /// How often in a row there was no room for it.
    no_room: u32,
    /// How often in a row it was not known whether it was taken.
    unclear: u32,
    /// How often in a row the destination failed at each item that is left.
    items_failed: u32,
    /// How the sink did at the first of these failures.
    at_first: AtFirst,
    /// Whether the last wait was ended as nobody need wait any more.
    is_spared: bool,
}

/// How a sink did when its destination first failed at items.
#[derive(Debug, Default)]
struct AtFirst {
    /// Items that were delivered until then.
    delivered: u64,
    /// Tries that had delivered nothing until then.
    in_vain: u64,
    /// Whether others were delivered by the very same answer.
    is_mixed: bool,
}

// === impl Waits ===

impl Waits {
    pub(super) fn new(meter: Arc<Meter>, retry_initial: Duration, retry_max: Duration) -> Self {
        let logged = LogLimit::series();
        let input_ended = watch::Sender::new(None);
        let (in_vain, spared) = (AtomicU64::new(0), OnceLock::new());
        Self { meter, retry_initial, retry_max, logged, input_ended, in_vain, spared }
    }

    /// Once this is cancelled, nobody waits for the destination: the next run has what is left.
    pub(super) fn spared_by(&self, token: CancellationToken) {
        self.spared.set(token).unwrap_or_default();
    }

    async fn spared(&self) {
        match self.spared.get() {
            Some(spared) => spared.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Comes once nobody need wait any more, and the destination has been away for a while then: what is on its
    /// way to it is not waited for.
    pub(super) async fn sent_in_vain(&self) {
        self.spared().await;
        loop {
            let is_away = || self.meter.state() == State::Holding;
            let was_away = is_away();
            tokio::time::sleep(drain::BETWEEN_TRIES).await;
            if was_away && is_away() {
                return;
            }
        }
    }

    /// The longest wait that nobody asked for.
    pub(super) fn longest(&self) -> Duration {
        self.retry_max
    }

    /// No records will come any more: those that wait now should not wait for long.
    pub(super) fn input_ended(&self) {
        self.input_ended.send_if_modified(|ended| {
            let is_new = ended.is_none();
            ended.get_or_insert_with(Instant::now);
            is_new
        });
    }

    pub(super) fn tries(&self) -> Tries<'_> {
        let delays = Delays::new(self.retry_initial, self.retry_max);
        Tries {
            waits: self,
            delays,
            failed: 0,
            is_logged: false,
            holding: None,
            no_room: 0,
            unclear: 0,
            items_failed: 0,
            at_first: AtFirst::default(),
            is_spared: false,
        }
    }

    /// False if the wait was ended as nobody need wait any more.
    async fn sleep(&self, delay: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.spared() => false,
            () = tokio::time::sleep(delay) => true,
            () = self.drain_wait() => true,
        }
    }

    /// The longest wait while a run that was stopped drains. A replay whose input ended longer ago has
    /// all the time that a destination asks for.
    async fn drain_wait(&self) {
        let mut input_ended = self.input_ended.subscribe();
        let ended = input_ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
        match ended {
            Some(ended) if ended.elapsed() < drain::RUN => {
                tokio::time::sleep(drain::BETWEEN_TRIES + jitter(SPREAD)).await;
            }
            _ => std::future::pending().await,
        }
    }
}

// === impl Tries ===

impl Tries<'_> {
    /// Notes what became of a try.
    pub(super) fn tried<P>(&mut self, answer: &Result<SendOutcome<P>, SendError>) {
        let next = |is_next: bool, count: u32| if is_next { count.saturating_add(1) } else { 0 };
        self.no_room = next(matches!(answer, Err(SendError::Busy { .. })), self.no_room);
        self.unclear = next(matches!(answer, Err(SendError::Unclear { .. })), self.unclear);
        if is_in_vain(answer) && !(self.has_failed_items() && self.at_first.is_mixed) {
            self.waits.in_vain.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether all that is left are items that the destination failed at: they may be at fault themselves,
    /// so others need not wait for them.
    pub(super) fn has_failed_items(&self) -> bool {
        self.items_failed > 0
    }

    /// Whether it may be too much to be ever taken as a whole: it is sent in halves, and counted anew.
    pub(super) fn may_be_too_much(&mut self) -> bool {
        let so_often = self.no_room.max(self.unclear) >= TRIES_AS_A_WHOLE;
        if so_often {
            (self.no_room, self.unclear) = (0, 0);
        }
        so_often
    }

    /// Notes the ends of a request's items, when the sink has delivered so many; true if those that the
    /// destination failed at are to be given up: it does deliver others, since then or, as long as nothing
    /// was sent in vain since, by the answer that told of the first failure.
    pub(super) fn fail_for_good(&mut self, ends: &[ItemEnd], delivered: u64) -> bool {
        let is_failure = |end: &ItemEnd| matches!(end, ItemEnd::Failed(_));
        if !ends.iter().any(is_failure) || ends.iter().any(|end| matches!(end, ItemEnd::Retry(_))) {
            self.items_failed = 0;
            return false;
        }
        if self.items_failed == 0 {
            let here = ends.iter().filter(|end| is_there(end)).count();
            self.at_first = AtFirst {
                delivered: delivered.saturating_add(here as u64),
                in_vain: self.waits.in_vain.load(Ordering::Relaxed),
                is_mixed: here > 0,
            };
        }
        self.items_failed = self.items_failed.saturating_add(1);
        let AtFirst { delivered: before, in_vain, is_mixed } = self.at_first;
        let is_alone = is_mixed && in_vain == self.waits.in_vain.load(Ordering::Relaxed);
        let give_up = self.items_failed >= TRIES_OF_AN_ITEM && (delivered > before || is_alone);
        if give_up {
            self.items_failed = 0;
        }
        give_up
    }

    /// Waits before the next try, for `at_least` as long if somebody asked for it. Says so at the first
    /// failure and then ever more rarely.
    pub(super) async fn wait(&mut self, at_least: Option<Duration>, reason: &str) {
        let Waits { meter, .. } = self.waits;
        self.failed = self.failed.saturating_add(1);
        self.holding.get_or_insert_with(|| meter.holding());
        meter.count(ERRORS, ErrorType::NotDeliveredYet, 1);
        meter.failed(reason);
        let delay = match at_least {
            Some(wait) => wait + jitter(SPREAD.max(wait / 10)),
            None => self.delays.next_delay(),
        };
        if let Some(suppressed) = self.waits.logged.admit(1, Clock::Wall.now(None)) {
            self.is_logged = true;
            error!(
                failed = self.failed,
                suppressed,
                retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                "not delivered, kept and sent again: {reason}",
            );
        }
        self.is_spared = !self.waits.sleep(delay).await;
    }

    /// Whether it is not to be tried any more: the run was stopped, and the next one has what is left.
    pub(super) fn are_spared(&self) -> bool {
        self.is_spared
    }

    /// A try succeeded.
    pub(super) fn recovered(&mut self) {
        if self.failed > 0 {
            if std::mem::take(&mut self.is_logged) {
                info!(failed = self.failed, "delivered again");
            }
            self.failed = 0;
            self.delays.reset();
        }
        self.holding = None;
    }
}

/// Whether a try delivered nothing, for want of a destination that delivers.
fn is_in_vain<P>(answer: &Result<SendOutcome<P>, SendError>) -> bool {
    match answer {
        Ok(SendOutcome::Delivered | SendOutcome::Pending(_))
        | Err(SendError::Split { .. } | SendError::Gone { .. }) => false,
        Ok(SendOutcome::Items(ends)) => {
            let is_open = |end: &ItemEnd| matches!(end, ItemEnd::Failed(_) | ItemEnd::Retry(_));
            ends.iter().any(is_open) && !ends.iter().any(is_there)
        }
        Err(_) => true,
    }
}

const fn is_there(end: &ItemEnd) -> bool {
    matches!(end, ItemEnd::Delivered | ItemEnd::Duplicate)
}
