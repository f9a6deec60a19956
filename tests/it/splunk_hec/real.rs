//! The sink against the OpenTelemetry collector's HEC receiver.

use std::{thread, time::Duration};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{metrics::Balance, sinks::splunk_hec::Config};

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    hec::{HecReceiver, TOKEN},
    poll,
    table::Row,
};

const LIMIT: Duration = Duration::from_mins(10);
/// Flows that go in at once.
const PART: u32 = 1_000;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(what_is_acknowledged_is_there),
        Case::new(a_receiver_killed_in_the_middle_loses_nothing),
        Case::new(a_million_flows_arrive_though_the_receiver_is_killed_twice).slow(),
        Case::new(a_wrong_token_keeps_the_records_until_it_is_mended),
    ]
}

fn options(scene: &Scene) -> Value {
    let mut options = delivery::hasty(scene, "acks");
    options["batch"]["max_events"] = json!(1_000);
    options
}

/// Sends so many flows, killing the receiver `kills` times on the way, and enters what it has.
fn deliver(scene: &Scene, fault: &str, sent: u32, kills: u32) -> Result<(Row, Balance), Failed> {
    let mut receiver = HecReceiver::start(scene)?;
    // A kill forgets what waits for its acknowledgement: that is sent again after the time-out.
    let config: Config = serde_json::from_value(json!({
        "endpoint": receiver.url(), "token": TOKEN,
        "acknowledgements": {"poll_secs": 1, "timeout_secs": 10},
    }))?;
    let started = poll::now();
    let balance = tokio::runtime::Runtime::new()?.block_on(async {
        let delivery = Delivery::start(&config, options(scene))?;
        let parts = sent / PART;
        for part in 0..parts {
            delivery.send_records(delivery::flows(part * PART..(part + 1) * PART)).await?;
            if (1..=kills).any(|kill| part == parts * kill / (kills + 1)) {
                assert!(delivery.held() > 0, "it is killed with requests under way");
                // Sinks run on other threads of the runtime meanwhile.
                thread::scope(|scope| {
                    scope.spawn(|| receiver.restart()).join().expect("no panic")
                })?;
            }
        }
        delivery.finish(LIMIT).await
    })?;
    eprintln!("{sent} flows, {kills} kills: {:?}", started.elapsed());
    let row = enter(scene, fault, sent, receiver, &balance)?;
    Ok((row, balance))
}

/// Enters what became of so many records, by what the receiver and the dead-letter file have.
fn enter(
    scene: &Scene,
    fault: &str,
    sent: u32,
    receiver: HecReceiver,
    balance: &Balance,
) -> Result<Row, Failed> {
    let copies = receiver.events()?;
    let delivered = copies.len() as u64;
    let row = Row {
        sink: "splunk_hec",
        server: "opentelemetry 0.130.0",
        fault: fault.to_owned(),
        sent: u64::from(sent),
        delivered,
        doubled: copies.values().sum::<u64>() - delivered,
        dead_lettered: delivery::letters(&delivery::dead_letter(scene, "acks")).len() as u64,
    };
    row.enter()?;
    assert_eq!((row.dead_lettered, balance.delivered), (0, row.sent), "{balance:?}");
    assert!(
        balance.duplicated >= row.doubled,
        "what is there twice is counted: {row:?} {balance:?}"
    );
    Ok(row)
}

fn what_is_acknowledged_is_there(scene: &Scene) -> Outcome {
    let (row, balance) = deliver(scene, "none, with acknowledgements", 20_000, 0)?;
    assert_eq!((row.doubled, balance.duplicated), (0, 0), "{row:?} {balance:?}");
    Ok(())
}

fn a_receiver_killed_in_the_middle_loses_nothing(scene: &Scene) -> Outcome {
    deliver(scene, "killed with -9 twice", 50_000, 2).map(drop)
}

fn a_million_flows_arrive_though_the_receiver_is_killed_twice(scene: &Scene) -> Outcome {
    deliver(scene, "killed with -9 twice, a million flows", 1_000_000, 2).map(drop)
}

fn a_wrong_token_keeps_the_records_until_it_is_mended(scene: &Scene) -> Outcome {
    const SENT: u32 = 1_000;
    let mut receiver = HecReceiver::start_with_another_token(scene)?;
    let config: Config =
        serde_json::from_value(json!({"endpoint": receiver.url(), "token": TOKEN}))?;
    let balance = tokio::runtime::Runtime::new()?.block_on(async {
        let delivery = Delivery::start(&config, options(scene))?;
        delivery.send_records(delivery::flows(0..SENT)).await?;
        delivery.keeps(SENT, "destination_refuses_us")?;
        assert!(!receiver.has_events(), "it takes nobody's events");
        receiver.mend_token()?;
        delivery.finish(LIMIT).await
    })?;
    let row = enter(scene, "401 for a wrong token, then mended", SENT, receiver, &balance)?;
    assert_eq!(row.doubled, 0, "{row:?} {balance:?}");
    Ok(())
}
