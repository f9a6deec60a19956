//! The flow table as its users see it: packets go to shards by address pair, what comes out is merged.
//!
//! Nothing that comes out depends on the number of shards or on how packets were batched, as long as
//! no flow was evicted: time is that of all packets, and records are ordered by the time they fell
//! due, the packet that caused them, their end and their id.

mod ending;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, atomic::AtomicUsize},
    thread,
};

use super::{
    clock::{Clock, Heard, Moment},
    contacts,
    key::pair,
    output::Output,
    policy::Policy,
    reassembly::Reassembly,
    table::{Arrival, Table},
    tally::Tally,
};
use crate::record::{Header, Layer4, Marks, ObservationPoint, Packet, Timestamp, Transport};
use ending::Ending;

/// How many tunnels deep headers make flows of their own.
const MAX_DEPTH: usize = 2;
/// Fewer packets than this are not worth waking threads for: at 0.2 µs a packet they take less time
/// than that.
const THREADED: usize = 2048;

/// The flow table.
#[derive(Debug)]
pub struct Shards {
    policy: Arc<Policy>,
    clock: Clock,
    reassembly: Reassembly,
    tally: Tally,
    /// Contacts of the present batch in which completed handshakes were counted.
    completed: usize,
    /// Whether VLANs tell flows apart, and one has been seen.
    is_tagged: bool,
    tables: Vec<Table>,
    /// What each shard is to do with the packets of a batch.
    work: Vec<Vec<Task>>,
    /// While the table is drained: the flows that have yet to end, the first one last.
    ending: Option<Vec<Ending>>,
}

/// One step of a shard's work.
#[derive(Debug, Clone, Copy)]
struct Task {
    packet: usize,
    moment: Moment,
    /// Only what the packet quotes concerns this shard.
    quoted_only: bool,
}

// === impl Shards ===

impl Shards {
    /// A table of `workers` shards. Flows inside tunnels may use several tunnels, so they are not
    /// split: with them there is one shard.
    pub fn new(policy: Policy, workers: usize) -> Self {
        let policy = Arc::new(policy);
        let shards = if policy.inner { 1 } else { workers.max(1) };
        let population = (shards > 1).then(|| Arc::new(AtomicUsize::new(0)));
        // Whoever chooses addresses and ports must not be able to choose hashes.
        let secret = RandomState::new();
        let tables = (0..shards)
            .map(|shard| {
                let seed = secret.hash_one(shard);
                Table::new(Arc::clone(&policy), population.clone(), shards, seed)
            })
            .collect();
        Self {
            policy,
            clock: Clock::default(),
            reassembly: Reassembly::default(),
            tally: Tally::default(),
            completed: 0,
            is_tagged: false,
            tables,
            work: vec![Vec::new(); shards],
            ending: None,
        }
    }

    /// Takes packets, in the order in which they were captured; false if a clock jumped among them, or
    /// may be about to: then what the batch says of time is not to be believed.
    pub fn absorb(&mut self, packets: &[Packet], out: &mut Output) -> bool {
        let is_fragment = |packet: &Packet| packet.outer.fragment.is_some();
        if self.policy.as_zeek && packets.iter().any(is_fragment) {
            let whole: Vec<_> =
                packets.iter().filter_map(|packet| self.reassembly.take(packet)).collect();
            out.unconnected += (packets.len() - whole.len()) as u64;
            return self.absorb_whole(&whole, out);
        }
        self.absorb_whole(packets, out)
    }

