//! What `setup: install` puts in place, and every document of the captures, on real servers.

use std::{fmt::Write as _, fs, path::PathBuf, time::Duration};

use libtest_mimic::Failed;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate::{
    record::{Health, Kind, Kinds, Records, Timestamp},
    sinks::elasticsearch::Config,
};

use crate::harness::{
    Case, Outcome, Scene, captures,
    delivery::{self, Delivery},
    search::{self, Flavor, Server},
    tidegate::Tidegate,
};

const LIMIT: Duration = Duration::from_mins(5);
const NAMESPACE: &str = "accepted";
/// Above it a capture sends its flows only: a server takes minutes for so many packets.
const MANY_BYTES: u64 = 2_000_000;

/// The cases: on the oldest Elasticsearch and on OpenSearch always.
pub(crate) fn cases() -> Vec<Case> {
    let of = |flavor: Flavor| {
        let name = flavor.name();
        let case =
            Case::with(every_document_is_accepted_and_indexed, name, flavor).needs_data().busy();
        if flavor == Flavor::Elasticsearch9 { case.slow() } else { case }
    };
    Flavor::ALL.into_iter().map(of).collect()
}

fn stream(kind: Kind) -> String {
    format!("logs-tidegate.{kind}-{NAMESPACE}")
}

fn every_document_is_accepted_and_indexed(scene: &Scene, flavor: Flavor) -> Outcome {
    let server = search::shared(flavor)?;
    let (small, large): (Vec<_>, Vec<_>) = captures::below(&scene.data)?
        .into_iter()
        .partition(|path| fs::metadata(path).is_ok_and(|file| file.len() < MANY_BYTES));
    let both = replay(scene, &server, &small, &["packets", "flows"])?;
    let flows = replay(scene, &server, &large, &["flows"])?;
    let mut expected = vec![
        (Kind::Packet, delivered(&both, "packets")),
        (Kind::Flow, delivered(&both, "flows") + delivered(&flows, "flows")),
    ];
    tokio::runtime::Runtime::new()?.block_on(async {
        expected.extend(send_the_rest(scene, &server).await?);
        for (kind, sent) in &expected {
            assert_eq!(server.count(&stream(*kind)).await?, *sent, "{kind}");
        }
        eprintln!("{}: every document is there: {expected:?}", flavor.name());
        look_into(&server).await
    })
}

/// Replays captures into the server; answers the summary.
fn replay(
    scene: &Scene,
    server: &Server,
    captures: &[PathBuf],
    kinds: &[&str],
) -> Result<Value, Failed> {
    let mut config = format!(
        "data_dir: {}
sources: {{ wire: {{ type: tshark, mode: file, files: [replaced.pcap] }} }}
transforms:
  parsed: {{ type: extract, inputs: [wire] }}
  flow_table: {{ type: flow, inputs: [parsed], tunnels: inner, internal_networks: [10.0.0.0/8] }}
sinks:
",
        scene.path("state").display()
    );
    for kind in kinds {
        let input = if *kind == "packets" { "parsed" } else { "flow_table" };
        writeln!(
            config,
            "  {kind}: {{ type: elasticsearch, inputs: [{input}], endpoints: [\"{}\"], \
             data_stream: {{ namespace: {NAMESPACE} }}, setup: install, \
             dead_letter: {{ path: {} }} }}",
            server.url(),
            scene.path(&format!("{kind}.dead.ndjson")).display()
        )?;
    }
    let config = scene.write("accepted.yaml", config);
    let summary = scene.path("summary.json");
    let mut command = Tidegate::new(scene, ["replay", "-c"]).arg(config);
    command = command.arg("--summary").arg(&summary);
    let ended = captures.iter().fold(command, Tidegate::arg).run()?;
    // Damaged captures are replayed as far as they go, which the exit code says.
    if !matches!(ended.code, Some(0 | 3)) {
        return Err(ended.stderr.into());
    }
    let summary: Value = serde_json::from_slice(&fs::read(summary)?)?;
    for nothing in ["dead_lettered", "refused"] {
        assert_eq!(summary[nothing], 0, "{summary}");
    }
    Ok(summary)
}

fn delivered(summary: &Value, sink: &str) -> u64 {
    summary["records_out"][sink].as_u64().unwrap_or(0)
}

/// Sends the kinds of record that no capture makes.
async fn send_the_rest(scene: &Scene, server: &Server) -> Result<Vec<(Kind, u64)>, Failed> {
    let config: Config = serde_json::from_value(json!({
        "endpoints": [server.url()],
        "data_stream": {"namespace": NAMESPACE},
        "setup": "install",
    }))?;
    let mut options = delivery::hasty(scene, "rest");
    options["encoding"] = json!({});
    let health = Health {
        time: Timestamp::from_nanos(1_700_000_000_000_000_000),
        lost: vec![("kernel", 3), ("interface", 1)],
        config_hash: "abc".into(),
        ..Health::default()
    };
    let batches =
        [Records::Alerts(delivery::alerts(10, &[1]).into()), Records::Health(vec![health].into())];
    let mut sent = Vec::new();
    for records in batches {
        let of = (records.kind(), records.len() as u64);
        let delivery = Delivery::start(&config, options.clone())?;
        delivery.send_records(records).await?;
        let balance = delivery.finish(LIMIT).await?;
        assert_eq!(balance.delivered, of.1, "{balance:?}");
        sent.push(of);
    }
    Ok(sent)
}

/// Whether the server took the documents as the template says, and the pipeline touched them all.
async fn look_into(server: &Server) -> Outcome {
    let hits = async |kind: Kind, query: Value| {
        let path = format!("{}/_count", stream(kind));
        let answer = server.ask(Method::POST, &path, Some(json!({"query": query}))).await?;
        answer["count"].as_u64().ok_or_else(|| Failed::from(format!("no count: {answer}")))
    };
    // Maven's Elasticsearch comes without the processors that every distribution has.
    let has_processors = server.flavor == Flavor::OpenSearch3;
    for kind in Kinds::REPORTS.iter() {
        let stamped = hits(kind, json!({"exists": {"field": "event.ingested"}})).await?;
        let all = server.count(&stream(kind)).await?;
        assert_eq!(stamped, if has_processors { all } else { 0 }, "{kind}");
    }
    for query in [
        json!({"term": {"source.ip": "10.0.0.0/8"}}),
        json!({"range": {"event.duration": {"gt": 0}}}),
        json!({"term": {"event.type": "start"}}),
        json!({"term": {"network.transport": "tcp"}}),
        json!({"term": {"tidegate.flow.final": true}}),
        json!({"range": {"@timestamp": {"lt": "now"}}}),
    ] {
        assert!(hits(Kind::Flow, query.clone()).await? > 0, "{query}");
    }
    assert_eq!(hits(Kind::Health, json!({"term": {"tidegate.health.lost.kernel": 3}})).await?, 1);
    if has_processors {
        let placed = json!({"exists": {"field": "destination.geo.country_iso_code"}});
        assert!(hits(Kind::Flow, placed).await? > 0, "no flow has a place");
    }
    let mapping =
        server.ask(Method::GET, &format!("{}/_mapping", stream(Kind::Flow)), None).await?;
    let index = mapping.as_object().and_then(|all| all.values().next()).ok_or("an index")?;
    let source = &index["mappings"]["properties"]["source"]["properties"];
    assert_eq!(source["ip"]["type"], "ip", "{mapping}");
    Ok(())
}
