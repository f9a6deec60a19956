//! Event time as the table sees it: it only goes forward.
//!
//! Each observation point has a clock of its own, whose jumps are doubted until three packets in a
//! row agree: until then its packets are held back. What lies between the clocks of two points is
//! kept as an offset, so that all of them move the one time by which flows end.

use crate::record::{ObservationPoint, Packet, Reading, SteadyClock, Timestamp, is_jump};

/// The time of the table.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now: Option<Timestamp>,
    packets: u64,
    /// By the index of the observation point.
    points: Vec<Option<Local>>,
    known: usize,
    holding: usize,
}

/// The clock of one observation point.
#[derive(Debug)]
struct Local {
    steady: SteadyClock,
    /// What its times are ahead of the table's, in nanoseconds.
    offset: i64,
    /// Its latest time since it was last set back.
    latest: Timestamp,
    /// Times below it have been there.
    ceiling: Timestamp,
    epoch: u32,
    /// Packets whose times are doubted.
    held: Vec<Packet>,
}

/// When a packet came, in terms that don't depend on batches or shards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// The table's time, this packet's included.
    pub(super) now: Timestamp,
    /// The packet's number in the run, from 1; 0 for what no packet caused.
    pub(super) number: u64,
    /// Whether a flow that began at the packet's time may have been there and gone.
    pub(super) late: bool,
}

/// What is to be done with a packet that was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// It is taken at once.
    Now,
    /// These come first: they were held back, and now their times are known.
    After(Vec<Packet>),
    /// It is held back; these were before it, and come now.
    Held(Vec<Packet>),
}

// === impl Clock ===

impl Clock {
    /// When a packet came that goes on from what the clock of its observation point said before; `None`
    /// if there is more to it: then it is to be [heard](Self::hear).
    #[inline]
    pub(super) fn goes_on(&mut self, point: ObservationPoint, packet: &Packet) -> Option<Moment> {
        let Some(Some(local)) = self.points.get_mut(point.index()) else { return None };
        let late = local.goes_on(packet)?;
        self.packets += 1;
        let time = back(packet.time, local.offset);
        let now = self.now.map_or(time, |now| now.max(time));
        self.now = Some(now);
        Some(Moment { now, number: self.packets, late })
    }

    /// When a packet came whose time nobody doubts: the table's never goes back.
    pub(super) fn follow(&mut self, packet: &Packet) -> Moment {
        if self.known == 0 {
            self.meet(ObservationPoint::default(), packet);
        }
        self.packets += 1;
        let late = self.now.is_some_and(|now| packet.time < now);
        let now = self.now.map_or(packet.time, |now| now.max(packet.time));
        self.now = Some(now);
        Moment { now, number: self.packets, late }
    }

    /// A packet of this observation point comes next.
    pub(super) fn hear(&mut self, point: ObservationPoint, packet: &Packet) -> Heard {
        let Some(Some(local)) = self.points.get_mut(point.index()) else {
            self.meet(point, packet);
            return Heard::Now;
        };
        if local.epoch != packet.epoch {
            // Another file or capturer: what it says is news, not a stray.
            local.epoch = packet.epoch;
            local.steady.jump(packet.time);
            return Heard::After(self.take_held(point, true));
        }
        match local.steady.read(packet.time) {
            Reading::Steady if local.held.is_empty() => Heard::Now,
            Reading::Steady => Heard::After(self.take_held(point, false)),
            Reading::Jumped => Heard::After(self.take_held(point, true)),
            Reading::Doubtful => {
                let astray = self.take_held(point, false);
                self.hold(point, packet);
                Heard::Held(astray)
            }
            Reading::StillDoubtful => {
                self.hold(point, packet);
                Heard::Held(Vec::new())
            }
        }
    }

