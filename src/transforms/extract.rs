//! `extract`: lines of `tshark -T ek`, or frames as they were captured, become packets.
//!
//! Frames ([`frames`]) are decoded in several threads where the source has several `workers`
//! ([`parallel`]).

mod frames;
mod parallel;

use std::{collections::BTreeMap, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;

use self::{frames::Decoder, parallel::Parallel};
use crate::{
    ack::End,
    batch::{Batch, Watermark},
    component::{
        Carries, Component, Configure, Context, Error, Need, Outbox, Port, PortSpec, Problem,
        Signature, Transform,
    },
    decode::{Decoded, Skipped},
    ek::{Line, Parser, fields},
    log_limit::LogLimit,
    metrics::{DISCARDED, ERRORS, ErrorType, Label, Meter, Reason},
    record::{
        FramePlace, Frames, Kind, Kinds, ObservationPoint, Raw, Reading, Records, SteadyClock,
        Timestamp,
    },
};

/// The port of lines and frames that are no packets, with `on_error: dead_letter`.
const DROPPED: Port = Port(1);
/// Extra fields at most.
const MAX_FIELDS: usize = 64;
/// Bytes of a bad line that the log shows: the frame's number and time, which tshark prints first,
/// and nothing of its payload.
const SAMPLE_BYTES: usize = 80;

/// Turns the lines, or the frames, of a `tshark` source into packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Further fields to keep with each packet, in tshark's dotted names (`dns.qry.name`). None by
    /// default, 64 at most; the `tshark` source upstream has to list them too, or with `dissect:
    /// headers` to have them: dns.id, dns.qry.name, dns.count.answers, dns.resp.type, dns.a, dns.aaaa,
    /// `tls.handshake.extensions_server_name` and http.host. For a sink that wants more than addresses and ports. Of each field, 64 values of 1,024
    /// bytes are kept.
    pub fields: Vec<String>,
    /// What becomes of a line or a frame that should be a packet and is none (`count` by default).
    /// Either way it is counted by its reason. For whoever wants to look into such lines.
    pub on_error: OnError,
}

/// What becomes of a line or a frame that is no packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It is counted and dropped.
    #[default]
    Count,
    /// It leaves, untouched, through the port `dropped`.
    DeadLetter,
}

#[derive(Debug)]
struct Extract {
    parser: Parser,
    decoder: Decoder,
    on_error: OnError,
    watermark: Option<Watermark>,
    /// The epoch, and in it the clock of each observation point: a stray time moves no watermark.
    epoch: u32,
    clocks: Vec<SteadyClock>,
    meter: Arc<Meter>,
    logged: BTreeMap<&'static str, LogLimit>,
}

/// What goes on through one port.
#[derive(Debug)]
struct Part {
    port: Port,
    batch: Batch,
    /// How many of its records are further packets of a frame that gave one already.
    further: u64,
}

/// What of a batch should be packets and is none.
#[derive(Debug)]
struct Bad {
    /// Why, of each of them.
    reasons: Vec<Reason>,
    records: Records,
}

// === impl Config ===

impl Configure for Config {
    fn signature(&self) -> Signature {
        let captured = Kinds::of(&[Kind::Raw, Kind::Frame]);
        let signature = Signature::transform(captured, Carries::Only(Kind::Packet));
        match self.on_error {
            OnError::Count => signature,
            OnError::DeadLetter => signature.and(PortSpec::named("dropped", Carries::Inputs)),
        }
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.fields.len() > MAX_FIELDS {
            let message = format!("{} fields are too many", self.fields.len());
            problems
                .push(Problem::new("fields", message).hint(format!("name {MAX_FIELDS} at most")));
        }
        for (at, field) in self.fields.iter().enumerate() {
            let problem = |message| Problem::new(format!("fields[{at}]"), message);
            if !is_field(field) {
                problems.push(
                    problem(format!("{field:?} is no name of a tshark field"))
                        .hint("`tshark -G fields` lists them, such as dns.qry.name"),
                );
            } else if self.fields.iter().take(at).any(|other| other == field) {
                problems.push(problem(format!("{field} is named twice")).hint("name it once"));
            }
        }
        problems
    }

