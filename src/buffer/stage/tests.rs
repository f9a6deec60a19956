//! The stage over a folder whose disk refuses.

use std::{fs, future::poll_fn, net::IpAddr};

use super::*;
use crate::{
    ack::End,
    component::edge::{Bounds, EdgeReceiver, EdgeSender, edge},
    metrics::{Books, State},
    record::{Endpoint, Flow, Id, Kind, Transport},
};

const MAX_BYTES: u64 = 256 << 10;
/// Longer than any pause of the buffer, in paused time.
const SOON: Duration = Duration::from_mins(10);

fn flows(number: u64, count: u64) -> Records {
    let end = |port| Endpoint::new(IpAddr::from([10, 0, 0, 1]), Some(port)).sent(1, 60);
    let flow = |number| {
        let id = Id::of("flow", "test").number(number).finish();
        Flow::new(id, Transport::TCP, end(40_000), end(80))
    };
    Records::Flows(Arc::new((number..number + count).map(flow).collect()))
}

/// A buffer in a folder, and its neighbours.
struct Rig {
    folder: tempfile::TempDir,
    buffer: Buffer,
    input: Input,
    out: Outputs,
    before: EdgeSender,
    behind: EdgeReceiver,
    reader: Arc<Meter>,
}

impl Rig {
    fn new(when_full: WhenFull) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("buffer");
        let meter = Meter::new("records.buffer", KIND);
        let context = Context::alone(Arc::clone(&meter));
        let settings = Settings { path, max_bytes: MAX_BYTES, when_full };
        let buffer = Buffer::open(&settings, &context).unwrap();
        let mut input = Input::new(Clock::Wall, Arc::clone(&meter));
        let (before, of_input) = edge(Bounds::default(), WhenFull::Block, &meter);
        input.add(of_input, Kind::Flow.into());
        let mut out = Outputs::new(1, Arc::clone(&meter), context.receipts.clone());
        let reader = Meter::new("records", "test");
        let (to_reader, behind) = edge(Bounds::default(), WhenFull::Block, &reader);
        out.connect(Port::MAIN, to_reader);
        Self { folder, buffer, input, out, before, behind, reader }
    }
}

/// Sends flows for as long as somebody takes them.
async fn send(before: EdgeSender, receipts: Receipts) {
    for number in 0.. {
        let records = flows(number * 50, 50);
        let batch = Batch { records, ack: receipts.open(), watermark: None };
        if before.send(batch).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "{what}");
}

/// Nothing was left to be acknowledged when the disk did what it was told again.
#[tokio::test(start_paused = true)]
async fn a_full_buffer_goes_on_after_its_last_acknowledgements_have_failed() {
    for when_full in [WhenFull::Block, WhenFull::DropNewest] {
        let Rig { folder, buffer, input, out, before, mut behind, .. } = Rig::new(when_full);
        let (shared, meter) = (Arc::clone(&buffer.shared), Arc::clone(&buffer.shared.meter));
        let held = Arc::new(Mutex::new(Vec::<Batch>::new()));
        let read = Arc::clone(&held);
        let _reading = task::spawn(async move {
            while let Some(batch) = poll_fn(|cx| behind.poll_recv(cx)).await {
                read.lock().unwrap().push(batch);
            }
        });
        let deliver = || {
            for batch in held.lock().unwrap().drain(..) {
                batch.ack.settle(End::Delivered);
            }
        };
        let _sending = task::spawn(send(before, buffer.receipts.clone()));
        let _running = task::spawn(buffer.run(input, out));
        let is_full = || meter.state() == State::Holding || !meter.counted(DISCARDED).is_empty();
        until("it is full", is_full).await;

        // What can't be removed: a folder that has the first segment's name.
        let first = folder.path().join("buffer").join(super::super::segment::name(0));
        let aside = folder.path().join("aside");
        fs::rename(&first, &aside).unwrap();
        fs::create_dir(&first).unwrap();
        until("all is delivered", || {
            deliver();
            lock(&shared.log).waiting() == 0
        })
        .await;
        assert!(meter.counted(ERRORS).contains_key("buffer_disk"));
        fs::remove_dir(&first).unwrap();
        fs::rename(&aside, &first).unwrap();
        let before = meter.balance().absorbed;
        until("it goes on", || {
            deliver();
            meter.balance().absorbed > before
        })
        .await;
    }
}

