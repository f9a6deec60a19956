use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::{
    component::Item,
    metrics::Meter,
    record::{Health, Kind},
};

const SECOND: u64 = 1_000_000_000;

/// A sink in a directory of its own.
struct Bench {
    directory: tempfile::TempDir,
    sink: FileSink,
    reload: watch::Sender<u64>,
    meter: Arc<Meter>,
}

impl Bench {
    fn new(file: &str, mut config: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        config["path"] = directory.path().join(file).to_str().unwrap().into();
        let config: Config = serde_json::from_value(config).unwrap();
        assert_eq!(config.check(&Options::default()), []);
        let (reload, reloads) = watch::channel(0);
        let context = Context { reload: reloads, ..Context::alone(Meter::new("archive", "file")) };
        let sink = config.sink(&Options::default(), &context).unwrap();
        Self { directory, sink, reload, meter: context.meter }
    }

    async fn send(&self, request: &[u8]) -> Result<SendOutcome<()>, SendError> {
        let bucket = self.sink.template.bucket(Timestamp::default());
        let item = Item { range: 0..request.len(), meta: bucket, kind: Kind::Flow, batch: 0 };
        self.sink.send(&Items::new(&Bytes::copy_from_slice(request), &[item])).await
    }

    async fn sent(&self, request: &str) {
        assert_eq!(self.send(request.as_bytes()).await, Ok(SendOutcome::Delivered));
    }

    fn maintain(&self, now: Timestamp) {
        self.sink.writer.lock().unwrap().maintain(now).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }
}

fn now() -> Timestamp {
    Clock::Wall.now(None)
}

fn health(seconds: i64) -> Health {
    let time = Timestamp::from_nanos(seconds * 1_000_000_000);
    Health { time, packets: 1, ..Health::default() }
}

fn unpacked(compression: &str, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match compression {
        "gzip" => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut text).map(|_| ()),
        "zstd" => zstd::stream::copy_decode(bytes, &mut text),
        _ => bytes.to_owned().as_slice().read_to_end(&mut text).map(|_| ()),
    }
    .unwrap();
    text
}

#[tokio::test]
async fn records_go_to_the_file_of_their_own_time() {
    let bench = Bench::new("%Y/flows-%m-%d.ndjson", json!({}));
    let records = Records::Health(Arc::new(vec![health(0), health(86_399), health(86_400)]));
    let (mut body, mut items) = (Vec::new(), Vec::new());
    for index in 0..records.len() {
        let start = body.len();
        let meta = bench.sink.encode(&records, index, &mut body).unwrap();
        items.push(Item { range: start..body.len(), meta, kind: Kind::Flow, batch: 0 });
    }
    assert!(bench.sink.may_share(&items[0].meta, &items[1].meta));
    assert!(!bench.sink.may_share(&items[1].meta, &items[2].meta));
    let body = body.into();
    for request in [&items[..2], &items[2..]] {
        bench.sink.send(&Items::new(&body, request)).await.unwrap();
    }
    assert_eq!(bench.text("1970/flows-01-01.ndjson").lines().count(), 2);
    assert_eq!(bench.text("1970/flows-01-02.ndjson").lines().count(), 1);
}

#[tokio::test]
async fn rotated_files_stay_where_a_link_leads() {
    for exists in [true, false] {
        let bench = Bench::new("flows.ndjson", json!({"rotate": {"max_bytes": 1024, "keep": 1}}));
        let big = tempfile::tempdir().unwrap();
        let target = big.path().join("flows.ndjson");
        std::os::unix::fs::symlink(&target, bench.path("link")).unwrap();
        std::os::unix::fs::symlink("link", bench.path("flows.ndjson")).unwrap();
        if exists {
            fs::write(&target, "").unwrap();
        }
        let line = |n: u32| format!("{n:>1000}\n");
        for n in 1..=4 {
            bench.sent(&line(n)).await;
        }
        assert_eq!(bench.names(), ["flows.ndjson", "link"]);
        assert_eq!(fs::read_to_string(&target).unwrap(), line(4));
        let third = big.path().join("flows.000003.ndjson");
        assert_eq!(fs::read_to_string(third).unwrap(), line(3));
        let gone = ["flows.000001.ndjson", "flows.000002.ndjson"].map(|name| big.path().join(name));
        assert!(!gone.iter().any(|path| path.exists()));
    }
}

#[tokio::test]
async fn more_files_than_may_be_open_are_all_written_in_turn() {
    let bench = Bench::new("%Y-%m-%d", json!({"compression": "gzip", "sync": "batch"}));
    for round in 0..3 {
        for day in 0..40 {
            let meta = bench.sink.template.bucket(health(day * 86_400).time);
            let line = format!("{round}\n");
            let item = Item { range: 0..line.len(), meta, kind: Kind::Flow, batch: 0 };
            bench.sink.send(&Items::new(&line.into(), &[item])).await.unwrap();
        }
    }
    assert!(bench.sink.writer.lock().unwrap().open.len() <= 16);
    assert_eq!(bench.names().len(), 40);
    for name in bench.names() {
        assert_eq!(unpacked("gzip", &fs::read(bench.path(&name)).unwrap()), b"0\n1\n2\n");
    }
}

