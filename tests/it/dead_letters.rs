//! Dead letters sent again, by the program itself, to a server that refused them first.

use std::fmt::Write as _;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::harness::{
    Case, Outcome, Scene, captures,
    delivery::letters,
    faults::{FaultServer, Reply, Request},
    process::shim,
    tidegate::{Ended, Tidegate},
};

const PACKETS: u32 = 50;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(what_a_mapping_refused_is_delivered_once_when_it_is_mended),
        Case::new(a_dead_letter_file_in_use_is_not_read),
        Case::new(dead_letters_that_the_disk_does_not_give_back_stop_nothing),
    ]
}

/// An index with a mapping that takes nothing until it is mended.
#[derive(Debug, Default)]
struct Index {
    mended: AtomicBool,
    documents: Mutex<BTreeMap<String, Vec<Value>>>,
    refused: Mutex<BTreeMap<String, Value>>,
}

// === impl Index ===

impl Index {
    fn answer(&self, request: &Request) -> Reply {
        let text = String::from_utf8_lossy(&request.body);
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let (mut documents, mut refused) = (lock(&self.documents), lock(&self.refused));
        let items = lines.chunks(2).map(|pair| {
            let action = &pair[0]["create"];
            assert_eq!(action["_index"], "logs-tidegate.packet-default");
            let id = action["_id"].as_str().expect("an id of ours").to_owned();
            let (status, kind) = if !self.mended.load(Ordering::SeqCst) {
                refused.insert(id, pair[1].clone());
                (400, "document_parsing_exception")
            } else if documents.contains_key(&id) {
                (409, "version_conflict_engine_exception")
            } else {
                documents.entry(id).or_default().push(pair[1].clone());
                (201, "")
            };
            let error = json!({"type": kind, "reason": "as asked"});
            match status {
                201 => json!({"create": {"status": 201}}),
                status => json!({"create": {"status": status, "error": error}}),
            }
        });
        let items: Vec<_> = items.collect();
        Reply::Answer(200, json!({"errors": true, "items": items}).to_string(), None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(scene: &Scene, url: &str) -> PathBuf {
    let text = format!(
        "data_dir: {state}
sources:
  capture: {{ type: tshark, mode: file, files: [replaced.pcap] }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  siem: {{ type: elasticsearch, inputs: [packets], endpoints: ['{url}'],
           dead_letter: {{ path: {dead} }} }}
",
        state = scene.path("state").display(),
        dead = scene.path("dead.ndjson").display(),
    );
    scene.write("dead_letters.yaml", text)
}

fn send_again(scene: &Scene, config: &Path, file: &Path) -> Result<(Ended, Value), Failed> {
    let summary = scene.path("summary.json");
    let ended = Tidegate::new(scene, ["replay", "-c"])
        .arg(config)
        .arg("--summary")
        .arg(&summary)
        .arg("--dead-letters")
        .arg(file)
        .run()?;
    let totals =
        fs::read(&summary).map_or(Ok(Value::Null), |text| serde_json::from_slice(&text))?;
    Ok((ended, totals))
}

fn what_a_mapping_refused_is_delivered_once_when_it_is_mended(scene: &Scene) -> Outcome {
    let capture = scene.path("packets.pcap");
    captures::numbered(PACKETS).write(&capture);
    let runtime = tokio::runtime::Runtime::new()?;
    let index = Arc::new(Index::default());
    let server = runtime.block_on(FaultServer::start(None, {
        let index = Arc::clone(&index);
        move |request| index.answer(request)
    }))?;
    let config = config(scene, &server.url());
    let (dead, aside) = (scene.path("dead.ndjson"), scene.path("aside.ndjson"));

    let replay = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture);
    replay.run()?.expect(3)?;
    assert_eq!(letters(&dead).len(), PACKETS as usize);

    // Not mended yet: all of them come back, to a new file.
    fs::rename(&dead, &aside)?;
    let (ended, totals) = send_again(scene, &config, &aside)?;
    ended.expect(3)?;
    assert_eq!((&totals["dead_lettered"], &totals["delivered"]), (&json!(PACKETS), &json!(0)));
    assert_eq!(letters(&dead).len(), PACKETS as usize);

    index.mended.store(true, Ordering::SeqCst);
    fs::rename(&dead, &aside)?;
    let (ended, totals) = send_again(scene, &config, &aside)?;
    ended.expect(0)?;
    assert_eq!((&totals["records_in"], &totals["delivered"]), (&json!(PACKETS), &json!(PACKETS)));
    let delivered: BTreeMap<_, _> =
        lock(&index.documents).iter().map(|(id, all)| (id.clone(), all[0].clone())).collect();
    assert!(delivered == *lock(&index.refused), "other documents or ids than those refused");

    // Once more, and with lines that are none: what is there already meets its own id.
    let mut text = fs::read_to_string(&aside)?;
    let unknown = text.lines().next().unwrap_or_default().replace("\"siem\"", "\"gone\"");
    write!(text, "{unknown}\nnot a letter\n{{\"sink\":\"siem\",\"rec")?;
    fs::write(&aside, text)?;
    let (ended, totals) = send_again(scene, &config, &aside)?;
    let ended = ended.expect(3)?;
    ended.says(&[
        &format!("aside.ndjson:{}: not sent again: the config has no sink \"gone\"", PACKETS + 1),
        &format!("aside.ndjson:{}: not sent again: it is no dead letter", PACKETS + 2),
        &format!("aside.ndjson:{}: not sent again: it is no dead letter", PACKETS + 3),
    ])?;
    assert_eq!(totals["dropped"], json!({"unknown_sink": 1, "not_a_dead_letter": 2}));
    assert_eq!(totals["delivered"], json!(PACKETS));
    assert!(lock(&index.documents).values().all(|copies| copies.len() == 1));
    Ok(())
}

fn a_dead_letter_file_in_use_is_not_read(scene: &Scene) -> Outcome {
    let config = config(scene, "http://127.0.0.1:9");
    let dead = scene.write("dead.ndjson", "");
    let other_name = scene.path("other-name.ndjson");
    fs::hard_link(&dead, &other_name)?;
    for file in [dead, other_name] {
        let (ended, _) = send_again(scene, &config, &file)?;
        ended.expect(78)?.says(&["is the dead-letter file of the sink siem", "move it away"])?;
    }
    Ok(())
}

/// A start failed where the end of the file could not be read; what was sent again ended there.
fn dead_letters_that_the_disk_does_not_give_back_stop_nothing(scene: &Scene) -> Outcome {
    let shim = shim(scene, "failing_read")?;
    let capture = scene.path("packets.pcap");
    captures::numbered(PACKETS).write(&capture);
    let index = Arc::new(Index::default());
    let answers = Arc::clone(&index);
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime
        .block_on(FaultServer::start(None, move |request: &Request| answers.answer(request)))?;
    let config = config(scene, &server.url());
    let broken = |command: Tidegate, of: &str, at: u32| {
        command
            .env("LD_PRELOAD", &shim)
            .env("FAILING_READ_OF", of)
            .env("FAILING_READ_AT", at.to_string())
    };
    let replay = || Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture);
    replay().run()?.expect(3)?;
    let dead = scene.path("dead.ndjson");
    let before = fs::read(&dead)?;
    broken(replay(), "/dead.ndjson", 0).run()?.expect(3)?.says(&["another one is begun"])?;
    assert!(fs::read(scene.path("dead.ndjson.damaged"))? == before, "it is kept as it was");
    assert_eq!(letters(&dead).len(), PACKETS as usize);

    index.mended.store(true, Ordering::SeqCst);
    let mended = scene.path("mended.ndjson");
    fs::rename(&dead, &mended)?;
    assert!(fs::metadata(&mended)?.len() > 16_384);
    let again = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg("--dead-letters");
    let ended = broken(again.arg(&mended), "/mended.ndjson", 8_192).run()?.expect(3)?;
    ended.says(&["bytes at 8192 can't be read, and are passed over"])?;
    let sent = lock(&index.documents).len();
    assert!((PACKETS as usize - 20..PACKETS as usize).contains(&sent), "{sent} were sent");
    let text = fs::read_to_string(&mended)?;
    let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let documents = lock(&index.documents);
    let is_there = documents.values().flatten().any(|document| *document == last["document"]);
    assert!(is_there, "the last one is sent too");
    Ok(())
}
