//! What sending a record costs us beside encoding it, compression apart.

use std::{sync::mpsc, thread, time::Duration};

use libtest_mimic::Failed;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tidegate::{
    codec::{Encoder, EncodingConfig, Origin, Schema},
    component::Clock,
    record::{Header, Layer4, Packet, Ports, Records, Timestamp, Transport, Vlans},
    sinks::{elasticsearch, splunk_hec},
};

use crate::harness::{
    Case, Outcome, Scene,
    delivery::Delivery,
    faults::{FaultServer, Reply, Request},
};

const RECORDS: u32 = 100_000;
const LIMIT: Duration = Duration::from_mins(5);
/// A record's id, its action line, its place in the request, the answer; in an unoptimised build.
const MAX_BESIDE: Duration = Duration::from_micros(2);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(sending_takes_at_most_two_microseconds_beside_the_encoding).slow().alone()]
}

/// A server that takes everything at once, on a thread of its own, until the sender is dropped.
fn server() -> Result<(String, mpsc::Sender<()>), Failed> {
    let (ready, url) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let server = runtime.block_on(FaultServer::start(None, take)).expect("a server");
        ready.send(server.url()).expect("somebody waits");
        stopped.recv().unwrap_or_default();
    });
    Ok((url.recv()?, stop))
}

fn take(request: &Request) -> Reply {
    if !request.target.contains("_bulk") {
        return Reply::Answer(200, json!({"text": "Success", "code": 0}).to_string(), None);
    }
    let documents = memchr::memchr_iter(b'\n', &request.body).count() / 2;
    let entries = vec![r#"{"create":{"status":201}}"#; documents].join(",");
    Reply::Answer(200, format!(r#"{{"errors":false,"items":[{entries}]}}"#), None)
}

fn packets() -> Vec<Records> {
    let packet = |number: u32| Packet {
        time: Timestamp::from_nanos(1_700_000_000_123_456_789 + i64::from(number)),
        epoch: 0,
        number: u64::from(number) + 1,
        frame_bytes: 1_294,
        captured_bytes: 128,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            source: [192, 0, 2, 1].into(),
            destination: [198, 51, 100, 7].into(),
            transport: Transport::UDP,
            ip_bytes: 1_280,
            fragment: None,
            layer4: Layer4::Udp(Ports { source: 40_000, destination: 53 }, 1_252),
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: tidegate::record::Names::default(),
    };
    let all: Vec<_> = (0..RECORDS).map(packet).collect();
    all.chunks(1_000).map(|batch| Records::Packets(batch.to_vec().into())).collect()
}

/// The processor time this thread has had.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("under a second"))
}

fn encoding() -> Duration {
    let encoder =
        Encoder::new(&EncodingConfig::default(), Schema::Ecs, Origin::new("sensor", Clock::Event));
    let batches = packets();
    let started = thread_time();
    for batch in &batches {
        let mut out = Vec::new();
        for index in 0..batch.len() {
            encoder.encode(batch, index, &mut out).expect("a packet has an output form");
        }
        std::hint::black_box(&out);
    }
    thread_time().saturating_sub(started)
}

fn sending_takes_at_most_two_microseconds_beside_the_encoding(_scene: &Scene) -> Outcome {
    let (url, _running) = server()?;
    let uncompressed = |mut config: Value| {
        config["compression"] = json!("none");
        config
    };
    let search: elasticsearch::Config =
        serde_json::from_value(uncompressed(json!({"endpoints": [url]})))?;
    let hec: splunk_hec::Config =
        serde_json::from_value(uncompressed(json!({"endpoint": url, "token": "t"})))?;
    // One thread, so that its time is the sink's alone.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = |start: &dyn Fn() -> Result<Delivery, Failed>| -> Result<Duration, Failed> {
        runtime.block_on(async {
            let delivery = start()?;
            let batches = packets();
            let started = thread_time();
            for batch in batches {
                delivery.send_records(batch).await?;
            }
            delivery.finish(LIMIT).await?;
            Ok(thread_time().saturating_sub(started))
        })
    };
    let mut over = Vec::new();
    for (name, start) in [
        ("elasticsearch", &(|| Delivery::start(&search, json!({}))) as &dyn Fn() -> _),
        ("splunk_hec", &|| Delivery::start(&hec, json!({}))),
    ] {
        // The best of three each: what else runs only ever adds.
        let encoding = (0..3).map(|_| encoding()).min().unwrap_or_default();
        let sinks = (0..3).map(|_| run(start)).collect::<Result<Vec<_>, _>>()?;
        let sink = sinks.into_iter().min().unwrap_or_default();
        eprintln!(
            "{name}: {} ns a record, of them {} ns encoding",
            sink.as_nanos() / u128::from(RECORDS),
            encoding.as_nanos() / u128::from(RECORDS),
        );
        if sink.saturating_sub(encoding) > MAX_BESIDE * RECORDS {
            over.push(format!("{name} takes {sink:?}, {encoding:?} of them for the encoding"));
        }
    }
    if over.is_empty() { Ok(()) } else { Err(over.join("; ").into()) }
}
