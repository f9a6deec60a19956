//! The `kafka` source as one of a group: partitions that move, nobody who takes what is read, a login.

use std::{collections::BTreeMap, fs, path::Path, thread, time::Duration};

use libtest_mimic::Failed;
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};
use tokio::runtime::Runtime;

use super::consumers::{self, LIMIT, consumer, copies, create, start, to_file, until_there};
use crate::harness::{
    Case, Outcome, Scene, http,
    kafka::{self, write},
    poll::{self, SOON},
    server,
};

/// How long a member of a group may be silent, or do without asking for more: longer than a busy machine stands still.
const SILENT: Duration = Duration::from_secs(15);

/// A sink that has room for little.
const SMALL: &str = "\n    buffer: { max_events: 500 }\n    batch: { max_events: 200 }";

/// What a member says of itself.
struct Health {
    runtime: Runtime,
    url: String,
}

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(partitions_that_are_given_back_unacknowledged_are_read_again),
        Case::new(partitions_that_move_under_load_lose_nothing),
        Case::new(a_member_that_gets_rid_of_nothing_pauses_and_stays_in_its_group),
        Case::new(a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back),
        Case::new(a_topic_that_is_deleted_and_made_anew_is_read_from_its_beginning),
        Case::new(a_login_that_is_refused_is_tried_until_it_is_taken),
    ]
}

// === impl Health ===

impl Health {
    /// Of the member with this config, which gets a port for it.
    fn asked_by(config: &Path) -> Result<Self, Failed> {
        let port = server::free_port()?;
        let text = fs::read_to_string(config)?;
        fs::write(config, text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}")))?;
        Ok(Self { runtime: Runtime::new()?, url: format!("http://127.0.0.1:{port}/health") })
    }

    /// Waits until it has these words.
    fn says(&self, what: &str, words: &str) -> Outcome {
        let mut last = String::new();
        poll::until_true(what, SOON, || {
            let page = self.runtime.block_on(http::get(&self.url));
            last = page.map(|(_, text)| text).unwrap_or_default();
            last.contains(words)
        })
        .map_err(|late| format!("{}: {last}", late.message().unwrap_or_default()).into())
    }
}

