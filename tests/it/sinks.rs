//! Sinks behind their driver, against disks that fill up.

use std::{fs, io::Read, sync::Arc, time::Duration};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{
    ack::{End, Receipts},
    batch::Batch,
    component::{
        Clock, Component, Context, Input,
        edge::{Bounds, WhenFull, edge},
    },
    metrics::{Meter, State},
    record::{Action, Alert, Kinds, Names, Records, Timestamp},
    sinks::{ConfigureSink, file, options::Options},
};

use super::harness::{
    Case, Outcome, Scene,
    memory_disk::MemoryDisk,
    poll::{SOON, now},
};

const RECORDS: u64 = 24;
const RECORD_BYTES: usize = 8_000;
const SMALL_DISK: u64 = 64 << 10;
const LARGE_DISK: u64 = 1 << 20;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(a_full_disk_holds_records_back_and_neither_loses_nor_tears_one).needs_root()]
}

fn a_full_disk_holds_records_back_and_neither_loses_nor_tears_one(scene: &Scene) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (number, config) in [
        json!({}),
        json!({"sync": "batch"}),
        json!({"compression": "gzip"}),
        json!({"compression": "zstd", "sync": "interval"}),
        json!({"rotate": {"max_bytes": 20_000}}),
    ]
    .into_iter()
    .enumerate()
    {
        let disk = MemoryDisk::mount(&scene.path(&format!("disk-{number}")), SMALL_DISK)?;
        runtime.block_on(fill(&disk, config))?;
    }
    Ok(())
}

/// Sends more than the disk holds, waits until the sink holds back, makes room.
async fn fill(disk: &MemoryDisk, mut config: Value) -> Outcome {
    config["path"] = disk.path().join("alerts.ndjson").display().to_string().into();
    let sink: file::Config = serde_json::from_value(config.clone())?;
    let options: Options = serde_json::from_value(
        json!({"encoding": {"schema": "simple"}, "batch": {"max_events": 1}}),
    )?;
    let meter = Meter::new("archive", "file");
    let receipts = Receipts::default();
    let context = Context { receipts: receipts.clone(), ..Context::alone(Arc::clone(&meter)) };
    let Component::Sink(run) = sink.build(&options, &context)? else {
        return Err("a file sink is a sink".into());
    };
    let (sender, receiver) = edge(Bounds::default(), WhenFull::Block, &meter);
    let mut input = Input::new(Clock::Wall, Arc::clone(&meter));
    input.add(receiver, Kinds::REPORTS);
    let driver = tokio::spawn(run(input));
    for number in 0..RECORDS {
        let records = Records::Alerts(Arc::new(vec![alert(number)]));
        let batch = Batch { records, ack: receipts.open(), watermark: None };
        sender.send(batch).await.map_err(|_| "the sink ended early")?;
    }
    drop(sender);

    let deadline = now() + SOON;
    while meter.state() != State::Holding {
        if now() > deadline {
            return Err(format!("{config}: a full disk held nothing back").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (acknowledged, found) = (receipts.ended(End::Delivered), numbers(disk)?);
    assert!(acknowledged > 0 && acknowledged < RECORDS, "{config}: {acknowledged} acknowledged");
    assert_eq!(found, (0..acknowledged).collect::<Vec<_>>(), "{config}: while it is full");

    disk.resize(LARGE_DISK)?;
    tokio::time::timeout(SOON, driver).await???;
    assert_eq!(numbers(disk)?, (0..RECORDS).collect::<Vec<_>>(), "{config}: with room again");
    assert_eq!(receipts.ended(End::Delivered), RECORDS, "{config}");
    let balance = meter.balance();
    assert_eq!((balance.delivered, balance.held), (RECORDS, 0), "{config}");
    Ok(())
}

/// An alert whose reason does not compress.
fn alert(number: u64) -> Alert {
    let mut state = number + 1;
    let noise = std::iter::repeat_with(|| {
        // Knuth's MMIX generator; its high bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        char::from(b'0' + u8::try_from((state >> 40) % 75).unwrap_or_default())
    });
    Alert {
        time: Timestamp::from_nanos(0),
        origin: tidegate::record::ObservationPoint::default(),
        source: [192, 0, 2, 1].into(),
        action: Action::Alert,
        risk_score: 1,
        reasons: vec![
            number.to_string().into(),
            noise.take(RECORD_BYTES).collect::<String>().into(),
        ],
        ordinal: 0,
        names: Names::default(),
        details: Box::default(),
    }
}

/// The numbers of the alerts in the disk's files, each of which must be whole, in their order.
fn numbers(disk: &MemoryDisk) -> Result<Vec<u64>, Failed> {
    let entries = fs::read_dir(disk.path())?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    // The live file sorts behind its numbered ones.
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let bytes = fs::read(&path)?;
        match bytes.first() {
            Some(0x1f) => flate2::read::MultiGzDecoder::new(&*bytes).read_to_string(&mut text)?,
            Some(0x28) => zstd::stream::read::Decoder::new(&*bytes)?.read_to_string(&mut text)?,
            _ => (&*bytes).read_to_string(&mut text)?,
        };
    }
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line at the end");
    let number = |line: &str| -> Result<u64, Failed> {
        let alert: Value = serde_json::from_str(line)?;
        Ok(alert["reasons"][0].as_str().ok_or("an alert without reasons")?.parse()?)
    };
    text.lines().map(number).collect()
}
