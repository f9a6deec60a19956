//! The sink's keys, as a server sees them: several nodes, ids of the server, an index, a pipeline.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{metrics::Balance, sinks::elasticsearch::Config};

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    faults::{FaultServer, Reply, Request},
    server,
    table::Row,
};

const LIMIT: Duration = Duration::from_mins(5);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_node_that_is_away_is_not_waited_for),
        Case::new(a_node_that_dies_under_load_loses_and_doubles_nothing),
        Case::new(ids_of_the_server_double_what_is_repeated_and_count_it),
        Case::new(an_index_and_a_pipeline_are_named_to_the_server),
        Case::new(documents_in_the_failure_store_are_delivered_and_counted),
    ]
}

/// Documents as they arrived, each with its action line.
#[derive(Debug, Default)]
struct Seen {
    targets: BTreeSet<String>,
    documents: Vec<[Value; 2]>,
}

type Shared = Arc<Mutex<Seen>>;

// === impl Seen ===

impl Seen {
    /// Takes all of a request.
    fn take(&mut self, request: &Request) -> Reply {
        let lines: Vec<Value> = serde_json::Deserializer::from_slice(&request.body)
            .into_iter()
            .map(|line| line.expect("a line is JSON"))
            .collect();
        let documents = lines.chunks(2).map(|pair| [pair[0].clone(), pair[1].clone()]);
        self.targets.insert(request.target.clone());
        self.documents.extend(documents);
        let items = vec![json!({"create": {"status": 201}}); lines.len() / 2];
        Reply::Answer(200, json!({"errors": false, "items": items}).to_string(), None)
    }

    /// What became of so many alerts, told apart by their risk and time.
    fn row(&self, fault: &str, sent: u32) -> Row {
        let distinct: BTreeSet<_> =
            self.documents.iter().map(|[_, document]| document.to_string()).collect();
        let delivered = distinct.len() as u64;
        Row {
            sink: "elasticsearch",
            server: "scripted",
            fault: fault.to_owned(),
            sent: u64::from(sent),
            delivered,
            doubled: self.documents.len() as u64 - delivered,
            dead_lettered: 0,
        }
    }
}

fn lock(seen: &Shared) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(scene: &Scene, name: &str, config: Value, max_events: u32) -> Result<Delivery, Failed> {
    let config: Config = serde_json::from_value(config)?;
    let mut options = delivery::hasty(scene, name);
    options["batch"]["max_events"] = json!(max_events);
    Delivery::start(&config, options)
}

fn a_node_that_is_away_is_not_waited_for(scene: &Scene) -> Outcome {
    const COUNT: u32 = 5_000;
    let seen = Shared::default();
    let balance = tokio::runtime::Runtime::new()?.block_on(async {
        let server = FaultServer::start(None, {
            let seen = Arc::clone(&seen);
            move |request| lock(&seen).take(request)
        })
        .await?;
        let away = format!("http://127.0.0.1:{}", server::free_port().map_err(|_| "no port")?);
        let config = json!({"endpoints": [away, server.url()]});
        let delivery = start(scene, "away", config, 100)?;
        delivery.send(delivery::alerts(COUNT, &[])).await?;
        delivery.finish(LIMIT).await
    })?;
    let row = lock(&seen).row("one node of two is away", COUNT);
    row.enter()?;
    assert_eq!((balance.delivered, row.doubled), (u64::from(COUNT), 0), "{row:?}");
    assert!(balance.errors.is_empty(), "no request was tried again later: {balance:?}");
    Ok(())
}

fn a_node_that_dies_under_load_loses_and_doubles_nothing(scene: &Scene) -> Outcome {
    const COUNT: u32 = 5_000;
    let (seen, dead) = (Shared::default(), Arc::new(AtomicBool::new(false)));
    let balance = tokio::runtime::Runtime::new()?.block_on(async {
        let node = |mortal: bool| {
            let (seen, dead) = (Arc::clone(&seen), Arc::clone(&dead));
            FaultServer::start(None, move |request| {
                if mortal && dead.load(SeqCst) { Reply::Hangup } else { lock(&seen).take(request) }
            })
        };
        let (mortal, other) = (node(true).await?, node(false).await?);
        let config = json!({"endpoints": [mortal.url(), other.url()]});
        let delivery = start(scene, "dies", config, 50)?;
        let alerts = delivery::alerts(COUNT, &[]);
        delivery.send(alerts[..2_000].to_vec()).await?;
        while lock(&seen).documents.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        dead.store(true, SeqCst);
        drop(mortal);
        delivery.send(alerts[2_000..].to_vec()).await?;
        delivery.finish(LIMIT).await
    })?;
    let row = lock(&seen).row("one node of two dies", COUNT);
    row.enter()?;
    assert_eq!((balance.delivered, row.doubled), (u64::from(COUNT), 0), "{row:?}");
    Ok(())
}

