//! The sink against a real Elasticsearch that asks who is there and has little room for writes.

use std::time::Duration;

use libtest_mimic::Failed;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate::{metrics::Balance, record::Alert, sinks::elasticsearch::Config};

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    search::{
        Flavor, Server,
        guarded::{self, Role},
    },
    table::Row,
};

/// How often a server with little room is tried until it has none.
const ROUNDS: u32 = 20;
const LIMIT: Duration = Duration::from_mins(5);
/// So long a sink is watched that must deliver nothing.
const WATCHED: Duration = Duration::from_secs(3);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_wrong_password_keeps_the_records_until_it_is_mended),
        Case::new(a_missing_privilege_keeps_the_records_until_it_is_mended),
        Case::new(no_certificate_of_ours_and_nothing_is_delivered),
        Case::new(items_refused_for_want_of_room_are_sent_again),
        Case::new(requests_refused_for_want_of_room_are_sent_again),
        Case::new(a_request_larger_than_all_the_room_there_is_is_sent_in_halves),
    ]
}

fn options(scene: &Scene) -> Value {
    let mut options = delivery::hasty(scene, "guarded");
    options["request"]["timeout_secs"] = json!(60);
    options
}

fn config(server: &Server, namespace: &str) -> Value {
    let mut config = server.access();
    config["endpoints"] = json!([server.url()]);
    config["data_stream"] = json!({"namespace": namespace});
    config
}

fn start(scene: &Scene, config: Value, more: &Value) -> Result<Delivery, Failed> {
    let mut options = options(scene);
    for (key, value) in more.as_object().into_iter().flatten() {
        options[key] = value.clone();
    }
    Delivery::start(&serde_json::from_value::<Config>(config)?, options)
}

fn with_server(play: impl AsyncFnOnce(&Server) -> Outcome) -> Outcome {
    let server = guarded::shared()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let template = json!({
            "index_patterns": ["logs-tidegate.*-*"],
            "priority": 250,
            "data_stream": {},
            "template": {"settings": {"number_of_replicas": 0, "number_of_shards": 6}},
        });
        server.ask(Method::PUT, "_index_template/tidegate-tests", Some(template)).await?;
        play(&server).await
    })
}

/// Enters what became of the records, each of which must be there once.
async fn enter(fault: &str, server: &Server, namespace: &str, balance: &Balance) -> Outcome {
    let copies = server.copies(&format!("logs-tidegate.alert-{namespace}")).await?;
    let delivered = copies.len() as u64;
    let doubled = copies.values().sum::<u64>() - delivered;
    let row = Row {
        sink: "elasticsearch",
        server: Flavor::Elasticsearch8.name(),
        fault: fault.to_owned(),
        sent: balance.received,
        delivered,
        doubled,
        dead_lettered: balance.dead_lettered,
    };
    row.enter()?;
    assert_eq!((row.doubled, balance.delivered), (0, row.sent), "{row:?}: {balance:?}");
    Ok(())
}

/// Sends 1,000 records that nobody takes, mends it, and sees them delivered.
async fn kept_until(
    fault: &str,
    server: &Server,
    namespace: &str,
    delivery: Delivery,
    mend: impl FnOnce() -> Outcome,
) -> Result<Balance, Failed> {
    delivery.send(delivery::alerts(1_000, &[])).await?;
    tokio::time::sleep(WATCHED).await;
    assert_eq!(delivery.held(), 1_000, "{fault}: {:?}", delivery.errors());
    mend()?;
    let balance = delivery.finish(LIMIT).await?;
    enter(fault, server, namespace, &balance).await?;
    Ok(balance)
}

fn a_wrong_password_keeps_the_records_until_it_is_mended(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.change_password()?;
        // It has to notice.
        tokio::time::sleep(2 * guarded::NOTICES_WITHIN).await;
        let delivery = start(scene, config(server, "password"), &json!({}))?;
        let mend = || server.let_in(Role::Writer);
        let fault = "401 for a wrong password, then mended";
        let balance = kept_until(fault, server, "password", delivery, mend).await?;
        assert!(balance.errors.contains_key("destination_refuses_us"), "{balance:?}");
        Ok(())
    })
}

fn a_missing_privilege_keeps_the_records_until_it_is_mended(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.let_in(Role::Stranger)?;
        tokio::time::sleep(2 * guarded::NOTICES_WITHIN).await;
        let delivery = start(scene, config(server, "privilege"), &json!({}))?;
        let mend = || server.let_in(Role::Writer);
        let fault = "items 403 for a missing privilege, then mended";
        kept_until(fault, server, "privilege", delivery, mend).await?;
        Ok(())
    })
}