/// What waited before a component, and what was handed on and still kept on disk, counted twice.
#[tokio::test(start_paused = true)]
async fn what_is_under_way_counts_once_wherever_it_is() {
    let Rig { folder: _folder, buffer, input, out, before, mut behind, reader } =
        Rig::new(WhenFull::Block);
    let meter = Arc::clone(&buffer.shared.meter);
    let books = Books::new([], [Arc::clone(&meter), Arc::clone(&reader)]);
    let under_way = || (books.figures().under_way(), books.figures().waiting_events);
    for number in 0..3 {
        let ack = buffer.receipts.open();
        let records = flows(number * 50, 50);
        before.send(Batch { records, ack, watermark: None }).await.unwrap();
    }
    assert_eq!(under_way(), (150, 150), "before the buffer");
    let running = task::spawn(buffer.run(input, out));
    until("it is handed on", || reader.balance().received == 150).await;
    assert_eq!(meter.on_disk(), (150, 150));
    assert_eq!(under_way(), (150, 150), "before the reader, and on disk");
    let mut taken = Vec::new();
    while taken.iter().map(|batch: &Batch| batch.records.len()).sum::<usize>() < 150 {
        taken.push(poll_fn(|cx| behind.poll_recv(cx)).await.unwrap());
    }
    assert_eq!(under_way(), (150, 0), "with the reader, and on disk");
    drop(before);
    for batch in taken {
        reader.delivered(batch.records.len() as u64);
        batch.ack.settle(End::Delivered);
    }
    running.await.unwrap().unwrap();
    assert_eq!(under_way(), (0, 0), "delivered");
    assert_eq!(meter.on_disk(), (0, 0));
}

/// No receipt answered for what could not be read, so it stayed.
#[tokio::test(start_paused = true)]
async fn a_full_buffer_goes_on_where_nothing_of_it_can_be_read() {
    let Rig { folder, buffer, input, out, before, mut behind, .. } = Rig::new(WhenFull::Block);
    let (shared, meter) = (Arc::clone(&buffer.shared), Arc::clone(&buffer.shared.meter));
    let garbage = [0xff; 1_000];
    while shared.with_log(|log| log.room()) >= bytes_of(1, garbage.len()) {
        let appended = shared.with_log(|log| log.append([&garbage[..]].into_iter())).unwrap();
        appended.sync().unwrap();
        shared.with_log(|log| log.commit(appended));
    }
    let stored = shared.standing().waiting;
    let _sending = task::spawn(send(before, buffer.receipts.clone()));
    let _running = task::spawn(buffer.run(input, out));
    let first = tokio::time::timeout(SOON, poll_fn(|cx| behind.poll_recv(cx))).await;
    assert!(first.expect("it goes on").is_some());
    assert_eq!(meter.counted(BUFFER_LOST).get("unknown"), Some(&stored));
    drop(folder);
}

