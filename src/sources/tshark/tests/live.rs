//! The live modes, with shell scripts in the place of dumpcap and tshark.

use super::*;

/// How long a script may take to get somewhere.
const SOON: Duration = Duration::from_secs(30);

/// Puts a script in dumpcap's place. Told to end, it says what `told` makes of it. A shell can't catch
/// what was ignored when it began, as SIGINT is for tests in the background of a script.
fn capturing(mut config: Config, folder: &TempDir, mode: Mode, begin: &str, told: &str) -> Config {
    let script = format!(
        "#!/usr/bin/env -S --default-signal=INT /bin/sh
while [ $# -gt 0 ]; do [ \"$1\" = -w ] && prefix=${{2%.pcap}}; shift; done
end() {{ trap '' INT; {told}; exit 0; }}
trap end INT
{begin}
while :; do sleep 0.1; done
"
    );
    let path = program(folder, "dumpcap", &script);
    config.mode = mode;
    config.interface = Some("lo".to_owned());
    config.files = Vec::new();
    config.programs.dumpcap = path.into();
    config.segment.dir = Some(folder.path().join("segments"));
    config.restart = Restart { initial_secs: 0, max_secs: 0 };
    config
}

/// Two closed segments, of ten packets and of five.
fn two_segments(folder: &TempDir) -> String {
    let [ten, five] = ["ten.pcap", "five.pcap"].map(|name| folder.path().join(name));
    fs::write(&ten, capture(10)).unwrap();
    fs::write(&five, capture(5)).unwrap();
    let (ten, five) = (ten.display(), five.display());
    format!(
        "cp {ten} ${{prefix}}_00001_20260101.pcap; cp {five} ${{prefix}}_00002_20260101.pcap
        head -c 24 {five} > ${{prefix}}_00003_20260101.pcap"
    )
}

const CAPTURED_FIFTEEN: &str = "echo 'Packets captured: 15' >&2";

/// tshark, for segments: what it prints for each number of bytes it reads.
const PRINT_ALL: &str = r#"case $bytes in 0) n=0;; 944) n=10;; *) n=5;; esac
    for i in $(seq $n); do echo "{\"layers\":{\"frame_number\":[\"$i\"]}}"; done"#;

async fn run_until(config: &Config, lines: usize) -> Ran {
    let mut source = Started::new(config);
    while source.lines.len() + source.frames.len() < lines && source.take().await {}
    source.stop.cancel();
    source.end().await
}

async fn wait_for(path: &Path) {
    let there = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, there).await.unwrap_or_else(|_| panic!("no {}", path.display()));
}