fn no_certificate_of_ours_and_nothing_is_delivered(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.let_in(Role::Writer)?;
        tokio::time::sleep(2 * guarded::NOTICES_WITHIN).await;
        let mut without = config(server, "certificate");
        for key in ["cert", "key"] {
            without["tls"].as_object_mut().ok_or("no tls")?.remove(key);
        }
        let another = json!({"dead_letter": {"path": delivery::dead_letter(scene, "without")}});
        let delivery = start(scene, without, &another)?;
        delivery.send(delivery::alerts(10, &[])).await?;
        tokio::time::sleep(WATCHED).await;
        assert_eq!(delivery.held(), 10, "{:?}", delivery.errors());
        delivery.abandon().await;

        let delivery = start(scene, config(server, "certificate"), &json!({}))?;
        delivery.send(delivery::alerts(1_000, &[])).await?;
        let balance = delivery.finish(LIMIT).await?;
        enter("none: TLS, certificate, user with create_doc", server, "certificate", &balance).await
    })
}

/// A figure of the one node.
async fn figure(server: &Server, pointer: &str) -> Result<u64, Failed> {
    let stats = server.ask(Method::GET, "_nodes/stats/thread_pool,indexing_pressure", None).await?;
    let node = stats["nodes"].as_object().and_then(|nodes| nodes.values().next());
    let figure = node.and_then(|node| node.pointer(pointer)?.as_u64());
    figure.ok_or_else(|| format!("no {pointer} in {stats}").into())
}

/// One bulk over six shards, where one can be written and one can wait.
fn items_refused_for_want_of_room_are_sent_again(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.let_in(Role::Writer)?;
        let rejected = "/thread_pool/write/rejected";
        let before = figure(server, rejected).await?;
        for round in 0..ROUNDS {
            let namespace = format!("items{round}");
            let delivery = start(scene, config(server, &namespace), &json!({}))?;
            delivery.send(delivery::alerts(1_000, &[])).await?;
            let balance = delivery.finish(LIMIT).await?;
            assert_eq!(balance.duplicated, 0, "only what was refused is sent again");
            if figure(server, rejected).await? > before {
                return enter("items 429 inside a 200", server, &namespace, &balance).await;
            }
        }
        Err("it had room for all, each time: nothing was shown".into())
    })
}

/// The alert, in 30 KB.
fn large(alert: Alert) -> Alert {
    Alert { reasons: vec!["long ".repeat(6_000).into()], ..alert }
}

/// Requests of 1.2 MB, four at a time, where 2 MB may be under way.
fn requests_refused_for_want_of_room_are_sent_again(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.let_in(Role::Writer)?;
        let rejected = "/indexing_pressure/memory/total/coordinating_rejections";
        let before = figure(server, rejected).await?;
        let mut request = options(scene)["request"].clone();
        request["concurrency"] = json!(4);
        let batch = json!({"max_bytes": 1_200_000, "max_events": 40, "timeout_secs": 1});
        let options = json!({"request": request, "batch": batch});
        for round in 0..ROUNDS {
            let namespace = format!("requests{round}");
            let delivery = start(scene, config(server, &namespace), &options)?;
            delivery.send(delivery::alerts(400, &[]).into_iter().map(large).collect()).await?;
            let balance = delivery.finish(LIMIT).await?;
            if figure(server, rejected).await? > before {
                return enter("429 for the whole request", server, &namespace, &balance).await;
            }
        }
        Err("it had room for all, each time: nothing was shown".into())
    })
}

/// One request of 3 MB, where no more than 2 MB may ever be under way.
fn a_request_larger_than_all_the_room_there_is_is_sent_in_halves(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.let_in(Role::Writer)?;
        let batch = json!({"max_bytes": 4_000_000, "max_events": 1_000, "timeout_secs": 1});
        let delivery = start(scene, config(server, "halves"), &json!({"batch": batch}))?;
        delivery.send(delivery::alerts(100, &[]).into_iter().map(large).collect()).await?;
        let balance = delivery.finish(LIMIT).await?;
        assert!(balance.errors.contains_key("no_room_as_a_whole"), "{balance:?}");
        enter("429 for a request larger than its limit", server, "halves", &balance).await
    })
}