    /// A packet of this time is taken. The second value says whether the point's clock was set back
    /// before it.
    #[inline]
    pub(super) fn arrive(&mut self, point: ObservationPoint, time: Timestamp) -> (Moment, bool) {
        self.packets += 1;
        let number = self.packets;
        let Some(Some(local)) = self.points.get_mut(point.index()) else {
            return (Moment { now: time, number, late: false }, false);
        };
        let set_back = time < local.latest && is_jump(local.latest, time);
        if set_back {
            local.latest = time;
            local.offset = self.now.map_or(0, |now| apart(time, now));
            // Its latest time itself may come a second time.
            local.ceiling = local.ceiling.saturating_add(1);
        }
        local.latest = local.latest.max(time);
        let late = time < local.ceiling;
        local.ceiling = local.ceiling.max(time);
        let time = back(time, local.offset);
        let now = self.now.map_or(time, |now| now.max(time));
        self.now = Some(now);
        (Moment { now, number, late }, set_back)
    }

    /// The packets that are held back, in the order in which they came: no others follow them.
    pub(super) fn release(&mut self) -> Vec<Packet> {
        if self.holding == 0 {
            return Vec::new();
        }
        self.holding = 0;
        let mut held = Vec::new();
        for local in self.points.iter_mut().flatten() {
            if let Some(packet) = local.held.last() {
                local.steady.jump(packet.time);
            }
            held.append(&mut local.held);
        }
        held.sort_by_key(|packet| (packet.epoch, packet.number));
        held
    }

    /// Time has come this far without a packet.
    pub(super) fn advance(&mut self, time: Timestamp) -> Moment {
        let now = self.now.map_or(time, |now| now.max(time));
        self.now = Some(now);
        Moment { now, number: 0, late: false }
    }

    /// The table's time for one that the packets' clocks show; `None` while that is not known: their
    /// clocks differ, or they are about to jump.
    pub(super) fn common(&self, shown: Timestamp) -> Option<Timestamp> {
        let mut offsets = self.points.iter().flatten().map(|local| local.offset);
        let offset = offsets.next()?;
        (self.holding == 0 && offsets.all(|other| other == offset)).then(|| back(shown, offset))
    }

    /// The table's time.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.now
    }

    /// Whether packets are held back.
    pub(super) fn is_holding(&self) -> bool {
        self.holding > 0
    }

    /// Whether packets came from one observation point only.
    pub(super) fn is_single(&self) -> bool {
        self.known < 2
    }

    fn meet(&mut self, point: ObservationPoint, packet: &Packet) {
        let time = packet.time;
        let apart = self.now.filter(|now| is_jump(*now, time)).map_or(0, |now| apart(time, now));
        let mut steady = SteadyClock::default();
        steady.jump(time);
        if self.points.len() <= point.index() {
            self.points.resize_with(point.index() + 1, || None);
        }
        self.known += 1;
        self.points[point.index()] = Some(Local {
            steady,
            offset: apart,
            latest: time,
            ceiling: time,
            epoch: packet.epoch,
            held: Vec::new(),
        });
    }

    fn hold(&mut self, point: ObservationPoint, packet: &Packet) {
        if let Some(Some(local)) = self.points.get_mut(point.index()) {
            local.held.push(packet.clone());
            self.holding += 1;
        }
    }

    /// The packets that a point held; those that were astray get its latest time.
    fn take_held(&mut self, point: ObservationPoint, were_right: bool) -> Vec<Packet> {
        let Some(Some(local)) = self.points.get_mut(point.index()) else { return Vec::new() };
        let mut held = std::mem::take(&mut local.held);
        self.holding -= held.len();
        if !were_right {
            for packet in &mut held {
                packet.time = local.latest;
            }
        }
        held
    }
}

// === impl Local ===

impl Local {
    /// Takes the time of a packet that goes on from the latest one, with none held back: whether it is
    /// late (see [`Moment`]). `None`: there is more to it.
    #[inline]
    fn goes_on(&mut self, packet: &Packet) -> Option<bool> {
        let time = packet.time;
        let steady = self.epoch == packet.epoch
            && self.held.is_empty()
            && !is_jump(self.latest, time)
            && self.steady.goes_on(time);
        if !steady {
            return None;
        }
        self.latest = self.latest.max(time);
        let late = time < self.ceiling;
        self.ceiling = self.ceiling.max(time);
        Some(late)
    }
}

