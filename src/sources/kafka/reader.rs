//! The thread that polls: messages → chunks, commits, and the consumer made anew where it has to be.
//!
//! It polls whatever happens downstream, for a member of a group that does not is taken for dead. While there
//! is no room for what it has read, the partitions are paused.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::BorrowedMessage,
};
use tokio::{
    runtime::Handle,
    sync::mpsc::{Sender, error::TrySendError},
    time::timeout,
};
use tracing::{error, warn};

use super::{
    chunk::{Chunk, Gathering},
    ledger::{Part, Step},
    watch::{Phase, Shared, Watch, list},
};
use crate::{
    batch::Watermark,
    component::{Clock, drain},
    metrics::{CAPTURE_LOST, ERRORS, ErrorType, LossCause},
    record::Timestamp,
    retry::Delays,
};

/// How long a poll waits for a first message, and how long for one more.
const FIRST: Duration = Duration::from_millis(100);
const ONE_MORE: Duration = Duration::from_millis(5);
/// How long there may be no room before the partitions are paused, which throws away what is fetched ahead.
const NO_ROOM: Duration = Duration::from_secs(1);
/// Nanoseconds between two commits.
const COMMIT_NANOS: u64 = 1_000_000_000;
/// Brokers that refuse us for so many nanoseconds: the consumer is made anew, as files may have been mended.
const REFUSED_NANOS: u64 = 5_000_000_000;
/// Delays before a consumer is made anew.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// Reads topics.
pub(super) struct Reader {
    config: ClientConfig,
    topics: Vec<String>,
    shared: Arc<Shared>,
}

/// One consumer at work.
struct Polling<'a> {
    consumer: BaseConsumer<Watch>,
    shared: &'a Shared,
    chunks: &'a Sender<Chunk>,
    connected: &'a [bool],
    gathering: Option<Gathering>,
    /// What there was no room for, in its order: one chunk, and more only where partitions were assigned since.
    blocked: VecDeque<Chunk>,
    /// The partitions that were ours when it last paused; none while it reads.
    held: Vec<Part>,
    /// All that were paused since. One that goes and comes back is still paused: librdkafka forgets that only when
    /// it is told to resume.
    paused: BTreeSet<Part>,
    committed: Timestamp,
}

/// Why a consumer is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// The run ends.
    Over,
    /// Another one is to be made.
    Again,
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(config: ClientConfig, topics: Vec<String>, shared: Arc<Shared>) -> Self {
        Self { config, topics, shared }
    }

    /// Reads until the phase is over, or nobody takes chunks any more. Blocks.
    pub(super) fn run(self, chunks: &Sender<Chunk>, connected: &[bool]) {
        let mut delays = Delays::new(AGAIN_FIRST, AGAIN_MAX);
        while self.shared.phase() != Phase::Over {
            self.shared.forget_refusal();
            match self.consumer() {
                Ok(consumer) => {
                    let mut polling = Polling {
                        consumer,
                        shared: &self.shared,
                        chunks,
                        connected,
                        gathering: None,
                        blocked: VecDeque::new(),
                        held: Vec::new(),
                        paused: BTreeSet::new(),
                        committed: Clock::Wall.now(None),
                    };
                    if polling.run() == Done::Over {
                        return;
                    }
                }
                Err(error) => {
                    self.shared.trouble(ErrorType::BrokerRefusesUs, &error.to_string());
                }
            }
            self.shared.meter.count(ERRORS, ErrorType::ConsumerRecreated, 1);
            warn!("the consumer is made anew");
            self.pause(delays.next_delay());
        }
    }

    fn consumer(&self) -> Result<BaseConsumer<Watch>, KafkaError> {
        let watch = Watch(Arc::clone(&self.shared));
        let consumer: BaseConsumer<Watch> = self.config.create_with_context(watch)?;
        let topics: Vec<_> = self.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(consumer)
    }

    /// Waits, but not beyond the end of the run.
    fn pause(&self, delay: Duration) {
        let end = Clock::Wall.now(None).nanos() + i64::try_from(delay.as_nanos()).unwrap_or(0);
        while Clock::Wall.now(None).nanos() < end && self.shared.phase() != Phase::Over {
            std::thread::sleep(FIRST);
        }
    }
}

