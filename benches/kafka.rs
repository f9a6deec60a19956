//! The `kafka` sink beside a bare loop over librdkafka that sends the same bytes, and the program between two
//! topics beside a bare loop that reads and writes.
//!
//! Against a real broker: `TIDEGATE_BENCH_KAFKA=HOST:PORT cargo bench --bench kafka`. It makes topics of its
//! own, named `bench-…`, and deletes them.
#![expect(clippy::print_stderr, reason = "a bench says what it measured")]

use std::{
    borrow::Borrow,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::RDKafkaErrorCode,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tidegate::{
    batch::Batch,
    codec::{Encoder, Origin, Schema},
    component::{
        Clock, Component, Context, Input,
        edge::{Bounds, WhenFull, edge},
    },
    metrics::Meter,
    record::{Endpoint, Flow, Id, Kinds, Records, Timestamp, Transport},
    sinks::{ConfigureSink, kafka, options::Options},
};
use tokio::runtime::{self, Runtime};

const RECORDS: u32 = 500_000;
const BATCH: usize = 1_000;
/// The best of so many runs counts; the two take turns.
const RUNS: usize = 3;
const PARTITIONS: i32 = 3;
const START_NANOS: i64 = 1_700_000_000_123_456_789;
/// How often a topic is asked for its length.
const LOOK: Duration = Duration::from_millis(10);
const ASK: Duration = Duration::from_secs(30);

/// A message as the sink makes it: what the bare loop sends.
struct Bare {
    payload: Vec<u8>,
    key: String,
    id: String,
    millis: i64,
}

/// Counts delivery reports.
struct Reports(AtomicU32);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        result.as_ref().expect("the broker takes it");
        self.0.fetch_add(1, Ordering::Release);
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn flow(number: u32) -> Flow {
    let address = |net: u8| {
        let [_, b, c, d] = number.to_be_bytes();
        IpAddr::from(Ipv4Addr::new(net, b, c, d))
    };
    let end =
        |address, port, packets, bytes| Endpoint::new(address, Some(port)).sent(packets, bytes);
    Flow {
        start: Timestamp::from_nanos(START_NANOS + i64::from(number) * 1_001),
        end: Timestamp::from_nanos(START_NANOS + i64::from(number) * 1_001 + 31_415_926),
        ..Flow::new(
            Id::of("flow", "bench").number(u64::from(number)).finish(),
            Transport::TCP,
            end(address(10), 40_000, 12, 1_618),
            end(address(172), 443, 15, 27_182),
        )
    }
}

fn batches() -> Vec<Records> {
    let numbers: Vec<u32> = (0..RECORDS).collect();
    let flows = |part: &[u32]| Records::Flows(Arc::new(part.iter().copied().map(flow).collect()));
    numbers.chunks(BATCH).map(flows).collect()
}

fn read<T: serde::de::DeserializeOwned>(config: Value) -> T {
    serde_json::from_value(config).expect("the config is right")
}

/// What the sink would send of these records, made as it is asked for.
fn bare<'a>(options: &Options, batches: &'a [Records]) -> impl Iterator<Item = Bare> + use<'a> {
    let encoder = Encoder::new(&options.encoding, Schema::Ecs, Origin::new("bench", Clock::Wall));
    let flows = batches.iter().flat_map(|batch| match batch {
        Records::Flows(flows) => {
            flows.iter().enumerate().map(move |(index, flow)| (batch, index, flow))
        }
        _ => unreachable!("the bench makes flows"),
    });
    flows.map(move |(batch, index, flow)| {
        let mut payload = Vec::new();
        encoder.encode(batch, index, &mut payload).expect("flows have an output form");
        if payload.ends_with(b"}\n") {
            payload.pop();
        }
        Bare {
            payload,
            key: flow.community_id.to_string(),
            id: flow.id.to_string(),
            millis: flow.end.nanos() / 1_000_000,
        }
    })
}

fn client(server: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server);
    config
}

/// A producer with the properties that the sink's has.
fn producer(server: &str, compression: &str) -> ThreadedProducer<Reports> {
    client(server)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("compression.codec", compression)
        .create_with_context(Reports(AtomicU32::new(0)))
        .expect("a producer")
}

/// Waits until so many messages are delivered.
fn delivered(producer: &ThreadedProducer<Reports>, count: u32) {
    while producer.context().0.load(Ordering::Acquire) < count {
        thread::sleep(Duration::from_millis(1));
    }
}

fn hand_over(producer: &ThreadedProducer<Reports>, mut record: BaseRecord<'_, [u8], [u8]>) {
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
        record = back;
        thread::sleep(Duration::from_millis(1));
    }
}