    fn absorb_whole(&mut self, packets: &[Packet], out: &mut Output) -> bool {
        self.completed = out.contacts.len();
        let mut steady = true;
        for (index, packet) in packets.iter().enumerate() {
            let (before, point) = (self.clock.now(), self.point(packet));
            if self.policy.as_zeek {
                let moment = self.clock.follow(packet);
                self.absorb_one(packets, Some(index), packet, before, &moment, out);
                continue;
            }
            if let Some(moment) = self.clock.goes_on(point, packet) {
                self.absorb_one(packets, Some(index), packet, before, &moment, out);
                continue;
            }
            let (held, is_held) = match self.clock.hear(point, packet) {
                Heard::Now => {
                    self.take(packets, Some(index), packet, out);
                    continue;
                }
                Heard::After(held) => (held, false),
                Heard::Held(astray) => (astray, true),
            };
            steady = false;
            for packet in &held {
                self.take(packets, None, packet, out);
            }
            if !is_held {
                self.take(packets, Some(index), packet, out);
            }
        }
        if let Some(now) = self.clock.now() {
            self.run(packets, now, out);
        }
        self.finish(out);
        steady
    }

    /// Takes one packet whose time is known, though it may set a clock back: that at `index` of those
    /// at hand, or one that was held back.
    #[cold]
    fn take(
        &mut self,
        packets: &[Packet],
        index: Option<usize>,
        packet: &Packet,
        out: &mut Output,
    ) {
        let point = self.point(packet);
        let before = self.clock.now();
        let (moment, set_back) = self.clock.arrive(point, packet.time);
        if set_back && let Some(before) = before {
            self.run(packets, before, out);
            let moment = Moment { now: before, ..moment };
            let point = Some(point).filter(|_| !self.clock.is_single());
            self.give_up(point, moment, out);
            self.tables.iter_mut().for_each(|table| table.set_back(point, moment, out));
        }
        self.absorb_one(packets, index, packet, before, &moment, out);
    }

    /// Lets one packet count; the table's time before it, and its own moment.
    #[expect(clippy::inline_always, reason = "measured: most packets come this way")]
    #[inline(always)]
    fn absorb_one(
        &mut self,
        packets: &[Packet],
        index: Option<usize>,
        packet: &Packet,
        before: Option<Timestamp>,
        moment: &Moment,
        out: &mut Output,
    ) {
        if out.wants_contacts {
            if !self.is_tagged && self.policy.vlan_in_key && packet.vlans.outer().is_some() {
                self.expect_tags(packets, before, out);
            }
            if self.tally.is_over(moment.now) {
                self.run(packets, before.unwrap_or(moment.now), out);
                self.tell(out);
            }
            self.tally.count(packet, moment.now);
        }
        // A shard alone does its work as it comes.
        if let [table] = self.tables.as_mut_slice() {
            walk(&self.policy, table, packet, moment, out);
            if out.wants_contacts {
                refuse(table, packet, *moment, out);
            }
            return;
        }
        if let Some(index) = index {
            self.assign(index, packet, *moment, out.wants_contacts);
            return;
        }
        // Those at hand wait for their time; this one waited already.
        if let Some(before) = before {
            self.run(packets, before, out);
        }
        let shard = self.shard(&packet.outer);
        if let Some(table) = self.tables.get_mut(shard) {
            walk(&self.policy, table, packet, moment, out);
        }
        if out.wants_contacts
            && let Some(quoted) = refused(packet)
        {
            let shard = self.shard(quoted);
            if let Some(table) = self.tables.get_mut(shard) {
                refuse(table, packet, *moment, out);
            }
        }
    }

    /// The first packet in a VLAN comes: from here on all shards look for answers in other VLANs,
    /// whichever of them the packet goes to.
    #[cold]
    fn expect_tags(&mut self, packets: &[Packet], before: Option<Timestamp>, out: &mut Output) {
        self.is_tagged = true;
        if let Some(before) = before {
            self.run(packets, before, out);
        }
        self.tables.iter_mut().for_each(Table::expect_tags);
    }

    /// Takes the packets that were held back, as no others come that could tell whether their times
    /// are right.
    pub fn release(&mut self, out: &mut Output) {
        self.completed = out.contacts.len();
        for packet in self.clock.release() {
            self.take(&[], None, &packet, out);
        }
        if let Some(now) = self.clock.now() {
            self.run(&[], now, out);
        }
        self.finish(out);
    }

