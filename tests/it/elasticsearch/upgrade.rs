//! `setup: install` on clusters that have an older version of ours already, and what the pipeline adds to
//! documents; on real servers.

use std::time::Duration;

use libtest_mimic::Failed;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate::sinks::elasticsearch::Config;

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    poll,
    search::{self, Flavor, Server},
};

const LIMIT: Duration = Duration::from_mins(5);
const SENT: u32 = 100;
/// Younger indices are not rolled over.
const AGE: &str = "5s";

/// The cases: on one of each product always.
pub(crate) fn cases() -> Vec<Case> {
    let of = |flavor: Flavor| {
        let name = flavor.name();
        let case =
            Case::with(a_stream_of_an_older_template_is_rolled_over_once, name, flavor).busy();
        if flavor == Flavor::Elasticsearch9 { case.slow() } else { case }
    };
    let mut cases: Vec<_> = Flavor::ALL.into_iter().map(of).collect();
    cases.push(Case::new(the_pipeline_tells_places_and_networks_and_refuses_nothing));
    cases
}

async fn send(scene: &Scene, server: &Server, dataset: &str, setup: &str) -> Outcome {
    let config: Config = serde_json::from_value(json!({
        "endpoints": [server.url()],
        "data_stream": {"dataset": dataset},
        "id": "auto",
        "setup": setup,
    }))?;
    let mut options = delivery::hasty(scene, "upgrade");
    options["encoding"] = json!({"schema": "ecs"});
    let delivery = Delivery::start(&config, options)?;
    delivery.send(delivery::alerts(SENT, &[])).await?;
    let balance = delivery.finish(LIMIT).await?;
    assert_eq!(balance.delivered, u64::from(SENT), "{balance:?}");
    Ok(())
}

/// The template as it was before it knew of places.
fn older(flavor: Flavor, dataset: &str) -> Result<Value, Failed> {
    let shipped = match flavor {
        Flavor::OpenSearch3 => include_str!("../../../config/opensearch/index-template.json"),
        _ => include_str!("../../../config/elasticsearch/index-template.json"),
    };
    let mut template: Value = serde_json::from_str(shipped)?;
    template["version"] = json!(2);
    template["priority"] = json!(251);
    template["index_patterns"] = json!([format!("logs-{dataset}-*")]);
    let content = template["template"].as_object_mut().ok_or("no template")?;
    content["settings"] = json!({});
    let mappings = content["mappings"].as_object_mut().ok_or("no mappings")?;
    mappings.remove("_meta");
    let text = mappings["properties"].to_string().replace("match_only_text", "text");
    mappings["properties"] = serde_json::from_str(&text.replace("constant_keyword", "keyword"))?;
    for side in ["source", "destination"] {
        let fields = mappings["properties"][side]["properties"].as_object_mut();
        fields.ok_or("no fields")?.retain(|name, _| !matches!(name.as_str(), "geo" | "as"));
    }
    Ok(template)
}

fn a_stream_of_an_older_template_is_rolled_over_once(scene: &Scene, flavor: Flavor) -> Outcome {
    let server = search::shared(flavor)?;
    let dataset = "older.version";
    let stream = format!("logs-{dataset}-default");
    let template = format!("_index_template/tidegate-{dataset}");
    tokio::runtime::Runtime::new()?.block_on(async {
        server.ask(Method::PUT, &template, Some(older(flavor, dataset)?)).await?;
        send(scene, &server, dataset, "none").await?;
        assert_eq!(server.counts(&stream).await?.len(), 1);
        let old_enough = json!({"conditions": {"max_age": AGE}});
        let dry_run = format!("{stream}/_rollover?dry_run=true");
        poll::until_answered("the index to be old enough", LIMIT, async || {
            let answer = server.ask(Method::POST, &dry_run, Some(old_enough.clone())).await;
            let met = answer.ok()?["conditions"].as_object()?.values().all(|met| *met == true);
            met.then_some(())
        })
        .await?;

        // The next index knows the new fields; a second start finds nothing to do.
        send(scene, &server, dataset, "install").await?;
        send(scene, &server, dataset, "install").await?;
        let counts = server.counts(&stream).await?;
        let sent = u64::from(SENT);
        assert!(counts.len() == 2 && counts.contains(&sent), "{counts:?}");
        assert_eq!(counts.iter().sum::<u64>(), 3 * sent, "{counts:?}");
        let mappings = server.ask(Method::GET, &format!("{stream}/_mapping"), None).await?;
        let location = |index: &Value| {
            let place = index.pointer("/mappings/properties/source/properties/geo/properties");
            place.map_or(Value::Null, |place| place["location"]["type"].clone())
        };
        let known: Vec<_> =
            mappings.as_object().ok_or("no indices")?.values().map(location).collect();
        assert!(
            known.contains(&Value::Null) && known.contains(&json!("geo_point")) && known.len() == 2,
            "{mappings}"
        );
        Ok(())
    })
}

/// Elasticsearch as Maven has it comes without any processors; OpenSearch has `geoip` with the data that
/// ships with it, not `ip2geo`.
fn the_pipeline_tells_places_and_networks_and_refuses_nothing(scene: &Scene) -> Outcome {
    let server = search::shared(Flavor::OpenSearch3)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        send(scene, &server, "with.places", "install").await?;
        let cases = [
            (json!({"source": {"ip": "8.8.8.8"}, "destination": {"ip": "10.0.0.1"}}), true),
            (json!({"source": {"ip": "2001:4860:4860::8888"}}), true),
            (json!({"source": {"ip": "no address"}}), false),
            (json!({"source": {"ip": 7}, "destination": 8}), false),
            (json!({"source": {}}), false),
            (json!({}), false),
        ];
        let documents: Vec<_> =
            cases.iter().map(|(document, _)| json!({"_source": document})).collect();
        let asked = json!({"docs": documents});
        let answer =
            server.ask(Method::POST, "_ingest/pipeline/tidegate/_simulate", Some(asked)).await?;
        let answers = answer["docs"].as_array().ok_or("no documents")?;
        assert_eq!(answers.len(), cases.len());
        for (answer, (document, is_known)) in answers.iter().zip(&cases) {
            let source = &answer["doc"]["_source"];
            assert!(source["event"]["ingested"].is_string(), "{document}: {answer}");
            let of = &source["source"];
            if *is_known {
                assert_eq!(of["geo"]["country_iso_code"], "US", "{answer}");
                assert!(of["geo"]["location"]["lat"].is_number(), "{answer}");
                assert_eq!(of["as"]["number"], 15_169, "{answer}");
                assert!(of["as"]["organization"]["name"].is_string(), "{answer}");
                assert!(of["as"]["asn"].is_null(), "{answer}");
                assert!(source["destination"]["geo"].is_null(), "{answer}");
            } else {
                assert!(of["geo"].is_null() && of["as"].is_null(), "{answer}");
            }
        }
        Ok(())
    })
}