/// A file that nobody else can write to, until this is dropped.
fn blocked(out: &Path) -> Result<fs::File, Failed> {
    let file = fs::File::options().create(true).append(true).open(out)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// How often each flow is in any of these files.
fn in_all(files: &[&Path]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (id, count) in files.iter().flat_map(|file| copies(file)) {
        *all.entry(id).or_default() += count;
    }
    all
}

fn partitions_that_are_given_back_unacknowledged_are_read_again(scene: &Scene) -> Outcome {
    const SENT: u32 = 4_000;
    let broker = kafka::broker()?;
    create(&broker, "given", 2, &[])?;
    write(scene, &broker, "given", 0..SENT)?;
    let (slow, next) = (scene.path("slow.out"), scene.path("next.out"));
    let stuck = blocked(&slow)?;
    let start = |name: &str, out: &Path| {
        start(scene, &consumer(scene, name, &broker.plain(), "given", &to_file(out)))
    };
    let mut first = start("slow", &slow)?;
    poll::until_true("records that wait for the file", SOON, || {
        first.stderr().contains("another process (pid")
    })?;
    let mut second = start("next", &next)?;
    poll::until_true("partitions to be given back", LIMIT, || {
        first.stderr().contains("before all of it was acknowledged")
    })?;
    poll::until_true("some of them to be read again", LIMIT, || !copies(&next).is_empty())?;
    drop(stuck);
    poll::until_true("all flows, by either of them", LIMIT, || {
        in_all(&[&slow, &next]).len() as u64 >= u64::from(SENT)
    })?;
    first.still_runs()?;
    second.still_runs()?;
    for running in [first, second] {
        running.signal(Signal::TERM);
        running.wait(SOON)?;
    }
    let fault = "a partition given back before it was acknowledged";
    consumers::enter(fault, SENT, &in_all(&[&slow, &next]))
}

fn partitions_that_move_under_load_lose_nothing(scene: &Scene) -> Outcome {
    const SENT: u32 = 30_000;
    let broker = kafka::broker()?;
    create(&broker, "moving", 6, &[])?;
    write(scene, &broker, "moving", 0..SENT)?;
    let outs = ["one", "two", "three"].map(|name| scene.path(&format!("{name}.out")));
    let outs: Vec<&Path> = outs.iter().map(AsRef::as_ref).collect();
    let until = |part: u32| {
        poll::until_true("a part of them to be read", LIMIT, || {
            in_all(&outs).len() as u64 >= u64::from(SENT / part)
        })
    };
    let mut running = Vec::new();
    for (at, out) in outs.iter().enumerate() {
        let sink = to_file(out) + "\n    batch: { max_events: 50 }";
        let name = format!("member-{at}");
        running.push(start(scene, &consumer(scene, &name, &broker.plain(), "moving", &sink))?);
        until([20, 10, 5][at])?;
    }
    // The one that has been there longest leaves while the others read.
    let first = running.remove(0);
    first.signal(Signal::TERM);
    first.wait(SOON)?.expect(0)?;
    until(1)?;
    for mut member in running {
        member.still_runs()?;
        member.signal(Signal::TERM);
        member.wait(SOON)?;
    }
    consumers::enter("two join under load, and one leaves", SENT, &in_all(&outs))
}

fn a_member_that_gets_rid_of_nothing_pauses_and_stays_in_its_group(scene: &Scene) -> Outcome {
    const SENT: u32 = 40_000;
    // So many that what there is no room for ends where another partition begins.
    const PARTITIONS: i32 = 64;
    let broker = kafka::broker()?;
    create(&broker, "held", PARTITIONS, &[])?;
    write(scene, &broker, "held", 0..SENT)?;
    let out = scene.path("held.out");
    let stuck = blocked(&out)?;
    let sink = to_file(&out) + SMALL;
    let config = consumer(scene, "held", &broker.plain(), "held", &sink);
    let silent = SILENT.as_millis();
    let limits =
        format!("max.poll.interval.ms: \"{silent}\"\n      session.timeout.ms: \"{silent}\"");
    let text = fs::read_to_string(&config)?.replace("session.timeout.ms: \"30000\"", &limits);
    fs::write(&config, text)?;
    let health = Health::asked_by(&config)?;
    let mut running = start(scene, &config)?;
    let paused = format!("\"paused\":{PARTITIONS}");
    health.says("all partitions to be paused", &paused)?;
    // Longer than a member lives that does not ask for more.
    thread::sleep(SILENT + Duration::from_secs(3));
    running.still_runs()?;
    let group = broker.group("held-readers")?;
    assert_eq!(group, (1, "Stable".to_owned()), "{}", running.stderr());
    drop(stuck);
    until_there(&out, SENT, &mut running)?;
    health.says("the partitions to go on", "\"paused\":0")?;
    assert!(!running.stderr().contains("gives back"), "{}", running.stderr());
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    let copies = copies(&out);
    assert!(copies.values().all(|count| *count == 1), "some were read twice");
    consumers::enter(
        "nobody takes what is read, for longer than a member may be silent",
        SENT,
        &copies,
    )
}

fn a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back(scene: &Scene) -> Outcome {
    const SENT: u32 = 20_000;
    let broker = kafka::broker()?;
    create(&broker, "back", 2, &[])?;
    write(scene, &broker, "back", 0..SENT)?;
    let outs = [scene.path("stays.out"), scene.path("goes.out")];
    let outs: Vec<&Path> = outs.iter().map(AsRef::as_ref).collect();
    let stuck = blocked(outs[0])?;
    let start = |name: &str, out: &Path| {
        let sink = to_file(out) + SMALL;
        let config = consumer(scene, name, &broker.plain(), "back", &sink);
        let health = Health::asked_by(&config)?;
        Ok::<_, Failed>((start(scene, &config)?, health))
    };
    let (mut stays, health) = start("stays", outs[0])?;
    health.says("both partitions to be paused", "\"paused\":2")?;
    let (goes, _) = start("goes", outs[1])?;
    poll::until_true("a partition to go", LIMIT, || stays.stderr().contains("gives back"))?;
    drop(stuck);
    let until = |count: u32| {
        poll::until_true(&format!("{count} flows, by either of them"), LIMIT, || {
            in_all(&outs).len() as u64 >= u64::from(count)
        })
    };
    until(SENT)?;
    goes.signal(Signal::TERM);
    goes.wait(SOON)?;
    write(scene, &broker, "back", SENT..SENT + 200)?;
    until(SENT + 200)?;
    stays.still_runs()?;
    stays.signal(Signal::TERM);
    stays.wait(SOON)?;
    let fault = "a partition goes while it is paused, and comes back";
    consumers::enter(fault, SENT + 200, &in_all(&outs))
}

fn a_topic_that_is_deleted_and_made_anew_is_read_from_its_beginning(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    create(&broker, "read-deleted", 2, &[])?;
    write(scene, &broker, "read-deleted", 0..1_000)?;
    let out = scene.path("deleted.out");
    let config = consumer(scene, "deleted", &broker.plain(), "read-deleted", &to_file(&out));
    let mut running = start(scene, &config)?;
    until_there(&out, 1_000, &mut running)?;
    Runtime::new()?.block_on(broker.delete("read-deleted"))?;
    poll::until_true("the missing topic to be named", SOON, || {
        running.stderr().to_lowercase().contains("unknown topic")
    })?;
    create(&broker, "read-deleted", 1, &[])?;
    write(scene, &broker, "read-deleted", 1_000..1_800)?;
    until_there(&out, 1_800, &mut running)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?;
    consumers::enter("topic deleted, and made anew", 1_800, &copies(&out))
}

fn a_login_that_is_refused_is_tried_until_it_is_taken(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    create(&broker, "read-login", 1, &[])?;
    write(scene, &broker, "read-login", 0..500)?;
    let ca = scene.write("ca.pem", &broker.authority.pem);
    let out = scene.path("login.out");
    let config = consumer(scene, "login", &broker.login(), "read-login", &to_file(&out));
    let keys = format!(
        "    tls: {{ ca: {} }}\n    sasl: {{ user: reader, password: reader-secret }}\n    librdkafka:",
        ca.display()
    );
    fs::write(&config, fs::read_to_string(&config)?.replace("    librdkafka:", &keys))?;
    let mut running = start(scene, &config)?;
    poll::until_true("the refusal to be named", SOON, || {
        running.stderr().to_lowercase().contains("authentication fail")
    })?;
    running.still_runs()?;
    assert!(copies(&out).is_empty());
    broker.add_user("reader", "reader-secret")?;
    until_there(&out, 500, &mut running)?;
    assert!(!running.stderr().contains("reader-secret"));
    running.signal(Signal::TERM);
    running.wait(SOON)?;
    consumers::enter("login refused, then taken", 500, &copies(&out))
}