#[tokio::test]
async fn different_times_with_one_path_share_its_file() {
    let bench = Bench::new("week-%V", json!({}));
    for day in [4, 5, 4] {
        let meta = bench.sink.template.bucket(health(day * 86_400).time);
        let item = Item { range: 0..5, meta, kind: Kind::Flow, batch: 0 };
        bench.sink.send(&Items::new(&Bytes::from_static(b"line\n"), &[item])).await.unwrap();
    }
    assert_eq!(bench.text("week-02").lines().count(), 3);
}

#[tokio::test]
async fn a_file_is_rotated_before_it_would_be_too_large_and_the_oldest_are_deleted() {
    let rotate = json!({"rotate": {"max_bytes": 1024, "keep": 2}, "sync": "batch"});
    let bench = Bench::new("flows.ndjson", rotate);
    for digit in ["1", "2", "3", "4", "5"] {
        bench.sent(&format!("{}\n", digit.repeat(700))).await;
    }
    assert_eq!(bench.names(), ["flows.000003.ndjson", "flows.000004.ndjson", "flows.ndjson"]);
    assert_eq!(bench.text("flows.000003.ndjson"), format!("{}\n", "3".repeat(700)));
    assert_eq!(bench.text("flows.ndjson"), format!("{}\n", "5".repeat(700)));
}

#[tokio::test]
async fn a_file_is_rotated_when_it_is_old_though_nothing_comes() {
    let bench = Bench::new("flows.ndjson", json!({"rotate": {"max_age_secs": 60}}));
    bench.sent("one\n").await;
    bench.maintain(now().saturating_add(30 * SECOND));
    assert_eq!(bench.names(), ["flows.ndjson"]);
    bench.maintain(now().saturating_add(60 * SECOND));
    assert_eq!(bench.names(), ["flows.000001.ndjson"]);
    bench.sent("two\n").await;
    assert_eq!(bench.text("flows.ndjson"), "two\n");
}