/// They were counted as unknown, acknowledged and removed: an earlier Tidegate emptied a later one's buffer.
#[tokio::test(start_paused = true)]
async fn records_of_a_later_version_stay_where_they_are() {
    let Rig { folder: _folder, buffer, input, out, before: _before, mut behind, .. } =
        Rig::new(WhenFull::Block);
    let (shared, meter) = (Arc::clone(&buffer.shared), Arc::clone(&buffer.shared.meter));
    let mut entries = vec![Vec::new(); 6];
    let records = flows(0, 6);
    for (at, entry) in entries.iter_mut().enumerate() {
        wire::write(&records, at, "", entry).unwrap();
        entry[1] += u8::from(at >= 4);
    }
    let appended = shared.with_log(|log| log.append(entries.iter().map(|entry| &entry[..])));
    let appended = appended.unwrap();
    appended.sync().unwrap();
    shared.with_log(|log| log.commit(appended));
    let running = task::spawn(buffer.run(input, out));
    let batch = tokio::time::timeout(SOON, poll_fn(|cx| behind.poll_recv(cx))).await;
    let batch = batch.unwrap().expect("those before are handed on");
    assert_eq!(batch.records.len(), 4);
    tokio::time::sleep(SOON).await;
    batch.ack.settle(End::Delivered);
    let ended = tokio::time::timeout(SOON, running).await.expect("it ends").unwrap();
    let error = with_causes(&ended.unwrap_err());
    assert!(error.contains(&format!("version {}", wire::VERSION + 1)), "{error}");
    let log = lock(&shared.log);
    assert_eq!((log.acknowledged(), log.waiting()), (4, 2));
    assert!(meter.counted(BUFFER_LOST).is_empty());
}

/// Nothing was said to the sink, which waited for its destination, and the run for its deadline.
#[tokio::test(start_paused = true)]
async fn a_stop_spares_the_sink_once_all_that_came_is_on_disk() {
    let Rig { folder: _folder, buffer, input, out, before, mut behind, .. } =
        Rig::new(WhenFull::Block);
    let (shared, receipts) = (Arc::clone(&buffer.shared), buffer.receipts.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = task::spawn(buffer.run(input.stopped_by(stop.clone()), out));
    let send = async |number| {
        let (ack, receipt) = receipts.open_awaited();
        let batch = Batch { records: flows(number, 50), ack, watermark: None };
        before.send(batch).await.unwrap();
        receipt.ended().await
    };
    assert_eq!(send(0).await, End::Delivered);
    let held = poll_fn(|cx| behind.poll_recv(cx)).await.unwrap();
    stop.cancel();
    tokio::time::sleep(SOON).await;
    assert!(!behind.spared().is_cancelled(), "more may come that is in memory alone");
    assert_eq!(send(50).await, End::Delivered);
    drop(before);
    tokio::time::timeout(SOON, behind.spared().cancelled()).await.expect("all of it is on disk");
    // The sink leaves it.
    drop(held);
    tokio::time::timeout(SOON, running).await.expect("it ends").unwrap().unwrap();
    assert_eq!(shared.standing().waiting, 100);
}

/// Somebody held the log while he waited for the disk, and the stage waited for him in the runtime's thread.
#[test]
fn a_disk_that_hangs_leaves_the_runtime_to_others() {
    let Rig { folder, buffer, input, out, before, mut behind, .. } = Rig::new(WhenFull::Block);
    let shared = Arc::clone(&buffer.shared);
    let (beat, beats) = std::sync::mpsc::channel();
    let hung = lock(&shared.log);
    let meter = Arc::clone(&shared.meter);
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let receipts = buffer.receipts.clone();
            let stage = task::spawn(buffer.run(input, out));
            let batch = Batch { records: flows(0, 50), ack: receipts.open(), watermark: None };
            before.send(batch).await.unwrap();
            drop(before);
            let _beating = task::spawn(async move {
                while beat.send(meter.balance().received).is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            let mut delivered = 0;
            while let Some(batch) = poll_fn(|cx| behind.poll_recv(cx)).await {
                delivered += batch.records.len();
                batch.ack.settle(End::Delivered);
            }
            stage.await.unwrap().unwrap();
            delivered
        })
    });
    // Some beats after the batch was taken in: by then the stage has come to the log.
    let mut after = 0;
    while after < 20 {
        let received =
            beats.recv_timeout(Duration::from_mins(1)).expect("the runtime stands still");
        after += u32::from(received == 50);
    }
    drop(hung);
    assert_eq!(running.join().unwrap(), 50);
    drop(folder);
}
