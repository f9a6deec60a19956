//! The sink against real Elasticsearch and OpenSearch servers.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use libtest_mimic::Failed;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate::{metrics::Balance, sinks::elasticsearch::Config};
use tokio::{runtime::Handle, task::block_in_place};

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    faults::{FaultServer, Reply},
    poll,
    search::{self, Flavor, Server},
    table::Row,
};

const LIMIT: Duration = Duration::from_mins(8);
const MILLION: u32 = 1_000_000;

/// The cases: on Elasticsearch 8 always, and what the products answer differently on OpenSearch too;
/// everything on everything in a full run.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases =
        vec![Case::new(a_million_flows_arrive_though_the_server_is_killed_twice).slow()];
    for flavor in Flavor::ALL {
        let name = flavor.name();
        let of_flavor = [
            Case::with(what_is_sent_twice_is_there_once, name, flavor),
            Case::with(a_rollover_in_the_middle_loses_nothing, name, flavor),
            Case::with(an_answer_lost_before_a_rollover_doubles_its_request, name, flavor),
            Case::with(a_server_killed_in_the_middle_loses_and_doubles_nothing, name, flavor),
        ];
        let always = flavor == Flavor::Elasticsearch8;
        let mapping = Case::with(one_document_the_mapping_refuses_is_dead_lettered, name, flavor);
        let rare = flavor == Flavor::Elasticsearch9;
        cases.push(if rare { mapping.slow() } else { mapping });
        cases.extend(of_flavor.into_iter().map(|case| if always { case } else { case.slow() }));
    }
    cases
}

fn config(url: &str, namespace: &str) -> Result<Config, Failed> {
    Ok(serde_json::from_value(json!({
        "endpoints": [url],
        "data_stream": {"namespace": format!("case_{namespace}")},
    }))?)
}

fn stream(namespace: &str) -> String {
    format!("logs-tidegate.alert-case_{namespace}")
}

/// A template for the data streams of this file: a reason has to be an address, so "bad" is refused.
async fn install_template(server: &Server) -> Outcome {
    let template = json!({
        "index_patterns": ["logs-tidegate.*-case_*"],
        "priority": 300,
        "data_stream": {},
        "template": {
            "settings": {"number_of_replicas": 0},
            "mappings": {"properties": {
                "@timestamp": {"type": "date"},
                "source_ip": {"type": "ip"},
                "reasons": {"type": "ip"},
            }},
        },
    });
    server
        .ask(Method::PUT, "_index_template/tidegate-tests?master_timeout=5m", Some(template))
        .await
        .map(drop)
}

fn options(scene: &Scene) -> Value {
    let mut options = delivery::hasty(scene, "real");
    options["batch"]["max_events"] = json!(1_000);
    options
}

fn with_server(flavor: Flavor, play: impl AsyncFnOnce(&Server) -> Outcome) -> Outcome {
    let server = search::shared(flavor)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        install_template(&server).await?;
        play(&server).await
    })
}

/// The same for a case that kills it.
fn with_server_alone(flavor: Flavor, play: impl AsyncFnOnce(&mut Server) -> Outcome) -> Outcome {
    let mut server = search::exclusive(flavor)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        install_template(&server).await?;
        play(&mut server).await
    })
}

async fn deliver(
    scene: &Scene,
    url: &str,
    namespace: &str,
    count: u32,
    bad: &[u32],
) -> Result<Balance, Failed> {
    let delivery = Delivery::start(&config(url, namespace)?, options(scene))?;
    delivery.send(delivery::alerts(count, bad)).await?;
    delivery.finish(LIMIT).await
}

/// Enters what became of so many records, by what the server and the dead-letter file have.
async fn enter(
    scene: &Scene,
    fault: &str,
    server: &Server,
    namespace: &str,
    sent: u64,
) -> Result<Row, Failed> {
    let copies = server.copies(&stream(namespace)).await?;
    let delivered = copies.len() as u64;
    let row = Row {
        sink: "elasticsearch",
        server: server.flavor.name(),
        fault: fault.to_owned(),
        sent,
        delivered,
        doubled: copies.values().sum::<u64>() - delivered,
        dead_lettered: letters(scene).len() as u64,
    };
    row.enter()?;
    Ok(row)
}

fn letters(scene: &Scene) -> Vec<Value> {
    delivery::letters(&delivery::dead_letter(scene, "real"))
}

fn what_is_sent_twice_is_there_once(scene: &Scene, flavor: Flavor) -> Outcome {
    with_server(flavor, async |server| {
        for duplicated in [0, 5_000] {
            let balance = deliver(scene, &server.url(), "twice", 5_000, &[]).await?;
            assert_eq!((balance.delivered, balance.duplicated), (5_000, duplicated));
        }
        let row = enter(scene, "the same sent twice", server, "twice", 5_000).await?;
        assert_eq!(row.doubled, 0, "{row:?}");
        Ok(())
    })
}

fn one_document_the_mapping_refuses_is_dead_lettered(scene: &Scene, flavor: Flavor) -> Outcome {
    with_server(flavor, async |server| {
        let balance = deliver(scene, &server.url(), "mapping", 1_000, &[300]).await?;
        assert_eq!((balance.delivered, balance.dead_lettered), (999, 1));
        let letters = letters(scene);
        let reason = letters[0]["reason"].as_str().unwrap_or_default();
        let expected = format!("400 {}: ", flavor.parsing_exception());
        assert!(reason.starts_with(&expected), "{reason}");
        assert_eq!(letters[0]["document"]["reasons"], json!(["bad"]));
        let row = enter(scene, "a mapping error in one of 1,000", server, "mapping", 1_000).await?;
        assert_eq!((row.dead_lettered, row.doubled), (1, 0), "{row:?}");
        Ok(())
    })
}

