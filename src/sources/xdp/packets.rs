//! The frames that the program reports → packets → the main port.
//!
//! Data passes: the program's ring, behind the small trait [`Ring`] → [`Reader`], which decodes them as `extract` does,
//! in a thread of its own → a task, which waits for room downstream. While it waits the ring fills up, and the program
//! counts what it lost; nothing else of the gate waits for it.

use std::{fmt, sync::Arc, thread, time::Duration};

use tidegate_ebpf::{
    Error as Refused, Packets as Frames, now_ns,
    packets::{FRAME_BYTES, Passed, Sampled},
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::reports::Report;
use crate::{
    batch::{Batch, Watermark},
    component::{Closed, Context, Outputs, Port},
    decode::{Decoded, Options, Skipped},
    gate::evidence::Moment,
    log_limit::LogLimit,
    metrics::{CAPTURE_LOST, DISCARDED, ERRORS, ErrorType, LossCause, XDP_SAMPLED, XdpSampled},
    record::{
        FramePlace, Frames as Captured, ObservationPoint, Packet, Reading, Records, SteadyClock,
        Timestamp,
    },
};

/// From one look into the ring to the next.
const PAUSE: Duration = Duration::from_millis(5);
/// Frames of one look at most, and so of a batch.
const MAX_FRAMES: usize = 2_048;
/// Batches that may wait for the task.
const MAX_BATCHES: usize = 4;
/// Looks, or times that a batch found no room, from one reading of the program's account to the next.
const SELDOM: u64 = 200;
/// After so many looks that found nothing it is said how far time has come: each quarter of a second.
const SILENT: u32 = 50;
/// Long beyond what a frame takes from the time that it is given to its place in the ring.
const UNDER_WAY_NANOS: i64 = 100_000_000;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;

/// The ring of frames and its account.
pub(super) trait Ring: fmt::Debug + Send {
    /// Takes frames, `most` at most, and gives how many there were.
    fn drain(&mut self, most: usize, take: &mut dyn FnMut(Passed<'_>)) -> usize;

    /// What became of frames, since the program was loaded.
    ///
    /// # Errors
    /// If it can't be read.
    fn tally(&mut self) -> Result<Sampled, Refused>;

    /// Nothing more goes into the ring.
    ///
    /// # Errors
    /// If it can't be written.
    fn stop(&mut self) -> Result<(), Refused>;
}

/// What runs in the thread.
#[derive(Debug)]
pub(super) struct Reader {
    ring: Box<dyn Ring>,
    origin: ObservationPoint,
    context: Context,
    /// Frames so far: the number of the last one.
    received: u64,
    clock: SteadyClock,
    watermark: Option<Watermark>,
    /// Looks in a row that found nothing.
    silent: u32,
    counted: Sampled,
    /// How often it looked, or found no room.
    looks: u64,
    /// Whether the program was told to stop.
    has_ended: bool,
    /// Frames in the ring that the account has already: nothing more comes, and a run that is cut off takes them along.
    ahead: u64,
    fails: bool,
    too_deep: LogLimit,
}

/// What one look gave.
#[derive(Debug)]
struct Read {
    packets: Vec<Packet>,
    /// How many of them are further ones of a frame that gave one already.
    further: u64,
    watermark: Option<Watermark>,
}

// === impl Ring ===

impl Ring for Frames {
    fn drain(&mut self, most: usize, take: &mut dyn FnMut(Passed<'_>)) -> usize {
        Self::drain(self, most, take)
    }

    fn tally(&mut self) -> Result<Sampled, Refused> {
        Self::tally(self)
    }

    fn stop(&mut self) -> Result<(), Refused> {
        Self::stop(self)
    }
}

/// Begins to hand on, on the main port of `out`.
pub(super) fn report(reader: Reader, out: Arc<Outputs>) -> Report {
    let (batches, waiting) = mpsc::channel(MAX_BATCHES);
    Report::begin("packets", move |stop| reader.run(&batches, stop), pass(waiting, out))
}

/// Hands batches on until there is nobody who makes any.
async fn pass(mut waiting: mpsc::Receiver<Read>, out: Arc<Outputs>) -> Result<(), Closed> {
    while let Some(Read { packets, further, watermark }) = waiting.recv().await {
        let records = Records::Packets(Arc::new(packets));
        let batch = Batch { records, ack: out.receipts().open(), watermark };
        out.pass_with(Port::MAIN, batch, further).await?;
    }
    Ok(())
}

// === impl Reader ===

impl Reader {
    /// One whose frames are seen at `origin`.
    pub(super) fn new(ring: Box<dyn Ring>, origin: ObservationPoint, context: Context) -> Self {
        Self {
            ring,
            origin,
            context,
            received: 0,
            clock: SteadyClock::default(),
            watermark: None,
            silent: 0,
            counted: Sampled::default(),
            looks: 0,
            has_ended: false,
            ahead: 0,
            fails: false,
            too_deep: LogLimit::series(),
        }
    }

    fn run(mut self, batches: &mpsc::Sender<Read>, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // A full batch means that there is more.
            if self.turn(batches, stop) < MAX_FRAMES {
                self.pause();
            }
        }
        self.end();
        while self.turn(batches, stop) > 0 {}
        if self.count() {
            self.reconcile();
        }
    }

    /// One look, handed on. Gives how many frames there were.
    fn turn(&mut self, batches: &mpsc::Sender<Read>, stop: &CancellationToken) -> usize {
        let now = Moment::read(now_ns, || self.context.clock.now(None));
        let (received, read) = self.look(now);
        if let Some(read) = read {
            self.hand_on(read, batches, stop);
        }
        received
    }

    /// Waits for room; what is lost meanwhile is counted.
    fn hand_on(&mut self, read: Read, batches: &mpsc::Sender<Read>, stop: &CancellationToken) {
        let mut waiting = Some(read);
        while let Some(read) = waiting.take() {
            match batches.try_send(read) {
                // Whoever reads them has gone: the task says so.
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(read)) => {
                    waiting = Some(read);
                    if stop.is_cancelled() && !self.has_ended {
                        self.end();
                        info!(
                            packets = self.ahead,
                            "packets wait in the gate's ring for room downstream"
                        );
                    }
                    self.pause();
                }
            }
        }
    }

    /// Sleeps until the next look, and counts now and then.
    fn pause(&mut self) {
        thread::sleep(PAUSE);
        self.looks += 1;
        if self.looks.is_multiple_of(SELDOM) {
            self.count();
        }
    }

    /// Nothing more goes into the ring: what is in it is the source's from now on.
    fn end(&mut self) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        if let Err(error) = self.ring.stop() {
            self.context.meter.count(ERRORS, ErrorType::GateMap, 1);
            warn!(%error, "the gate's program goes on reporting packets, which nobody takes");
        } else if self.count() {
            let Sampled { chosen, lost, .. } = self.counted;
            self.ahead = chosen.saturating_sub(lost).saturating_sub(self.received);
            self.context.meter.received(self.ahead);
        }
    }

    /// What is in the ring; in place of nothing, now and then, how far time has come.
    fn look(&mut self, now: Moment) -> (usize, Option<Read>) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        let number = self.received;
        let received = self.ring.drain(MAX_FRAMES, &mut |frame| {
            places.push(FramePlace {
                time: now.of(frame.time_ns),
                number: number + 1 + places.len() as u64,
                offset: length(bytes.len()),
                captured: length(frame.bytes.len()),
                length: frame.length,
                link: ETHERNET,
                interface: 0,
            });
            bytes.extend_from_slice(frame.bytes);
        });
        if received == 0 {
            return (0, self.silence(now.wall));
        }
        self.silent = 0;
        // What could not be read is missing in the end.
        let read = places.len() as u64;
        self.received += read;
        let known = read.min(self.ahead);
        self.ahead -= known;
        self.context.meter.received(read - known);
        self.context.meter.count(XDP_SAMPLED, XdpSampled::Received, read);
        for place in &places {
            self.advance(place.time);
        }
        let frames = Captured {
            bytes: bytes.into(),
            places: Arc::new(places),
            source: self.origin,
            ..Captured::default()
        };
        let used = self.context.decoding;
        let options = Options { checksums: false, dns: used.dns, names: used.names };
        let Decoded { packets, further, skipped, .. } = Decoded::of(&frames, &options);
        for (_, skipped) in skipped {
            self.discard(skipped, now.wall);
        }
        (received, Some(Read { packets, further, watermark: self.watermark }))
    }

    /// A stray time moves no watermark.
    fn advance(&mut self, time: Timestamp) {
        if matches!(self.clock.read(time), Reading::Steady | Reading::Jumped) {
            self.watermark = self.watermark.max(Some(Watermark { epoch: 0, time }));
        }
    }

    /// Where nothing comes, all that passed until a moment ago was handed on.
    fn silence(&mut self, now: Timestamp) -> Option<Read> {
        self.silent += 1;
        if self.silent < SILENT {
            return None;
        }
        self.silent = 0;
        self.advance(Timestamp::from_nanos(now.nanos().saturating_sub(UNDER_WAY_NANOS)));
        Some(Read { packets: Vec::new(), further: 0, watermark: self.watermark })
    }

    /// A frame that is no packet, counted as `extract` counts it.
    fn discard(&mut self, skipped: Skipped, now: Timestamp) {
        let (reason, error_type) = skipped.reason();
        let meter = &self.context.meter;
        meter.count(DISCARDED, reason, 1);
        let Some(error_type) = error_type else { return };
        meter.count(ERRORS, error_type, 1);
        if let Some(suppressed) = self.too_deep.admit(1, now) {
            error!(
                reason = skipped.name(),
                suppressed,
                "{skipped}: a `tshark` source with `dissect: application` has tshark look into it"
            );
        }
    }

    /// What the program did since the last time; whether it is known.
    fn count(&mut self) -> bool {
        let meter = &self.context.meter;
        match self.ring.tally() {
            Ok(tally) => {
                let before = std::mem::replace(&mut self.counted, tally);
                for (result, now, then) in [
                    (XdpSampled::Seen, tally.seen, before.seen),
                    (XdpSampled::PassedOver, tally.passed_over, before.passed_over),
                    (XdpSampled::Chosen, tally.chosen, before.chosen),
                ] {
                    meter.count(XDP_SAMPLED, result, now.saturating_sub(then));
                }
                let lost = tally.lost.saturating_sub(before.lost);
                meter.count(CAPTURE_LOST, LossCause::GateRing, lost);
                self.fails = false;
                true
            }
            Err(error) => {
                meter.count(ERRORS, ErrorType::GateMap, 1);
                if !std::mem::replace(&mut self.fails, true) {
                    warn!(%error, "what the gate's program lost is not known");
                }
                false
            }
        }
    }

    /// Whether all frames that were chosen came, or were told to be lost.
    fn reconcile(&self) {
        let Sampled { seen, passed_over, chosen, lost, .. } = self.counted;
        let received = self.received;
        let missing =
            seen.saturating_sub(passed_over).saturating_sub(lost).saturating_sub(received);
        info!(seen, passed_over, chosen, received, lost, missing, "packets were reported");
        if missing > 0 {
            self.context.meter.count(XDP_SAMPLED, XdpSampled::Missing, missing);
            warn!(missing, "packets that the gate chose did not come");
        }
    }
}

