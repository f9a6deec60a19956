//! The same packets judged live, at the speed they were taken at, and from a file: alike.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::Child,
};

use flate2::read::GzDecoder;
use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture},
    live::Live,
    netns::INTERFACE,
    poll::{self, SOON},
    process::output,
    tidegate::Tidegate,
};

/// So long after the excerpt comes one more packet: what was under way then has timed out.
const REST_SECS: u32 = 6;

/// Source, action and rule of a record.
type Judged = BTreeSet<(String, String, String)>;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::with(an_excerpt_of_the_lab_is_judged_live_as_from_the_file, "13 s", 13)
            .needs_data()
            .live(),
        Case::with(an_excerpt_of_the_lab_is_judged_live_as_from_the_file, "54 s", 54)
            .needs_data()
            .live()
            .slow(),
    ]
}

fn an_excerpt_of_the_lab_is_judged_live_as_from_the_file(scene: &Scene, secs: u32) -> Outcome {
    let excerpt = scene.path("excerpt.pcap");
    cut(&scene.data.join("scans/lab/lab.pcap.gz"), secs)?.write(&excerpt);
    let (live_config, lived) = config(scene, "live");
    let (config, replayed) = config(scene, "replayed");
    let live = Live::start_with(scene, |wire| {
        Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(&live_config)
    })?;
    let seen = scene.path("seen.pcap");
    let recording = Recording::start(scene, &live, &seen)?;
    let limit = format!("{}s", 2 * (secs + REST_SECS) + 60);
    let mut sender = live.wire.far.command("timeout");
    sender.args([&limit, "tcpreplay", "--intf1", INTERFACE, "--preload-pcap", "--multiplier=1"]);
    let said = output(sender.arg(&excerpt))?;
    let none_failed = |line: &str| line.split_whitespace().eq(["Failed", "packets:", "0"]);
    assert!(said.lines().any(none_failed), "{said}");
    recording.end(live.wire.arrived()?)?;

    // What came in, as it came in: a sender that is late sends what is due at once, and that is judged otherwise.
    let ended = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&seen).run()?;
    ended.expect(0)?;
    let replayed = judged(&replayed)?;
    assert!(replayed.len() > 5, "{replayed:?}");
    assert_eq!(gravest(&replayed), tuned(scene, &config, &seen)?, "replay and tune");
    // What is missing may still be on its way; what is too much would stay.
    poll::until_true("the records of the replay", SOON, || {
        judged(&lived).is_ok_and(|judged| judged.is_superset(&replayed))
    })
    .unwrap_or_default();
    live.stop()?.0.expect(0)?;
    let lived = judged(&lived)?;
    let differ = lived.symmetric_difference(&replayed);
    let differ: Vec<_> = differ.filter(|record| !is_step(record, [&lived, &replayed])).collect();
    assert!(differ.is_empty(), "{differ:?}\nlive: {lived:?}\nreplayed: {replayed:?}");
    Ok(())
}

/// tcpdump on the near side; killed when dropped.
struct Recording {
    tcpdump: Child,
    file: PathBuf,
    log: PathBuf,
}

// === impl Recording ===

