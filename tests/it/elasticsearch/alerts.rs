//! The judge's records as a SIEM has them: those of the lab, in real servers.

use std::fs;

use libtest_mimic::Failed;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Case, Outcome, Scene,
    search::{self, Flavor, Server},
    tidegate::Tidegate,
};

const STREAM: &str = "logs-tidegate.alert-judged";

/// The case: on Elasticsearch 8 always.
pub(crate) fn cases() -> Vec<Case> {
    let of = |flavor: Flavor| {
        let case = Case::with(alerts_of_the_lab_have_few_names_to_group_by, flavor.name(), flavor);
        let case = case.needs_data().busy();
        if flavor == Flavor::Elasticsearch8 { case } else { case.slow() }
    };
    Flavor::ALL.into_iter().map(of).collect()
}

fn alerts_of_the_lab_have_few_names_to_group_by(scene: &Scene, flavor: Flavor) -> Outcome {
    let server = search::shared(flavor)?;
    let sent = replay(scene, &server)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        assert_eq!(server.count(STREAM).await?, sent);
        let rules = buckets(&server, "rule.name").await?;
        assert!((3..=12).contains(&rules.len()), "{rules:?}");
        assert_eq!(rules.iter().map(|(_, count)| count).sum::<u64>(), sent, "{rules:?}");
        // `message` names an alert and is no keyword: its values are in the documents.
        let query = json!({"size": 10_000, "_source": ["message", "host", "event"]});
        let found = server.ask(Method::POST, &format!("{STREAM}/_search"), Some(query)).await?;
        let hits = found["hits"]["hits"].as_array().cloned().unwrap_or_default();
        let mut messages: Vec<_> =
            hits.iter().filter_map(|hit| hit["_source"]["message"].as_str()).collect();
        assert_eq!(messages.len() as u64, sent);
        messages.sort_unstable();
        messages.dedup();
        assert!((3..=12).contains(&messages.len()), "{messages:?}");
        // The host at risk is what entities are scored by.
        let hosts = buckets(&server, "host.name").await?;
        assert!(hosts.iter().any(|(name, count)| name == "lab-server" && *count > 5), "{hosts:?}");
        let named = hits.iter().filter(|hit| hit["_source"]["host"]["name"] == "lab-server");
        for hit in named {
            assert_eq!(hit["_source"]["host"]["ip"], json!(["10.77.200.1"]), "{hit}");
        }
        Ok(())
    })
}

/// How many documents have which value of a keyword.
async fn buckets(server: &Server, field: &str) -> Result<Vec<(String, u64)>, Failed> {
    let query = json!({"size": 0, "aggs": {"of": {"terms": {"field": field, "size": 100}}}});
    let answer = server.ask(Method::POST, &format!("{STREAM}/_search"), Some(query)).await?;
    let buckets = answer["aggregations"]["of"]["buckets"].as_array().ok_or("no buckets")?;
    let bucket =
        |bucket: &Value| Some((bucket["key"].as_str()?.to_owned(), bucket["doc_count"].as_u64()?));
    buckets.iter().map(bucket).collect::<Option<_>>().ok_or_else(|| "no keyword".into())
}

/// Judges the lab into the server; answers how many records there were.
fn replay(scene: &Scene, server: &Server) -> Result<u64, Failed> {
    let assets = scene.write("assets.csv", "address,name\n10.77.200.1,lab-server\n");
    let config = format!(
        "data_dir: {state}
networks: {{ internal: [10.77.200.1] }}
sources: {{ wire: {{ type: tshark, mode: file, files: [replaced.pcap], dissect: headers }} }}
transforms:
  packets: {{ type: extract, inputs: [wire] }}
  flows: {{ type: flow, inputs: [packets] }}
  scored:
    type: score
    inputs: [flows.contacts]
    alerts: {{ host: asset, assets: {assets} }}
sinks:
  siem:
    type: elasticsearch
    inputs: [scored.alerts]
    endpoints: [\"{url}\"]
    data_stream: {{ namespace: judged }}
    setup: install
    dead_letter: {{ path: {dead} }}
  rest: {{ type: blackhole, inputs: [flows, scored] }}
",
        state = scene.path("state").display(),
        assets = assets.display(),
        url = server.url(),
        dead = scene.path("dead.ndjson").display(),
    );
    let (config, summary) = (scene.write("judged.yaml", config), scene.path("summary.json"));
    let command = Tidegate::new(scene, ["replay", "-c"]).arg(config);
    let lab = scene.data.join("scans/lab/lab.pcap.gz");
    command.arg("--summary").arg(&summary).arg(lab).run()?.expect(0)?;
    let summary: Value = serde_json::from_slice(&fs::read(summary)?)?;
    assert_eq!((&summary["dead_lettered"], &summary["refused"]), (&json!(0), &json!(0)));
    Ok(summary["records_out"]["siem"].as_u64().ok_or("no count")?)
}
