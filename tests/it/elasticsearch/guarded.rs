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
/// Records of most cases.
const SENT: u32 = 1_000;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_wrong_password_keeps_the_records_until_it_is_mended),
        Case::new(a_missing_privilege_keeps_the_records_until_it_is_mended),
        Case::new(no_certificate_of_ours_and_nothing_is_delivered),
        Case::new(a_server_that_is_not_who_it_should_be_gets_nothing),
        Case::new(items_refused_for_want_of_room_are_sent_again),
        Case::new(requests_refused_for_want_of_room_are_sent_again),
        Case::new(a_request_larger_than_all_the_room_there_is_is_sent_in_halves),
    ]
}

fn options(scene: &Scene) -> Value {
    delivery::hasty(scene, "guarded")
}

fn stream(namespace: &str) -> String {
    format!("logs-tidegate.alert-{namespace}")
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
    let server = guarded::exclusive()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let template = json!({
            "index_patterns": ["logs-tidegate.*-*"],
            "priority": 250,
            "data_stream": {},
            "template": {"settings": {"number_of_replicas": 0, "number_of_shards": 6}},
        });
        server
            .ask(Method::PUT, "_index_template/tidegate-tests?master_timeout=5m", Some(template))
            .await?;
        play(&server).await
    })
}

/// Enters what became of so many records, each of which must be there once.
async fn enter(
    scene: &Scene,
    fault: &str,
    server: &Server,
    namespace: &str,
    (sent, balance): (u32, &Balance),
) -> Outcome {
    let copies = server.copies(&stream(namespace)).await?;
    let delivered = copies.len() as u64;
    let doubled = copies.values().sum::<u64>() - delivered;
    let row = Row {
        sink: "elasticsearch",
        server: Flavor::Elasticsearch8.name(),
        fault: fault.to_owned(),
        sent: u64::from(sent),
        delivered,
        doubled,
        dead_lettered: delivery::letters(&delivery::dead_letter(scene, "guarded")).len() as u64,
    };
    row.enter()?;
    let counted = (balance.received, balance.delivered, balance.dead_lettered);
    assert_eq!((row.doubled, row.dead_lettered), (0, 0), "{row:?}");
    assert_eq!(counted, (row.sent, row.sent, 0), "{row:?}: {balance:?}");
    Ok(())
}

/// Sends records that nobody takes, lets the user in, and sees them delivered.
async fn kept_until_let_in(
    scene: &Scene,
    fault: &str,
    server: &Server,
    namespace: &str,
    error: &str,
) -> Result<Balance, Failed> {
    let delivery = start(scene, config(server, namespace), &json!({}))?;
    delivery.send(delivery::alerts(SENT, &[])).await?;
    delivery.keeps(SENT, error)?;
    assert_eq!(server.count(&stream(namespace)).await?, 0, "{fault}");
    server.let_in(Role::Writer).await?;
    let balance = delivery.finish(LIMIT).await?;
    enter(scene, fault, server, namespace, (SENT, &balance)).await?;
    Ok(balance)
}

fn a_wrong_password_keeps_the_records_until_it_is_mended(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.change_password().await?;
        let fault = "401 for a wrong password, then mended";
        kept_until_let_in(scene, fault, server, "password", "destination_refuses_us").await?;
        Ok(())
    })
}

fn a_missing_privilege_keeps_the_records_until_it_is_mended(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.let_in(Role::Stranger).await?;
        // What the sink is about to be told.
        let document = "{\"create\":{}}\n{\"@timestamp\":0}\n";
        let path = format!("{}/_bulk", stream("privilege"));
        let (status, answer) = server.ask_as_user(Method::POST, &path, document).await?;
        assert_eq!((status, &answer["items"][0]["create"]["status"]), (200, &json!(403)));
        let fault = "items 403 for a missing privilege, then mended";
        let error = "not_delivered_yet";
        let balance = kept_until_let_in(scene, fault, server, "privilege", error).await?;
        // It was the items that were refused, not the requests.
        assert!(!balance.errors.contains_key("destination_refuses_us"), "{balance:?}");
        Ok(())
    })
}

