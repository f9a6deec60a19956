//! What a run that is killed does not take along.

use std::path::Path;

use tokio::sync::watch;

use crate::{
    component::Clock,
    config::{Components, Surroundings, load},
    topology::{build, plan::kept},
};

/// The components whose records are kept elsewhere.
async fn kept_of(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let text = text.replace("STATE", &folder.path().display().to_string());
    let surroundings =
        Surroundings { variable: &|_| None, directory: Path::new("/nonexistent"), lenient: false };
    let loaded = load::<Components>("kept.yaml", text.as_bytes(), surroundings);
    let config = loaded.unwrap_or_else(|report| panic!("{report}")).config;
    let plan = build(&config, Clock::Wall, watch::channel(0).1).await.unwrap();
    let parts = plan.parts.iter().zip(kept(&plan.parts)).filter(|(_, kept)| *kept);
    let mut kept: Vec<_> = parts.map(|(part, _)| part.meter.id().to_owned()).collect();
    kept.sort_unstable();
    kept
}

#[tokio::test]
async fn what_stands_behind_a_disk_buffer_is_kept_and_what_stands_before_it_is_not() {
    let kept = kept_of(
        "
data_dir: STATE
sources: { wire: { type: tshark, mode: pipe, interface: lo, dissect: headers } }
transforms: { packets: { type: extract, inputs: [wire] } }
sinks:
  safe: { type: blackhole, inputs: [packets], buffer: { type: disk } }
  other: { type: blackhole, inputs: [packets] }
",
    )
    .await;
    assert_eq!(kept, ["safe"]);
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn what_kafka_gives_again_is_kept_up_to_what_makes_other_records_of_it() {
    let kept = kept_of(
        "
data_dir: STATE
sources:
  topics:
    type: kafka
    bootstrap_servers: [\"127.0.0.1:1\"]
    group: tidegate
    topics: [all]
  self: { type: health }
transforms:
  some: { type: filter, inputs: [topics.flows], condition: { field: source.ip, exists: true } }
  scored: { type: score, inputs: [some, topics.contacts] }
sinks:
  judged: { type: blackhole, inputs: [scored] }
  alerts: { type: blackhole, inputs: [scored.alerts] }
  mixed: { type: blackhole, inputs: [scored, self] }
",
    )
    .await;
    assert_eq!(kept, ["judged", "scored", "some", "topics"]);
}
