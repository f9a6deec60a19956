use super::*;
use crate::{
    ack::Receipts,
    record::{Checksums, Header, Layer4, Packet, Ports, Transport, Vlans},
};

struct Bench {
    flow: FlowTransform,
    receipts: Receipts,
    connected: Vec<bool>,
}

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_parts(seconds, 0).unwrap()
}

fn udp(seconds: i64, source_port: u16) -> Packet {
    Packet {
        time: second(seconds),
        epoch: 0,
        number: 1,
        part: 0,
        origin: crate::record::ObservationPoint::default(),
        frame_bytes: 74,
        captured_bytes: 74,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            marks: crate::record::Marks::default(),
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            transport: Transport::UDP,
            ip_bytes: 60,
            tunnel: None,
            checksums: Checksums::default(),
            fragment: None,
            layer4: Layer4::Udp(Ports { source: source_port, destination: 161 }, 32),
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: crate::record::Names::default(),
    }
}

impl Bench {
    fn new(clock: Clock, contacts: bool) -> Self {
        let policy = Config::default().policy(&Arc::from("test"), &NetworkSet::default()).unwrap();
        Self {
            flow: FlowTransform {
                table: Shards::new(policy, 1),
                clock,
                meter: Meter::new("flows", "flow"),
                watermark: None,
                heard: Timestamp::default(),
            },
            receipts: Receipts::default(),
            connected: vec![true, contacts],
        }
    }

