//! The driver against a scripted destination, in paused time.

use std::{
    collections::{HashSet, VecDeque},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::*;
use crate::{
    ack::{Receipt, Receipts},
    component::{
        Clock, Context, ItemEnd, Items, SendError, SendOutcome,
        edge::{Bounds, EdgeSender, WhenFull, edge},
    },
    metrics::{Meter, State},
    record::{Kind, Kinds, Raw, Records},
    sinks::options::DeadLetterConfig,
};

/// A destination that answers as its script says, and delivers once the script is over, but for what
/// ends with `fails`, and for all while it is down.
#[derive(Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<Vec<String>>>>,
    confirmations: Arc<Mutex<VecDeque<Result<bool, SendError>>>>,
    is_down: Arc<AtomicBool>,
}

type Answer = Result<SendOutcome<()>, SendError>;

impl Sink for Scripted {
    type Meta = char;
    type Pending = ();

    /// A record's text; its first letter is what neighbours must share.
    fn encode(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<char, Error> {
        let Records::Raw(records) = records else { return Err(Error::failure("not raw")) };
        let line = &records[index].line;
        out.extend_from_slice(line);
        if line.starts_with(b"bad") {
            return Err(Error::failure("it can't be written"));
        }
        Ok(char::from(line[0]))
    }

    async fn send(&self, items: &Items<'_, char>) -> Answer {
        let texts = items.iter().map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned());
        let texts: Vec<_> = texts.collect();
        let end = |text: &String| {
            let fails = text.ends_with("fails") || self.is_down.load(Ordering::Relaxed);
            if fails { ItemEnd::Failed("500".into()) } else { ItemEnd::Delivered }
        };
        let ends = texts.iter().map(end).collect();
        lock(&self.requests).push(texts);
        lock(&self.answers).pop_front().unwrap_or(Ok(SendOutcome::Items(ends)))
    }

