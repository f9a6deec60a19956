//! The judge: a contact beside the update of a hash map with as many sources, what a source takes, and a
//! million spoofed ones.
//!
//! Both are timed in turns over the same sources; the figures are the lowest tenth of the samples, as other
//! load on the machine only ever adds.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::{
    collections::HashMap,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate::{
    networks::Networks,
    record::{Alert, Contact, ObservationPoint, Outcome, Timestamp, Transport},
    score::{Judge, Seat, Settings},
};

/// Contacts of one sample.
const SAMPLE: u32 = 500;
const SAMPLES: usize = 4_000;

/// Makes contacts: of the sources in turn, each with a new port of one of few hosts; one in eight fails.
struct Traffic {
    sources: u32,
    number: u32,
}

fn main() {
    for sources in [1_000, 100_000, 1_000_000] {
        contact_beside_map(sources);
    }
    spoofed();
    memory();
}

fn contact_beside_map(sources: u32) {
    let mut judge = judge(1_000_000);
    let mut map: HashMap<IpAddr, (u64, Timestamp)> = HashMap::new();
    let (mut traffic, mut alerts) = (Traffic { sources, number: 0 }, Vec::new());
    // Everybody is known before it begins.
    for _ in 0..sources.div_ceil(SAMPLE).max(10) {
        let contacts = traffic.some();
        judged(&mut judge, &contacts, &mut alerts);
        updated(&mut map, &contacts);
    }
    let (mut of_judge, mut of_map) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let contacts = traffic.some();
        of_judge.push(judged(&mut judge, &contacts, &mut alerts));
        of_map.push(updated(&mut map, &contacts));
    }
    let (judge, map) = (nanos(of_judge), nanos(of_map));
    println!(
        "{sources} sources: {judge:.0} ns a contact, {map:.0} ns an update of a map, {:.2} times",
        judge / map
    );
}

/// The cap is reached by sources that are seen once; then the rate with every contact of a new one.
fn spoofed() {
    let mut judge = judge(1_000_000);
    let mut alerts = Vec::new();
    let mut traffic = Traffic { sources: 100_000, number: 0 };
    let mut known = Vec::new();
    for _ in 0..SAMPLES {
        known.push(judged(&mut judge, &traffic.some(), &mut alerts));
    }
    let mut flood = Traffic { sources: u32::MAX, number: 0 };
    let mut spoofed = Vec::new();
    while flood.number < 3_000_000 {
        let contacts = flood.some();
        let took = judged(&mut judge, &contacts, &mut alerts);
        if flood.number > 1_500_000 {
            spoofed.push(took);
        }
    }
    let (known, spoofed) = (nanos(known), nanos(spoofed));
    println!(
        "spoofed: {} sources kept, {spoofed:.0} ns a contact of a new one, {known:.0} ns of known ones: \
         {:.2} of the rate",
        judge.len(),
        known / spoofed
    );
}

fn memory() {
    let sources = 200_000_u32;
    let mut judge = judge(1_000_000);
    let mut alerts = Vec::new();
    let info = allocation_counter::measure(|| {
        let mut traffic = Traffic { sources, number: 0 };
        while traffic.number < sources {
            let contacts = traffic.some();
            judged(&mut judge, &contacts, &mut alerts);
        }
    });
    // Contacts that are remembered are bounded apart: 2²¹ of them, 17 bytes each at most.
    println!(
        "memory: {} bytes a source, contacts that are remembered and free room included",
        info.bytes_current / i64::from(sources)
    );
}

fn judge(max_sources: usize) -> Judge {
    let internal = ["10.0.0.0/8".parse().expect("a network")];
    let networks = Networks { internal: internal.into_iter().collect(), ..Networks::default() };
    let settings = Settings { max_sources, ..Settings::default() };
    Judge::new(settings, Arc::new(networks), Seat::default())
}

fn judged(judge: &mut Judge, contacts: &[Contact], alerts: &mut Vec<Alert>) -> Duration {
    let began = now();
    // As the stage does with a batch.
    for some in contacts.chunks(Judge::AHEAD) {
        judge.look_ahead(some);
        for contact in some {
            judge.take(contact, false, contact.time, alerts);
        }
    }
    let took = began.elapsed();
    alerts.clear();
    took
}

fn updated(map: &mut HashMap<IpAddr, (u64, Timestamp)>, contacts: &[Contact]) -> Duration {
    let began = now();
    for contact in contacts {
        let known = map.entry(contact.source).or_default();
        known.0 += 1;
        known.1 = contact.time;
    }
    black_box(&map);
    began.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a bench lives in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds of one contact, by the lowest tenth of the samples.
fn nanos(mut samples: Vec<Duration>) -> f64 {
    samples.sort_unstable();
    let lowest = &samples[..(samples.len() / 10).max(1)];
    let sum: Duration = lowest.iter().sum();
    let count = u32::try_from(lowest.len()).unwrap_or(1);
    (sum / count).as_secs_f64() * 1e9 / f64::from(SAMPLE)
}

// === impl Traffic ===

impl Traffic {
    fn some(&mut self) -> Vec<Contact> {
        (0..SAMPLE).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Contact {
        let number = self.number;
        self.number += 1;
        // Of each source one in eight, and not the same source always.
        let fails = (number / self.sources + number).is_multiple_of(8);
        let [_, _, host, low] = number.wrapping_mul(2_654_435_761).to_be_bytes();
        Contact {
            time: Timestamp::from_nanos(1_700_000_000_000_000_000 + i64::from(number) * 20_000),
            origin: ObservationPoint::default(),
            source: Ipv4Addr::from_bits(0x1400_0000 + number % self.sources).into(),
            destination: [10, 0, 0, host % 8].into(),
            port: 1_000
                + u16::from(low)
                + u16::try_from(number / self.sources % 10_000).unwrap_or(0),
            source_port: 40_000,
            transport: Transport::TCP,
            outcome: if fails { Outcome::TimedOut } else { Outcome::Success },
            path_proven: !fails,
        }
    }
}