#[tokio::test]
async fn a_clock_that_is_set_back_stops_neither_rotation_by_age_nor_syncs() {
    let config = json!({"rotate": {"max_age_secs": 60}, "sync": "interval"});
    let bench = Bench::new("flows.ndjson", config);
    bench.sent("one\n").await;
    let set_back = Timestamp::from_nanos(now().nanos() - 3_600_000_000_000);
    bench.maintain(set_back);
    let synced = bench.sink.writer.lock().unwrap().open[0].synced;
    assert_eq!(synced, set_back, "when the last sync was is not known, so one is due");
    bench.maintain(set_back.saturating_add(59 * SECOND));
    assert_eq!(bench.names(), ["flows.ndjson"]);
    bench.maintain(set_back.saturating_add(60 * SECOND));
    assert_eq!(bench.names(), ["flows.000001.ndjson"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_put_aside_grows_on_and_is_tried_again_in_a_minute() {
    // With a number its name would be longer than names may be.
    let name = "a".repeat(250);
    let bench = Bench::new(&name, json!({"rotate": {"max_bytes": 1024, "max_age_secs": 3600}}));
    let line = format!("{}\n", "1".repeat(700));
    for _ in 0..4 {
        bench.sent(&line).await;
    }
    assert_eq!(bench.names(), [name.as_str()]);
    assert_eq!(bench.text(&name), line.repeat(4));
    let failed = || bench.meter.balance().errors.get("rotation_failed").copied();
    assert_eq!(failed(), Some(1));
    let later = now().saturating_add(3600 * SECOND);
    for (seconds, expected) in [(0, 2), (1, 2), (59, 2), (61, 3)] {
        bench.maintain(later.saturating_add(seconds * SECOND));
        assert_eq!(failed(), Some(expected), "after {seconds} s");
    }
    bench.sent(&line).await;
    assert_eq!(bench.text(&name), line.repeat(5));
}

#[tokio::test]
async fn archives_named_like_rotated_files_are_kept() {
    let bench = Bench::new("flows.ndjson", json!({"rotate": {"max_bytes": 1024, "keep": 1}}));
    fs::write(bench.path("flows.000001.ndjson"), "of the year before").unwrap();
    for digit in ["2", "3", "4", "5"] {
        bench.sent(&format!("{}\n", digit.repeat(700))).await;
    }
    let expected = ["flows.000001.ndjson", "flows.000004.ndjson", "flows.ndjson"];
    assert_eq!(bench.names(), expected);
}

#[tokio::test]
async fn records_are_held_once_every_number_is_used_up() {
    let bench = Bench::new("flows.ndjson", json!({"rotate": {"max_bytes": 1024}}));
    fs::write(bench.path("flows.999999.ndjson"), "").unwrap();
    let line = "1".repeat(700);
    bench.sent(&format!("{line}\n")).await;
    let sent = bench.send(format!("{line}\n").as_bytes()).await;
    assert!(matches!(sent, Err(SendError::Hold { .. })), "{sent:?}");
    fs::remove_file(bench.path("flows.999999.ndjson")).unwrap();
    bench.sent(&format!("{line}\n")).await;
    assert_eq!(bench.names(), ["flows.000001.ndjson", "flows.ndjson"]);
}

#[tokio::test]
async fn a_file_moved_away_or_deleted_is_begun_anew_with_its_directory() {
    let bench = Bench::new("logs/flows.ndjson", json!({"mode": "0604"}));
    bench.sent("one\n").await;
    fs::rename(bench.path("logs/flows.ndjson"), bench.path("logs/flows.1")).unwrap();
    bench.sent("two\n").await;
    assert_eq!(bench.text("logs/flows.1"), "one\n");
    assert_eq!(bench.text("logs/flows.ndjson"), "two\n");
    fs::remove_dir_all(bench.path("logs")).unwrap();
    bench.sent("three\n").await;
    assert_eq!(bench.text("logs/flows.ndjson"), "three\n");
    let mode = fs::metadata(bench.path("logs/flows.ndjson")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o604);
}

#[tokio::test]
async fn a_reload_closes_every_file() {
    let bench = Bench::new("flows.ndjson", json!({}));
    bench.sent("one\n").await;
    bench.reload.send(1).unwrap();
    bench.maintain(now());
    assert!(bench.sink.writer.lock().unwrap().open.is_empty());
    bench.sent("two\n").await;
    assert_eq!(bench.text("flows.ndjson"), "one\ntwo\n");
}

#[tokio::test]
async fn what_is_at_the_path_and_not_ours_is_held_and_left_alone() {
    let bench = Bench::new("flows.ndjson.gz", json!({"compression": "gzip"}));
    fs::write(bench.path("flows.ndjson.gz"), "a diary").unwrap();
    let sent = bench.send(b"one\n").await;
    assert!(matches!(sent, Err(SendError::Hold { .. })), "{sent:?}");
    assert_eq!(bench.text("flows.ndjson.gz"), "a diary");
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_tried_again_until_it_can() {
    let bench = Bench::new("logs/flows.ndjson", json!({}));
    fs::write(bench.path("logs"), "in the way").unwrap();
    let sent = bench.send(b"one\n").await;
    assert!(matches!(sent, Err(SendError::Retry { .. })), "{sent:?}");
    fs::remove_file(bench.path("logs")).unwrap();
    bench.sent("one\n").await;
}

#[test]
fn every_value_that_can_not_be_used_is_named_at_once() {
    let config = json!({
        "path": "/log/%Q", "mode": "0440", "rotate": {"keep": 3},
    });
    let config: Config = serde_json::from_value(config).unwrap();
    let problems = config.check(&Options::default());
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["path", "rotate.keep", "mode"]);
    assert!(problems.iter().all(|problem| problem.hint.is_some()));
}

#[test]
fn keeping_rotated_files_without_a_rotation_is_a_problem() {
    let config = json!({"path": "a", "rotate": {"keep": 3}});
    let config: Config = serde_json::from_value(config).unwrap();
    assert_eq!(config.check(&Options::default())[0].key, "rotate.keep");
}

#[test]
fn the_environment_is_asked_about_the_nearest_directory_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let problems = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        Config { path, ..Config::default() }.check_environment()
    };
    assert_eq!(problems(&directory.path().join("new/%Y/flows.ndjson")), []);
    fs::write(directory.path().join("file"), "").unwrap();
    assert_eq!(problems(&directory.path().join("file/flows.ndjson")).len(), 1);
    assert_eq!(problems(directory.path()).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_happens_to_the_files_their_requests_are_whole_and_in_order(
        compression in prop::sample::select(vec!["none", "gzip", "zstd"]),
        sync in prop::sample::select(vec!["none", "interval", "batch"]),
        steps in prop::collection::vec((0..6_u8, 1..900_usize), 1..30),
    ) {
        let config = json!({
            "compression": compression, "sync": sync,
            "rotate": {"max_bytes": 1024, "max_age_secs": 3600},
        });
        let bench = Bench::new("flows.ndjson", config);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut expected = String::new();
        for (number, (step, length)) in steps.into_iter().enumerate() {
            match step {
                0 => bench.reload.send_modify(|reload| *reload += 1),
                1 => bench.maintain(now().saturating_add(3600 * SECOND)),
                2 => bench.maintain(now()),
                _ => {
                    let line = format!("{number:0length$}\n");
                    runtime.block_on(bench.sent(&line));
                    expected.push_str(&line);
                }
            }
        }
        // The live file sorts after its numbered ones.
        let files = bench.names().into_iter().map(|name| fs::read(bench.path(&name)).unwrap());
        let found: Vec<u8> = files.flat_map(|bytes| unpacked(compression, &bytes)).collect();
        prop_assert!(found == expected.as_bytes());
    }
}