/// A length in the bytes of one look.
fn length(bytes: usize) -> u32 {
    const _: () = assert!(MAX_FRAMES * FRAME_BYTES < u32::MAX as usize);
    u32::try_from(bytes).expect("a look is no longer than MAX_FRAMES frames")
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Mutex, PoisonError},
    };

    use super::*;
    use crate::{
        ack::Receipts,
        component::edge::{Bounds, EdgeReceiver, WhenFull, edge},
        metrics::Meter,
        record::{Interface, Layer4, Ports},
    };

    /// A frame in the ring: its time, its length, what was taken of it.
    type Frame = (u64, u32, Vec<u8>);

    /// A ring in memory, which holds on to what is put in while it is stopped.
    #[derive(Debug, Clone, Default)]
    struct Fake(Arc<Mutex<State>>);

    #[derive(Debug, Default)]
    struct State {
        frames: VecDeque<Frame>,
        sampled: Sampled,
        /// Comes only when the ring is stopped: it was on its way.
        under_way: Vec<Frame>,
        is_stopped: bool,
    }

    // === impl Fake ===

    impl Fake {
        fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
            change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        fn put(&self, frame: Frame) {
            self.change(|state| {
                state.sampled.seen += 1;
                state.sampled.chosen += 1;
                state.frames.push_back(frame);
            });
        }
    }

    impl Ring for Fake {
        fn drain(&mut self, most: usize, take: &mut dyn FnMut(Passed<'_>)) -> usize {
            self.change(|state| {
                let count = state.frames.len().min(most);
                for (time_ns, length, bytes) in state.frames.drain(..count) {
                    take(Passed { time_ns, length, outward: false, bytes: &bytes });
                }
                count
            })
        }

        fn tally(&mut self) -> Result<Sampled, Refused> {
            Ok(self.change(|state| state.sampled))
        }

        fn stop(&mut self) -> Result<(), Refused> {
            self.change(|state| {
                state.is_stopped = true;
                let late: Vec<_> = state.under_way.drain(..).collect();
                state.frames.extend(late);
            });
            Ok(())
        }
    }

    /// An Ethernet frame with a tag, an IPv4 header and a UDP datagram of this length.
    fn udp(port: u16, payload: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7, 8, 0, 0x45, 0];
        frame.extend((payload + 28).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([port, 53, payload + 8, 0].iter().flat_map(|word| word.to_be_bytes()));
        frame.resize(frame.len() + usize::from(payload), 0xee);
        frame
    }

    fn arp() -> Vec<u8> {
        [vec![0xff; 12], vec![8, 6], vec![0; 28]].concat()
    }

    fn whole(time_ns: u64, bytes: Vec<u8>) -> Frame {
        (time_ns, u32::try_from(bytes.len()).unwrap(), bytes)
    }

    fn reader(ring: &Fake) -> (Reader, Arc<Meter>) {
        let meter = Meter::new("gate", "xdp");
        let context = Context::alone(Arc::clone(&meter));
        (Reader::new(Box::new(ring.clone()), point(), context), meter)
    }

    fn point() -> ObservationPoint {
        ObservationPoint::of("gate", Some(Interface::Named("eth0".into())))
    }

    const NOW: Moment =
        Moment { monotonic_ns: 5_000, wall: Timestamp::from_nanos(1_000_000_005_000) };

    #[test]
    fn frames_become_packets_as_extract_makes_them_and_the_rest_is_counted() {
        let ring = Fake::default();
        let (mut reader, meter) = reader(&ring);
        ring.put(whole(1_000, udp(4_000, 10)));
        ring.put(whole(2_000, arp()));
        // Cut, and far longer than what was taken; then one that ends in its IP header, and one of nothing.
        let jumbo = udp(4_001, 8_000);
        ring.put((3_000, 8_046, jumbo[..FRAME_BYTES].to_vec()));
        ring.put((4_000, 100, udp(1, 54)[..30].to_vec()));
        ring.put((4_500, 14, vec![0; 14]));
        let (received, read) = reader.look(NOW);
        let Read { packets, further, watermark } = read.unwrap();
        assert_eq!((received, further, packets.len()), (5, 0, 2));
        let told = |packet: &Packet| {
            let ports = packet.outer.layer4.ports();
            (packet.number, packet.time.nanos(), packet.frame_bytes, packet.captured_bytes, ports)
        };
        let ports = |source| Some(Ports { source, destination: 53 });
        assert_eq!(told(&packets[0]), (1, 1_000_000_001_000, 56, 56, ports(4_000)));
        assert_eq!(told(&packets[1]), (3, 1_000_000_003_000, 8_046, 128, ports(4_001)));
        assert_eq!(packets[1].ip_bytes(), 8_028);
        assert_eq!(packets[1].outer.layer4, Layer4::Udp(ports(4_001).unwrap(), 8_000));
        assert_eq!(packets[0].vlans.outer(), Some(7));
        assert_eq!(packets[0].origin, point());
        assert_eq!(watermark.map(|mark| mark.time.nanos()), Some(1_000_000_004_500));
        let balance = meter.balance();
        assert_eq!((balance.received, balance.filtered, balance.held), (5, 3, 2));
        let expected = [("cut_short", 1), ("malformed", 1), ("not_ip", 1)];
        assert_eq!(meter.counted(DISCARDED), expected.into());
        assert!(balance.errors.is_empty() && balance.dropped.is_empty());
    }

    #[test]
    fn silence_says_how_far_time_has_come_and_it_never_goes_back() {
        let ring = Fake::default();
        let (mut reader, _) = reader(&ring);
        ring.put(whole(4_000, udp(1, 1)));
        reader.look(NOW);
        let mut said = Vec::new();
        for look in 1..=2 * i64::from(SILENT) {
            let wall = NOW.wall.saturating_add(u64::try_from(look).unwrap() * 5_000_000);
            let (received, read) = reader.look(Moment { wall, ..NOW });
            assert_eq!(received, 0);
            said.extend(read.map(|read| (look, read.packets.len(), read.watermark.unwrap())));
        }
        let since = |mark: Watermark| mark.time.nanos() - NOW.wall.nanos();
        let said: Vec<_> = said.iter().map(|(look, n, mark)| (*look, *n, since(*mark))).collect();
        assert_eq!(said, [(50, 0, 150_000_000), (100, 0, 400_000_000)]);
        // A frame that was on its way all the time.
        ring.put(whole(4_001, udp(1, 1)));
        let (_, read) = reader.look(NOW);
        assert_eq!(read.unwrap().watermark.map(since), Some(400_000_000));
    }

    /// What an output with room for so many packets gives.
    fn output(room: u32, meter: &Arc<Meter>) -> (Arc<Outputs>, EdgeReceiver) {
        let bounds = Bounds { max_events: room, ..Bounds::default() };
        let (edge, end) = edge(bounds, WhenFull::Block, &Meter::new("end", "test"));
        let mut out = Outputs::new(1, Arc::clone(meter), Receipts::default());
        out.connect(Port::MAIN, edge);
        (Arc::new(out), end)
    }

    #[tokio::test]
    async fn what_a_stop_finds_is_handed_on_and_losses_are_counted() {
        let ring = Fake::default();
        let (reader, meter) = reader(&ring);
        let (out, mut end) = output(16_384, &meter);
        for time in 0..5_000 {
            ring.put(whole(time, udp(1, 1)));
        }
        ring.change(|state| {
            state.sampled.seen += 1_012;
            state.sampled.passed_over += 1_000;
            state.sampled.chosen += 12;
            state.sampled.lost += 9;
            state.under_way = vec![whole(9_000, udp(2, 1)), whole(9_001, udp(2, 1))];
        });
        let packets = report(reader, out);
        let taken = tokio::spawn(async move {
            let mut taken = 0;
            while let Some(batch) = std::future::poll_fn(|cx| end.poll_recv(cx)).await {
                taken += batch.records.len();
                batch.ack.settle(crate::ack::End::Delivered);
            }
            taken
        });
        packets.finish().await.unwrap();
        assert_eq!(taken.await.unwrap(), 5_002);
        assert!(ring.change(|state| state.is_stopped && state.frames.is_empty()));
        let sampled = meter.counted(XDP_SAMPLED);
        let expected =
            [("seen", 6_012), ("passed_over", 1_000), ("chosen", 5_012), ("received", 5_002)];
        for (name, count) in expected {
            assert_eq!(sampled.get(name), Some(&count), "{name}");
        }
        // 5,012 were chosen, 5,002 came and 9 were lost.
        assert_eq!(sampled.get("missing"), Some(&1));
        assert_eq!(meter.balance().lost, [("gate_ring", 9)].into());
        assert_eq!((meter.balance().passed, meter.balance().held), (5_002, 1));
    }

    #[tokio::test]
    async fn while_an_output_is_full_no_more_is_taken_than_may_wait() {
        const PUT: u64 = 40_000;
        let ring = Fake::default();
        let (reader, meter) = reader(&ring);
        let (out, end) = output(1, &meter);
        for time in 0..PUT {
            ring.put(whole(time, udp(1, 1)));
        }
        let packets = report(reader, out);
        // One in the edge, one that waits for it, those in the channel, and one that waits for that.
        let most = (MAX_BATCHES as u64 + 3) * MAX_FRAMES as u64;
        let is_so = async |is_so: &dyn Fn() -> bool| {
            while !is_so() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        is_so(&|| meter.balance().received >= most - MAX_FRAMES as u64).await;
        assert!(meter.balance().received <= most);
        assert!(ring.change(|state| state.frames.len() as u64) >= PUT - most);
        // What finds the ring full is counted meanwhile.
        ring.change(|state| {
            state.sampled.seen += 7;
            state.sampled.chosen += 7;
            state.sampled.lost += 7;
        });
        is_so(&|| meter.balance().lost.get("gate_ring") == Some(&7)).await;
        // A stop finds no room either: what is in the ring is held then, for a run that is cut off.
        let ending = tokio::spawn(packets.finish());
        is_so(&|| meter.balance().received == PUT).await;
        assert_eq!(meter.balance().held, PUT - meter.balance().passed);
        drop(end);
        assert!(ending.await.unwrap().is_err());
    }
}
