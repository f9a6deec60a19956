//! The examples that need a server, as their pages say, against a real one.

use std::fs;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene,
    hec::{HecReceiver, TOKEN},
    search::{self, Flavor},
    tidegate::Tidegate,
};
#[cfg(feature = "kafka")]
use crate::harness::{kafka, poll};

/// The records that the first example's capture makes: packets with an IP layer, and their flows.
const PACKETS: u64 = 15;
const FLOWS: u64 = 6;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(the_first_example_read_by_tshark_names_the_application),
        Case::new(the_elasticsearch_example_sent_twice_is_there_once),
        Case::new(the_splunk_example_is_acknowledged_in_full),
        #[cfg(feature = "kafka")]
        Case::new(the_kafka_example_passes_flows_on_with_the_name_of_who_saw_them),
    ]
}

/// Replays the first example's capture by an example's config, and gives the summary.
fn replay(scene: &Scene, example: &str, variables: &[(&str, &str)]) -> Result<Value, Failed> {
    let summary = scene.path("summary.json");
    let config = format!("examples/{example}/tidegate.yaml");
    let mut replay = Tidegate::new(scene, ["replay", "-c", &config, "--summary"])
        .arg(&summary)
        .arg("examples/first/first.pcap")
        .in_folder(&Scene::project(""))
        .env("TIDEGATE_OUT", &scene.folder);
    for (name, value) in variables {
        replay = replay.env(name, value);
    }
    replay.run()?.expect(0)?;
    Ok(serde_json::from_slice(&fs::read(summary)?)?)
}

/// Its page says so, and the config was refused.
fn the_first_example_read_by_tshark_names_the_application(scene: &Scene) -> Outcome {
    for (depth, protocol) in [("headers", "dns"), ("application", "dns")] {
        let folder = scene.path(depth);
        fs::create_dir(&folder)?;
        Tidegate::new(scene, ["replay", "-c", "examples/first/tidegate.yaml", "--dissect", depth])
            .arg("examples/first/first.pcap")
            .in_folder(&Scene::project(""))
            .env("TIDEGATE_OUT", &folder)
            .run()?
            .expect(0)?;
        let flows = fs::read_to_string(folder.join("flows.ndjson"))?;
        let flows: Result<Vec<Value>, _> = flows.lines().map(serde_json::from_str).collect();
        let flows = flows?;
        assert_eq!(flows.len(), usize::try_from(FLOWS)?, "{depth}");
        assert!(flows.iter().any(|flow| flow["network"]["protocol"] == protocol), "{flows:?}");
        let is_named = |flow: &Value| flow["destination"]["domain"].is_string();
        assert!(flows.iter().any(is_named), "{depth}: {flows:?}");
    }
    Ok(())
}

fn the_elasticsearch_example_sent_twice_is_there_once(scene: &Scene) -> Outcome {
    let server = search::shared(Flavor::Elasticsearch8)?;
    let runtime = tokio::runtime::Runtime::new()?;
    for _ in 0..2 {
        let url = server.url();
        let summary = replay(scene, "elasticsearch", &[("TIDEGATE_ELASTICSEARCH_URL", &url)])?;
        assert_eq!(summary["delivered"], PACKETS + FLOWS, "{summary}");
        for (kind, count) in [("packet", PACKETS), ("flow", FLOWS)] {
            let stream = format!("logs-tidegate.{kind}-default");
            assert_eq!(runtime.block_on(server.count(&stream))?, count, "{kind}");
        }
    }
    Ok(())
}

fn the_splunk_example_is_acknowledged_in_full(scene: &Scene) -> Outcome {
    let receiver = HecReceiver::start(scene)?;
    let url = receiver.url();
    let variables = [("TIDEGATE_SPLUNK_URL", url.as_str()), ("TIDEGATE_SPLUNK_TOKEN", TOKEN)];
    let summary = replay(scene, "splunk", &variables)?;
    assert_eq!(summary["delivered"], PACKETS + FLOWS, "{summary}");
    assert_eq!(receiver.events()?.values().sum::<u64>(), PACKETS + FLOWS);
    Ok(())
}

#[cfg(feature = "kafka")]
fn the_kafka_example_passes_flows_on_with_the_name_of_who_saw_them(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let topic = "tidegate.example.flow";
    tokio::runtime::Runtime::new()?.block_on(broker.create(topic, 2, &[]))?;
    let server = broker.plain();
    Tidegate::new(
        scene,
        ["replay", "-c", "examples/kafka/agent.yaml", "examples/first/first.pcap"],
    )
    .in_folder(&Scene::project(""))
    .env("TIDEGATE_KAFKA", &server)
    .run()?
    .expect(0)?;
    let reader = Tidegate::new(scene, ["run", "-c", "examples/kafka/siem.yaml"])
        .in_folder(&Scene::project(""))
        .env("TIDEGATE_KAFKA", &server)
        .env("TIDEGATE_OUT", &scene.folder)
        .start()?;
    let written = || fs::read_to_string(scene.path("flows.ndjson")).unwrap_or_default();
    let count = usize::try_from(FLOWS)?;
    poll::until_true("the flows", poll::SOON, || written().lines().count() >= count)?;
    reader.signal(rustix::process::Signal::TERM);
    reader.wait(poll::SOON)?.expect(0)?;
    let documents =
        written().lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    assert_eq!(documents.len(), count);
    for document in documents {
        assert_eq!(document["observer"]["name"], "example", "{document}");
        let tags = document["tags"].as_array().ok_or("no tags")?;
        assert!(tags.contains(&"forwarded".into()), "{document}");
    }
    Ok(())
}
