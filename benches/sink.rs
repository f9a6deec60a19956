//! What a sink costs beside the encoding alone, and how many records it can send: into a server on
//! loopback that answers correctly at once.
//!
//! The cost is processor time of one thread that does the sink's work and nothing else, what the
//! kernel does for it included; the server has a thread of its own. `cargo bench --bench sink`.
//!
//! With `TIDEGATE_BENCH_ELASTICSEARCH=http://127.0.0.1:PORT` only this: what we and that real server
//! take of the processor while it is filled.
#![expect(clippy::print_stderr, reason = "a bench says what it measured")]

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tidegate::{
    batch::Batch,
    codec::{Encoder, EncodingConfig, Origin, Schema},
    component::{
        Clock, Component, Context, Input,
        edge::{Bounds, EdgeSender, WhenFull, edge},
    },
    metrics::Meter,
    record::{
        Checksums, Endpoint, Flow, Header, Id, Kinds, Layer4, Names, Packet, Ports, Records,
        Timestamp, Transport, Vlans,
    },
    sinks::{ConfigureSink, elasticsearch, options::Options, splunk_hec},
};
use tokio::runtime;

const RECORDS: u32 = 400_000;
const BATCH: usize = 1_000;
/// The best of so many runs counts: what else the machine does only ever adds.
const RUNS: usize = 3;
const START_NANOS: i64 = 1_700_000_000_123_456_789;

/// A sink at work in this thread's runtime.
struct Running {
    edge: EdgeSender,
    task: tokio::task::JoinHandle<Result<(), tidegate::component::Error>>,
}

fn address(number: u32, net: u8) -> IpAddr {
    let [_, b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(net, b, c, d).into()
}

fn packet(number: u32) -> Packet {
    Packet {
        time: Timestamp::from_nanos(START_NANOS + i64::from(number) * 1_001),
        epoch: 0,
        number: u64::from(number) + 1,
        part: 0,
        origin: tidegate::record::ObservationPoint::default(),
        frame_bytes: 1_294,
        captured_bytes: 128,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            marks: tidegate::record::Marks::default(),
            source: address(number, 10),
            destination: address(number / 7, 172),
            transport: Transport::UDP,
            ip_bytes: 1_280,
            tunnel: None,
            checksums: Checksums::default(),
            fragment: None,
            layer4: Layer4::Udp(Ports { source: 40_000, destination: 53 }, 1_252),
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: Names::default(),
    }
}

fn flow(number: u32) -> Flow {
    let end =
        |address, port, packets, bytes| Endpoint::new(address, Some(port)).sent(packets, bytes);
    Flow {
        start: Timestamp::from_nanos(START_NANOS + i64::from(number) * 1_001),
        end: Timestamp::from_nanos(START_NANOS + i64::from(number) * 1_001 + 31_415_926),
        ..Flow::new(
            Id::of("flow", "bench").number(u64::from(number)).finish(),
            Transport::TCP,
            end(address(number, 10), 40_000, 12, 1_618),
            end(address(number / 7, 172), 443, 15, 27_182),
        )
    }
}

fn batches(kind: &str) -> Vec<Records> {
    let numbers: Vec<u32> = (0..RECORDS).collect();
    numbers
        .chunks(BATCH)
        .map(|part| match kind {
            "packets" => Records::Packets(Arc::new(part.iter().copied().map(packet).collect())),
            _ => Records::Flows(Arc::new(part.iter().copied().map(flow).collect())),
        })
        .collect()
}

/// A server that takes everything at once: a bulk endpoint and an event collector.
fn server() -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that ends is the client's business.
            thread::spawn(move || serve(stream).unwrap_or_default());
        }
    });
    Ok(url)
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut read, mut body) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 256 << 10];
    loop {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                bytes => read.extend_from_slice(&chunk[..bytes]),
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        while read.len() < end + length {
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                bytes => read.extend_from_slice(&chunk[..bytes]),
            }
        }
        let sent = &read[end..end + length];
        body.clear();
        if head.contains("content-encoding: gzip") {
            flate2::read::GzDecoder::new(sent).read_to_end(&mut body)?;
        } else {
            body.extend_from_slice(sent);
        }
        let answer = if head.contains("_bulk") {
            let documents = memchr::memchr_iter(b'\n', &body).count() / 2;
            let entries = vec![r#"{"create":{"status":201}}"#; documents].join(",");
            format!(r#"{{"errors":false,"items":[{entries}]}}"#)
        } else {
            r#"{"text":"Success","code":0}"#.to_owned()
        };
        read.drain(..end + length);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())?;
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

/// The processor time this thread has had.
fn thread_time() -> Duration {
    processor_time(ClockId::ThreadCPUTime)
}

/// The processor time all threads of this process have had.
fn process_time() -> Duration {
    processor_time(ClockId::ProcessCPUTime)
}

fn processor_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn encode(encoding: &EncodingConfig, batches: &[Records]) -> Duration {
    let encoder = Encoder::new(encoding, Schema::Ecs, Origin::new("bench", Clock::Wall));
    let mut out = Vec::new();
    let started = thread_time();
    for batch in batches {
        out.clear();
        for index in 0..batch.len() {
            encoder.encode(batch, index, &mut out).expect("flows and packets have an output form");
        }
        std::hint::black_box(&out);
    }
    thread_time().saturating_sub(started)
}

// === impl Running ===

impl Running {
    fn start(sink: &dyn ConfigureSink, options: &Options) -> Self {
        let meter = Meter::new("bench", "bench");
        let context = Context::alone(Arc::clone(&meter));
        let Ok(Component::Sink(run)) = sink.build(options, &context) else {
            panic!("the sink can't be built");
        };
        let (edge, receiver) = edge(Bounds::default(), WhenFull::Block, &meter);
        let mut input = Input::new(Clock::Wall, meter);
        input.add(receiver, Kinds::REPORTS);
        Self { edge, task: tokio::spawn(run(input)) }
    }

    async fn send(self, batches: Vec<Records>) {
        for records in batches {
            let sent = self.edge.send(Batch::unacknowledged(records)).await;
            sent.expect("the sink goes on");
        }
        drop(self.edge);
        self.task.await.expect("no panic").expect("no failure");
    }
}

/// Processor time of a whole delivery, in one thread.
fn cost(sink: &dyn ConfigureSink, options: &Options, batches: Vec<Records>) -> Duration {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let running = Running::start(sink, options);
        let started = thread_time();
        running.send(batches).await;
        thread_time().saturating_sub(started)
    })
}