    /// Counts what came of the batch, and puts it into order.
    fn finish(&mut self, out: &mut Output) {
        self.complete(out);
        out.sort();
    }

    /// Counts the handshakes among the contacts that are new.
    fn complete(&mut self, out: &mut Output) {
        for target in out.handshakes.drain(..) {
            self.tally.completed(target);
        }
        let new = out.contacts.iter().skip(self.completed);
        self.tally.complete(new.map(|report| &report.record));
        self.completed = out.contacts.len();
    }

    /// Tells the counts of a second that is over; all that came in it has been done.
    fn tell(&mut self, out: &mut Output) {
        self.complete(out);
        self.tally.tell(self.tables.iter_mut().map(|table| &mut table.senders), out);
        self.completed = out.contacts.len();
    }

    /// Whether packets are held back until their times are known to be right.
    pub fn is_holding(&self) -> bool {
        self.clock.is_holding()
    }

    /// Packets show that their time has come this far: ends and reports what is due.
    pub fn reach(&mut self, shown: Timestamp, out: &mut Output) {
        if let Some(now) = self.clock.common(shown) {
            self.advance(now, out);
        }
    }

    /// The table's time has come this far: ends and reports what is due.
    pub fn advance(&mut self, now: Timestamp, out: &mut Output) {
        self.completed = out.contacts.len();
        let moment = self.clock.advance(now);
        self.tables.iter_mut().for_each(|table| table.advance(moment.now, out));
        if self.tally.is_over(moment.now) {
            self.tell(out);
        }
        self.finish(out);
    }

    /// The table's time: the latest event time seen, as long as no clock was set back.
    pub fn now(&self) -> Option<Timestamp> {
        self.clock.now()
    }

    /// The event time at which something falls due next.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.tables.iter().filter_map(Table::deadline).min()
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.tables.iter().map(Table::len).sum()
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn assign(&mut self, index: usize, packet: &Packet, moment: Moment, wants_contacts: bool) {
        let task = Task { packet: index, moment, quoted_only: false };
        let shard = self.shard(&packet.outer);
        self.work[shard].push(task);
        if wants_contacts && let Some(quoted) = refused(packet) {
            let shard = self.shard(quoted);
            self.work[shard].push(Task { quoted_only: true, ..task });
        }
    }

    fn shard(&self, header: &Header) -> usize {
        match self.tables.len() {
            1 => 0,
            shards => pair(header) as usize % shards,
        }
    }

    /// Whose clock a packet goes by.
    fn point(&self, packet: &Packet) -> ObservationPoint {
        if self.policy.as_zeek { ObservationPoint::default() } else { packet.origin }
    }

