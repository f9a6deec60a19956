//! One TCP endpoint as seen from the middle: its state, its sequence space, its holes.
//!
//! The states and their transitions, and what earns a letter in the history, are Zeek's
//! (`TCPSessionAdapter.cc`, `TCP_Endpoint.cc`, `TCP_Reassembler.cc`), so that the records agree.
//! Payload is never kept: a hole is two sequence numbers.

mod machine;

use std::mem;

pub(super) use self::machine::{
    Opening, are_over, conn_state, establish, is_over, is_over_for_zeek, is_reversal, of_states,
    opening, opening_as_zeek, pass_by, resume, take,
};
use crate::record::{History, Letter, MacAddress, Tcp, TcpFlags};

/// What an endpoint has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Inactive,
    SynSent,
    SynAckSent,
    Established,
    Partial,
    Closed,
    Reset,
}

/// One side of a flow.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    /// Packets since the last report.
    pub(super) packets: u64,
    /// IP bytes since the last report.
    pub(super) bytes: u64,
    /// The sequence number of its SYN, or one below the first byte seen.
    pub(super) start: u32,
    /// One past the highest byte it has sent.
    last: u32,
    /// One past the last byte before the first hole.
    next: u32,
    /// What came beyond the hole: from the lowest to one past the highest byte; empty if equal.
    beyond: (u32, u32),
    /// One past its FIN.
    fin: u32,
    last_syn: u32,
    last_fin: u32,
    last_reset: u32,
    retransmissions: u32,
    zero_windows: u32,
    gaps: u16,
    bad_checksums: u16,
    pub(super) flags: TcpFlags,
    mac: [u8; 6],
    marks: u16,
    pub(super) state: State,
    /// The state before this one.
    before: State,
}

// What a side has done, as bits of `marks`. The first four appear once in a history.
const ACKED: u16 = 1;
const DATA: u16 = 1 << 1;
const INCONSISTENT: u16 = 1 << 2;
const MULTI_FLAG: u16 = 1 << 3;
const SYN: u16 = 1 << 4;
const FIN: u16 = 1 << 5;
const RESET: u16 = 1 << 6;
/// It has sent FIN or RST.
const CLOSING: u16 = 1 << 7;
/// And all before that was seen.
const CLOSED: u16 = 1 << 8;
/// It has sent payload.
const PAYLOAD: u16 = 1 << 9;
/// More than 2 GiB lie behind it, so its start no longer tells old from new.
const WRAPPED: u16 = 1 << 10;
/// More than one piece lies beyond the hole.
const SEVERAL: u16 = 1 << 11;
const MAC: u16 = 1 << 12;
/// It has sent anything at all.
const ACTIVE: u16 = 1 << 13;
/// Its start is known, from itself or from what its peer acknowledged.
const PLACED: u16 = 1 << 14;
/// It closed for good with a RST, or when its peer had closed, too, or had never spoken.
const OVER: u16 = 1 << 15;

/// A RST whose number is further than this from what was sent lies outside the window: the largest that
/// is offered without scaling. Larger ones may be offered, but then data comes before the RST.
const LARGEST_WINDOW: u32 = 65_535;

/// A jump in sequence numbers that a SYN or RST is not believed, in bytes (Zeek's value).
const IMPLAUSIBLE_JUMP: i32 = 1 << 20;

/// What one segment is, beside its header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) tcp: &'a Tcp,
    pub(super) by_initiator: bool,
    /// Whether the payload was captured, as far as that matters.
    pub(super) payload_seen: bool,
    /// Whether to judge as Zeek does.
    pub(super) as_zeek: bool,
}

// === impl Side ===

impl Side {
    /// Takes note of a packet.
    pub(super) fn count(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
        // Written only where it changes: what reads it next would wait for the write.
        if !self.has(ACTIVE) {
            self.marks |= ACTIVE;
        }
    }

    /// Whether it has ever sent anything that counts.
    pub(super) fn is_active(&self) -> bool {
        self.has(ACTIVE)
    }

    /// Whether it has closed, and all it sent before was seen.
    pub(super) fn is_closed(&self) -> bool {
        self.has(CLOSED)
    }

    /// Whether its link-layer address is known.
    pub(super) fn is_placed(&self) -> bool {
        self.has(MAC)
    }

    pub(super) fn mac(&self) -> Option<MacAddress> {
        self.has(MAC).then_some(MacAddress(self.mac))
    }

    pub(super) fn set_mac(&mut self, mac: Option<MacAddress>) {
        if let Some(MacAddress(mac)) = mac.filter(|_| !self.has(MAC)) {
            self.mac = mac;
            self.marks |= MAC;
        }
    }

    /// Exchanges what was counted, and the link-layer addresses; what each has done stays.
    pub(super) fn exchange(&mut self, other: &mut Self) {
        mem::swap(&mut self.packets, &mut other.packets);
        mem::swap(&mut self.bytes, &mut other.bytes);
        mem::swap(&mut self.mac, &mut other.mac);
        let differs = (self.marks ^ other.marks) & MAC;
        self.marks ^= differs;
        other.marks ^= differs;
    }

