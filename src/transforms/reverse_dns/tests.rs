use std::{future::poll_fn, net::Ipv4Addr, sync::Arc};

use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::task::JoinHandle;

use super::*;
use crate::{
    ack::Receipts,
    batch::Watermark,
    component::edge::{Bounds, EdgeReceiver, EdgeSender, WhenFull, edge},
    dns::scripted::{Reply, Scripted, host, pointer},
    metrics::{DNS_LOOKUPS, Meter},
    record::{
        Action, Alert, Checksums, Endpoint, Extra, Flow, Header, HostNames, Id, Layer4, NameOrigin,
        Names, Ports, Timestamp, Transport, Vlans,
    },
};

const LAN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10));

/// A stage between two edges.
struct Rig {
    input: Option<EdgeSender>,
    output: EdgeReceiver,
    meter: Arc<Meter>,
    receipts: Receipts,
    task: JoinHandle<Result<(), Error>>,
}

impl Rig {
    fn new(config: &Config, clock: Clock) -> Self {
        assert_eq!(config.check(), []);
        let (meter, receipts) = (Meter::new("named", "reverse_dns"), Receipts::default());
        let (sender, receiver) = edge(Bounds::default(), WhenFull::Block, &meter);
        let mut input = Input::new(clock, Arc::clone(&meter));
        input.add(receiver, config.signature().accepts);
        let roomy = Bounds { max_events: 1 << 20, max_bytes: u32::MAX >> 4 };
        let (out, output) = edge(roomy, WhenFull::Block, &Meter::new("out", "test"));
        let mut outputs = Outputs::new(1, Arc::clone(&meter), receipts.clone());
        outputs.connect(Port::MAIN, out);
        let stage = ReverseDns::new(config, config.resolver().unwrap(), clock);
        let task = tokio::spawn(stage.run(input, outputs));
        Self { input: Some(sender), output, meter, receipts, task }
    }

    async fn send(&self, records: Records, second: i64) {
        let time = Timestamp::from_nanos(second * 1_000_000_000);
        let watermark = Some(Watermark { epoch: 0, time });
        let batch = Batch { records, ack: self.receipts.open(), watermark };
        self.input.as_ref().unwrap().send(batch).await.unwrap();
    }

    async fn next(&mut self) -> Option<Batch> {
        poll_fn(|cx| self.output.poll_recv(cx)).await
    }

    /// The next batch's names, as far as there are any.
    async fn named(&mut self) -> Vec<(Option<String>, Option<String>)> {
        let batch = self.next().await.unwrap();
        let both = |names: &Names| {
            let name = |side: &Option<Arc<HostNames>>| Some(side.as_ref()?.name()?.to_owned());
            (name(&names.source), name(&names.destination))
        };
        let named = match &batch.records {
            Records::Packets(packets) => packets.iter().map(|r| both(&r.names)).collect(),
            Records::Flows(flows) => flows.iter().map(|r| both(&r.names)).collect(),
            Records::Alerts(alerts) => alerts.iter().map(|r| both(&r.names)).collect(),
            _ => Vec::new(),
        };
        batch.ack.settle(End::Delivered);
        named
    }

    /// Ends the input and waits for the stage, which must account for everything.
    async fn end(mut self) -> Arc<Meter> {
        self.input = None;
        while let Some(batch) = self.next().await {
            batch.ack.settle(End::Delivered);
        }
        self.task.await.unwrap().unwrap();
        self.receipts.settled().await;
        assert_eq!(self.receipts.ended(End::Lost), 0);
        let balance = self.meter.balance();
        assert!(balance.holds() && balance.held == 0, "{balance:?}");
        self.meter
    }
}

/// A server that calls address a.b.c.d `a-b-c-d.example`, after a delay.
async fn server(delay: Duration) -> Scripted {
    Scripted::start(move |name, record_type| {
        let reply = if record_type == RecordType::PTR {
            let mut bytes: Vec<u8> =
                name.split('.').take(4).map(|byte| byte.parse().unwrap()).collect();
            bytes.reverse();
            let name = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join("-");
            let target = Name::from_ascii(format!("{name}.example.")).unwrap();
            let address = Ipv4Addr::from(<[u8; 4]>::try_from(bytes).unwrap());
            Reply::Records(vec![pointer(address.into(), target)])
        } else {
            let address = name.trim_end_matches(".example.").replace('-', ".");
            Reply::Records(vec![host(name, address.parse().unwrap())])
        };
        if delay.is_zero() { reply } else { Reply::Late(delay, Box::new(reply)) }
    })
    .await
}