    /// Lets every shard do its work and come to `now`.
    fn run(&mut self, packets: &[Packet], now: Timestamp, out: &mut Output) {
        let policy = &*self.policy;
        let tasks: usize = self.work.iter().map(Vec::len).sum();
        if tasks < THREADED {
            for (table, work) in self.tables.iter_mut().zip(&mut self.work) {
                work.drain(..).for_each(|task| perform(policy, table, packets, task, out));
                table.advance(now, out);
            }
            return;
        }
        let wants_contacts = out.wants_contacts;
        thread::scope(|scope| {
            let shards: Vec<_> = self
                .tables
                .iter_mut()
                .zip(&mut self.work)
                .map(|(table, work)| {
                    scope.spawn(move || {
                        let mut out = Output { wants_contacts, ..Output::default() };
                        work.drain(..)
                            .for_each(|task| perform(policy, table, packets, task, &mut out));
                        table.advance(now, &mut out);
                        out
                    })
                })
                .collect();
            for shard in shards {
                match shard.join() {
                    Ok(part) => out.append(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }
}

/// Does one step of a shard's work.
fn perform(policy: &Policy, table: &mut Table, packets: &[Packet], task: Task, out: &mut Output) {
    match packets.get(task.packet) {
        Some(packet) if task.quoted_only => refuse(table, packet, task.moment, out),
        Some(packet) => walk(policy, table, packet, &task.moment, out),
        None => {}
    }
}

/// Takes the header that a packet says did not get through.
fn refuse(table: &mut Table, packet: &Packet, moment: Moment, out: &mut Output) {
    if let Some(quoted) = refused(packet) {
        table.refuse(quoted, packet, moment, out);
    }
}

/// Takes a packet's headers, from the outside in.
#[inline]
fn walk(policy: &Policy, table: &mut Table, packet: &Packet, moment: &Moment, out: &mut Output) {
    let header = &packet.outer;
    if !policy.inner && !policy.as_zeek {
        let quoted = packet.inner.first().filter(|_| quotes(header));
        let place = policy.place(packet);
        let arrival = Arrival { packet, header, quoted, moment, depth: 0, parent: None, place };
        table.absorb(&arrival, out);
    } else {
        descend(policy, table, packet, moment, out);
    }
}

/// Takes the headers inside tunnels, too.
#[inline(never)]
fn descend(policy: &Policy, table: &mut Table, packet: &Packet, moment: &Moment, out: &mut Output) {
    let mut header = &packet.outer;
    let mut parent = None;
    let mut is_connected = false;
    let mut depth = 0;
    let mut place = policy.place(packet);
    loop {
        let next = packet.inner.get(depth);
        let is_error = quotes(header);
        let carried = next.filter(|_| policy.inner && !is_error && depth < MAX_DEPTH);
        let is_unseen = policy.as_zeek && is_unseen_by_zeek(packet, header, depth);
        if !is_unseen {
            let quoted = next.filter(|_| is_error);
            let arrival = Arrival { packet, header, quoted, moment, depth, parent, place };
            let Some(slot) = table.absorb(&arrival, out) else { return };
            parent = carried.map(|_| table.id(slot));
            is_connected = true;
        }
        let Some(carried) = carried else {
            out.unconnected += u64::from(!is_connected);
            return;
        };
        header = carried;
        if !policy.as_zeek {
            place = place.within(carried.tunnel);
        }
        depth += 1;
    }
}

/// Whether the next header is only quoted by this one.
fn quotes(header: &Header) -> bool {
    matches!(header.layer4, Layer4::Icmp(message) if contacts::is_error(header.transport, message))
}

/// What an ICMP error says did not get through.
fn refused(packet: &Packet) -> Option<&Header> {
    match packet.outer.layer4 {
        Layer4::Icmp(message) if contacts::is_refusal(packet.outer.transport, message) => {
            packet.inner.first()
        }
        _ => None,
    }
}

/// Whether Zeek makes no connection of a header: tunnels that are IP protocols of their own, what
/// has no next header or hides it, a transport header that was cut off, a length beyond the frame.
fn is_unseen_by_zeek(packet: &Packet, header: &Header, depth: usize) -> bool {
    if header.marks.has(Marks::TOO_LONG) {
        return true;
    }
    match header.transport {
        Transport::TCP | Transport::UDP | Transport::ICMP | Transport::ICMPV6 => {
            matches!(header.layer4, Layer4::Opaque | Layer4::TcpPorts(_))
                || depth == 0 && is_cut(packet)
        }
        // IPIP, 6in4, GRE, no next header.
        Transport(4 | 41 | 47 | 59) => true,
        // ESP and mobility, extension headers of IPv6.
        Transport(50 | 135) => header.source.is_ipv6(),
        _ => false,
    }
}

/// Whether less was captured than the shortest transport header takes.
fn is_cut(packet: &Packet) -> bool {
    let header = &packet.outer;
    let least = match header.transport {
        Transport::TCP => 20,
        _ => 8,
    };
    let before = packet.link_bytes() + if header.source.is_ipv6() { 40 } else { 20 };
    packet.captured_bytes < packet.frame_bytes && packet.captured_bytes < before + least
}
