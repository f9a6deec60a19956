//! The sink against a real Elasticsearch.

use std::{thread, time::Duration};

use libtest_mimic::Failed;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate::{metrics::Balance, sinks::elasticsearch::Config};

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery, Row},
    search::{self, Elasticsearch},
};

const LIMIT: Duration = Duration::from_mins(8);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(what_is_sent_twice_is_there_once),
        Case::new(a_document_the_mapping_refuses_is_dead_lettered_alone),
        Case::new(a_rollover_in_the_middle_loses_nothing),
        Case::new(a_server_killed_in_the_middle_loses_and_doubles_nothing),
    ]
}

fn config(server: &Elasticsearch, namespace: &str) -> Result<Config, Failed> {
    Ok(serde_json::from_value(json!({
        "endpoints": [server.url()],
        "data_stream": {"namespace": namespace},
    }))?)
}

fn stream(namespace: &str) -> String {
    format!("logs-tidegate.alert-{namespace}")
}

/// A template for the data streams of this file: a reason has to be an address, so "bad" is refused.
async fn install_template(server: &Elasticsearch) -> Outcome {
    let template = json!({
        "index_patterns": ["logs-tidegate.*-*"],
        "priority": 250,
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
    server.ask(Method::PUT, "_index_template/tidegate-tests", Some(template)).await.map(drop)
}

fn options(scene: &Scene) -> Value {
    let mut options = delivery::hasty(scene, "real");
    options["request"]["timeout_secs"] = json!(60);
    options["batch"]["max_events"] = json!(1_000);
    options
}

fn with_server<T>(
    play: impl AsyncFnOnce(&mut Elasticsearch) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let mut server = search::elasticsearch()?;
    let server = server.as_mut().ok_or("no server")?;
    tokio::runtime::Runtime::new()?.block_on(async {
        install_template(server).await?;
        play(server).await
    })
}

async fn deliver(
    scene: &Scene,
    server: &Elasticsearch,
    namespace: &str,
    count: u32,
    bad: &[u32],
) -> Result<Balance, Failed> {
    let delivery = Delivery::start(&config(server, namespace)?, options(scene))?;
    delivery.send(delivery::alerts(count, bad)).await?;
    delivery.finish(LIMIT).await
}

fn what_is_sent_twice_is_there_once(scene: &Scene) -> Outcome {
    with_server(async |server| {
        for duplicated in [0, 5_000] {
            let balance = deliver(scene, server, "twice", 5_000, &[]).await?;
            assert_eq!((balance.delivered, balance.duplicated), (5_000, duplicated));
            assert_eq!(server.count(&stream("twice")).await?, 5_000);
        }
        Ok(())
    })
}

fn a_document_the_mapping_refuses_is_dead_lettered_alone(scene: &Scene) -> Outcome {
    with_server(async |server| {
        let balance = deliver(scene, server, "mapping", 1_000, &[300]).await?;
        assert_eq!((balance.delivered, balance.dead_lettered), (999, 1));
        assert_eq!(server.count(&stream("mapping")).await?, 999);
        let letters = delivery::letters(&delivery::dead_letter(scene, "real"));
        let reason = letters[0]["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("400 document_parsing_exception: "), "{reason}");
        assert_eq!(letters[0]["document"]["reasons"], json!(["bad"]));
        Ok(())
    })
}

fn a_rollover_in_the_middle_loses_nothing(scene: &Scene) -> Outcome {
    with_server(async |server| {
        let delivery = Delivery::start(&config(server, "rollover")?, options(scene))?;
        let all = delivery::alerts(10_000, &[]);
        delivery.send(all[..5_000].to_vec()).await?;
        while server.count(&stream("rollover")).await.unwrap_or(0) == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.ask(Method::POST, &format!("{}/_rollover", stream("rollover")), None).await?;
        delivery.send(all[5_000..].to_vec()).await?;
        let balance = delivery.finish(LIMIT).await?;
        assert_eq!(balance.delivered, 10_000);
        assert_eq!(server.count(&stream("rollover")).await?, 10_000);
        Ok(())
    })
}

fn a_server_killed_in_the_middle_loses_and_doubles_nothing(scene: &Scene) -> Outcome {
    let sent: u32 = if scene.full { 1_000_000 } else { 50_000 };
    with_server(async |server| {
        let delivery = Delivery::start(&config(server, "killed")?, options(scene))?;
        let all = delivery::alerts(sent, &[]);
        let parts = all.chunks(all.len() / 3 + 1);
        for (at, part) in parts.enumerate() {
            delivery.send(part.to_vec()).await?;
            if at < 2 {
                assert!(delivery.held() > 0, "it is killed with requests under way");
                // Sinks run on other threads of the runtime meanwhile.
                thread::scope(|scope| scope.spawn(|| server.kill()).join().expect("no panic"))?;
                delivery.send(Vec::new()).await?;
                thread::scope(|scope| scope.spawn(|| server.start()).join().expect("no panic"))?;
            }
        }
        let balance = delivery.finish(LIMIT).await?;
        let count = server.count(&stream("killed")).await?;
        let fault = "a real server killed twice".to_owned();
        let (sent, dead_lettered) = (u64::from(sent), balance.dead_lettered);
        let row = Row { fault, sent, delivered: count, doubled: 0, dead_lettered };
        Row::print("elasticsearch 8.19.21", std::slice::from_ref(&row));
        assert_eq!((count, balance.delivered), (sent, sent), "{row:?}");
        Ok(())
    })
}