    fn needs(&self) -> Vec<Need> {
        let fields = self.fields.iter().enumerate();
        fields
            .filter(|(_, field)| !fields::BASE.contains(&field.as_str()))
            .map(|(at, field)| Need { key: format!("fields[{at}]"), field: field.clone() })
            .collect()
    }

    fn provides(&self) -> Vec<String> {
        self.fields.clone()
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        let decoder = Decoder::new(&self.fields, context.decoding);
        let extract = Extract::new(self, decoder.clone(), Arc::clone(&context.meter));
        let workers = usize::from(context.decoding.workers);
        Ok(if workers > 1 {
            Component::stage(Parallel { extract, decoder, clock: context.clock, workers })
        } else {
            Component::transform(extract)
        })
    }

    fn uses(&self) -> Vec<String> {
        self.fields.clone()
    }
}

fn is_field(name: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.bytes().all(part)
}

// === impl Extract ===

impl Extract {
    fn new(config: &Config, decoder: Decoder, meter: Arc<Meter>) -> Self {
        Self {
            parser: Parser::new(&config.fields),
            decoder,
            on_error: config.on_error,
            watermark: None,
            epoch: 0,
            clocks: Vec::new(),
            meter,
            logged: BTreeMap::new(),
        }
    }

    fn advance(&mut self, epoch: u32, origin: ObservationPoint, time: Timestamp) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.clocks.clear();
        }
        if self.clocks.len() <= origin.index() {
            self.clocks.resize_with(origin.index() + 1, SteadyClock::default);
        }
        let reading = self.clocks.get_mut(origin.index()).map(|clock| clock.read(time));
        if !matches!(reading, Some(Reading::Steady | Reading::Jumped)) {
            return;
        }
        let mark = Watermark { epoch, time };
        self.watermark = self.watermark.max(Some(mark));
    }

    /// Whether an error of this type is to be logged now, and how many were not in between.
    fn due(&mut self, error_type: ErrorType, now: Timestamp) -> Option<u64> {
        let name = error_type.name();
        self.logged.entry(name).or_insert_with(LogLimit::series).admit(1, now)
    }

    fn report_mended(&mut self, now: Timestamp) {
        for _ in 0..self.parser.take_mended() {
            self.meter.count(ERRORS, ErrorType::InvalidUtf8, 1);
            if let Some(suppressed) = self.due(ErrorType::InvalidUtf8, now) {
                tracing::warn!(
                    suppressed,
                    "a line of tshark held invalid UTF-8: read with U+FFFD in its place"
                );
            }
        }
    }

    /// What goes on of a batch, by port, and accounts for the rest. `decoded` is what its frames are, if
    /// it holds any.
    fn take(
        &mut self,
        batch: Batch,
        decoded: Option<Decoded>,
        now: Timestamp,
        connected: &[bool],
    ) -> Vec<Part> {
        let (packets, further, bad) = match (&batch.records, decoded) {
            (Records::Raw(lines), _) => self.lines(lines, now),
            (Records::Frames(frames), Some(decoded)) => self.frames(frames, decoded, now),
            (records, _) => {
                self.meter.count(DISCARDED, Reason::WrongKind, records.len() as u64);
                batch.ack.settle(End::Dropped);
                return Vec::new();
            }
        };
        // Where no packets come, the source says how far time has come.
        self.watermark = self.watermark.max(batch.watermark);
        let batch = Batch { watermark: self.watermark, ..batch };
        let mut parts = Vec::with_capacity(2);
        let wanted = connected.get(DROPPED.0).copied().unwrap_or(false);
        if self.on_error == OnError::DeadLetter && wanted {
            let batch = batch.share().with(bad.records);
            parts.push(Part { port: DROPPED, batch, further: 0 });
        } else if !bad.reasons.is_empty() {
            for reason in bad.reasons {
                self.meter.count(DISCARDED, reason, 1);
            }
            batch.ack.share().settle(End::Dropped);
        }
        parts.push(Part { port: Port::MAIN, batch: batch.with(packets), further });
        parts
    }

    /// The packets of a batch of lines, how many more they are than their lines, and the lines that are
    /// none.
    fn lines(&mut self, lines: &[Raw], now: Timestamp) -> (Records, u64, Bad) {
        let mut packets = Vec::with_capacity(lines.len());
        let (mut bad, mut reasons) = (Vec::new(), Vec::new());
        let (mut filtered, mut further) = (0, 0);
        for raw in lines {
            match self.parser.parse(raw) {
                Ok(Line::Packet(packet)) => {
                    self.advance(raw.epoch, packet.origin, packet.time);
                    packets.push(packet);
                }
                Ok(Line::Packets(several)) => {
                    if let Some(first) = several.first() {
                        self.advance(raw.epoch, first.origin, first.time);
                    }
                    further += (several.len() as u64).saturating_sub(1);
                    packets.extend(several);
                }
                Ok(Line::NotIp(time, origin)) => {
                    self.advance(raw.epoch, origin, time);
                    filtered += 1;
                }
                Ok(Line::Index) => filtered += 1,
                Err(error) => {
                    let (reason, error_type) = (error.reason(), error.error_type());
                    self.meter.count(ERRORS, error_type, 1);
                    if let Some(suppressed) = self.due(error_type, now) {
                        tracing::error!(
                            reason = reason.name(),
                            %error,
                            sample = %sample(raw),
                            suppressed,
                            hint = error.hint(),
                            "a line of tshark is no packet"
                        );
                    }
                    reasons.push(reason);
                    bad.push(raw.clone());
                }
            }
        }
        self.meter.count(DISCARDED, Reason::Filtered, filtered);
        self.report_mended(now);
        let bad = Bad { reasons, records: Records::Raw(Arc::new(bad)) };
        (Records::Packets(Arc::new(packets)), further, bad)
    }

    /// The packets of a batch of frames, how many more they are than their frames, and the frames that
    /// should be some.
    fn frames(&mut self, frames: &Frames, decoded: Decoded, now: Timestamp) -> (Records, u64, Bad) {
        for place in frames.places.iter() {
            let point = decoded.points.get(usize::from(place.interface)).copied();
            self.advance(frames.epoch, point.unwrap_or(frames.source), place.time);
        }
        let (mut places, mut reasons) = (Vec::new(), Vec::new());
        for (at, skipped) in decoded.skipped {
            let (reason, error_type) = skipped.reason();
            let (Some(error_type), Some(place)) = (error_type, frames.places.get(at)) else {
                self.meter.count(DISCARDED, reason, 1);
                continue;
            };
            self.report_skipped(skipped, error_type, place, now);
            reasons.push(reason);
            places.push(*place);
        }
        let bad = Frames { places: Arc::new(places), ..frames.clone() };
        let packets = Records::Packets(Arc::new(decoded.packets));
        (packets, decoded.further, Bad { reasons, records: Records::Frames(Arc::new(bad)) })
    }

    fn report_skipped(
        &mut self,
        skipped: Skipped,
        error_type: ErrorType,
        place: &FramePlace,
        now: Timestamp,
    ) {
        self.meter.count(ERRORS, error_type, 1);
        if let Some(suppressed) = self.due(error_type, now) {
            tracing::error!(
                reason = skipped.name(),
                frame = place.number,
                link_type = place.link,
                suppressed,
                "{skipped}: `dissect: application` has tshark look into it"
            );
        }
    }
}