fn ids_of_the_server_double_what_is_repeated_and_count_it(scene: &Scene) -> Outcome {
    const COUNT: u32 = 500;
    type Answers = fn() -> Reply;
    // Each of these takes the request and does not say so.
    let lost: [(&str, Answers); 4] = [
        ("an answer lost, id: auto", || Reply::Hangup),
        ("503 of a proxy, id: auto", || Reply::Answer(503, "upstream reset".to_owned(), None)),
        ("500 of a proxy, id: auto", || Reply::Answer(500, String::new(), None)),
        ("an answer without end, id: auto", || Reply::Answer(200, " ".repeat(5 << 20), None)),
    ];
    let runtime = tokio::runtime::Runtime::new()?;
    for (fault, lost) in lost {
        let (seen, told) = (Shared::default(), AtomicBool::new(false));
        let balance: Balance = runtime.block_on(async {
            let server = FaultServer::start(None, {
                let seen = Arc::clone(&seen);
                move |request| {
                    let answer = lock(&seen).take(request);
                    if told.swap(true, SeqCst) { answer } else { lost() }
                }
            })
            .await?;
            let config = json!({"endpoints": [server.url()], "id": "auto"});
            let delivery = start(scene, "auto", config, 1_000)?;
            delivery.send(delivery::alerts(COUNT, &[])).await?;
            delivery.finish(LIMIT).await
        })?;
        let seen = lock(&seen);
        let row = seen.row(fault, COUNT);
        row.enter()?;
        assert_eq!(row.doubled, u64::from(COUNT), "{fault}: {row:?}");
        assert_eq!(balance.duplicated, row.doubled, "what is doubled is counted: {balance:?}");
        assert!(seen.documents.iter().all(|[action, _]| action["create"].get("_id").is_none()));
    }
    Ok(())
}

fn an_index_and_a_pipeline_are_named_to_the_server(scene: &Scene) -> Outcome {
    let seen = Shared::default();
    tokio::runtime::Runtime::new()?.block_on(async {
        let server = FaultServer::start(None, {
            let seen = Arc::clone(&seen);
            move |request| lock(&seen).take(request)
        })
        .await?;
        let base = format!("{}/below/", server.url());
        let config = json!({
            "endpoints": [base], "mode": "index", "index": "alerts", "pipeline": "a b&c",
        });
        let delivery = start(scene, "index", config, 100)?;
        delivery.send(delivery::alerts(10, &[])).await?;
        delivery.finish(LIMIT).await
    })?;
    let seen = lock(&seen);
    let target = seen.targets.first().cloned().unwrap_or_default();
    assert!(target.starts_with("/below/_bulk?filter_path=errors"), "{target}");
    assert!(target.ends_with("&pipeline=a+b%26c"), "{target}");
    assert_eq!((seen.targets.len(), seen.documents.len()), (1, 10));
    for [action, document] in &seen.documents {
        assert_eq!(action["create"]["_index"], "alerts", "{action}");
        assert!(action["create"]["_id"].is_string(), "{action}");
        assert_eq!(document.get("@timestamp"), None, "{document}");
    }
    Ok(())
}

fn documents_in_the_failure_store_are_delivered_and_counted(scene: &Scene) -> Outcome {
    let balance = tokio::runtime::Runtime::new()?.block_on(async {
        let server = FaultServer::start(None, |request| {
            let documents = memchr::memchr_iter(b'\n', &request.body).count() / 2;
            let mut items = vec![json!({"create": {"status": 201}}); documents];
            items[0] = json!({"create": {"status": 201, "failure_store": "used"}});
            Reply::Answer(200, json!({"errors": false, "items": items}).to_string(), None)
        })
        .await?;
        let delivery = start(scene, "failure", json!({"endpoints": [server.url()]}), 100)?;
        delivery.send(delivery::alerts(10, &[])).await?;
        delivery.finish(LIMIT).await
    })?;
    assert_eq!((balance.delivered, balance.dead_lettered, balance.duplicated), (10, 0, 0));
    assert_eq!(balance.errors.get("failure_store"), Some(&1), "{balance:?}");
    Ok(())
}
