//! Events into contacts, with a ring that the tests fill.

use super::*;

const SECOND: u64 = 1_000_000_000;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A ring of which a test knows everything.
#[derive(Debug, Default)]
struct Made {
    events: VecDeque<Event>,
    places: BTreeMap<u32, Place>,
    /// Places can't be read.
    fails: bool,
    suspect: Suspect,
    released: Vec<(u32, u64)>,
}

impl Ring for Made {
    fn drain(&mut self, most: usize, take: &mut dyn FnMut(Event)) -> usize {
        let taken = most.min(self.events.len());
        self.events.drain(..taken).for_each(take);
        taken
    }

    fn place(&mut self, index: u32) -> Result<Place, Error> {
        if self.fails {
            return Err(Error::Busy("tg_places"));
        }
        Ok(self.places.get(&index).copied().unwrap_or_default())
    }

    fn tally(&mut self) -> Result<Tally, Error> {
        Ok(Tally::default())
    }

    fn suspect(&mut self, _: u32) -> Result<Suspect, Error> {
        Ok(self.suspect)
    }

    fn release(&mut self, index: u32, mark: u64) -> Result<(), Error> {
        self.released.push((index, mark));
        Ok(())
    }
}

fn event(told: Told, port: u16, time_ns: u64) -> Event {
    Event {
        time_ns,
        mark: u64::from(port) | 1 << 32,
        source: CLIENT,
        destination: HOST,
        place: port.into(),
        source_port: 40_000,
        destination_port: port,
        tcp_flags: 2,
        told,
        transport: 6,
        proven: false,
        socket: None,
        outward: false,
    }
}

fn place(port: u16, progress: u8) -> Place {
    Place { mark: u64::from(port) | 1 << 32, progress, ..Place::default() }
}

#[test]
fn a_moment_is_that_of_the_try_that_took_least() {
    // The second try waits for nothing.
    let mut ticks = [0, 900, 1_000, 1_010, 2_000, 2_700].into_iter();
    let mut walls = [5, 7, 9].into_iter();
    let moment = Moment::read(
        || ticks.next().unwrap(),
        || Timestamp::from_nanos(1_000_000 * walls.next().unwrap()),
    );
    assert_eq!(moment, Moment { monotonic_ns: 1_005, wall: Timestamp::from_nanos(7_000_000) });
    let shown = [0, 1_005, 2_005, u64::MAX].map(|ns| moment.of(ns).nanos());
    assert_eq!(shown, [6_998_995, 7_000_000, 7_001_000, i64::MAX]);
}

fn at(seconds: u64) -> Moment {
    let monotonic_ns = seconds * SECOND;
    Moment { monotonic_ns, wall: Timestamp::from_nanos(1_000_000 + monotonic_ns.cast_signed()) }
}

fn here(sockets_decide: bool) -> View {
    View { addresses: vec![HOST], sockets_decide }
}

/// What is told of these events at this time, in few words.
fn told(teller: &mut Teller, ring: &mut Made, view: &View, now: Moment) -> Vec<(u16, Outcome)> {
    let mut out = Vec::new();
    teller.turn(ring, view, now, 1_000, &mut out);
    out.iter().map(|contact| (contact.port, contact.outcome)).collect()
}

fn teller(sees_replies: bool) -> Teller {
    Teller::new(ObservationPoint::default(), sees_replies)
}

#[test]
fn an_attempt_times_out_if_the_program_knows_of_no_answer_and_only_then() {
    let (mut teller, mut ring) = (teller(true), Made::default());
    for (port, progress) in [(1, 1), (2, 3), (3, 5), (4, 2)] {
        ring.events.push_back(event(Told::Attempt, port, SECOND));
        ring.places.insert(port.into(), place(port, progress));
    }
    // Half open, and the SYN-ACK was seen.
    let half = Place { flags: 8, ..place(5, 2) };
    ring.events.push_back(event(Told::Attempt, 5, SECOND));
    ring.places.insert(5, half);
    // Another connection has taken the place.
    ring.events.push_back(event(Told::Attempt, 6, SECOND));
    ring.places.insert(6, place(7, 1));
    let first = told(&mut teller, &mut ring, &here(true), at(1));
    assert_eq!(first.len(), 6);
    assert!(first.iter().all(|(_, outcome)| *outcome == Outcome::Attempt));
    assert!(told(&mut teller, &mut ring, &here(true), at(3)).is_empty());
    let late = told(&mut teller, &mut ring, &here(true), at(4));
    assert_eq!(late, [(1, Outcome::TimedOut), (5, Outcome::TimedOut)]);
    assert!(told(&mut teller, &mut ring, &here(true), at(60)).is_empty());
}

#[test]
fn places_that_can_t_be_read_make_nobody_fail() {
    let (mut teller, mut ring) = (teller(true), Made { fails: true, ..Made::default() });
    ring.events.push_back(event(Told::Attempt, 1, 0));
    ring.events.push_back(event(Told::End, 22, 0));
    let told = told(&mut teller, &mut ring, &here(true), at(9));
    assert_eq!(told, [(1, Outcome::Attempt)]);
}

