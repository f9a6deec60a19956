//! What reverse DNS costs a live pipeline, whatever the resolver does.
//!
//! Lines of tshark are parsed, get their names, and are encoded, each step in a task of its own: all
//! that a packet costs but tshark. The rate with the stage is compared with that without, in turns;
//! the best run of each counts. Addresses are public, many of them new at first, so that questions
//! go out as fast as the rate limit lets them.
#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tidegate::{
    ack::Receipts,
    batch::{Batch, Watermark},
    codec::{Encoder, EncodingConfig, Origin, Schema},
    component::{
        Clock, Component, Configure as _, Context, Decoding, Input, Outputs, Port,
        edge::{Bounds, EdgeReceiver, EdgeSender, WhenFull, edge},
    },
    ek::{Line, Parser},
    metrics::{Books, Meter},
    record::{Kind, Raw, Records, Timestamp},
    transforms::reverse_dns::Config,
};
use tokio::sync::watch;

const BATCH: usize = 256;
const BATCHES: usize = 2_000;
const ADDRESSES: u32 = 5_000;
const ROUNDS: usize = 7;
const DELAY: Duration = Duration::from_millis(2);

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn lines() -> Vec<Raw> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut line = |number: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let random = u32::try_from(state % u64::from(ADDRESSES)).unwrap_or(0);
        let server = Ipv4Addr::from(0x0808_0000 + random);
        let client = Ipv4Addr::from(0x0a00_0000 + random % 250);
        let text = format!(
            r#"{{"timestamp":"1700000000123","layers":{{"frame_number":["{number}"],"frame_time_epoch":["1700000000.123456000"],"frame_len":["74"],"frame_cap_len":["74"],"frame_protocols":["eth:ethertype:ip:tcp"],"eth_src":["02:00:00:00:00:01"],"eth_dst":["02:00:00:00:00:02"],"ip_src":["{client}"],"ip_dst":["{server}"],"ip_proto":["6"],"ip_len":["60"],"ip_id":["0x321b"],"ip_flags_mf":["0"],"ip_frag_offset":["0"],"tcp_srcport":["36813"],"tcp_dstport":["443"],"tcp_flags":["0x0002"],"tcp_seq_raw":["1279124641"],"tcp_ack_raw":["0"],"tcp_len":["0"],"tcp_window_size_value":["64240"],"tcp_checksum_status":["2"]}}}}"#
        );
        Raw { line: text.into_bytes().into(), epoch: 0, first: 0 }
    };
    (0..50_000).map(&mut line).collect()
}

/// Packets a second through the pipeline, with the stage of this config or with none.
#[expect(clippy::cast_precision_loss, reason = "a run has less than 2^53 packets")]
async fn rate(lines: &Arc<Vec<Raw>>, config: Option<&Config>) -> f64 {
    let new_edge =
        |name: &str| edge(Bounds::default(), WhenFull::Block, &Meter::new(name, "bench"));
    let (first, out_of_first) = new_edge("first");
    let receipts = Receipts::default();
    let (stage, last) = match config {
        None => (None, out_of_first),
        Some(config) => {
            let (to_last, last) = new_edge("last");
            let meter = Meter::new("named", "reverse_dns");
            let (_reload, reload) = watch::channel(0);
            let context = Context {
                meter: Arc::clone(&meter),
                receipts: receipts.clone(),
                clock: Clock::Wall,
                data_dir: "/nonexistent".into(),
                observer: "bench".into(),
                interface: None,
                decoding: Decoding::default(),
                config_hash: "bench".into(),
                books: Books::default(),
                reload,
            };
            let Ok(Component::Stage(run)) = config.build(&context) else {
                panic!("reverse_dns is a stage")
            };
            let mut input = Input::new(Clock::Wall, Arc::clone(&meter));
            input.add(out_of_first, Kind::Packet.into());
            let mut outputs = Outputs::new(1, meter, receipts.clone());
            outputs.connect(Port::MAIN, to_last);
            (Some(tokio::spawn(run(input, outputs))), last)
        }
    };
    let started = now();
    let source = tokio::spawn(parse(Arc::clone(lines), first));
    let encoded = tokio::spawn(encode(last)).await;
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(encoded.ok(), Some(BATCH * BATCHES), "every packet comes through");
    drop(source.await);
    if let Some(stage) = stage {
        assert!(matches!(stage.await, Ok(Ok(()))), "the stage ends well");
    }
    (BATCH * BATCHES) as f64 / seconds
}