// === impl Polling ===

impl Polling<'_> {
    fn run(&mut self) -> Done {
        loop {
            let now = Clock::Wall.now(None);
            let phase = self.shared.phase();
            if phase == Phase::Over || self.chunks.is_closed() && phase == Phase::Reading {
                self.commit_at_last();
                return Done::Over;
            }
            if now.since(self.committed) >= COMMIT_NANOS {
                self.committed = now;
                self.commit(CommitMode::Async);
            }
            if self.shared.refused_nanos(now) >= REFUSED_NANOS {
                return Done::Again;
            }
            match phase {
                // What was not handed on is read again, by whoever comes.
                Phase::Draining | Phase::Over => {
                    self.gathering = None;
                    self.blocked.clear();
                    self.hold();
                }
                Phase::Reading => self.make_room(),
            }
            if self.poll(phase) == Some(Done::Again) {
                return Done::Again;
            }
        }
    }

    fn commit(&self, mode: CommitMode) -> bool {
        let parts = self.shared.ledger().parts();
        self.shared.commit(&self.consumer, &parts, mode)
    }

    /// Commits before it goes, for a while: without a coordinator that is not taken, nor while partitions move,
    /// which they do only while it polls.
    fn commit_at_last(&mut self) {
        let begun = Clock::Wall.now(None);
        self.committed = begun;
        self.commit(CommitMode::Async);
        while self.shared.has_to_commit() {
            let now = Clock::Wall.now(None);
            if now < begun || u128::from(now.since(begun)) >= drain::COMMIT.as_nanos() {
                warn!("stops without a commit: what was not committed is read again");
                return;
            }
            if now.since(self.committed) >= COMMIT_NANOS {
                self.committed = now;
                self.commit(CommitMode::Async);
            }
            drop(self.consumer.poll(FIRST));
        }
    }

    fn poll(&mut self, phase: Phase) -> Option<Done> {
        let wait = match (self.blocked.is_empty(), &self.gathering) {
            (false, _) => Duration::ZERO,
            (true, Some(_)) => ONE_MORE,
            (true, None) => FIRST,
        };
        // The message borrows the consumer, and taking it changes the rest.
        let Self { consumer, shared, gathering, .. } = self;
        let polled = consumer.poll(wait);
        match polled {
            // A paused partition gives none, but for one that was just assigned: it is read again.
            Some(Ok(_)) if phase != Phase::Reading => {}
            Some(Ok(message)) => {
                let full = take(&message, shared, gathering);
                drop(message);
                if let Some(gathered) = full {
                    self.hand_over(gathered);
                }
                if self.gathering.as_ref().is_some_and(Gathering::is_full) {
                    self.flush();
                }
            }
            Some(Err(error)) => return failed(&error, shared),
            // There may be more of it once there is room again.
            None if !self.blocked.is_empty() => {}
            None => self.flush(),
        }
        None
    }

    fn flush(&mut self) {
        if let Some(gathered) = self.gathering.take() {
            self.hand_over(gathered);
        }
    }

    /// Hands a chunk over, waiting for room for a while.
    fn hand_over(&mut self, gathered: Gathering) {
        let chunk = self.shared.chunk(gathered, self.connected);
        if self.blocked.is_empty() {
            self.offer(chunk, NO_ROOM);
        } else {
            self.blocked.push_back(chunk);
        }
    }

    /// Gives the chunk away, or keeps it as the next one if there is no room in time.
    fn offer(&mut self, chunk: Chunk, limit: Duration) {
        let chunk = match self.chunks.try_send(chunk) {
            Ok(()) | Err(TrySendError::Closed(_)) => return,
            Err(TrySendError::Full(chunk)) => chunk,
        };
        let reserve = self.chunks.reserve();
        match Handle::current().block_on(async { timeout(limit, reserve).await }) {
            Ok(Ok(room)) => room.send(chunk),
            Ok(Err(_)) => {}
            Err(_) => self.blocked.push_front(chunk),
        }
    }

    /// Gets rid of what there was no room for; the partitions are paused until there is.
    fn make_room(&mut self) {
        if let Some(chunk) = self.blocked.pop_front() {
            self.hold();
            self.offer(chunk, FIRST);
        }
        if self.blocked.is_empty() && !self.paused.is_empty() {
            let paused: Vec<_> = mem::take(&mut self.paused).into_iter().collect();
            if let Err(error) = self.consumer.resume(&list(&paused)) {
                warn!("partitions can't be resumed: {error}");
            }
            self.held.clear();
            self.shared.paused(0);
        }
    }

    /// Pauses the partitions, those too that have become ours since it did.
    fn hold(&mut self) {
        let ours = self.shared.ledger().parts();
        if ours != self.held {
            if let Err(error) = self.consumer.pause(&list(&ours)) {
                warn!("partitions can't be paused: {error}");
            }
            self.shared.paused(ours.len());
            self.paused.extend(ours.iter().cloned());
            self.held = ours;
        }
    }
}

