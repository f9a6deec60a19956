//! The source on capture files: with the real programs, and with others in their place.

use std::{
    fs,
    future::poll_fn,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    ack::{End, Receipts},
    component::{
        Clock, Port,
        edge::{Bounds, EdgeReceiver, WhenFull, edge},
    },
    metrics::{Balance, Meter},
    record::{Raw, Records},
};

mod children;
mod live;

/// A source at work, and what it writes to.
struct Started {
    meter: Arc<Meter>,
    receipts: Receipts,
    receiver: EdgeReceiver,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
    lines: Vec<Raw>,
    /// The numbers of frames.
    frames: Vec<u64>,
}

/// What a run gave.
struct Ran {
    lines: Vec<Raw>,
    frames: Vec<u64>,
    balance: Balance,
    result: Result<(), Error>,
}

impl Ran {
    /// The packets' numbers within their epochs.
    fn numbers(&self) -> Vec<u64> {
        let number = |raw: &Raw| process::lines::frame_number(&raw.line).unwrap() + raw.first;
        self.lines.iter().map(number).collect()
    }

    fn errors(&self) -> Vec<(&'static str, u64)> {
        self.balance.errors.iter().map(|(name, n)| (*name, *n)).collect()
    }
}

// === impl Started ===

impl Started {
    fn new(config: &Config) -> Self {
        let meter = Meter::new("wire", "tshark");
        let receipts = Receipts::default();
        let context = Context {
            receipts: receipts.clone(),
            clock: Clock::Event,
            ..Context::alone(Arc::clone(&meter))
        };
        let mut out = Outputs::new(1, Arc::clone(&meter), receipts.clone());
        let (sender, receiver) =
            edge(Bounds::default(), WhenFull::Block, &Meter::new("end", "test"));
        out.connect(Port::MAIN, sender);
        let stop = CancellationToken::new();
        let running = match config.build(&context) {
            Ok(Component::Source(component, _)) => tokio::spawn(component(out, stop.clone())),
            Ok(_) => panic!("it is a source"),
            Err(error) => tokio::spawn(async move {
                drop(out);
                Err(error)
            }),
        };
        let (lines, frames) = (Vec::new(), Vec::new());
        Self { meter, receipts, receiver, stop, running, lines, frames }
    }

    /// Takes the next batch; `false` after the last.
    async fn take(&mut self) -> bool {
        let Some(batch) = poll_fn(|cx| self.receiver.poll_recv(cx)).await else {
            return false;
        };
        if let Records::Raw(raw) = &batch.records {
            self.lines.extend(raw.iter().cloned());
        }
        if let Records::Frames(frames) = &batch.records {
            self.frames.extend(frames.places.iter().map(|place| place.number));
        }
        batch.ack.settle(End::Delivered);
        true
    }

    /// Takes all there is until its end.
    async fn end(mut self) -> Ran {
        while self.take().await {}
        let result = self.running.await.unwrap();
        let balance = self.meter.balance();
        assert!(balance.holds() && balance.held == 0, "{balance:?}");
        assert_eq!(self.receipts.outstanding(), 0);
        Ran { lines: self.lines, frames: self.frames, balance, result }
    }
}

async fn run(config: Config) -> Ran {
    Started::new(&config).end().await
}

/// A pcap file of UDP packets of 76 bytes each.
pub(in crate::sources::tshark) fn capture(packets: u32) -> Vec<u8> {
    let mut file = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0].to_vec();
    for number in [0_u32, 0, 65_535, 1] {
        file.extend(number.to_le_bytes());
    }
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let ip = [0x45, 0, 0, 62, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let udp = [0x30, 0x39, 0, 9, 0, 42, 0, 0];
    let frame = [ethernet.as_slice(), &ip, &udp, &[0; 34]].concat();
    let length = u32::try_from(frame.len()).unwrap();
    for number in 0..packets {
        for number in [1_700_000_000 + number / 1000, number % 1000, length, length] {
            file.extend(number.to_le_bytes());
        }
        file.extend(&frame);
    }
    file
}

