//! The sink against the OpenTelemetry collector's HEC receiver.

use std::time::Duration;

use serde_json::json;
use tidegate::sinks::splunk_hec::Config;

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    hec::{HecReceiver, TOKEN},
};

const LIMIT: Duration = Duration::from_mins(10);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(what_is_acknowledged_is_there), Case::new(a_wrong_token_keeps_the_records)]
}

fn what_is_acknowledged_is_there(scene: &Scene) -> Outcome {
    let sent: u32 = if scene.full { 1_000_000 } else { 20_000 };
    let receiver = HecReceiver::start(scene)?;
    let config: Config = serde_json::from_value(json!({
        "endpoint": receiver.url(), "token": TOKEN, "acknowledgements": {"poll_secs": 1},
    }))?;
    let balance = tokio::runtime::Runtime::new()?.block_on(async {
        let mut options = delivery::hasty(scene, "acks");
        options["batch"]["max_events"] = json!(1_000);
        options["request"]["timeout_secs"] = json!(60);
        let delivery = Delivery::start(&config, options)?;
        delivery.send(delivery::alerts(sent, &[])).await?;
        delivery.finish(LIMIT).await
    })?;
    let copies = receiver.events()?;
    assert_eq!((balance.delivered, balance.duplicated), (u64::from(sent), 0), "{balance:?}");
    assert_eq!(copies.len(), sent as usize, "distinct events");
    assert!(copies.values().all(|copies| *copies == 1), "an event is there twice");
    Ok(())
}

fn a_wrong_token_keeps_the_records(scene: &Scene) -> Outcome {
    let receiver = HecReceiver::start(scene)?;
    let config: Config =
        serde_json::from_value(json!({"endpoint": receiver.url(), "token": "wrong"}))?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let delivery = Delivery::start(&config, delivery::hasty(scene, "token"))?;
        delivery.send(delivery::alerts(10, &[])).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(delivery.held(), 10);
        assert!(delivery.errors().contains_key("destination_refuses_us"));
        Ok(())
    })
}