/// A segment of so many packets that a run left which died.
fn left(folder: &TempDir, at: &str, packets: u32) -> PathBuf {
    let epoch = folder.path().join("segments").join(at).join("0");
    fs::create_dir_all(&epoch).unwrap();
    let path = epoch.join("segment_00001_20260101120000.pcap");
    fs::write(&path, capture(packets)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_reads_what_it_left_and_not_what_another_left_in_the_same_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (own, others) = ("source-wire/tidegate-4194304-1", "source-other/tidegate-4194304-2");
    let own = left(&folder, own, 5);
    let others = left(&folder, others, 10);
    // As earlier versions left it, for whoever comes first.
    let former = left(&folder, "tidegate-4194304-0", 10);
    let config = fake(&folder, &format!("bytes=$(wc -c); {PRINT_ALL}"));
    let told = "echo 'Packets captured: 0' >&2";
    let config = capturing(config, &folder, Mode::Segments, "", told);
    let ran = tokio::time::timeout(SOON, run_until(&config, 15)).await.expect("what is left");
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!(ran.lines.len(), 15);
    assert!(!own.exists() && !former.exists() && others.exists());
    let again = run_until(&config, 0).await;
    assert_eq!((again.lines.len(), others.exists()), (0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_waits_for_a_tshark_that_does_not_start_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let tries = folder.path().join("tries");
    let script = format!(
        "bytes=$(wc -c); echo >> {tries}
        case $(wc -l < {tries}) in 2|3) echo 'no memory' >&2; exit 1;; esac
        {PRINT_ALL}",
        tries = tries.display()
    );
    let config = fake(&folder, &script);
    let begin = two_segments(&folder);
    let config = capturing(config, &folder, Mode::Segments, &begin, CAPTURED_FIFTEEN);
    let ran = run_until(&config, 15).await;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!(ran.numbers(), (1..=15).collect::<Vec<_>>());
    assert_eq!(ran.errors(), [("tshark_failed", 2)]);
    assert_eq!((ran.balance.lost.len(), ran.balance.unknown_losses), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tshark_that_is_killed_while_it_is_tried_out_has_refused_nothing() {
    for kills in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let tries = folder.path().join("tries");
        let script = format!(
            "bytes=$(wc -c); [ $bytes != 0 ] || echo >> {tries}
            [ $bytes != 0 ] || [ $(wc -l < {tries}) -gt {kills} ] || kill -9 $$
            {PRINT_ALL}",
            tries = tries.display()
        );
        let config = fake(&folder, &script);
        let begin = two_segments(&folder);
        let config = capturing(config, &folder, Mode::Segments, &begin, CAPTURED_FIFTEEN);
        let ran = run_until(&config, 15).await;
        assert!(ran.result.is_ok(), "{:?}", ran.result);
        assert_eq!(ran.numbers(), (1..=15).collect::<Vec<_>>());
        assert_eq!(ran.errors(), [("tshark_killed", kills)]);
        assert_eq!((ran.balance.lost.len(), ran.balance.unknown_losses), (0, 0));
    }
}

/// The same source without tshark.
fn by_headers(config: Config) -> Config {
    Config { dissect: Dissect::Headers, ..config }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_read_by_ourselves_and_numbered_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = fake(&folder, "echo 'no tshark is to run' >&2; exit 1");
    let begin = two_segments(&folder);
    let config = capturing(config, &folder, Mode::Segments, &begin, CAPTURED_FIFTEEN);
    let ran = run_until(&by_headers(config), 15).await;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!(ran.frames, (1..=15).collect::<Vec<_>>());
    assert_eq!((ran.errors(), ran.balance.unknown_losses), (vec![], 0));
    assert_eq!(ran.balance.lost.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_is_read_up_to_there_counted_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = fake(&folder, "exit 1");
    let begin = two_segments(&folder);
    let mut damaged = capture(10);
    // The eighth packet claims to be longer than any.
    damaged[24 + 7 * 92 + 8..][..4].fill(0xff);
    fs::write(folder.path().join("ten.pcap"), damaged).unwrap();
    let config = capturing(config, &folder, Mode::Segments, &begin, CAPTURED_FIFTEEN);
    let ran = run_until(&by_headers(config), 12).await;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!(ran.frames, (1..=12).collect::<Vec<_>>());
    assert_eq!(ran.errors(), [("damaged_segment", 1)]);
    assert_eq!(ran.balance.lost.get("unaccounted"), Some(&3));
    let kept = fs::read_dir(folder.path().join("segments/source-wire/damaged")).unwrap();
    assert_eq!(kept.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dumpcap_writes_into_a_pipe_is_read_by_ourselves_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let twenty = folder.path().join("twenty.pcap");
    fs::write(&twenty, capture(20)).unwrap();
    let config = fake(&folder, "exit 1");
    let begin = format!("cat {}", twenty.display());
    let tell = "echo 'Packets captured: 22' >&2
        echo 'Packets received/dropped on interface lo: 0/7 \
        (pcap:7/dumpcap:0/flushed:0/ps_ifdrop:0) (0.0%)' >&2";
    let config = capturing(config, &folder, Mode::Pipe, &begin, tell);
    let ran = run_until(&by_headers(config), 20).await;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!(ran.frames, (1..=20).collect::<Vec<_>>());
    let lost: Vec<_> = ran.balance.lost.into_iter().collect();
    assert_eq!(lost, [("kernel_buffer", 7), ("unaccounted", 2)]);
    assert_eq!(ran.balance.errors.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dumpcap_that_writes_no_capture_is_ended_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let five = folder.path().join("five.pcap");
    fs::write(&five, capture(5)).unwrap();
    let begin = format!(
        "echo >> {starts}; [ $(wc -l < {starts}) -gt 1 ] || echo 'no capture'
        [ $(wc -l < {starts}) -eq 1 ] || cat {five}",
        starts = starts.display(),
        five = five.display()
    );
    let config = capturing(fake(&folder, "exit 1"), &folder, Mode::Pipe, &begin, "true");
    let ran = run_until(&by_headers(config), 5).await;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!(ran.frames, (1..=5).collect::<Vec<_>>());
    assert_eq!((ran.errors(), ran.balance.unknown_losses), (vec![("damaged_capture", 1)], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_no_tshark_reads_is_counted_and_kept_and_the_next_is_read() {
    for (fails, error) in [("exit 1", ("tshark_failed", 8)), ("kill -9 $$", ("tshark_killed", 3))] {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("bytes=$(wc -c); [ $bytes != 944 ] || {fails}\n{PRINT_ALL}");
        let config = fake(&folder, &script);
        let begin = two_segments(&folder);
        let config = capturing(config, &folder, Mode::Segments, &begin, CAPTURED_FIFTEEN);
        let ran = run_until(&config, 5).await;
        assert!(ran.result.is_ok(), "{fails}: {:?}", ran.result);
        assert_eq!(ran.numbers(), [11, 12, 13, 14, 15], "{fails}");
        assert_eq!(ran.errors(), [("damaged_segment", 1), error], "{fails}");
        let lost: Vec<_> = ran.balance.lost.into_iter().collect();
        assert_eq!((lost, ran.balance.unknown_losses), (vec![("tshark_failed", 10)], 0), "{fails}");
        let kept = fs::read_dir(folder.path().join("segments/source-wire/damaged")).unwrap();
        assert_eq!(kept.count(), 1, "{fails}");
    }
}

/// A packet can send a dissector round and round; nobody noticed, and the capture stood still for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_tshark_that_hangs_in_a_pipe_is_killed_and_the_capture_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let [starts, five] = ["starts", "five.pcap"].map(|name| folder.path().join(name));
    // More packets than a pipe holds, so that dumpcap waits for the one that hangs.
    let mut packets = capture(5);
    packets.resize(3 << 20, 0);
    fs::write(&five, packets).unwrap();
    let script = format!(
        "[ $(head -c 1 | wc -c) = 1 ] || exit 0
        echo >> {starts}; [ $(wc -l < {starts}) -gt 1 ] || exec sleep 600
        for i in $(seq 5); do echo \"{{\\\"layers\\\":{{\\\"frame_number\\\":[\\\"$i\\\"]}}}}\"; done
        exec cat > /dev/null",
        starts = starts.display()
    );
    let begin = format!("cat {} 2> /dev/null", five.display());
    let config = fake(&folder, &script);
    let mut config =
        capturing(config, &folder, Mode::Pipe, &begin, "echo 'Packets captured: 5' >&2");
    config.programs.stalled_after = Duration::from_secs(2);
    let ran = run_until(&config, 5).await;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!(ran.numbers(), [1, 2, 3, 4, 5]);
    // One at least: a machine that is slow takes others for stuck.
    let stalled = ran.balance.errors.get("tshark_stalled").copied().unwrap_or(0);
    assert!(stalled > 0 && ran.balance.unknown_losses > 0, "{:?}", ran.balance);
    assert_eq!(ran.balance.lost.get("unaccounted"), Some(&(stalled * 5)), "{:?}", ran.balance);
}

#[tokio::test(flavor = "multi_thread")]
async fn dumpcap_is_told_to_end_while_the_destination_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [reads, told] = ["reads", "told"].map(|name| folder.path().join(name));
    let script = format!(
        "read -r packets || exit 0; touch {}; exec yes '{{\"layers\":{{}}}}'",
        reads.display()
    );
    let tell = format!("touch {}", told.display());
    let config = capturing(fake(&folder, &script), &folder, Mode::Pipe, "echo packets", &tell);
    let source = Started::new(&config);
    wait_for(&reads).await;
    // More than the edge takes.
    while source.meter.balance().received < 1_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    source.stop.cancel();
    wait_for(&told).await;
    source.running.abort();
    assert!(source.running.await.is_err());
    assert_eq!(source.meter.balance().unknown_losses, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dumpcap_holds_is_read_before_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let captures = folder.path().join("captures");
    // More than the pipes and the blocks ahead take.
    let tell = "head -c 80000000 /dev/zero | tr '\\0' x | fold -w 40000; echo
        echo 'Packets captured: 0' >&2
        echo 'Packets received/dropped on interface lo: 0/7 \
        (pcap:7/dumpcap:0/flushed:0/ps_ifdrop:0) (0.0%)' >&2";
    let begin = format!("touch {}", captures.display());
    let config = capturing(fake(&folder, "exec cat"), &folder, Mode::Pipe, &begin, tell);
    let source = Started::new(&config);
    wait_for(&captures).await;
    source.stop.cancel();
    let ran = source.end().await;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!(ran.lines.len(), 2_000);
    assert_eq!((ran.errors(), ran.balance.unknown_losses), (vec![], 0));
    assert_eq!(ran.balance.lost.get("kernel_buffer"), Some(&7));
}