impl Transform for Extract {
    fn apply(&mut self, batch: Batch, now: Timestamp, out: &mut Outbox<'_>) {
        let decoded = match &batch.records {
            Records::Frames(frames) => Some(self.decoder.decode(frames)),
            _ => None,
        };
        for Part { port, batch, further } in self.take(batch, decoded, now, out.connected()) {
            out.push_copies(port, batch, further);
        }
    }
}

/// The beginning of a line, fit for a log.
fn sample(raw: &Raw) -> impl fmt::Display {
    let end = raw.line.len().min(SAMPLE_BYTES);
    raw.line.slice(..end).escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{ack::Receipts, component::Decoding};

    const ARP: &str = r#"{"layers":{"frame_number":["1"],"frame_time_epoch":["7.5"],"frame_len":["42"],"frame_cap_len":["42"],"frame_protocols":["eth:ethertype:arp"]}}"#;
    const IGMP: &str = r#"{"layers":{"frame_number":["2"],"frame_time_epoch":["6.5"],"frame_len":["60"],"frame_cap_len":["60"],"frame_protocols":["eth:ethertype:ip:igmp"],"ip_src":["10.0.0.1"],"ip_dst":["224.0.0.1"],"ip_proto":["2"],"ip_len":["32"]}}"#;

    struct Bench {
        extract: Extract,
        receipts: Receipts,
        connected: Vec<bool>,
    }

    impl Bench {
        fn new(on_error: OnError, connected: &[bool]) -> Self {
            let config = Config { on_error, ..Config::default() };
            Self {
                extract: Extract::new(
                    &config,
                    Decoder::new(&[], Decoding::default()),
                    Meter::new("packets", "extract"),
                ),
                receipts: Receipts::default(),
                connected: connected.to_vec(),
            }
        }

        fn apply(&mut self, epoch: u32, lines: &[&[u8]]) -> Vec<(Port, Batch)> {
            let lines = lines.iter().map(|line| Raw {
                line: line.to_vec().into(),
                epoch,
                first: 0,
                origin: ObservationPoint::default(),
            });
            let batch = Batch {
                records: Records::Raw(Arc::new(lines.collect())),
                ack: self.receipts.open(),
                watermark: None,
            };
            let meter = Arc::clone(&self.extract.meter);
            meter.received(batch.records.len() as u64);
            let mut ready = Vec::new();
            let mut out = Outbox::new(&mut ready, &self.connected, &meter, &self.receipts);
            self.extract.apply(batch, Timestamp::default(), &mut out);
            ready
        }

        fn settle(&self, batches: Vec<(Port, Batch)>) -> End {
            for (_, batch) in batches {
                batch.ack.settle(End::Delivered);
            }
            assert_eq!(self.receipts.outstanding(), 0);
            let ended = |end: &End| self.receipts.ended(*end) > 0;
            End::ALL.into_iter().find(ended).unwrap()
        }
    }

    fn mark(epoch: u32, nanos: i64) -> Watermark {
        let time = Timestamp::from_nanos(nanos);
        Watermark { epoch, time }
    }

    #[test]
    fn a_batch_goes_on_with_its_packets_and_the_latest_time_of_its_epoch() {
        let mut bench = Bench::new(OnError::Count, &[true]);
        let lines = [ARP.as_bytes(), br#"{"index":{}}"#, IGMP.as_bytes()];
        let batches = bench.apply(0, &lines);
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].0, Port::MAIN);
        assert_eq!(batches[0].1.records.len(), 1);
        assert_eq!(batches[0].1.watermark, Some(mark(0, 7_500_000_000)));
        assert_eq!(bench.settle(batches), End::Delivered);
        let balance = bench.extract.meter.balance();
        assert_eq!((balance.passed, balance.filtered, balance.held), (1, 2, 0));

        let earlier = bench.apply(0, &[IGMP.as_bytes()]);
        assert_eq!(earlier[0].1.watermark, Some(mark(0, 7_500_000_000)));
        let next_file = bench.apply(1, &[IGMP.as_bytes()]);
        assert_eq!(next_file[0].1.watermark, Some(mark(1, 6_500_000_000)));
    }

    #[test]
    fn an_empty_batch_still_carries_the_watermark() {
        let mut bench = Bench::new(OnError::Count, &[true]);
        bench.apply(0, &[ARP.as_bytes()]);
        let batches = bench.apply(0, &[]);
        assert_eq!(batches[0].1.records.kind(), Kind::Packet);
        assert_eq!(batches[0].1.watermark, Some(mark(0, 7_500_000_000)));
    }

    #[test]
    fn a_bad_line_is_dropped_and_counted_by_its_reason() {
        let mut bench = Bench::new(OnError::Count, &[true]);
        let batches = bench.apply(0, &[b"garbage", b"{}", IGMP.as_bytes(), b"garbage"]);
        assert_eq!(bench.settle(batches), End::Dropped);
        let balance = bench.extract.meter.balance();
        let reasons = BTreeMap::from([("missing_field", 1), ("not_json", 2)]);
        assert_eq!((&balance.dropped, &balance.errors), (&reasons, &reasons));
        assert_eq!((balance.passed, balance.held), (1, 0));
    }

    #[test]
    fn a_bad_line_leaves_untouched_through_the_port_dropped() {
        let mut bench = Bench::new(OnError::DeadLetter, &[true, true]);
        let batches = bench.apply(0, &[b"garbage", IGMP.as_bytes()]);
        let (port, dropped) = &batches[0];
        assert_eq!(*port, DROPPED);
        let Records::Raw(lines) = &dropped.records else {
            panic!("{dropped:?}");
        };
        assert_eq!(*lines[0].line, *b"garbage");
        assert_eq!(dropped.watermark, batches[1].1.watermark);
        assert_eq!(bench.settle(batches), End::Delivered);
        let balance = bench.extract.meter.balance();
        assert_eq!((balance.passed, balance.dropped_total(), balance.held), (2, 0, 0));
        assert_eq!(balance.errors, BTreeMap::from([("not_json", 1)]));
    }

    #[test]
    fn a_dead_letter_nobody_reads_is_dropped() {
        let mut bench = Bench::new(OnError::DeadLetter, &[true, false]);
        let batches = bench.apply(0, &[b"garbage"]);
        assert_eq!(bench.settle(batches), End::Dropped);
        assert_eq!(bench.extract.meter.balance().dropped_total(), 1);
    }

    #[test]
    fn invalid_utf8_is_an_error_but_no_drop() {
        let mut bench = Bench::new(OnError::Count, &[true]);
        let line = IGMP.replace("{\"layers\"", "{\"?\":1,\"layers\"").into_bytes();
        let line: Vec<u8> = line.iter().map(|b| if *b == b'?' { 0xff } else { *b }).collect();
        let batches = bench.apply(0, &[&line]);
        assert_eq!(bench.settle(batches), End::Delivered);
        let balance = bench.extract.meter.balance();
        assert_eq!(balance.errors, BTreeMap::from([("invalid_utf8", 1)]));
        assert_eq!((balance.passed, balance.dropped_total()), (1, 0));
    }

    #[test]
    fn a_sample_shows_no_more_than_the_beginning_and_no_control_characters() {
        let raw = Raw {
            line: b"\x1b[31m\xff\n".repeat(100).into(),
            epoch: 0,
            first: 0,
            origin: ObservationPoint::default(),
        };
        let sample = sample(&raw).to_string();
        assert!(sample.starts_with(r"\x1b[31m\xff\n") && sample.is_ascii());
        assert!(sample.len() <= 4 * SAMPLE_BYTES);
    }

    #[test]
    fn a_field_name_that_can_be_none_is_a_problem_of_its_key() {
        let config = Config {
            fields: ["dns.a", "a b", "", "dns.a", "ip.src"].map(str::to_owned).to_vec(),
            ..Config::default()
        };
        let keys: Vec<_> = config.check().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["fields[1]", "fields[2]", "fields[3]"]);
        let needs: Vec<_> = config.needs().into_iter().map(|need| need.field).collect();
        assert_eq!(needs, ["dns.a", "a b", "", "dns.a"]);
    }

    #[test]
    fn the_port_dropped_is_there_only_on_request() {
        let ports = |on_error| {
            let config = Config { on_error, ..Config::default() };
            config.signature().ports.len()
        };
        assert_eq!((ports(OnError::Count), ports(OnError::DeadLetter)), (1, 2));
    }
}