/// How far a time is ahead of another, in nanoseconds, held to the range.
fn apart(time: Timestamp, from: Timestamp) -> i64 {
    time.nanos().saturating_sub(from.nanos())
}

fn back(time: Timestamp, nanos: i64) -> Timestamp {
    Timestamp::from_nanos(time.nanos().saturating_sub(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flow::tests::packets::{CLIENT, SERVER, at, udp},
        record::Interface,
    };

    /// What comes of packets at these seconds: taken at which table time, late, set back.
    fn taken(seconds: &[i64]) -> Vec<(i64, bool, bool)> {
        let mut clock = Clock::default();
        let mut taken = Vec::new();
        for second in seconds {
            let packet = udp(CLIENT, 1, SERVER, 2, 60).at(*second);
            if let Some(moment) = clock.goes_on(packet.origin, &packet) {
                taken.push((moment, false));
                continue;
            }
            let due = match clock.hear(packet.origin, &packet) {
                Heard::Now => vec![packet],
                Heard::After(mut held) => {
                    held.push(packet);
                    held
                }
                Heard::Held(astray) => astray,
            };
            taken.extend(due.iter().map(|packet| clock.arrive(packet.origin, packet.time)));
        }
        let rest = clock.release();
        taken.extend(rest.iter().map(|packet| clock.arrive(packet.origin, packet.time)));
        let told =
            |(moment, set_back): (Moment, bool)| (moment.now.parts().0, moment.late, set_back);
        taken.into_iter().map(told).collect()
    }

    #[test]
    fn time_never_goes_back_and_a_stray_moves_nothing() {
        assert_eq!(
            taken(&[100, 90, 100, 9_000, 101, 2, 102]),
            [
                (100, false, false),
                (100, true, false),
                (100, false, false),
                (100, false, false),
                (101, false, false),
                (101, false, false),
                (102, false, false),
            ]
        );
    }

    #[test]
    fn a_jump_that_is_confirmed_or_never_contradicted_is_one() {
        assert_eq!(
            taken(&[100, 200, 201, 202]),
            [(100, false, false), (200, false, false), (201, false, false), (202, false, false)]
        );
        assert_eq!(taken(&[100, 200]), [(100, false, false), (200, false, false)]);
        // The clock was set back; the table's time goes on from where it was.
        assert_eq!(
            taken(&[1000, 10, 11, 12, 20, 1000, 1000, 1000, 1001]),
            [
                (1000, false, false),
                (1000, true, true),
                (1001, true, false),
                (1002, true, false),
                (1010, true, false),
                (1990, true, false),
                (1990, true, false),
                (1990, true, false),
                (1991, false, false),
            ]
        );
    }

    #[test]
    fn points_whose_clocks_differ_move_one_time() {
        let mut clock = Clock::default();
        let other = ObservationPoint::of("clock", Some(Interface::Numbered(1)));
        for (point, second, now) in [
            (ObservationPoint::default(), 1000, 1000),
            (other, 500, 1000),
            (ObservationPoint::default(), 1001, 1001),
            (other, 502, 1002),
        ] {
            let packet = udp(CLIENT, 1, SERVER, 2, 60).at(second);
            assert!(matches!(clock.hear(point, &packet), Heard::Now));
            assert_eq!(clock.arrive(point, packet.time).0.now, at(now));
        }
        assert_eq!(clock.common(at(1001)), None);
        assert!(!clock.is_single());
    }

    #[test]
    fn another_file_is_believed_at_once() {
        let mut clock = Clock::default();
        let mut packet = udp(CLIENT, 1, SERVER, 2, 60).at(1000);
        assert!(matches!(clock.hear(packet.origin, &packet), Heard::Now));
        clock.arrive(packet.origin, packet.time);
        (packet.epoch, packet.time) = (1, at(10));
        assert!(
            matches!(clock.hear(packet.origin, &packet), Heard::After(held) if held.is_empty())
        );
        assert!(clock.arrive(packet.origin, packet.time).1);
        assert_eq!(clock.common(at(11)), Some(at(1001)));
    }
}