    async fn confirm(&self, (): ()) -> Result<bool, SendError> {
        lock(&self.confirmations).pop_front().unwrap_or(Ok(true))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A driver at work on a scripted destination.
struct Bench {
    destination: Scripted,
    edge: EdgeSender,
    meter: Arc<Meter>,
    receipts: Receipts,
    driver: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Bench {
    fn start(answers: impl IntoIterator<Item = Answer>, options: &Options) -> Self {
        let destination = Scripted::default();
        lock(&destination.answers).extend(answers);
        let meter = Meter::new("siem", "scripted");
        meter.set_state(State::Running);
        let receipts = Receipts::default();
        let context = Context { receipts: receipts.clone(), ..Context::alone(Arc::clone(&meter)) };
        let requests = Requests { items_fail: true, ..Requests::default() };
        let Ok(Component::Sink(run)) = component(destination.clone(), requests, options, &context)
        else {
            panic!("a driver is a sink");
        };
        let (edge, receiver) = edge(Bounds::default(), WhenFull::Block, &meter);
        let mut input = Input::new(Clock::Wall, Arc::clone(&meter));
        input.add(receiver, Kinds::of(&[Kind::Raw]));
        Self { destination, edge, meter, receipts, driver: tokio::spawn(run(input)) }
    }

    async fn send(&self, lines: &[&str]) -> Receipt {
        let raw = |line: &&str| Raw {
            line: Bytes::copy_from_slice(line.as_bytes()),
            epoch: 0,
            first: 0,
            origin: crate::record::ObservationPoint::default(),
        };
        let (ack, receipt) = self.receipts.open_awaited();
        let records = Records::Raw(Arc::new(lines.iter().map(raw).collect()));
        self.edge.send(Batch { records, ack, watermark: None }).await.unwrap();
        receipt
    }

    /// Ends the input and gives the requests the destination saw.
    async fn requests(self) -> Vec<Vec<String>> {
        drop(self.edge);
        self.driver.await.unwrap().unwrap();
        assert!(self.meter.balance().holds() && self.meter.balance().held == 0);
        std::mem::take(&mut lock(&self.destination.requests))
    }
}

fn context() -> Context {
    Context::alone(Meter::new("siem", "scripted"))
}

fn options() -> Options {
    let mut options = Options::default();
    options.batch.max_events = Some(100);
    options.batch.max_bytes = Some(1_000);
    options.batch.timeout_secs = Some(1);
    options.request.concurrency = 1;
    options.request.retry_initial_secs = 1;
    options.request.retry_max_secs = 30;
    options
}

fn retry(after: Option<u64>) -> Answer {
    Err(SendError::Retry { after: after.map(Duration::from_secs), reason: "busy".into() })
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_when_it_is_full_in_items() {
    let mut options = options();
    options.batch.max_events = Some(2);
    let bench = Bench::start([], &options);
    let receipt = bench.send(&["a1", "a2", "a3"]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    assert_eq!(bench.requests().await, [vec!["a1", "a2"], vec!["a3"]]);
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_when_the_next_record_would_make_it_too_large() {
    let mut options = options();
    options.batch.max_bytes = Some(5);
    let bench = Bench::start([], &options);
    bench.send(&["a1", "a2", "a3", "a-long-one", "a4"]).await.ended().await;
    assert_eq!(
        bench.requests().await,
        [vec!["a1", "a2"], vec!["a3"], vec!["a-long-one"], vec!["a4"]]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_when_it_is_old_enough() {
    let bench = Bench::start([], &options());
    let started = Instant::now();
    let receipt = bench.send(&["a1"]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    assert_eq!(started.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn records_that_may_not_share_a_request_do_not() {
    let bench = Bench::start([], &options());
    bench.send(&["a1", "b1", "b2", "a2"]).await.ended().await;
    assert_eq!(bench.requests().await, [vec!["a1"], vec!["b1", "b2"], vec!["a2"]]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_encoded_is_dropped_alone_and_counted() {
    let bench = Bench::start([], &options());
    let receipt = bench.send(&["a1", "bad", "a2"]).await;
    assert_eq!(receipt.ended().await, End::Dropped);
    assert_eq!(bench.meter.balance().dropped["unencodable"], 1);
    assert_eq!(bench.requests().await, [vec!["a1", "a2"]]);
}

#[tokio::test(start_paused = true)]
async fn only_the_items_that_were_not_taken_are_sent_again() {
    let ends = vec![
        ItemEnd::Delivered,
        ItemEnd::Retry("429".into()),
        ItemEnd::Duplicate,
        ItemEnd::Retry("503".into()),
    ];
    let bench = Bench::start([Ok(SendOutcome::Items(ends))], &options());
    let receipt = bench.send(&["a1", "a2", "a3", "a4"]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    let balance = bench.meter.balance();
    assert_eq!((balance.delivered, balance.duplicated), (4, 1));
    assert_eq!(bench.requests().await, [vec!["a1", "a2", "a3", "a4"], vec!["a2", "a4"]]);
}

#[tokio::test(start_paused = true)]
async fn items_behind_a_refused_one_are_sent_again_at_once() {
    let ends = || {
        let refused = ItemEnd::Refused("mapping".into());
        Ok(SendOutcome::Items(vec![ItemEnd::Delivered, refused, ItemEnd::Untried]))
    };
    let bench = Bench::start([ends()], &options());
    let started = Instant::now();
    bench.send(&["a1", "a2", "a3"]).await.ended().await;
    assert_eq!(started.elapsed().as_secs(), 1, "a second to fill, and none to wait");
    assert_eq!(bench.requests().await, [vec!["a1", "a2", "a3"], vec!["a3"]]);
}

#[tokio::test(start_paused = true)]
async fn items_around_a_refused_one_are_sent_again_apart() {
    let refused = || ItemEnd::Refused("mapping".into());
    let ends = vec![ItemEnd::Untried, ItemEnd::Untried, refused(), ItemEnd::Untried];
    let bench = Bench::start([Ok(SendOutcome::Items(ends))], &options());
    bench.send(&["a1", "a2", "a3", "a4"]).await.ended().await;
    let sent = bench.requests().await;
    assert_eq!(sent[1..], [vec!["a1", "a2"], vec!["a4"]]);
}

#[tokio::test(start_paused = true)]
async fn items_to_be_tried_again_go_together_whatever_was_refused_among_them() {
    let (retry, refused) = (|| ItemEnd::Retry("429".into()), ItemEnd::Refused("mapping".into()));
    let bench = Bench::start([Ok(SendOutcome::Items(vec![retry(), refused, retry()]))], &options());
    bench.send(&["a1", "a2", "a3"]).await.ended().await;
    assert_eq!(bench.requests().await, [vec!["a1", "a2", "a3"], vec!["a1", "a3"]]);
}

#[tokio::test(start_paused = true)]
async fn a_partial_retry_that_ends_well_is_a_recovery() {
    let some = vec![ItemEnd::Delivered, ItemEnd::Retry("429".into())];
    let rest = vec![ItemEnd::Duplicate];
    let bench =
        Bench::start([Ok(SendOutcome::Items(some)), Ok(SendOutcome::Items(rest))], &options());
    bench.send(&["a1", "a2"]).await.ended().await;
    assert_eq!(bench.meter.state(), State::Running);
    bench.requests().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_fate_is_unclear_is_sent_again_and_may_be_there_twice() {
    let unclear = Err(SendError::Unclear { may_double: true, reason: "reset".into() });
    let bench = Bench::start([unclear], &options());
    let receipt = bench.send(&["a1", "a2"]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    assert_eq!(bench.meter.balance().duplicated, 2);
    assert_eq!(bench.requests().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_short_answer_sends_the_items_it_leaves_out_again() {
    let bench = Bench::start([Ok(SendOutcome::Items(vec![ItemEnd::Delivered]))], &options());
    bench.send(&["a1", "a2"]).await.ended().await;
    assert_eq!(bench.requests().await, [vec!["a1", "a2"], vec!["a2"]]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_item_is_dropped_and_counted_where_there_is_no_dead_letter() {
    let ends = vec![ItemEnd::Delivered, ItemEnd::Refused("mapping".into())];
    let bench = Bench::start([Ok(SendOutcome::Items(ends))], &options());
    let receipt = bench.send(&["a1", "a2"]).await;
    assert_eq!(receipt.ended().await, End::Dropped);
    assert_eq!(bench.meter.balance().dropped["refused"], 1);
    bench.requests().await;
}

#[tokio::test(start_paused = true)]
async fn an_item_the_destination_always_fails_at_is_refused_while_others_are_delivered() {
    let mut options = options();
    options.request.concurrency = 2;
    let bench = Bench::start([], &options);
    let receipt = bench.send(&["a1", "a-fails", "a2"]).await;
    let others = async {
        loop {
            assert_eq!(bench.send(&["a3"]).await.ended().await, End::Delivered);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let end = tokio::select! {
        end = receipt.ended() => end,
        () = others => unreachable!(),
    };
    assert_eq!(end, End::Dropped);
    assert_eq!(bench.meter.balance().dropped["refused"], 1);
    let tries = bench.requests().await.concat();
    assert_eq!(tries.iter().filter(|text| *text == "a-fails").count(), 10);
    assert_eq!(tries.iter().filter(|text| *text == "a1").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn items_are_kept_while_the_destination_fails_at_all_there_is() {
    let bench = Bench::start([], &options());
    // It fails from within an answer on.
    let first = bench.send(&["a1", "a-fails"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.destination.is_down.store(true, Ordering::Relaxed);
    let second = bench.send(&["b1"]).await;
    tokio::time::sleep(HOUR).await;
    let balance = bench.meter.balance();
    assert_eq!((balance.delivered, balance.held, balance.dropped.len()), (1, 2, 0));
    assert!(lock(&bench.destination.requests).len() > 40);
    // It delivers again, and only now one of them is known to be at fault itself.
    bench.destination.is_down.store(false, Ordering::Relaxed);
    let ended = async { (first.ended().await, second.ended().await) };
    let ended = tokio::time::timeout(HOUR, ended).await;
    assert_eq!(ended, Ok((End::Dropped, End::Delivered)));
    bench.requests().await;
}

#[tokio::test(start_paused = true)]
async fn an_item_that_always_fails_holds_up_no_others_with_one_request_at_a_time() {
    let mut options = options();
    options.batch.max_events = Some(3);
    let bench = Bench::start([], &options);
    let failing = bench.send(&["a1", "a-fails", "a2"]).await;
    let others = bench.send(&["a3", "a4", "a5"]).await;
    let delivered = tokio::time::timeout(HOUR, others.ended()).await;
    assert_eq!(delivered, Ok(End::Delivered));
    assert_eq!(bench.meter.balance().held, 1);
    assert_eq!(failing.ended().await, End::Dropped);
    let tries = bench.requests().await.concat();
    assert_eq!(tries.iter().filter(|text| *text == "a-fails").count(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_always_fails_in_the_last_request_does_not_keep_a_run_from_its_end() {
    let bench = Bench::start([], &options());
    let receipt = bench.send(&["a1", "a-fails"]).await;
    let requests = tokio::time::timeout(HOUR, bench.requests()).await.unwrap();
    assert_eq!(receipt.ended().await, End::Dropped);
    assert_eq!(requests.concat().iter().filter(|text| *text == "a-fails").count(), 10);
}

#[tokio::test(start_paused = true)]
async fn each_part_of_a_request_is_tried_anew() {
    let mut options = options();
    options.batch.timeout_secs = Some(0);
    let bench = Bench::start([Err(SendError::Split { reason: "413".into() })], &options);
    bench.send(&["a1", "a-fails", "a2", "a-also-fails"]).await;
    let tries = tokio::time::timeout(HOUR, bench.requests()).await.unwrap().concat();
    let so_often = |item: &str| tries.iter().filter(|text| *text == item).count();
    // Once as a whole.
    assert_eq!((so_often("a-fails"), so_often("a-also-fails")), (11, 11));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_is_halved_down_to_the_record_that_is() {
    let too_large = || Err(SendError::Split { reason: "413".into() });
    // The whole, its second half, and the fourth alone are too large.
    let answers = [
        too_large(),
        Ok(SendOutcome::Delivered),
        too_large(),
        Ok(SendOutcome::Delivered),
        too_large(),
    ];
    let bench = Bench::start(answers, &options());
    let receipt = bench.send(&["a1", "a2", "a3", "a4"]).await;
    assert_eq!(receipt.ended().await, End::Dropped);
    let balance = bench.meter.balance();
    assert_eq!((balance.delivered, balance.dropped["refused"]), (3, 1));
    assert_eq!(balance.errors["refused_as_a_whole"], 2);
    let sent = bench.requests().await;
    assert_eq!(sent[1..], [vec!["a1", "a2"], vec!["a3", "a4"], vec!["a3"], vec!["a4"]]);
}

fn no_room() -> Answer {
    Err(SendError::Busy { after: None, reason: "429".into() })
}

#[tokio::test(start_paused = true)]
async fn a_request_there_is_never_room_for_is_sent_in_halves() {
    let mut options = options();
    options.batch.max_bytes = Some(1_000_000);
    let bench = Bench::start((0..4).map(|_| no_room()), &options);
    let long = "a".repeat(100_000);
    let receipt = bench.send(&[&long, &long]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    assert_eq!(bench.meter.balance().errors["no_room_as_a_whole"], 1);
    let sizes: Vec<_> = bench.requests().await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 2, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn only_what_finds_no_room_several_times_in_a_row_is_halved() {
    let mut options = options();
    options.batch.max_bytes = Some(1_000_000);
    let away = || Err(SendError::Unclear { may_double: true, reason: "reset".into() });
    let answers = [no_room(), no_room(), no_room(), away(), no_room(), away(), away(), away()];
    let bench = Bench::start(answers, &options);
    let long = "a".repeat(100_000);
    bench.send(&[&long, &long]).await.ended().await;
    assert!(bench.requests().await.iter().all(|request| request.len() == 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_gets_its_answer_is_sent_in_halves() {
    let mut options = options();
    options.batch.max_bytes = Some(1_000_000);
    let bench = Bench::start(
        (0..4).map(|_| Err(SendError::Unclear { may_double: true, reason: "late".into() })),
        &options,
    );
    let long = "a".repeat(100_000);
    bench.send(&[&long, &long]).await.ended().await;
    let balance = bench.meter.balance();
    assert_eq!((balance.errors["unclear_as_a_whole"], balance.duplicated), (1, 8));
    let sizes: Vec<_> = bench.requests().await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 2, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_the_destination_tells_is_halved_too_and_no_duplicate() {
    let mut options = options();
    options.batch.max_bytes = Some(1_000_000);
    let closed = || Err(SendError::Unclear { may_double: false, reason: "closed".into() });
    let bench = Bench::start((0..4).map(|_| closed()), &options);
    let long = "a".repeat(100_000);
    bench.send(&[&long, &long]).await.ended().await;
    let balance = bench.meter.balance();
    assert_eq!((balance.errors["unclear_as_a_whole"], balance.duplicated), (1, 0));
    let sizes: Vec<_> = bench.requests().await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 2, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_small_request_is_not_halved_for_want_of_room() {
    let bench = Bench::start((0..20).map(|_| no_room()), &options());
    let receipt = bench.send(&["a1", "a2"]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    assert!(bench.requests().await.iter().all(|request| request.len() == 2));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let bench = Bench::start([retry(Some(20))], &options());
    let started = Instant::now();
    bench.send(&["a1"]).await.ended().await;
    // A second to fill, what was asked for, and up to a tenth of that.
    let waited = started.elapsed().as_secs();
    assert!((21..=23).contains(&waited), "{waited}");
    bench.requests().await;
}

/// A wait of an hour, as a server may ask for.
const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_cut_short_when_the_input_ends() {
    let mut options = options();
    options.batch.max_events = Some(1);
    let bench = Bench::start((0..5).map(|_| retry(Some(3600))), &options);
    // What waits behind the request that waits, up to the edge, must not hide the end of the input.
    for line in ["a1", "a2", "a3", "a4"] {
        bench.send(&[line]).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let started = Instant::now();
    assert_eq!(bench.requests().await.len(), 9);
    assert!(started.elapsed() < Duration::from_mins(1), "a run that was stopped has no more");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_replay_waits_as_long_as_it_is_told_to() {
    let bench = Bench::start((0..20).map(|_| retry(Some(3600))), &options());
    bench.send(&["a1"]).await;
    let started = Instant::now();
    let sent = bench.requests().await.len();
    assert_eq!(sent, 21);
    assert!(started.elapsed() > 5 * HOUR, "it asked all the time");
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_equally_long_do_not_come_back_at_one_instant() {
    let hold = || Err(SendError::Hold { reason: "401".into() });
    let mut options = options();
    options.batch.max_events = Some(1);
    options.request.concurrency = 8;
    let bench = Bench::start((0..8).map(|_| hold()), &options);
    bench.send(&["a", "b", "c", "d", "e", "f", "g", "h"]).await;
    let sent = || lock(&bench.destination.requests).len();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(sent(), 8, "none comes back early");
    while sent() == 8 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(sent() < 16, "all came back at once");
    bench.requests().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_holds_as_long_as_one_of_its_requests_does() {
    let denied = Err(SendError::Hold { reason: "401".into() });
    let mut options = options();
    options.batch.max_events = Some(1);
    options.request.concurrency = 2;
    let bench = Bench::start([denied], &options);
    let (held, delivered) = (bench.send(&["a1"]).await, bench.send(&["b1"]).await);
    assert_eq!(delivered.ended().await, End::Delivered);
    assert_eq!(bench.meter.state(), State::Holding);
    assert_eq!(held.ended().await, End::Delivered);
    assert_eq!(bench.meter.state(), State::Running);
    bench.requests().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_holds_no_longer_when_what_it_held_was_refused() {
    let too_large = Err(SendError::Split { reason: "413".into() });
    let bench = Bench::start([retry(None), too_large], &options());
    let receipt = bench.send(&["a1"]).await;
    assert_eq!(receipt.ended().await, End::Dropped);
    tokio::task::yield_now().await;
    assert_eq!(bench.meter.state(), State::Running);
    bench.requests().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_the_destination_is_away() {
    let bench = Bench::start((0..50).map(|_| retry(None)), &options());
    let receipt = bench.send(&["a1", "a2"]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    assert_eq!(bench.meter.state(), State::Running);
    assert_eq!(bench.requests().await.len(), 51);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_refuses_us_is_held_for_not_dropped_for() {
    let hold = Err(SendError::Hold { reason: "401".into() });
    let bench = Bench::start([hold], &options());
    let receipt = bench.send(&["a1"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.meter.state(), State::Holding);
    assert_eq!(receipt.ended().await, End::Delivered);
    bench.requests().await;
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_request_is_sent_again_and_may_be_there_twice() {
    let bench = Bench::start([Ok(SendOutcome::Pending(()))], &options());
    lock(&bench.destination.confirmations).push_back(Ok(false));
    let receipt = bench.send(&["a1"]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    assert_eq!(bench.meter.balance().duplicated, 1);
    assert_eq!(bench.requests().await, [vec!["a1"], vec!["a1"]]);
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_confirmation_do_not_hold_up_others() {
    let pending = || Ok(SendOutcome::Pending(()));
    let mut options = options();
    options.batch.max_events = Some(1);
    let bench = Bench::start([pending(), pending(), pending()], &options);
    let receipt = bench.send(&["a1", "a2", "a3"]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    assert_eq!(bench.requests().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cut_off_loses_what_was_not_delivered_and_says_so() {
    let bench = Bench::start((0..1_000).map(|_| retry(None)), &options());
    let receipt = bench.send(&["a1"]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.meter.state(), State::Holding);
    bench.driver.abort();
    assert_eq!(receipt.ended().await, End::Lost);
    tokio::task::yield_now().await;
    assert_eq!((bench.meter.balance().held, bench.meter.state()), (1, State::Running));
}

fn refused() -> ItemEnd {
    ItemEnd::Refused("mapping".into())
}

fn with_dead_letter(path: &Path, max_bytes: u64) -> Options {
    let mut options = options();
    options.batch.max_events = Some(1_000);
    options.batch.max_bytes = Some(100_000);
    options.dead_letter = Some(DeadLetterConfig { path: path.to_owned(), max_bytes });
    options
}

fn letters(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_records_that_one_answer_refuses_are_written_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dead.ndjson");
    let options = with_dead_letter(&path, 1 << 20);
    let bench = Bench::start([Ok(SendOutcome::Items(vec![refused(); 1_000]))], &options);
    let lines: Vec<_> = (0..1_000).map(|number| format!("a{number}")).collect();
    let receipt = bench.send(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(receipt.ended().await, End::DeadLettered);
    assert_eq!(bench.meter.balance().dead_lettered, 1_000);
    bench.requests().await;
    let letters = letters(&path);
    assert!(letters.iter().map(|letter| &letter["document"]).eq(&lines));
    // What is written at once has one time.
    let times: HashSet<_> = letters.iter().map(|letter| letter["time"].to_string()).collect();
    assert_eq!(times.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_dead_letter_holds_back_those_that_were_refused_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dead.ndjson");
    let options = with_dead_letter(&path, 420);
    let ends = vec![refused(), ItemEnd::Delivered, refused(), refused(), refused(), refused()];
    let bench =
        Bench::start([Ok(SendOutcome::Items([ends, vec![ItemEnd::Delivered]].concat()))], &options);
    let refused = bench.send(&["a1", "a2", "a3", "a4", "a5", "a6"]).await;
    let delivered = bench.send(&["a7"]).await;
    assert_eq!(delivered.ended().await, End::Delivered);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let balance = bench.meter.balance();
    assert_eq!((balance.delivered, balance.dead_lettered, balance.held), (2, 3, 2));
    assert_eq!((letters(&path).len(), bench.meter.state()), (3, State::Holding));

    std::fs::rename(&path, directory.path().join("aside.ndjson")).unwrap();
    assert_eq!(refused.ended().await, End::DeadLettered);
    tokio::task::yield_now().await;
    assert_eq!(bench.meter.state(), State::Running);
    let rest: Vec<_> = letters(&path).iter().map(|letter| letter["document"].clone()).collect();
    assert_eq!(rest, ["a5", "a6"]);
    assert_eq!(bench.requests().await.len(), 1);
}

/// A destination that takes a second for nothing, and how much it had when it was maintained.
#[derive(Clone, Default)]
struct Maintained {
    sent: Arc<AtomicUsize>,
    at: Arc<Mutex<Vec<usize>>>,
}

impl Sink for Maintained {
    type Meta = ();
    type Pending = ();

    fn encode(&self, _: &Records, _: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'x');
        Ok(())
    }

    async fn send(&self, _: &Items<'_, ()>) -> Result<SendOutcome<()>, SendError> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(1)).await;
        Ok(SendOutcome::Delivered)
    }

    async fn maintain(&self) -> Result<(), Error> {
        lock(&self.at).push(self.sent.load(Ordering::Relaxed));
        Err(Error::failure("as asked"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_never_idle_is_maintained_all_the_same() {
    const RECORDS: usize = 2_000;
    let mut options = options();
    options.batch.max_events = Some(1);
    options.request.concurrency = 256;
    let sink = Maintained::default();
    let context = context();
    let Ok(Component::Sink(run)) = component(sink.clone(), Requests::default(), &options, &context)
    else {
        panic!("a driver is a sink");
    };
    let (edge, receiver) = edge(Bounds::default(), WhenFull::Block, &context.meter);
    let mut input = Input::new(Clock::Wall, Arc::clone(&context.meter));
    input.add(receiver, Kinds::of(&[Kind::Raw]));
    let raw = Raw {
        line: Bytes::from_static(b"line"),
        epoch: 0,
        first: 0,
        origin: crate::record::ObservationPoint::default(),
    };
    let records = Records::Raw(Arc::new(vec![raw; RECORDS]));
    edge.send(Batch::unacknowledged(records)).await.unwrap();
    drop(edge);
    tokio::spawn(run(input)).await.unwrap().unwrap();
    let between = |sent: &&usize| (1..RECORDS - 256).contains(*sent);
    let maintained = lock(&sink.at).iter().filter(between).count();
    assert!(maintained >= RECORDS / 256, "{:?}", lock(&sink.at));
}

/// A destination that never answers, and how many records were encoded for it.
#[derive(Clone, Default)]
struct Stuck(Arc<AtomicUsize>);

impl Sink for Stuck {
    type Meta = ();
    type Pending = ();

    fn encode(&self, _: &Records, _: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        out.push(b'x');
        Ok(())
    }

    async fn send(&self, _: &Items<'_, ()>) -> Result<SendOutcome<()>, SendError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_is_encoded_than_one_request_ahead_of_those_in_flight() {
    let mut options = options();
    options.batch.max_events = Some(10);
    options.request.concurrency = 2;
    let stuck = Stuck::default();
    let context = context();
    let Ok(Component::Sink(run)) =
        component(stuck.clone(), Requests::default(), &options, &context)
    else {
        panic!("a driver is a sink");
    };
    let (edge, receiver) = edge(Bounds::default(), WhenFull::Block, &context.meter);
    let mut input = Input::new(Clock::Wall, Arc::clone(&context.meter));
    input.add(receiver, Kinds::of(&[Kind::Raw]));
    let driver = tokio::spawn(run(input));
    let raw = Raw {
        line: Bytes::from_static(b"line"),
        epoch: 0,
        first: 0,
        origin: crate::record::ObservationPoint::default(),
    };
    let records = Records::Raw(Arc::new(vec![raw; 1_000]));
    edge.send(Batch::unacknowledged(records)).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(stuck.0.load(Ordering::Relaxed), 30);
    driver.abort();
}

#[tokio::test(start_paused = true)]
async fn without_a_wait_a_request_takes_what_is_there() {
    let mut options = options();
    options.batch.timeout_secs = Some(0);
    let bench = Bench::start([], &options);
    let started = Instant::now();
    bench.send(&["a1", "a2"]).await.ended().await;
    assert!(started.elapsed() < Duration::from_millis(100));
    assert_eq!(bench.requests().await, [vec!["a1", "a2"]]);
}

/// It waited as long as the server asked, or until the run was cut off, though all of it was on disk.
#[tokio::test(start_paused = true)]
async fn what_waits_is_left_once_the_next_run_has_it_and_nothing_more_is_sent() {
    let bench = Bench::start((0..3).map(|_| retry(Some(86_400))), &options());
    let waiting = bench.send(&["a1"]).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let behind = bench.send(&["a2"]).await;
    bench.edge.spare();
    let ends = async { (waiting.ended().await, behind.ended().await) };
    let ends = tokio::time::timeout(drain::RUN, ends).await;
    assert_eq!(ends, Ok((End::Lost, End::Lost)), "nobody acknowledges them");
    drop(bench.edge);
    bench.driver.await.unwrap().unwrap();
    assert_eq!(*lock(&bench.destination.requests), [vec!["a1"]]);
    assert_eq!(bench.meter.balance().held, 2);
}

/// A destination that takes what it gets has all of it, also after the stop.
#[tokio::test(start_paused = true)]
async fn what_is_taken_is_delivered_though_the_next_run_has_it_too() {
    let bench = Bench::start([], &options());
    bench.edge.spare();
    let receipt = bench.send(&["a1", "a2"]).await;
    assert_eq!(receipt.ended().await, End::Delivered);
    assert_eq!(bench.requests().await, [vec!["a1", "a2"]]);
}

/// A sink that waits within a request, as that to Kafka does, kept the run until it was cut off.
#[tokio::test(start_paused = true)]
async fn a_request_to_a_destination_that_is_away_is_not_waited_for_once_the_next_run_has_it() {
    for is_away in [true, false] {
        let context = context();
        context.meter.set_state(State::Running);
        let Ok(Component::Sink(run)) =
            component(Stuck::default(), Requests::default(), &options(), &context)
        else {
            panic!("a driver is a sink");
        };
        let (edge, receiver) = edge(Bounds::default(), WhenFull::Block, &context.meter);
        let mut input = Input::new(Clock::Wall, Arc::clone(&context.meter));
        input.add(receiver, Kinds::of(&[Kind::Raw]));
        let mut driver = tokio::spawn(run(input));
        let raw = Raw {
            line: Bytes::from_static(b"line"),
            epoch: 0,
            first: 0,
            origin: crate::record::ObservationPoint::default(),
        };
        edge.send(Batch::unacknowledged(Records::Raw(Arc::new(vec![raw])))).await.unwrap();
        tokio::time::sleep(Duration::from_mins(1)).await;
        let _away = is_away.then(|| context.meter.holding());
        edge.spare();
        drop(edge);
        let ended = tokio::time::timeout(Duration::from_mins(10), &mut driver).await;
        assert_eq!(ended.is_ok(), is_away, "its answer may still come");
        driver.abort();
    }
}