fn a_rollover_in_the_middle_loses_nothing(scene: &Scene, flavor: Flavor) -> Outcome {
    with_server(flavor, async |server| {
        let delivery = Delivery::start(&config(&server.url(), "rollover")?, options(scene))?;
        let all = delivery::alerts(10_000, &[]);
        delivery.send(all[..4_000].to_vec()).await?;
        let stream = stream("rollover");
        poll::until_answered("the first documents", LIMIT, async || {
            server.count(&stream).await.is_ok_and(|count| count > 0).then_some(())
        })
        .await?;
        delivery.send(all[4_000..8_000].to_vec()).await?;
        assert!(delivery.held() > 0, "it rolls over with requests under way");
        let rollover = format!("{stream}/_rollover?master_timeout=5m&timeout=5m");
        server.ask(Method::POST, &rollover, None).await?;
        delivery.send(all[8_000..].to_vec()).await?;
        let balance = delivery.finish(LIMIT).await?;
        assert_eq!(balance.delivered, 10_000);
        let row = enter(scene, "a rollover in the middle", server, "rollover", 10_000).await?;
        assert_eq!(row.doubled, 0, "{row:?}");
        let counts = server.counts(&stream).await?;
        assert!(counts.len() == 2 && counts.iter().sum::<u64>() == 10_000, "{counts:?}");
        Ok(())
    })
}

/// The one way to double under our own ids: an index knows only the ids of its own documents.
fn an_answer_lost_before_a_rollover_doubles_its_request(scene: &Scene, flavor: Flavor) -> Outcome {
    with_server(flavor, async |server| {
        let passes_on = server.passes_on();
        let (rollover, lost) = (server.rollover(&stream("lost")), AtomicBool::new(false));
        let between = FaultServer::start(None, move |request| {
            let answer = passes_on(request);
            if lost.swap(true, Relaxed) {
                return answer;
            }
            let rolled = block_in_place(|| Handle::current().block_on(rollover()));
            assert!(rolled.is_ok(), "{rolled:?}");
            Reply::Hangup
        })
        .await?;
        let balance = deliver(scene, &between.url(), "lost", 2_000, &[]).await?;
        assert_eq!(balance.delivered, 2_000);
        let fault = "an answer lost, then a rollover, then the repeat";
        let row = enter(scene, fault, server, "lost", 2_000).await?;
        assert_eq!(row.doubled, 1_000, "one request of two: {row:?}");
        Ok(())
    })
}

/// Kills the server and starts it again, with requests under way.
fn kill(server: &mut Server, delivery: &Delivery) -> Outcome {
    assert!(delivery.held() > 0, "it is killed with requests under way");
    // Sinks run on other threads of the runtime meanwhile.
    let killed = || server.kill().and_then(|()| server.start());
    thread::scope(|scope| scope.spawn(killed).join().expect("no panic"))
}

fn a_server_killed_in_the_middle_loses_and_doubles_nothing(
    scene: &Scene,
    flavor: Flavor,
) -> Outcome {
    with_server_alone(flavor, async |server| {
        let delivery = Delivery::start(&config(&server.url(), "killed")?, options(scene))?;
        let all = delivery::alerts(10_000, &[]);
        for (at, part) in all.chunks(4_000).enumerate() {
            delivery.send(part.to_vec()).await?;
            if at < 2 {
                kill(server, &delivery)?;
            }
        }
        let balance = delivery.finish(LIMIT).await?;
        assert_eq!(balance.delivered, 10_000);
        let row = enter(scene, "killed with -9 twice", server, "killed", 10_000).await?;
        assert_eq!(row.doubled, 0, "{row:?}");
        Ok(())
    })
}

fn a_million_flows_arrive_though_the_server_is_killed_twice(scene: &Scene) -> Outcome {
    const PART: u32 = 1_000;
    let flavor = Flavor::Elasticsearch8;
    with_server_alone(flavor, async |server| {
        // As the product has it: its own template, documents and requests.
        let mut options = options(scene);
        options["encoding"] = json!({"schema": "ecs"});
        options["batch"] = json!({});
        let config: Config = serde_json::from_value(json!({
            "endpoints": [server.url()],
            "data_stream": {"namespace": "million"},
            "setup": "install",
        }))?;
        let delivery = Delivery::start(&config, options)?;
        let started = poll::now();
        for from in (0..MILLION).step_by(PART as usize) {
            delivery.send_records(delivery::flows(from..from + PART)).await?;
            if from == MILLION / 3 / PART * PART || from == MILLION / 3 * 2 / PART * PART {
                kill(server, &delivery)?;
            }
        }
        let balance = delivery.finish(LIMIT).await?;
        let count = server.count("logs-tidegate.flow-million").await?;
        eprintln!("a million flows in {:?}: {balance:?}", started.elapsed());
        let row = Row {
            sink: "elasticsearch",
            server: flavor.name(),
            fault: "killed with -9 twice, a million flows".to_owned(),
            sent: u64::from(MILLION),
            delivered: count,
            // Within one index an id is there once.
            doubled: 0,
            dead_lettered: letters(scene).len() as u64,
        };
        row.enter()?;
        assert_eq!((count, balance.delivered), (row.sent, row.sent), "{balance:?}");
        Ok(())
    })
}