    /// A payload letter for a transport without states.
    pub(super) fn datagram(&mut self, by_initiator: bool, history: &mut History) {
        self.once(DATA, Letter::Data, by_initiator, history);
    }

    /// A packet that counts for nothing else.
    pub(super) fn bad_checksum(&mut self, by_initiator: bool, history: &mut History) {
        self.bad_checksums = self.bad_checksums.saturating_add(1);
        if is_power_of_ten(u32::from(self.bad_checksums)) {
            history.push(Letter::BadChecksum, by_initiator);
        }
    }

    /// Takes note of its SYN, which its peer's answer overtook, before the roles are exchanged.
    pub(super) fn note_overtaken(&mut self, history: &mut History) {
        self.once(SYN, Letter::Syn, false, history);
        self.last_syn = 0;
    }

    /// Whether it went on after its SYN: it acknowledged something, or sent payload.
    pub(super) fn has_gone_on(&self) -> bool {
        self.marks & (ACKED | DATA) != 0
    }

    fn has(&self, mark: u16) -> bool {
        self.marks & mark != 0
    }

    fn enter(&mut self, state: State) {
        if self.state != state {
            self.before = self.state;
            self.state = state;
        }
    }

    fn once(&mut self, mark: u16, letter: Letter, by_initiator: bool, history: &mut History) {
        if !self.has(mark) {
            self.marks |= mark;
            history.push(letter, by_initiator);
        }
    }

    /// Starts the sequence space at `start`, having reached `last`.
    fn place(&mut self, start: u32, last: u32) {
        self.start = start;
        self.last = last;
        self.next = start.wrapping_add(1);
        self.beyond = (0, 0);
        self.marks = self.marks & !(WRAPPED | SEVERAL) | PLACED;
    }

    /// Moves the sequence space of a connection that goes on to another start: what was seen keeps its
    /// place in it.
    fn shift(&mut self, start: u32, last: u32) {
        let distance = start.wrapping_sub(self.start);
        self.start = start;
        self.last = last;
        self.next = self.next.wrapping_add(distance);
        let (from, past) = self.beyond;
        self.beyond = (from.wrapping_add(distance), past.wrapping_add(distance));
    }

    /// Starts the sequence space if this segment does; says whether it did.
    fn begin(&mut self, tcp: &Tcp, past: u32, as_zeek: bool) -> bool {
        let syn = tcp.flags.has(TcpFlags::SYN);
        match self.state {
            State::Inactive if syn => self.place(tcp.sequence, past),
            // Its handshake comes again, and that says nothing new.
            State::Established | State::Partial
                if syn && !as_zeek && tcp.sequence == self.start => {}
            State::Established | State::Partial if syn => self.shift(tcp.sequence, past),
            // As though there had been a SYN; the first segment is no retransmission.
            State::Inactive => self.place(tcp.sequence.wrapping_sub(1), tcp.sequence),
            State::SynSent | State::SynAckSent if syn && tcp.sequence != self.start => {
                self.place(tcp.sequence, past);
            }
            State::Reset if syn && self.before == State::Inactive => {
                self.place(tcp.sequence, past);
            }
            _ => return false,
        }
        true
    }

    /// Whether a RST of its lies outside the window that its peer offers.
    fn is_outside(&self, tcp: &Tcp) -> bool {
        let reached = if delta(self.next, self.last) > 0 { self.next } else { self.last };
        let distance = delta(tcp.sequence, reached).unsigned_abs();
        self.state != State::Inactive && distance > LARGEST_WINDOW
    }

    /// Whether a sequence number lies before the start of what was seen.
    fn precedes(&self, sequence: u32) -> bool {
        !self.has(WRAPPED) && delta(sequence, self.start) < 0
    }

    #[inline]
    fn note(&mut self, segment: Segment<'_>, history: &mut History) {
        let Segment { tcp, by_initiator, as_zeek, .. } = segment;
        let flags = tcp.flags;
        // Zeek counts from the start, which a SYN moves.
        let start = if as_zeek { self.start } else { 0 };
        let (syn, fin, reset) =
            (flags.has(TcpFlags::SYN), flags.has(TcpFlags::FIN), flags.has(TcpFlags::RST));
        match u8::from(syn) + u8::from(fin) + u8::from(reset) {
            0 if tcp.payload_bytes > 0 => self.once(DATA, Letter::Data, by_initiator, history),
            0 if flags.has(TcpFlags::ACK) => self.once(ACKED, Letter::Ack, by_initiator, history),
            0 => {}
            1 => {
                let (mark, letter, number, last) = if syn && flags.has(TcpFlags::ACK) {
                    (SYN, Letter::SynAck, tcp.sequence, &mut self.last_syn)
                } else if syn {
                    (SYN, Letter::Syn, tcp.sequence, &mut self.last_syn)
                } else if fin {
                    let end = tcp.sequence.wrapping_add(tcp.payload_bytes);
                    (FIN, Letter::Fin, end, &mut self.last_fin)
                } else {
                    (RESET, Letter::Reset, tcp.sequence, &mut self.last_reset)
                };
                let number = number.wrapping_sub(start);
                if self.marks & mark == 0 || *last != number {
                    history.push(letter, by_initiator);
                }
                *last = number;
                self.marks |= mark;
            }
            _ if fin && reset => {
                self.once(INCONSISTENT, Letter::Inconsistent, by_initiator, history);
            }
            _ => self.once(MULTI_FLAG, Letter::MultiFlag, by_initiator, history),
        }
    }