/// Wall time of a whole delivery, in the runtime the product has.
fn wall(sink: &dyn ConfigureSink, options: &Options, batches: Vec<Records>) -> Duration {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let running = Running::start(sink, options);
        let started = now();
        running.send(batches).await;
        started.elapsed()
    })
}

fn best(mut run: impl FnMut() -> Duration) -> Duration {
    (0..RUNS).map(|_| run()).min().unwrap_or_default()
}

fn per_record(time: Duration) -> u128 {
    time.as_nanos() / u128::from(RECORDS)
}

fn sinks(url: &str, compression: &str) -> [(&'static str, Box<dyn ConfigureSink>); 2] {
    let search = json!({"endpoints": [url], "compression": compression});
    let hec = json!({"endpoint": url, "token": "t", "compression": compression,
        "acknowledgements": {"enabled": false}});
    [
        ("elasticsearch", Box::new(read::<elasticsearch::Config>(search))),
        ("splunk_hec", Box::new(read::<splunk_hec::Config>(hec))),
    ]
}

fn read<T: serde::de::DeserializeOwned>(config: Value) -> T {
    serde_json::from_value(config).expect("the config is right")
}

/// Processor time that a real server says it has had.
async fn server_time(http: &reqwest::Client, url: &str) -> Duration {
    let stats = http.get(format!("{url}/_nodes/stats/process")).send().await;
    let stats = stats.expect("it answers").bytes().await.expect("whole");
    let stats: Value = serde_json::from_slice(&stats).expect("JSON");
    let nodes = stats["nodes"].as_object().expect("nodes");
    let times = nodes.values().map(|node| &node["process"]["cpu"]["total_in_millis"]);
    Duration::from_millis(times.map(|time| time.as_u64().expect("milliseconds")).sum())
}

/// Fills a real Elasticsearch as the product does, and compares the processor times.
fn beside(url: &str) {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let options: Options = read(json!({"encoding": {"schema": "ecs"}}));
    rustls::crypto::ring::default_provider().install_default().expect("nobody was before us");
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().expect("a client");
    for run in 0..RUNS {
        let sink: elasticsearch::Config = read(json!({"endpoints": [url], "setup": "install",
            "data_stream": {"namespace": format!("bench{run}")}}));
        let records = batches("flows");
        let (ours, theirs, took) = runtime.block_on(async {
            let before = (process_time(), server_time(&http, url).await, now());
            Running::start(&sink, &options).send(records).await;
            let theirs = server_time(&http, url).await.saturating_sub(before.1);
            (process_time().saturating_sub(before.0), theirs, before.2.elapsed())
        });
        eprintln!(
            "ecs flows, real Elasticsearch: {:.0} records/s; ours {ours:?}, its own {theirs:?}: {:.3} times",
            f64::from(RECORDS) / took.as_secs_f64(),
            ours.as_secs_f64() / theirs.as_secs_f64(),
        );
    }
}

fn main() {
    if let Ok(url) = std::env::var("TIDEGATE_BENCH_ELASTICSEARCH") {
        return beside(&url);
    }
    let url = server().expect("loopback has a free port");
    // The first word that is no flag limits the schemas: `cargo bench --bench sink -- simple`.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    for schema in ["simple", "ecs", "cim"] {
        if wanted.as_ref().is_some_and(|wanted| wanted != schema) {
            continue;
        }
        let options: Options = read(json!({"encoding": {"schema": schema}}));
        for kind in ["packets", "flows"] {
            let records = batches(kind);
            for (name, sink) in sinks(&url, "none") {
                let encoding = best(|| encode(&options.encoding, &records));
                let sending = best(|| cost(&*sink, &options, records.clone()));
                eprintln!(
                    "{schema} {kind}, {name}: {} ns a record, of them {} encoding: {:.2} times",
                    per_record(sending),
                    per_record(encoding),
                    sending.as_secs_f64() / encoding.as_secs_f64(),
                );
            }
            for compression in ["none", "gzip"] {
                for (name, sink) in sinks(&url, compression) {
                    let took = best(|| wall(&*sink, &options, records.clone()));
                    eprintln!(
                        "{schema} {kind}, {name}, {compression}: {:.0} records/s",
                        f64::from(RECORDS) / took.as_secs_f64(),
                    );
                }
            }
        }
    }
}