fn files(folder: &TempDir, contents: &[(&str, Vec<u8>)]) -> Config {
    let write = |(name, bytes): &(&str, Vec<u8>)| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    Config::default().replay(contents.iter().map(write).collect())
}

/// A script that can be run, written by another process: what this one has open to write, a child that another test
/// starts meanwhile holds open still, and what is open to write can't be run.
fn program(folder: &TempDir, name: &str, script: &str) -> PathBuf {
    let [draft, path] = [format!("{name}.draft"), name.to_owned()].map(|n| folder.path().join(n));
    fs::write(&draft, script).unwrap();
    let installed =
        std::process::Command::new("install").args(["-m", "755"]).args([&draft, &path]).status();
    assert!(installed.unwrap().success());
    fs::remove_file(draft).unwrap();
    path
}

/// Ten packets, read by a shell script in the place of tshark. Asked for its version, which happens
/// at the same time, it says nothing.
fn fake(folder: &TempDir, script: &str) -> Config {
    let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && exit\n{script}\n");
    let path = program(folder, "tshark", &script);
    let mut config = files(folder, &[("ten.pcap", capture(10))]);
    config.programs.tshark = path.into();
    config
}

const PRINT_THREE: &str = r#"for i in 1 2 3; do
    echo '{"index":{}}'; echo "{\"layers\":{\"frame_number\":[\"$i\"]}}"; done"#;