#[test]
fn a_syn_to_no_socket_fails_at_once_only_where_sockets_decide() {
    let syn = Event { socket: Some(Socket::None), ..event(Told::Attempt, 81, 0) };
    let refused = vec![(81, Outcome::Attempt), (81, Outcome::Refused)];
    let attempt = vec![(81, Outcome::Attempt)];
    let elsewhere = View { addresses: vec![CLIENT], sockets_decide: true };
    for (view, expected) in
        [(here(true), refused), (here(false), attempt.clone()), (elsewhere, attempt)]
    {
        let (mut teller, mut ring) = (teller(false), Made::default());
        ring.events.push_back(syn);
        ring.places.insert(81, place(81, 1));
        assert_eq!(told(&mut teller, &mut ring, &view, at(0)), expected);
        assert!(told(&mut teller, &mut ring, &view, at(60)).is_empty());
    }
    // One that listens may be left half open.
    let (mut teller, mut ring) = (teller(false), Made::default());
    ring.events.push_back(Event { socket: Some(Socket::Listening), ..syn });
    ring.places.insert(81, place(81, 1));
    told(&mut teller, &mut ring, &here(true), at(0));
    assert_eq!(told(&mut teller, &mut ring, &here(true), at(3)), [(81, Outcome::TimedOut)]);
}

#[test]
fn a_stray_ack_is_a_probe_once_a_socket_or_a_reply_says_so() {
    let events = [event(Told::StrayAck, 9, 0), event(Told::AckProbe, 9, 1)];
    for sockets_decide in [true, false] {
        let (mut teller, mut ring) = (teller(true), Made::default());
        ring.events.extend(events);
        let told = told(&mut teller, &mut ring, &here(sockets_decide), at(0));
        assert_eq!(told, [(9, Outcome::AckProbe)], "{sockets_decide}");
    }
    let (mut teller, mut ring) = (teller(true), Made::default());
    ring.events.push_back(event(Told::StrayAck, 9, 0));
    assert!(told(&mut teller, &mut ring, &here(false), at(60)).is_empty());
}

#[test]
fn the_end_of_a_connection_tells_its_time_and_its_bytes_each_way() {
    let (mut teller, mut ring) = (teller(true), Made::default());
    ring.events.push_back(event(Told::End, 22, SECOND));
    let over =
        Place { low_bytes: 300, high_bytes: 700, began: u32::MAX, changed: 953, ..place(22, 5) };
    ring.places.insert(22, over);
    let ended = Outcome::Ended {
        duration_nanos: 954 * tidegate_ebpf::evidence::UNIT_NS,
        sent_bytes: 700,
        received_bytes: 300,
    };
    assert_eq!(told(&mut teller, &mut ring, &here(true), at(1)), [(22, ended)]);
}

#[test]
fn open_connections_to_web_servers_are_told_every_ten_seconds_until_they_are_over() {
    let (mut teller, mut ring) = (teller(true), Made::default());
    told(&mut teller, &mut ring, &here(true), at(0));
    for place_of in [443_u32, 1443] {
        let mark = u64::from(place_of);
        let success = Event { proven: true, ..event(Told::Success, 443, SECOND) };
        ring.events.push_back(Event { mark, place: place_of, ..success });
        let place = Place { mark, progress: 3, low_bytes: 50, ..Place::default() };
        ring.places.insert(place_of, place);
    }
    let success = (443, Outcome::Success);
    assert_eq!(told(&mut teller, &mut ring, &here(true), at(1)), [success, success]);
    let open = |count, bytes| vec![(443, Outcome::Open { count, bytes })];
    assert_eq!(told(&mut teller, &mut ring, &here(true), at(10)), open(2, 100));
    ring.places.get_mut(&443).unwrap().high_bytes = 7;
    ring.places.get_mut(&1443).unwrap().mark = 0;
    assert!(told(&mut teller, &mut ring, &here(true), at(19)).is_empty());
    assert_eq!(told(&mut teller, &mut ring, &here(true), at(20)), open(1, 7));
}

#[test]
fn times_are_the_wall_clock_s_and_odd_packets_keep_what_is_odd() {
    let (mut teller, mut ring) = (teller(true), Made::default());
    let odd = Event { tcp_flags: 0x29, ..event(Told::OddFlags, 7, 2 * SECOND) };
    ring.events.extend([odd, event(Told::SplitHeader, 0, 0), event(Told::Echo, 0, 0)]);
    let mut out = Vec::new();
    let received = teller.turn(&mut ring, &here(true), at(5), 2, &mut out);
    assert_eq!(received, 2, "no more than it was told to");
    assert_eq!(out[0].time, Timestamp::from_nanos(1_000_000 + 2 * SECOND.cast_signed()));
    assert_eq!(out[0].outcome, Outcome::OddFlags(TcpFlags(0x29)));
    assert_eq!(out[1].outcome, Outcome::SplitHeader);
    assert_eq!(teller.turn(&mut ring, &here(true), at(5), 2, &mut out), 1);
}