/// Starts a sink that won't get through, and ends it when it has failed.
async fn gets_nothing(scene: &Scene, server: &Server, namespace: &str, config: Value) -> Outcome {
    let another = json!({"dead_letter": {"path": delivery::dead_letter(scene, "nothing")}});
    let delivery = start(scene, config, &another)?;
    // Records that nobody sends later: one of them would show.
    delivery.send(delivery::alerts(SENT + 10, &[]).split_off(SENT as usize)).await?;
    delivery.keeps(10, "not_delivered_yet")?;
    delivery.abandon().await;
    assert_eq!(server.count(&stream(namespace)).await?, 0);
    Ok(())
}

/// Starts a sink that has all that is needed, and sees its records delivered.
async fn gets_all(scene: &Scene, fault: &str, server: &Server, namespace: &str) -> Outcome {
    let delivery = start(scene, config(server, namespace), &json!({}))?;
    delivery.send(delivery::alerts(SENT, &[])).await?;
    let balance = delivery.finish(LIMIT).await?;
    enter(scene, fault, server, namespace, (SENT, &balance)).await
}

fn no_certificate_of_ours_and_nothing_is_delivered(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.let_in(Role::Writer).await?;
        let mut without = config(server, "certificate");
        for key in ["cert", "key"] {
            without["tls"].as_object_mut().ok_or("no tls")?.remove(key);
        }
        gets_nothing(scene, server, "certificate", without).await?;
        let fault = "none: TLS, certificate, user with create_doc";
        gets_all(scene, fault, server, "certificate").await
    })
}

fn a_server_that_is_not_who_it_should_be_gets_nothing(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.let_in(Role::Writer).await?;
        let mut elsewhere = config(server, "name");
        elsewhere["endpoints"] = json!([server.url_by_another_name()]);
        gets_nothing(scene, server, "name", elsewhere).await?;
        gets_all(scene, "TLS with a wrong name, then another sink", server, "name").await?;

        let mut others = config(server, "authority");
        others["tls"]["ca"] = json!(server.other_ca());
        gets_nothing(scene, server, "authority", others).await?;
        gets_all(scene, "TLS with a wrong authority, then another sink", server, "authority").await
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
        server.let_in(Role::Writer).await?;
        let rejected = "/thread_pool/write/rejected";
        let before = figure(server, rejected).await?;
        for round in 0..ROUNDS {
            let namespace = format!("items{round}");
            let delivery = start(scene, config(server, &namespace), &json!({}))?;
            delivery.send(delivery::alerts(SENT, &[])).await?;
            let balance = delivery.finish(LIMIT).await?;
            assert_eq!(balance.duplicated, 0, "only what was refused is sent again");
            if figure(server, rejected).await? > before {
                let fault = "items 429 inside a 200";
                return enter(scene, fault, server, &namespace, (SENT, &balance)).await;
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
        server.let_in(Role::Writer).await?;
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
                let fault = "429 for the whole request";
                return enter(scene, fault, server, &namespace, (400, &balance)).await;
            }
        }
        Err("it had room for all, each time: nothing was shown".into())
    })
}

/// One request of 3 MB, where no more than 2 MB may ever be under way.
fn a_request_larger_than_all_the_room_there_is_is_sent_in_halves(scene: &Scene) -> Outcome {
    with_server(async |server| {
        server.let_in(Role::Writer).await?;
        let batch = json!({"max_bytes": 4_000_000, "max_events": 1_000, "timeout_secs": 1});
        let delivery = start(scene, config(server, "halves"), &json!({"batch": batch}))?;
        delivery.send(delivery::alerts(100, &[]).into_iter().map(large).collect()).await?;
        let balance = delivery.finish(LIMIT).await?;
        assert!(balance.errors.contains_key("no_room_as_a_whole"), "{balance:?}");
        let fault = "429 for a request larger than its limit";
        enter(scene, fault, server, "halves", (100, &balance)).await
    })
}