#[tokio::test(flavor = "multi_thread")]
async fn chunks_give_the_same_lines_with_one_worker_and_with_two() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = files(&folder, &[("big.pcap", capture(51_000)), ("ten.pcap", capture(10))]);
    config.dissect = Dissect::Application;
    let one = run(config.clone()).await;
    config.workers = 2;
    let two = run(config).await;
    let numbers: Vec<_> = (1..=51_000).chain(1..=10).collect();
    assert_eq!(one.numbers(), numbers);
    assert!(one.lines == two.lines);
    assert_eq!(one.lines.last().map(|raw| raw.epoch), Some(1));
    assert_eq!((one.errors(), one.balance.lost.len()), (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_give_their_whole_packets_and_the_next_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cut, mut corrupt) = (capture(10), capture(10));
    cut.truncate(cut.len() - 5);
    // The length of the sixth packet.
    let sixth = 24 + 5 * (16 + 76);
    corrupt.splice(sixth + 8..sixth + 12, [0xff; 4]);
    let mut big = capture(60_000);
    big.truncate(big.len() - 1);
    for (name, bytes, packets) in [
        ("cut.pcap", cut, 9),
        ("corrupt.pcap", corrupt, 5),
        ("zero.pcap", Vec::new(), 0),
        ("text.pcap", b"this is no capture".to_vec(), 0),
        ("big.pcap", big, 59_999),
    ] {
        let config = files(&folder, &[(name, bytes), ("ten.pcap", capture(10))]);
        let ran = run(config).await;
        assert!(ran.result.is_ok(), "{name}");
        let numbers: Vec<_> = (1..=packets).chain(1..=10).collect();
        assert!(ran.numbers() == numbers, "{name}: {} lines", ran.lines.len());
        assert_eq!(ran.errors(), [("damaged_capture", 1)], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_without_packets_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(files(&folder, &[("none.pcap", capture(0))])).await;
    assert!(ran.result.is_ok() && ran.lines.is_empty());
    assert_eq!(ran.errors(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_a_configuration_error_before_anything_starts() {
    let ran = run(Config::default().replay(vec!["/no/such.pcap".into()])).await;
    let error = ran.result.unwrap_err();
    assert!(error.is_configuration());
    assert!(error.to_string().starts_with("/no/such.pcap can't be read"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_tshark_refuses_is_a_configuration_error_in_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = files(&folder, &[("ten.pcap", capture(10))]);
    config.fields = vec!["no.such.field".to_owned()];
    let error = run(config).await.result.unwrap_err();
    assert!(error.is_configuration());
    assert!(error.to_string().contains("no.such.field"), "{error}");
    assert!(error.remedy().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_a_configuration_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = files(&folder, &[("ten.pcap", capture(10))]);
    config.programs.tshark = "tshark-of-nowhere".into();
    let error = run(config).await.result.unwrap_err();
    assert!(error.is_configuration());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_handed_on_for_extract_to_count() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(fake(&folder, "cat >/dev/null; echo garbage; printf cut")).await;
    assert_eq!(ran.lines.len(), 1);
    assert_eq!(ran.errors(), [("line_cut", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_tshark_is_started_again_and_nothing_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let once = folder.path().join("once");
    let script = format!(
        "{PRINT_THREE}\nif [ ! -e {once} ]; then touch {once}; printf '{{\"lay'; sleep 1; kill -9 $$; fi
        echo '{{\"layers\":{{\"frame_number\":[\"4\"]}}}}'",
        once = once.display()
    );
    let ran = run(fake(&folder, &script)).await;
    assert_eq!(ran.numbers(), [1, 2, 3, 4]);
    assert_eq!(ran.errors(), [("tshark_killed", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tshark_that_is_killed_each_time_loses_an_unknown_part_of_a_capture() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(fake(&folder, &format!("{PRINT_THREE}\nkill -9 $$"))).await;
    assert_eq!(ran.numbers(), [1, 2, 3]);
    assert_eq!(ran.errors(), [("tshark_failed", 1), ("tshark_killed", 3)]);
    assert_eq!((ran.balance.unknown_losses, ran.balance.lost.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_kills_each_tshark_is_counted_and_the_next_keeps_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let tries = folder.path().join("tries");
    let script = format!(
        "echo >> {tries}; {PRINT_THREE}
        [ $(wc -l < {tries}) -gt 3 ] || kill -SEGV $$",
        tries = tries.display()
    );
    let mut config = fake(&folder, &script);
    config.files = files(&folder, &[("big.pcap", capture(51_000))]).files;
    let ran = run(config).await;
    assert_eq!(ran.numbers(), [1, 2, 3, 50_001, 50_002, 50_003]);
    assert_eq!(ran.errors(), [("tshark_failed", 1), ("tshark_killed", 3)]);
    assert_eq!(ran.balance.lost.get("tshark_failed"), Some(&49_997));
    assert_eq!(ran.balance.unknown_losses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_tshark_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(fake(&folder, &format!("kill -STOP $$; {PRINT_THREE}"))).await;
    assert_eq!(ran.numbers(), [1, 2, 3]);
    assert_eq!(ran.errors(), [("child_stopped", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_line_is_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("{PRINT_THREE}; head -c 5000000 /dev/zero; echo; echo '{{}}'");
    let ran = run(fake(&folder, &script)).await;
    assert_eq!(ran.lines.len(), 4);
    assert_eq!(ran.errors(), [("line_too_long", 1)]);
    assert_eq!(ran.balance.lost.get("line_too_long"), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_is_missing_within_a_capture_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"for i in 1 2 5; do echo "{\"layers\":{\"frame_number\":[\"$i\"]}}"; done"#;
    let ran = run(fake(&folder, script)).await;
    assert_eq!(ran.balance.lost.get("frame_gap"), Some(&2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_leaves_its_pipe_to_another_does_not_hold_us() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script =
        format!("{PRINT_THREE}; setsid sleep 60 2>/dev/null & echo $! > {}", pid.display());
    let ran = tokio::time::timeout(Duration::from_secs(20), run(fake(&folder, &script))).await;
    assert_eq!(ran.unwrap().numbers(), [1, 2, 3]);
    stop(&pid);
}

/// Ends the sleeper that left our group.
fn stop(pid: &Path) {
    let pid = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
