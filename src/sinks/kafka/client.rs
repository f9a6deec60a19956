//! What librdkafka tells beside delivery reports: errors, log lines, statistics.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext, Message as _, Statistics,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
    producer::{DeliveryResult, ProducerContext},
};
use tokio::sync::Notify;
use tracing::{debug, error, warn};

use super::{producer::Ticket, report::Verdict};
use crate::{
    component::Clock,
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, KAFKA_QUEUE_BYTES, KAFKA_QUEUE_EVENTS, KAFKA_ROUND_TRIP, Meter},
};

/// What is known of the brokers, whichever producer it is that asks them.
#[derive(Debug)]
pub(super) struct State {
    meter: Arc<Meter>,
    /// What the brokers said last.
    said: Mutex<Said>,
    /// A delivery report has come, so there may be room in the queue.
    room: Notify,
    errors: LogLimit,
    lines: LogLimit,
    waits: LogLimit,
}

#[derive(Debug, Default)]
struct Said {
    /// The last error.
    error: Option<String>,
    /// Why they refuse us: our login, or our certificate or theirs.
    refusal: Option<String>,
    /// Why a broker's name leads nowhere.
    unknown_name: Option<String>,
    /// Whether all of them were down at a time: then each has told why it is.
    are_all_down: bool,
    /// Whether one of them was found, though it may be away now.
    is_one_found: bool,
}

/// The context of a producer.
pub(super) struct Reports(pub(super) Arc<State>);

// === impl State ===

impl State {
    pub(super) fn new(meter: Arc<Meter>) -> Self {
        Self {
            meter,
            said: Mutex::default(),
            room: Notify::new(),
            errors: LogLimit::series(),
            lines: LogLimit::series(),
            waits: LogLimit::series(),
        }
    }

    /// Waits until the queue may have room. To be asked for before looking: what comes in between counts.
    pub(super) fn room(&self) -> impl Future<Output = ()> + '_ {
        let notified = self.room.notified();
        async move {
            // A report may have come just before: then nobody else would wake us.
            tokio::time::timeout(Duration::from_secs(1), notified).await.unwrap_or_default();
        }
    }

    /// Why the brokers refuse us, if they do.
    pub(super) fn refusal(&self) -> Option<String> {
        self.said().refusal.clone()
    }

    /// Why no broker was ever found, if it is for their names.
    pub(super) fn astray(&self) -> Option<String> {
        let said = self.said();
        said.unknown_name.clone().filter(|_| said.are_all_down && !said.is_one_found)
    }

    /// Something was delivered.
    pub(super) fn delivered(&self) {
        let mut said = self.said();
        (said.error, said.refusal, said.is_one_found) = (None, None, true);
    }

    /// Another producer tries anew.
    pub(super) fn forget(&self) {
        self.said().refusal = None;
    }

    /// Nothing was delivered for a while.
    pub(super) fn waits(&self) {
        self.meter.count(ERRORS, ErrorType::NotDeliveredYet, 1);
        if let Some(suppressed) = self.waits.admit(1, Clock::Wall.now(None)) {
            let reason = self.said().error.clone();
            let reason = reason.unwrap_or_else(|| "no broker has answered yet".to_owned());
            self.meter.failed(&reason);
            error!(suppressed, "not delivered yet, and kept: {reason}");
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Said ===

impl Said {
    /// Notes what an error tells of the brokers' names.
    fn look(&mut self, code: Option<Code>, reason: &str) {
        match code {
            Some(Code::Resolve) => self.unknown_name = Some(reason.to_owned()),
            Some(Code::AllBrokersDown) => self.are_all_down = true,
            _ => self.is_one_found = true,
        }
    }
}

// === impl Reports ===

impl ClientContext for Reports {
    /// Lines of librdkafka's own log; what matters in them comes as an error or a report too.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if matches!(level, RDKafkaLogLevel::Debug) {
            return;
        }
        if let Some(suppressed) = self.0.lines.admit(1, Clock::Wall.now(None)) {
            debug!(suppressed, "librdkafka: {facility}: {line}");
        }
    }

    /// `AllBrokersDown` and its like come with each try of a connection.
    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let refuses = matches!(code, Some(Code::Authentication | Code::SSL));
        let mut said = self.0.said();
        if code != Some(Code::AllBrokersDown) || said.error.is_none() {
            said.error = Some(reason.to_owned());
        }
        said.look(code, reason);
        if refuses {
            said.refusal = Some(reason.to_owned());
        }
        drop(said);
        let kind =
            if refuses { ErrorType::DestinationRefusesUs } else { ErrorType::BrokerUnreachable };
        self.0.meter.count(ERRORS, kind, 1);
        if let Some(suppressed) = self.0.errors.admit(1, Clock::Wall.now(None)) {
            warn!(suppressed, "librdkafka: {reason}");
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.0.said().is_one_found = true;
        }
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.0.meter.set(KAFKA_QUEUE_EVENTS, number(statistics.msg_cnt));
        self.0.meter.set(KAFKA_QUEUE_BYTES, number(statistics.msg_size));
        let slowest =
            statistics.brokers.values().filter_map(|broker| Some(broker.rtt.as_ref()?.p99));
        let slowest = u64::try_from(slowest.max().unwrap_or(0)).unwrap_or(0);
        self.0.meter.set(KAFKA_ROUND_TRIP, number(slowest));
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        ticket.report(match result {
            Ok(_) => Verdict::Delivered,
            Err((error, message)) => Verdict::of(error, message.topic()),
        });
        self.0.room.notify_waiters();
    }
}