impl Recording {
    /// Starts it, and waits until it listens.
    fn start(scene: &Scene, live: &Live<'_>, file: &Path) -> Result<Self, Failed> {
        let log = scene.path("tcpdump.stderr");
        let mut tcpdump = live.wire.near.command("tcpdump");
        tcpdump.args([
            "-i",
            INTERFACE,
            "-n",
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            "-B",
            "65536",
            "-Z",
            "root",
        ]);
        tcpdump.args(["--time-stamp-precision=nano", "-w"]).arg(file).stderr(File::create(&log)?);
        let recording = Self { tcpdump: tcpdump.spawn()?, file: file.to_owned(), log };
        poll::until_true("tcpdump to listen", SOON, || recording.said().contains("listening on"))?;
        Ok(recording)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it once it has so many packets.
    fn end(self, packets: u64) -> Outcome {
        poll::until_true("all packets in the file", SOON, || {
            fs::read(&self.file).is_ok_and(|bytes| captures::count(&bytes) as u64 >= packets)
        })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let ended = self.tcpdump.kill().and_then(|()| self.tcpdump.wait());
        if let Err(error) = ended {
            eprintln!("can't end tcpdump {}: {error}", self.tcpdump.id());
        }
    }
}

/// Whether a record is a step on the way to a graver one of the same source that both have. A rate is counted by the
/// second: what the first of it come to depends on where in a second they began, which is not what is compared.
fn is_step((source, action, rule): &(String, String, String), both: [&Judged; 2]) -> bool {
    const STEPS: [&str; 4] = ["log", "alert", "rate_limit", "would_block"];
    let graver = STEPS.into_iter().skip_while(|step| step != action).skip(1);
    let mut graver = graver.map(|step| (source.clone(), step.to_owned(), rule.clone()));
    rule == "Packet rate" && graver.any(|record| both.iter().all(|judged| judged.contains(&record)))
}

/// The config of all three, with files of this name, and where its records go: a replay takes the place of its source.
fn config(scene: &Scene, name: &str) -> (PathBuf, PathBuf) {
    let alerts = scene.path(&format!("{name}.ndjson"));
    let text = format!(
        "data_dir: {state}\nnetworks: {{ internal: [10.77.0.0/16] }}\nsources:\n  \
         wire: {{ type: tshark, interface: {INTERFACE}, mode: pipe, dissect: headers }}\ntransforms:\n  \
         packets: {{ type: extract, inputs: [wire] }}\n  \
         flows: {{ type: flow, inputs: [packets] }}\n  \
         scored: {{ type: score, inputs: [flows, flows.contacts], warmup_secs: 0 }}\nsinks:\n  \
         alerts: {{ type: file, inputs: [scored.alerts], path: {alerts}, batch: {{ timeout_secs: 1 }} }}\n  \
         rest: {{ type: blackhole, inputs: [scored] }}\n",
        state = scene.path(&format!("{name}.state")).display(),
        alerts = alerts.display(),
    );
    (scene.write(&format!("{name}.yaml"), text), alerts)
}

/// The first seconds of a capture. Its frames, which were captured in part, are filled up with zeros to the
/// length they had: on a wire they can't be shorter than they say.
fn cut(capture: &Path, secs: u32) -> Result<Capture, Failed> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(capture)?).read_to_end(&mut bytes)?;
    let mut rest = bytes.get(24..).ok_or("no capture")?;
    let (mut excerpt, mut first) = (Capture::micros(), None);
    let mut last = (0, 0, Vec::new());
    while let Some((header, behind)) = rest.split_first_chunk::<16>() {
        let number = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (second, micros, captured) = (number(0), number(4), number(8) as usize);
        let (frame, next) = behind.split_at_checked(captured).ok_or("a frame is cut")?;
        rest = next;
        if (second, micros) >= *first.get_or_insert((second + secs, micros)) {
            break;
        }
        let mut frame = frame.to_vec();
        frame.resize(number(12) as usize, 0);
        excerpt.frame(second, micros, &frame);
        last = (second, micros, frame);
    }
    let (second, micros, frame) = last;
    excerpt.frame(second + REST_SECS, micros, &frame);
    Ok(excerpt)
}

/// What was recorded of whom.
fn judged(records: &Path) -> Result<Judged, Failed> {
    let mut judged = Judged::new();
    let text = fs::read_to_string(records)?;
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let record: Value = serde_json::from_str(line)?;
        let word = |place| record.pointer(place).and_then(Value::as_str).unwrap_or("").to_owned();
        judged.insert((word("/source/ip"), word("/event/action"), word("/rule/name")));
    }
    Ok(judged)
}

/// How grave it was at the most, by source, from an alert on. A flood's record is about no source.
fn gravest(judged: &Judged) -> BTreeMap<String, u8> {
    let mut gravest = BTreeMap::new();
    for (source, action, _) in judged {
        let gravity = match action.as_str() {
            "alert" => 1,
            "rate_limit" => 2,
            "would_block" => 3,
            _ => continue,
        };
        if source.is_empty() {
            continue;
        }
        let known = gravest.entry(source.clone()).or_default();
        *known = gravity.max(*known);
    }
    gravest
}

/// The same by `tidegate tune`.
fn tuned(scene: &Scene, config: &Path, capture: &Path) -> Result<BTreeMap<String, u8>, Failed> {
    let tidegate = Tidegate::new(scene, ["tune", "--json", "-c"]).arg(config).arg(capture);
    let told: Value = serde_json::from_str(&tidegate.run()?.expect(0)?.stdout)?;
    let mut gravest = BTreeMap::new();
    for source in told["sources"].as_array().into_iter().flatten() {
        let gravity = match source["verdict"].as_str() {
            Some("alert") => 1,
            Some("rate_limit") => 2,
            Some("block") => 3,
            _ => continue,
        };
        gravest.insert(source["src"].as_str().unwrap_or_default().to_owned(), gravity);
    }
    Ok(gravest)
}