    /// Calls the transform and gives back what it put out: flows, contacts, watermarks.
    fn call(
        &mut self,
        call: impl FnOnce(&mut FlowTransform, &mut Outbox<'_>, &Receipts),
    ) -> Vec<(Port, Batch)> {
        let meter = Arc::clone(&self.flow.meter);
        let mut ready = Vec::new();
        let mut out = Outbox::new(&mut ready, &self.connected, &meter, &self.receipts);
        call(&mut self.flow, &mut out, &self.receipts);
        ready
    }

    fn apply(&mut self, packets: Vec<Packet>, mark: i64, now: i64) -> Vec<(Port, Batch)> {
        self.flow.meter.received(packets.len() as u64);
        self.call(|flow, out, receipts| {
            let batch = Batch {
                records: Records::Packets(Arc::new(packets)),
                ack: receipts.open(),
                watermark: Some(Watermark { epoch: 0, time: second(mark) }),
            };
            flow.apply(batch, second(now), out);
        })
    }
}

fn sizes(batches: &[(Port, Batch)]) -> Vec<(usize, Kind, usize)> {
    batches
        .iter()
        .map(|(port, batch)| (port.0, batch.records.kind(), batch.records.len()))
        .collect()
}

#[test]
fn each_batch_gives_one_on_each_port_that_is_read() {
    for (contacts, expected) in
        [(true, vec![(1, Kind::Contact, 2), (0, Kind::Flow, 0)]), (false, vec![(0, Kind::Flow, 0)])]
    {
        let mut bench = Bench::new(Clock::Event, contacts);
        let batches = bench.apply(vec![udp(1, 1), udp(2, 1)], 2, 2);
        assert_eq!(sizes(&batches), expected);
        let mark = Some(Watermark { epoch: 0, time: second(2) });
        assert!(batches.iter().all(|(_, batch)| batch.watermark == mark));
        let balance = bench.flow.meter.balance();
        assert_eq!((balance.absorbed, balance.held), (2, 0));
        assert_eq!(bench.receipts.ended(End::Delivered), 1);
    }
}

#[test]
fn a_watermark_alone_ends_flows() {
    let mut bench = Bench::new(Clock::Event, false);
    bench.apply(vec![udp(1, 1)], 1, 1);
    assert_eq!(sizes(&bench.apply(vec![], 60, 60)), [(0, Kind::Flow, 0)]);
    assert_eq!(sizes(&bench.apply(vec![], 61, 61)), [(0, Kind::Flow, 1)]);
}

#[test]
fn a_clock_that_was_set_back_is_not_pushed_forward_again_by_an_old_watermark() {
    let mut bench = Bench::new(Clock::Event, false);
    bench.apply(vec![udp(1_000, 1)], 1_000, 1_000);
    // One alone may be astray.
    assert_eq!(sizes(&bench.apply(vec![udp(5, 1)], 1_000, 1_000)), [(0, Kind::Flow, 0)]);
    let ended = bench.apply(vec![udp(5, 1), udp(5, 1)], 1_000, 1_000);
    assert_eq!(sizes(&ended), [(0, Kind::Flow, 1)]);
    assert_eq!(sizes(&bench.apply(vec![udp(6, 1)], 1_000, 1_000)), [(0, Kind::Flow, 0)]);
}

#[test]
fn quiet_live_input_is_ended_by_the_wall_clock_once_nothing_can_be_on_its_way() {
    let mut bench = Bench::new(Clock::Wall, false);
    // The packets come 8 s late.
    bench.apply(vec![udp(1_000, 1)], 1_000, 1_008);
    let deadline = bench.flow.deadline().unwrap();
    assert_eq!(deadline, second(1_008 + 60 + 30));
    let early = bench.call(|flow, out, _| flow.tick(second(1_090), out));
    assert_eq!(sizes(&early), [(0, Kind::Flow, 0)]);
    assert_eq!(bench.flow.deadline(), Some(deadline));
    let ended = bench.call(|flow, out, _| flow.tick(deadline, out));
    assert_eq!(sizes(&ended), [(0, Kind::Flow, 1)]);
    assert_eq!(bench.flow.deadline(), None);
}

#[test]
fn a_packet_whose_time_is_doubted_waits_two_seconds_of_quiet() {
    let mut bench = Bench::new(Clock::Wall, false);
    bench.apply(vec![udp(1_000, 1)], 1_000, 1_000);
    assert_eq!(sizes(&bench.apply(vec![udp(1_100, 2)], 1_000, 1_100)), [(0, Kind::Flow, 0)]);
    assert_eq!(bench.flow.deadline(), Some(second(1_102)));
    let early = bench.call(|flow, out, _| flow.tick(second(1_101), out));
    assert_eq!(sizes(&early), []);
    // Then it is believed, and so ends what was there before.
    let ended = bench.call(|flow, out, _| flow.tick(second(1_102), out));
    assert_eq!(sizes(&ended), [(0, Kind::Flow, 1)]);
    assert_eq!(bench.flow.table.len(), 1);
}

#[test]
fn a_live_source_that_tells_the_time_ends_flows_without_any_quiet() {
    let mut bench = Bench::new(Clock::Wall, false);
    bench.apply(vec![udp(1_000, 1)], 1_000, 1_000);
    assert_eq!(sizes(&bench.apply(vec![], 1_059, 1_060)), [(0, Kind::Flow, 0)]);
    assert_eq!(sizes(&bench.apply(vec![], 1_060, 1_061)), [(0, Kind::Flow, 1)]);
}

#[test]
fn a_source_that_repeats_a_time_does_not_put_off_the_wall_clock() {
    let mut bench = Bench::new(Clock::Wall, false);
    bench.apply(vec![udp(1_000, 1)], 1_000, 1_000);
    // As where the clock was set back: what the source tells is not news.
    bench.apply(vec![], 1_000, 1_050);
    assert_eq!(bench.flow.deadline(), Some(second(1_000 + 60 + 30)));
    // Nor do times alone settle the doubts about a packet.
    bench.apply(vec![udp(1_100, 2)], 1_000, 1_060);
    bench.apply(vec![], 1_061, 1_061);
    assert_eq!(bench.flow.deadline(), Some(second(1_062)));
}

#[test]
fn a_replay_has_no_deadlines() {
    let mut bench = Bench::new(Clock::Event, false);
    bench.apply(vec![udp(1, 1)], 1, 1);
    assert_eq!(bench.flow.deadline(), None);
}

#[test]
fn a_table_is_emptied_in_batches() {
    let mut bench = Bench::new(Clock::Event, false);
    let packets = (0..2_500).map(|port| udp(1, port + 1_000)).collect();
    bench.apply(packets, 1, 1);
    let batches = bench.call(|flow, out, _| assert!(!flow.drain(second(1), out)));
    let lens: Vec<_> = batches.iter().map(|(_, batch)| batch.records.len()).collect();
    assert_eq!(lens, [1_024, 1_024, 452]);
}

#[test]
fn a_profile_gives_what_is_not_given() {
    let read = |json: &str| {
        let config: Config = serde_json::from_str(json).unwrap();
        assert_eq!(config.check(), []);
        config.policy(&Arc::from("test"), &NetworkSet::default()).unwrap()
    };
    let usual = read("{}");
    assert_eq!(usual.timeouts, Timeouts::USUAL);
    assert!(usual.vlan_in_key && !usual.inner && !usual.as_zeek);
    let zeek = read(r#"{"profile": "zeek"}"#);
    assert_eq!(zeek.timeouts, Timeouts::ZEEK);
    assert!(!zeek.vlan_in_key && zeek.inner && zeek.as_zeek);
    let mixed = read(
        r#"{"profile": "zeek", "vlan_in_key": true, "tunnels": "outer",
            "timeouts": {"tcp_attempt_secs": 7, "active_secs": 0}}"#,
    );
    assert_eq!((mixed.timeouts.tcp_attempt, mixed.timeouts.active), (7_000_000_000, None));
    assert!(mixed.vlan_in_key && !mixed.inner);
}

#[test]
fn what_is_no_port_or_network_is_a_problem_of_its_key() {
    let config: Config = serde_json::from_str(
        r#"{"server_ports": ["80/tcp", "http"],
            "internal_networks": ["10.0.0.0/8", "fd00::1", "10.0.0.0/33"]}"#,
    )
    .unwrap();
    let keys: Vec<_> = config.check().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["server_ports[1]", "internal_networks[2]"]);
}