fn send_bare(
    server: &str,
    topic: &str,
    is_wire: bool,
    messages: impl Iterator<Item: Borrow<Bare>>,
) -> Duration {
    let (content, schema) = if is_wire {
        ("application/vnd.tidegate.wire", "wire")
    } else {
        ("application/json", "ecs")
    };
    let began = now();
    let producer = producer(server, "lz4");
    for message in messages {
        let message = message.borrow();
        let add = |headers: OwnedHeaders, key, value: &str| {
            headers.insert(Header { key, value: Some(value.as_bytes()) })
        };
        let mut headers = add(OwnedHeaders::new_with_capacity(7), "content-type", content);
        headers = add(headers, "schema", schema);
        if !is_wire {
            headers = add(headers, "ecs.version", "9.4.0");
        }
        headers = add(headers, "kind", "flow");
        headers = add(headers, "observer", "bench");
        headers = add(headers, "id", &message.id);
        headers = add(headers, "sequence", "0");
        let record = BaseRecord::to(topic)
            .payload(message.payload.as_slice())
            .key(message.key.as_bytes())
            .timestamp(message.millis)
            .headers(headers);
        hand_over(&producer, record);
    }
    delivered(&producer, RECORDS);
    began.elapsed()
}

fn send_ours(server: &str, topic: &str, options: &Options, batches: &[Records]) -> Duration {
    let config: kafka::Config = read(json!({"bootstrap_servers": [server], "topic": topic}));
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let meter = Meter::new("bench", "bench");
        let context = Context { observer: "bench".into(), ..Context::alone(Arc::clone(&meter)) };
        let began = now();
        let Ok(Component::Sink(run)) = config.build(options, &context) else {
            panic!("the sink can't be built");
        };
        let (edge, receiver) = edge(Bounds::default(), WhenFull::Block, &meter);
        let mut input = Input::new(Clock::Wall, meter);
        input.add(receiver, Kinds::REPORTS);
        let running = tokio::spawn(run(input));
        for records in batches {
            let sent = edge.send(Batch::unacknowledged(records.clone())).await;
            sent.expect("the sink goes on");
        }
        drop(edge);
        running.await.expect("no panic").expect("no failure");
        began.elapsed()
    })
}

/// Topics of this run.
struct Topics<'a> {
    server: &'a str,
    runtime: Runtime,
    made: Vec<String>,
}

impl Topics<'_> {
    fn admin(&self) -> AdminClient<DefaultClientContext> {
        client(self.server).create().expect("a client")
    }

    fn make(&mut self, name: &str) -> String {
        let name = format!("bench-{}-{name}", std::process::id());
        let settings = vec![("retention.ms", "-1")];
        let new = NewTopic {
            name: &name,
            num_partitions: PARTITIONS,
            replication: TopicReplication::Fixed(1),
            config: settings,
        };
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        let made = self.runtime.block_on(self.admin().create_topics([&new], &options));
        made.expect("the broker answers").remove(0).expect("the topic is new");
        self.made.push(name.clone());
        name
    }
}

impl Drop for Topics<'_> {
    fn drop(&mut self) {
        let names: Vec<_> = self.made.iter().map(String::as_str).collect();
        let deleted =
            self.runtime.block_on(self.admin().delete_topics(&names, &AdminOptions::new()));
        drop(deleted.expect("the broker answers"));
    }
}

/// The sink's rate divided by the bare loop's.
fn sinks(topics: &mut Topics<'_>, codec: &str) {
    let encoding = match codec {
        "wire" => json!({"codec": "wire"}),
        _ => json!({"codec": "json", "schema": "ecs"}),
    };
    let options: Options = read(json!({"encoding": encoding}));
    let batches = batches();
    let messages: Vec<_> = bare(&options, &batches).collect();
    let bytes = messages.iter().map(|message| message.payload.len()).sum::<usize>();
    let is_wire = codec == "wire";
    let [mut alone, mut encoding, mut ours] = [Duration::MAX; 3];
    for run in 0..RUNS {
        let topic = topics.make(&format!("{codec}-bare-{run}"));
        alone = alone.min(send_bare(topics.server, &topic, is_wire, messages.iter()));
        let topic = topics.make(&format!("{codec}-encoding-{run}"));
        let made = bare(&options, &batches);
        encoding = encoding.min(send_bare(topics.server, &topic, is_wire, made));
        let topic = topics.make(&format!("{codec}-ours-{run}"));
        ours = ours.min(send_ours(topics.server, &topic, &options, &batches));
    }
    let rate = |took: Duration| f64::from(RECORDS) / took.as_secs_f64();
    let beside = |bare: Duration| bare.as_secs_f64() / ours.as_secs_f64();
    eprintln!(
        "{codec}, {} bytes a message: a bare loop {:.0}/s, one that encodes {:.0}/s, the sink {:.0}/s: \
         {:.2} and {:.2} of them",
        bytes / messages.len(),
        rate(alone),
        rate(encoding),
        rate(ours),
        beside(alone),
        beside(encoding),
    );
}