async fn parse(lines: Arc<Vec<Raw>>, out: EdgeSender) {
    let mut parser = Parser::new(&[]);
    let mut lines = lines.iter().cycle();
    for _ in 0..BATCHES {
        let parsed = lines.by_ref().take(BATCH).filter_map(|raw| match parser.parse(raw) {
            Ok(Line::Packet(packet)) => Some(packet),
            _ => None,
        });
        let mut batch = Batch::unacknowledged(Records::Packets(Arc::new(parsed.collect())));
        batch.watermark = Some(Watermark { epoch: 0, time: Timestamp::from_nanos(1) });
        if out.send(batch).await.is_err() {
            return;
        }
    }
}

async fn encode(mut edge: EdgeReceiver) -> usize {
    let origin = Origin::new("bench", Clock::Wall);
    let encoder = Encoder::new(&EncodingConfig::default(), Schema::Simple, origin);
    let (mut count, mut out) = (0, Vec::new());
    while let Some(batch) = poll_fn(|cx| edge.poll_recv(cx)).await {
        out.clear();
        for index in 0..batch.records.len() {
            if encoder.encode(&batch.records, index, &mut out).is_ok() {
                count += 1;
            }
        }
    }
    count
}

/// A resolver that calls a.b.c.d `n.d.c.b.a.in-addr.arpa`, confirms that, and takes [`DELAY`].
fn slow_resolver() -> std::io::Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    socket.set_read_timeout(Some(Duration::from_micros(500)))?;
    thread::spawn(move || {
        let mut due = VecDeque::new();
        let mut bytes = [0; 1024];
        loop {
            if let Ok((length @ 18.., client)) = socket.recv_from(&mut bytes) {
                due.push_back((now() + DELAY, client, answer(&bytes[..length])));
            }
            while let Some((_, client, answer)) = due.pop_front_if(|first| first.0 <= now()) {
                if socket.send_to(&answer, client).is_err() {
                    return;
                }
            }
        }
    });
    Ok(address)
}

/// The answer to a question of one name: a PTR record, or the address of a name it gave.
fn answer(question: &[u8]) -> Vec<u8> {
    let end = question.iter().skip(12).position(|byte| *byte == 0).unwrap_or(0) + 12 + 5;
    let is_pointer = question[end - 3] == 12;
    let mut answer = question[..end].to_vec();
    (answer[2], answer[3]) = (answer[2] | 0x80, 0x80);
    answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    answer.extend([0xc0, 12, 0, question[end - 3], 0, 1, 0, 0, 1, 44]);
    if is_pointer {
        answer.extend([0, 4, 1, b'n', 0xc0, 12]);
    } else {
        let mut labels = Vec::new();
        let mut at = 12;
        while question[at] != 0 {
            let next = at + 1 + usize::from(question[at]);
            labels.push(String::from_utf8_lossy(&question[at + 1..next]).into_owned());
            at = next;
        }
        answer.extend([0, 4]);
        answer.extend((1..=4).rev().map(|at| labels[at].parse::<u8>().unwrap_or(0)));
    }
    answer
}

fn main() -> std::io::Result<()> {
    let silent = UdpSocket::bind("127.0.0.1:0")?;
    let closed = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let asking = |address: SocketAddr| -> Config {
        let config = serde_json::json!({ "resolvers": [address.to_string()] });
        serde_json::from_value(config).expect("resolvers are addresses")
    };
    let configs = [
        ("no stage", None),
        ("a resolver that takes 2 ms", Some(asking(slow_resolver()?))),
        ("no resolver at its port", Some(asking(closed))),
        ("a resolver that says nothing", Some(asking(silent.local_addr()?))),
    ];
    let lines = Arc::new(lines());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut best = [0.0_f64; 4];
    for _ in 0..ROUNDS {
        for (best, (_, config)) in best.iter_mut().zip(&configs) {
            *best = best.max(runtime.block_on(rate(&lines, config.as_ref())));
        }
    }
    for (rate, (name, _)) in best.iter().zip(&configs) {
        println!("{name}: {rate:.0} packets a second, {:.3} of that without", rate / best[0]);
    }
    Ok(())
}