    /// Moves the highest byte sent; a segment with payload that does not is a retransmission.
    #[inline]
    fn advance(&mut self, segment: Segment<'_>, past: u32, is_first: bool, history: &mut History) {
        let Segment { tcp, by_initiator, as_zeek, .. } = segment;
        let ahead = delta(past, self.last);
        let implausible = ahead.unsigned_abs() > IMPLAUSIBLE_JUMP.unsigned_abs();
        if (tcp.flags.has(TcpFlags::SYN) || tcp.flags.has(TcpFlags::RST)) && implausible {
            return;
        }
        let only_syn = self.last == self.start.wrapping_add(1);
        if tcp.flags.has(TcpFlags::FIN) && only_syn {
            self.reach(past);
        } else if self.state == State::Reset {
        } else if ahead > 0 {
            self.reach(past);
        } else if tcp.payload_bytes > 0 && (as_zeek || !is_first) {
            self.retransmissions = self.retransmissions.saturating_add(1);
            if is_power_of_ten(self.retransmissions) {
                history.push(Letter::Retransmission, by_initiator);
            }
        }
    }

    fn reach(&mut self, last: u32) {
        self.last = last;
        if delta(last, self.start) < 0 && delta(last, self.next) >= 0 {
            self.marks |= WRAPPED;
        }
    }

    /// Payload arrived.
    fn receive(&mut self, from: u32, past: u32) {
        if delta(from, self.next) <= 0 {
            if delta(past, self.next) > 0 {
                self.next = past;
            }
            self.join();
        } else if self.beyond.0 == self.beyond.1 {
            self.beyond = (from, past);
        } else {
            if delta(from, self.beyond.1) > 0 || delta(self.beyond.0, past) > 0 {
                self.marks |= SEVERAL;
            }
            if delta(self.beyond.0, from) > 0 {
                self.beyond.0 = from;
            }
            if delta(past, self.beyond.1) > 0 {
                self.beyond.1 = past;
            }
        }
    }

    /// Counts what lies beyond the hole as in order once the hole is filled.
    fn join(&mut self) {
        if self.beyond.0 != self.beyond.1 && delta(self.beyond.0, self.next) <= 0 {
            if delta(self.beyond.1, self.next) > 0 {
                self.next = self.beyond.1;
            }
            self.beyond = (0, 0);
            self.marks &= !SEVERAL;
        }
    }

    /// The peer acknowledges bytes; those that were never seen are a gap, if both sides are in order.
    fn acknowledged(
        &mut self,
        ack: u32,
        in_order: bool,
        by_initiator: bool,
        history: &mut History,
    ) {
        let ack =
            if self.has(FIN) && delta(ack, self.fin) >= 0 { self.fin.wrapping_sub(1) } else { ack };
        // Where the beginning was not seen, the first byte may have been a keep-alive's.
        let begun = self.marks & SYN != 0 || delta(ack, self.start) > 2;
        if delta(ack, self.next) <= 0 || !begun {
            return;
        }
        let pieces = self.beyond.0 != self.beyond.1 && delta(ack, self.beyond.0) > 0;
        let mut gaps: u16 = 1;
        if pieces && (self.has(SEVERAL) || delta(ack, self.beyond.1) > 0) {
            gaps += 1;
        }
        self.next = ack;
        self.join();
        if in_order {
            for _ in 0..gaps {
                self.gaps = self.gaps.saturating_add(1);
                if is_power_of_ten(u32::from(self.gaps)) {
                    history.push(Letter::Gap, by_initiator);
                }
            }
        }
    }

    /// Whether it is established, or was until it closed.
    fn is_in_order(&self) -> bool {
        self.state == State::Established
            || (self.state == State::Closed && self.before == State::Established)
    }

    /// Whether it sent a RST after a FIN that had closed it for good.
    pub(super) fn is_reset_after_its_close(&self) -> bool {
        self.state == State::Reset && self.before == State::Closed && self.is_closed()
    }

    /// Closes it for good once all it sent before its FIN or RST has been seen.
    #[inline]
    fn settle(&mut self, peer: &Self) {
        if !self.has(CLOSING) || self.is_closed() || delta(self.last, self.next) > 1 {
            return;
        }
        self.marks |= CLOSED;
        let is_alone = peer.is_closed() || peer.state == State::Inactive;
        if self.state == State::Reset || is_alone {
            self.marks |= OVER;
        }
    }
}

/// The signed distance between two sequence numbers (RFC 1982).
fn delta(one: u32, other: u32) -> i32 {
    one.wrapping_sub(other).cast_signed()
}

fn is_power_of_ten(count: u32) -> bool {
    matches!(count, 1 | 10 | 100 | 1_000 | 10_000 | 100_000 | 1_000_000 | 10_000_000 | 100_000_000)
}