/// How long it takes from the first message in a topic to the last one.
fn filled(server: &str, topic: &str, count: u32) -> Duration {
    let consumer: BaseConsumer = client(server).create().expect("a consumer");
    let mut first = None;
    loop {
        let ends = (0..PARTITIONS).map(|partition| {
            let (_, end) = consumer.fetch_watermarks(topic, partition, ASK).expect("it answers");
            end
        });
        let there: i64 = ends.sum();
        if there > 0 {
            let began = *first.get_or_insert_with(|| (now(), there));
            if there >= i64::from(count) {
                return began.0.elapsed();
            }
        }
        thread::sleep(LOOK);
    }
}

/// Reads a topic and writes what is in it to another one, and commits at the end.
fn pass_on(server: &str, from: &str, to: &str) {
    let consumer: BaseConsumer = client(server)
        .set("group.id", to)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[from]).expect("it may be read");
    let producer = producer(server, "lz4");
    let mut read = 0;
    while read < RECORDS {
        let Some(polled) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = polled.expect("it can be read");
        let mut record = BaseRecord::to(to)
            .payload(message.payload().unwrap_or_default())
            .key(message.key().unwrap_or_default())
            .timestamp(message.timestamp().to_millis().unwrap_or_default());
        if let Some(headers) = message.headers() {
            record = record.headers(headers.detach());
        }
        hand_over(&producer, record);
        read += 1;
    }
    delivered(&producer, RECORDS);
    consumer.commit_consumer_state(CommitMode::Sync).expect("it may commit");
}

/// The same by the program: the source `kafka` into the sink `kafka`. Gives its largest resident size too.
fn pass_on_ours(server: &str, from: &str, to: &str, folder: &Path) -> (Duration, String) {
    let config = json!({
        "data_dir": folder.join("state"),
        "observer": {"name": "bench"},
        "sources": {"bus": {
            "type": "kafka", "bootstrap_servers": [server], "group": to, "topics": [from],
        }},
        "sinks": {"out": {
            "type": "kafka", "inputs": ["bus.flows"], "bootstrap_servers": [server], "topic": to,
            "encoding": {"codec": "wire"},
        }},
    });
    let file = folder.join("bench.yaml");
    fs::write(&file, config.to_string()).expect("the folder is writable");
    let mut running = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "-c"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let took = filled(server, to, RECORDS);
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    let pid = i32::try_from(running.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::TERM).expect("it runs");
    running.wait().expect("it ends");
    (took, peak.to_owned())
}

/// The rate from topic to topic, divided by that of a bare loop.
fn loops(topics: &mut Topics<'_>) {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, options) = (topics.server, read(json!({"encoding": {"codec": "wire"}})));
    let from = topics.make("from");
    send_ours(server, &from, &options, &batches());
    let (mut alone, mut ours) = (Duration::MAX, Duration::MAX);
    let peak = OnceLock::new();
    for run in 0..RUNS {
        let to = topics.make(&format!("to-bare-{run}"));
        alone = alone.min(thread::scope(|scope| {
            scope.spawn(|| pass_on(server, &from, &to));
            filled(server, &to, RECORDS)
        }));
        let to = topics.make(&format!("to-ours-{run}"));
        let (took, size) = pass_on_ours(server, &from, &to, folder.path());
        ours = ours.min(took);
        peak.get_or_init(|| size);
    }
    let rate = |took: Duration| f64::from(RECORDS) / took.as_secs_f64();
    eprintln!(
        "topic to topic, wire: a bare loop {:.0}/s, the program {:.0}/s: {:.2} of it; {}",
        rate(alone),
        rate(ours),
        alone.as_secs_f64() / ours.as_secs_f64(),
        peak.get().map_or("", String::as_str),
    );
}

fn main() {
    let Ok(server) = std::env::var("TIDEGATE_BENCH_KAFKA") else {
        eprintln!("TIDEGATE_BENCH_KAFKA names no broker: nothing is measured");
        return;
    };
    let runtime = Runtime::new().expect("a runtime");
    let mut topics = Topics { server: &server, runtime, made: Vec::new() };
    for codec in ["wire", "json"] {
        sinks(&mut topics, codec);
    }
    loops(&mut topics);
}