fn config(server: &Scripted) -> Config {
    Config { resolvers: vec![Server(server.address)], ..Config::default() }
}

fn ip(last: u8) -> IpAddr {
    [8, 8, 8, last].into()
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with names that may be missing")]
fn name(last: u8) -> Option<String> {
    Some(format!("8-8-8-{last}.example"))
}

fn flows(pairs: &[(IpAddr, IpAddr)]) -> Records {
    flows_begun(2, pairs)
}

fn flows_begun(second: i64, pairs: &[(IpAddr, IpAddr)]) -> Records {
    let began = Timestamp::from_nanos(second * 1_000_000_000);
    let side = |address| Endpoint::new(address, Some(443)).sent(1, 60);
    let flow = |(source, destination): &(IpAddr, IpAddr)| {
        let id = Id::of("flow", "test").finish();
        Flow { began, ..Flow::new(id, Transport::TCP, side(*source), side(*destination)) }
    };
    Records::Flows(Arc::new(pairs.iter().map(flow).collect()))
}

fn flow(last: u8) -> Records {
    flows(&[(LAN, ip(last))])
}

fn alert(source: IpAddr) -> Records {
    Records::Alerts(Arc::new(vec![Alert {
        time: Timestamp::default(),
        origin: crate::record::ObservationPoint::default(),
        source,
        action: Action::Alert,
        risk_score: 50,
        reasons: Vec::new(),
        ordinal: 0,
        names: Names::default(),
        details: Box::default(),
    }]))
}

fn packet(second: i64, from: (IpAddr, u16), to: (IpAddr, u16), extra: &[(&str, &str)]) -> Packet {
    Packet {
        time: Timestamp::from_nanos(second * 1_000_000_000),
        epoch: 0,
        number: 1,
        part: 0,
        origin: crate::record::ObservationPoint::default(),
        frame_bytes: 100,
        captured_bytes: 100,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            marks: crate::record::Marks::default(),
            source: from.0,
            destination: to.0,
            transport: Transport::UDP,
            ip_bytes: 86,
            tunnel: None,
            checksums: Checksums::default(),
            fragment: None,
            layer4: Layer4::Udp(Ports { source: from.1, destination: to.1 }, 58),
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: extra
            .iter()
            .map(|(name, value)| Extra { name: (*name).into(), values: vec![(*value).into()] })
            .collect(),
        names: Names::default(),
    }
}

/// A client asks for a name at the first second and is told an address.
fn dns_exchange(name: &str, address: &str) -> Records {
    dns_exchange_at(1, name, address)
}

fn dns_exchange_at(second: i64, name: &str, address: &str) -> Records {
    let (client, server) = ((LAN, 40_000), (IpAddr::from([192, 168, 1, 1]), 53));
    Records::Packets(Arc::new(vec![
        packet(second, client, server, &[("dns_qry_name", name)]),
        packet(second, server, client, &[("dns_qry_name", name), ("dns_a", address)]),
    ]))
}

#[tokio::test]
async fn packets_flows_and_alerts_get_names_in_the_order_they_came() {
    let server = server(Duration::ZERO).await;
    let mut rig = Rig::new(&config(&server), Clock::Event);
    rig.send(flows(&[(LAN, ip(1)), (ip(2), LAN), (LAN, LAN)]), 1).await;
    rig.send(alert(ip(3)), 2).await;
    let packet = packet(3, (LAN, 40_000), (ip(1), 443), &[]);
    rig.send(Records::Packets(Arc::new(vec![packet])), 3).await;
    assert_eq!(rig.named().await, [(None, name(1)), (name(2), None), (None, None)]);
    assert_eq!(rig.named().await, [(name(3), None)]);
    assert_eq!(rig.named().await, [(None, name(1))]);
    rig.end().await;
    let asked = server.asked();
    assert!(asked.iter().all(|question| !question.contains("168.192")), "{asked:?}");
    assert_eq!(asked.len(), 6, "three addresses, each asked for and confirmed once: {asked:?}");
}

#[tokio::test]
async fn a_batch_that_needs_no_name_waits_its_turn_in_a_replay() {
    let server = server(Duration::from_millis(200)).await;
    let mut rig = Rig::new(&Config { max_wait_ms: 1, ..config(&server) }, Clock::Event);
    rig.send(flow(1), 1).await;
    rig.send(flows(&[(LAN, LAN)]), 2).await;
    assert_eq!(rig.named().await, [(None, name(1))]);
    assert_eq!(rig.named().await, [(None, None)]);
    rig.end().await;
}

#[tokio::test]
async fn live_a_record_goes_without_its_name_at_the_deadline_and_the_next_one_has_it() {
    let server = server(Duration::from_millis(200)).await;
    let mut rig = Rig::new(&Config { max_wait_ms: 50, ..config(&server) }, Clock::Wall);
    rig.send(flow(1), 1).await;
    assert_eq!(rig.named().await, [(None, None)]);
    while !rig.meter.counted(DNS_LOOKUPS).contains_key("named") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.send(flow(1), 2).await;
    assert_eq!(rig.named().await, [(None, name(1))]);
    rig.end().await;
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_silent_resolver_costs_a_replay_one_time_out_and_the_names() {
    let server = Scripted::start(|_, _| Reply::Silence).await;
    let mut rig = Rig::new(&config(&server), Clock::Event);
    for last in 0..200 {
        rig.send(flow(last), last.into()).await;
    }
    for _ in 0..200 {
        assert_eq!(rig.named().await, [(None, None)]);
    }
    let lookups = rig.end().await.counted(DNS_LOOKUPS);
    assert!(lookups["timeout"] >= 16 && lookups["suspended"] > 0, "{lookups:?}");
}

#[tokio::test]
async fn an_address_in_a_thousand_records_is_asked_for_once() {
    let server = server(Duration::from_millis(20)).await;
    let mut rig = Rig::new(&config(&server), Clock::Event);
    for second in 0..10 {
        rig.send(flows(&[(LAN, ip(1)); 100]), second).await;
    }
    for _ in 0..10 {
        assert!(rig.named().await.iter().all(|names| names.1 == name(1)));
    }
    rig.end().await;
    assert_eq!(server.asked(), ["1.8.8.8.in-addr.arpa. PTR", "8-8-8-1.example. A"]);
}

#[tokio::test]
async fn a_branch_that_shares_the_records_sees_no_names() {
    let server = server(Duration::ZERO).await;
    let mut rig = Rig::new(&config(&server), Clock::Event);
    let records = flow(1);
    rig.send(records.clone(), 1).await;
    assert_eq!(rig.named().await, [(None, name(1))]);
    let Records::Flows(shared) = records else { panic!("flows") };
    assert_eq!(shared[0].names, Names::default());
    rig.end().await;
}

#[tokio::test]
async fn packets_that_are_only_learnt_from_end_here_and_flows_have_the_names_asked_for() {
    let server = server(Duration::ZERO).await;
    let learn = Config { packets: Packets::Learn, ..config(&server) };
    let mut rig = Rig::new(&learn, Clock::Event);
    rig.send(dns_exchange("www.example.org", "8.8.8.1"), 1).await;
    rig.send(flows(&[(LAN, ip(1)), (LAN, ip(2))]), 60).await;
    let first = rig.next().await.unwrap();
    assert!(first.records.is_empty() && first.watermark.is_some());
    first.ack.settle(End::Delivered);
    let batch = rig.next().await.unwrap();
    let Records::Flows(flows) = &batch.records else { panic!("flows") };
    let origins = flows.iter().map(|flow| flow.names.destination.as_ref().unwrap().origin);
    assert_eq!(origins.collect::<Vec<_>>(), [NameOrigin::Passive, NameOrigin::Ptr]);
    let names = flows.iter().map(|flow| flow.names.destination.as_ref().unwrap().name().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["www.example.org", "8-8-8-2.example"]);
    batch.ack.settle(End::Delivered);
    let meter = rig.end().await;
    assert_eq!(meter.balance().absorbed, 2);
    assert_eq!(server.asked().len(), 2, "a name that was seen is not asked for");
}

#[tokio::test]
async fn a_flow_reported_late_has_the_name_asked_for_before_it_began() {
    let server = server(Duration::ZERO).await;
    let learn = Config { packets: Packets::Learn, ptr: false, ..config(&server) };
    let mut rig = Rig::new(&learn, Clock::Event);
    rig.send(dns_exchange_at(1, "a.example", "8.8.8.1"), 1).await;
    rig.send(dns_exchange_at(60, "b.example", "8.8.8.1"), 60).await;
    assert_eq!((rig.named().await, rig.named().await), (vec![], vec![]));
    for (began, name) in [(2, "a.example"), (61, "b.example")] {
        rig.send(flows_begun(began, &[(LAN, ip(1))]), 300).await;
        assert_eq!(rig.named().await, [(None, Some(name.to_owned()))]);
    }
    rig.end().await;
}

#[tokio::test]
async fn a_name_somebody_else_asked_for_is_unverified_and_gives_way_to_the_pointer() {
    let server = server(Duration::ZERO).await;
    let infected = dns_exchange("www.bank.example", "8.8.8.1");
    let victim = IpAddr::from([192, 168, 1, 11]);
    for ptr in [true, false] {
        let learn = Config { packets: Packets::Learn, ptr, ..config(&server) };
        let mut rig = Rig::new(&learn, Clock::Event);
        rig.send(infected.clone(), 1).await;
        rig.send(flows(&[(victim, ip(1))]), 60).await;
        assert_eq!(rig.named().await, []);
        let batch = rig.next().await.unwrap();
        let Records::Flows(flows) = &batch.records else { panic!("flows") };
        let names = flows[0].names.destination.as_ref().unwrap();
        let claimed: &[Box<str>] = if ptr { &[] } else { &["www.bank.example".into()] };
        assert_eq!(names.name(), ptr.then_some("8-8-8-1.example"));
        assert_eq!(names.unverified, claimed);
        batch.ack.settle(End::Delivered);
        rig.end().await;
    }
}

#[tokio::test]
async fn without_ptr_nothing_is_sent() {
    let server = server(Duration::ZERO).await;
    let mut rig = Rig::new(&Config { ptr: false, ..config(&server) }, Clock::Wall);
    rig.send(dns_exchange("www.example.org", "8.8.8.1"), 1).await;
    assert_eq!(rig.named().await.len(), 2);
    rig.send(flows(&[(LAN, ip(1)), (LAN, ip(2))]), 2).await;
    let seen = Some("www.example.org".to_owned());
    assert_eq!(rig.named().await, [(None, seen), (None, None)]);
    rig.end().await;
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn what_a_config_gets_wrong_is_said_with_the_key() {
    let cases = [
        (r#"{"ptr": false, "passive": false}"#, "ptr"),
        (r#"{"packets": "learn", "passive": false}"#, "packets"),
    ];
    for (json, key) in cases {
        let config: Config = serde_json::from_str(json).unwrap();
        let keys: Vec<_> = config.check().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, [key], "{json}");
    }
    for json in [
        r#"{"resolver": []}"#,
        r#"{"resolvers": ["dns.example"]}"#,
        r#"{"private": "no"}"#,
        r#"{"deny": ["10.0.0.0/33"]}"#,
    ] {
        assert!(serde_json::from_str::<Config>(json).is_err(), "{json}");
    }
}

#[test]
fn a_config_of_the_interface_is_read_and_fields_are_needed_only_to_learn() {
    let config: Config = serde_json::from_str(
        r#"{"resolvers": ["10.0.0.53", "[::1]:5353"], "private": "10.0.0.53", "allow": ["8.0.0.0/8"]}"#,
    )
    .unwrap();
    assert_eq!(config.check(), []);
    assert_eq!(config.needs(), []);
    assert_eq!(config.resolvers.len(), 2);
    assert!(matches!(config.private, Private::Ask(_)));
    let learn: Config = serde_json::from_str(r#"{"packets": "learn"}"#).unwrap();
    let fields: Vec<_> = learn.needs().into_iter().map(|need| need.field).collect();
    assert_eq!(fields, dns::FIELDS);
}
