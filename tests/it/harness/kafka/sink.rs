//! Sinks of ours that write to a broker.

use std::ops::Range;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::sinks::kafka::Config;

use super::Client;
use crate::harness::{
    Outcome, Scene,
    delivery::{self, Delivery},
    poll::SOON,
};

/// Records that go in at once.
const BATCH: u32 = 500;

/// A sink to a topic that gives up on missing topics soon, with further keys of its own, and with further
/// options; its dead letters are at [`delivery::dead_letter`] of the topic. Must be called within a runtime.
///
/// # Errors
/// When its config is refused.
pub(crate) fn sink(
    scene: &Scene,
    server: &str,
    topic: &str,
    more: Value,
    options: Value,
) -> Result<Delivery, Failed> {
    let mut keys = json!({
        "bootstrap_servers": server.split(',').collect::<Vec<_>>(),
        "topic": topic,
        "librdkafka": {
            "topic.metadata.propagation.max.ms": "1000",
            "topic.metadata.refresh.interval.ms": "1000",
            "reconnect.backoff.max.ms": "500",
        },
    });
    let mut all = delivery::hasty(scene, topic);
    // An encoding is given as a whole.
    if let (Some(all), true) = (all.as_object_mut(), options.get("encoding").is_some()) {
        all.remove("encoding");
    }
    merge(&mut keys, more);
    merge(&mut all, options);
    let config: Config = serde_json::from_value(keys)?;
    Delivery::start(&config, all)
}

/// Puts keys beside others, or in their place.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Sends flows of these numbers, in batches.
///
/// # Errors
/// When the sink has gone.
pub(crate) async fn send(sink: &Delivery, numbers: Range<u32>) -> Outcome {
    for from in numbers.clone().step_by(BATCH as usize) {
        sink.send_records(delivery::flows(from..(from + BATCH).min(numbers.end))).await?;
    }
    Ok(())
}

/// Writes flows of these numbers to a topic in the wire form, to the end.
///
/// # Errors
/// When they are not delivered.
pub(crate) fn write(scene: &Scene, client: &Client, topic: &str, numbers: Range<u32>) -> Outcome {
    tokio::runtime::Runtime::new()?.block_on(async {
        let (keys, options) =
            (json!({"compression": "zstd"}), json!({"encoding": {"codec": "wire"}}));
        let sink = sink(scene, &client.servers, topic, keys, options)?;
        send(&sink, numbers).await?;
        sink.finish(SOON * 3).await.map(drop)
    })
}
