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

/// The records that the first example's capture makes: packets with an IP layer, and their flows.
const PACKETS: u64 = 15;
const FLOWS: u64 = 6;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(the_elasticsearch_example_sent_twice_is_there_once),
        Case::new(the_splunk_example_is_acknowledged_in_full),
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
