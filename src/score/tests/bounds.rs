//! Hostile input: any contacts in any order, times that go anywhere, a million sources.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::record::{CommunityId, TcpFlags};

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Attempt),
        Just(Outcome::Success),
        Just(Outcome::Refused),
        Just(Outcome::TimedOut),
        any::<u16>().prop_map(|bits| Outcome::OddFlags(TcpFlags(bits))),
        Just(Outcome::SplitHeader),
        Just(Outcome::AckProbe),
        Just(Outcome::Echo),
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(a, b, c)| Outcome::Ended {
            duration_nanos: a,
            sent_bytes: b,
            received_bytes: c
        }),
        (any::<u32>(), any::<u64>()).prop_map(|(count, bytes)| Outcome::Open { count, bytes }),
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(packets, syns, completed)| {
            Outcome::Counts { packets, syns, completed }
        }),
    ]
}

pub(super) fn contacts() -> impl Strategy<Value = Contact> {
    let address = prop_oneof![
        (0..6_u32).prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits << 28 | bits))),
        Just("2001:db8::1".parse().unwrap()),
        Just("::".parse().unwrap()),
    ];
    let transport = prop_oneof![Just(Transport::TCP), Just(Transport::UDP), Just(Transport(0))];
    let port = prop_oneof![Just(22), Just(80), 0..40_u16];
    let time = prop_oneof![any::<i64>(), 0..100_000_000_000_i64];
    (time, address.clone(), address, port, transport, outcomes(), any::<bool>()).prop_map(
        |(time, source, destination, port, transport, outcome, path_proven)| Contact {
            time: Timestamp::from_nanos(time),
            origin: ObservationPoint::default(),
            source,
            destination,
            port,
            source_port: 40_000,
            transport,
            outcome,
            path_proven,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_told_scores_are_bounded_and_explained(
        contacts in proptest::collection::vec(contacts(), 1..300),
    ) {
        let mut court = Court::new();
        for contact in &contacts {
            court.tell(contact);
            if let Some(score) = court.judge.risk(contact.source, contact.time) {
                prop_assert!(score <= 100);
            }
        }
        for alert in &court.alerts {
            prop_assert!(alert.risk_score <= 100 && !alert.reasons.is_empty(), "{alert:?}");
            let blocks = matches!(alert.action, Action::Block | Action::WouldBlock);
            prop_assert!(!blocks || alert.risk_score >= 80, "{alert:?}");
            if let Some(verdict) = alert.details.verdict {
                prop_assert!(verdict.ttl_secs <= 86_400);
            }
        }
    }

    #[test]
    fn success_never_makes_a_source_worse(
        contacts in proptest::collection::vec(contacts(), 1..100),
    ) {
        let mut court = Court::new();
        for contact in &contacts {
            let worse = |court: &Court| court.judge.risk(contact.source, contact.time);
            let before = worse(&court);
            let is_news = court.alerts.len();
            let ok = Contact { outcome: Outcome::Success, ..contact.clone() };
            court.tell(&ok);
            prop_assert!(worse(&court) <= before.max(Some(0)), "{contact:?}");
            prop_assert_eq!(court.alerts.len(), is_news);
            court.tell(contact);
        }
    }
}

#[test]
fn a_million_spoofed_sources_are_held_to_the_bound_and_hide_nobody_who_matters() {
    let mut court =
        Court::with(Settings { max_sources: 20_000, ..settings() }, networks(), Mode::Observe);
    court.scan(OUTSIDE, 9);
    for number in 0..1_000_000_u32 {
        let mut spoofed = contact("1.1.1.1", (HOST, 80), Outcome::TimedOut, at(court.secs));
        spoofed.source = Ipv4Addr::from_bits(0x1400_0000 + number).into();
        court.tell(&spoofed);
    }
    assert_eq!(court.judge.len(), 20_000);
    assert_eq!(court.score(OUTSIDE), 95, "who was judged is remembered");
    assert_eq!(court.alerts.len(), 1);
}

#[test]
fn a_scanner_that_comes_back_is_found_though_a_flood_fills_every_entry_meanwhile() {
    let mut court =
        Court::with(Settings { max_sources: 2_000, ..settings() }, networks(), Mode::Observe);
    let mut number = 0;
    for _ in 0..9 {
        court.scan(OUTSIDE, 1);
        for _ in 0..1_500 {
            number += 1;
            let mut spoofed = contact("1.1.1.1", (HOST, 80), Outcome::TimedOut, at(court.secs));
            spoofed.source = Ipv4Addr::from_bits(0x1400_0000 + number).into();
            court.tell(&spoofed);
        }
    }
    assert_eq!((court.judge.len(), court.score(OUTSIDE)), (2_000, 95));
}

#[test]
fn a_clock_that_goes_back_neither_stops_the_judge_nor_forgets_anybody() {
    let mut court = Court::new();
    court.scan(OUTSIDE, 5);
    court.secs -= 3_600.0;
    court.scan(OUTSIDE, 3);
    assert_eq!(court.actions(), []);
    court.scan(OUTSIDE, 1);
    assert_eq!(court.actions(), [Action::Block], "nine failed, at whatever time");
    let block = court.alerts[0].clone();
    // What it says of time is the latest that was heard of.
    let nanos = block.time.since(at(1_000_000.0));
    assert!((390_000_000..410_000_000).contains(&nanos), "{nanos}");
    court.secs += 30.0;
    assert_eq!(court.score(OUTSIDE), 95, "nothing has faded by going back");
}

#[test]
fn an_alert_names_the_flows_that_it_goes_by() {
    let mut court = Court::new();
    for port in 1..=9 {
        let told = contact(OUTSIDE, (HOST, port), Outcome::Refused, at(court.secs));
        court.tell(&Contact { source_port: 50_000 + port, ..told.clone() });
        // An attempt is not held against it.
        court.tell(&Contact { outcome: Outcome::Attempt, source_port: 1, ..told });
    }
    let expected: Vec<_> = (1..=9)
        .rev()
        .map(|port| {
            CommunityId::of_ports(
                Transport::TCP,
                (OUTSIDE.parse().unwrap(), Some(50_000 + port)),
                (HOST.parse().unwrap(), Some(port)),
            )
        })
        .collect();
    assert_eq!(court.alerts[0].details.community_ids, expected);
}

#[test]
fn more_records_than_a_minute_may_have_are_one() {
    let mut court =
        Court::with(Settings { max_sources: 5_000, ..settings() }, networks(), Mode::Observe);
    for number in 0..1_500_u32 {
        for port in 0..9 {
            let mut scan = contact("1.1.1.1", (HOST, port), Outcome::Refused, at(court.secs));
            scan.source = Ipv4Addr::from_bits(0x1400_0000 + number).into();
            court.tell(&scan);
        }
    }
    assert_eq!(court.alerts.len(), 1_000);
    court.judge.finish(&mut court.alerts);
    assert_eq!(court.alerts.len(), 1_001);
    assert!(court.alerts[1_000].reasons[0].starts_with("500 further records"));
}

#[test]
fn a_source_takes_no_more_than_512_bytes() {
    // The entry, its slot in the index with its share of the index's free room, and its history.
    let index = 2 * (2 * size_of::<u32>() + 1);
    let bytes = ledger::ENTRY_BYTES + index + ledger::HISTORY_BYTES;
    assert!(bytes <= 512, "{bytes}");
}