/// Takes a message to those of its partition; gives what was gathered of another one.
fn take(
    message: &BorrowedMessage<'_>,
    shared: &Shared,
    gathering: &mut Option<Gathering>,
) -> Option<Gathering> {
    let (topic, number, offset) = (message.topic(), message.partition(), message.offset());
    let same = gathering.as_ref().and_then(|gathered| gathered.part_of(topic, number));
    let part = same.unwrap_or_else(|| Part { topic: topic.into(), number });
    let term = shared.read(&part, offset)?;
    let other = gathering.take_if(|gathered| !gathered.is_of(&part, term));
    let gathered = gathering.get_or_insert_with(|| Gathering::new(part, term));
    gathered.take(offset, message.payload().unwrap_or_default(), &shared.refused);
    other
}

/// What an error in place of a message means.
fn failed(error: &KafkaError, shared: &Shared) -> Option<Done> {
    match error {
        KafkaError::PartitionEOF(_) => return None,
        KafkaError::MessageConsumptionFatal(_) => {
            shared.trouble(ErrorType::BrokerUnreachable, &error.to_string());
            return Some(Done::Again);
        }
        _ => {}
    }
    let kind = match error.rdkafka_error_code() {
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed,
        ) => ErrorType::ReadingForbidden,
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => ErrorType::TopicMissing,
        _ => ErrorType::BrokerUnreachable,
    };
    shared.trouble(kind, &error.to_string());
    None
}

// === impl Shared ===

impl Shared {
    /// A message of this offset was read. Gives which time it is that its partition is ours, if it is.
    fn read(&self, part: &Part, offset: i64) -> Option<u64> {
        let mut ledger = self.ledger();
        let step = ledger.read(part, offset, Clock::Wall.now(None))?;
        let term = ledger.term(part);
        drop(ledger);
        match step {
            Step::Next => {}
            Step::Gap(missed) => {
                self.meter.count(CAPTURE_LOST, LossCause::OffsetGap, missed);
                self.meter.count(ERRORS, ErrorType::OffsetGap, 1);
                error!(
                    "{missed} messages of {part} before {offset} are gone: the topic keeps them for \
                     less time than they waited"
                );
            }
            Step::Anew => {
                self.meter.count(ERRORS, ErrorType::OffsetsBeginAnew, 1);
                error!("{part} begins anew at {offset}: the topic was deleted and made again");
            }
        }
        term
    }

    /// The chunk that was gathered, with how far time has come.
    fn chunk(&self, gathered: Gathering, connected: &[bool]) -> Chunk {
        let (mut chunk, time) = gathered.finish(connected);
        let now = Clock::Wall.now(None);
        let mut ledger = self.ledger();
        if let Some(time) = time {
            ledger.reached(&chunk.part, time, now);
        }
        chunk.watermark = ledger.watermark(now).map(|time| Watermark { epoch: 0, time });
        drop(ledger);
        self.well();
        chunk
    }
}
