//! What the judge knows, over a restart.

use std::time::Duration;

use proptest::prelude::*;

use super::{bounds::contacts, *};
use crate::{
    score::snapshot::{Snapshot, Unreadable, sealed},
    verdict::Scope,
};

impl Court {
    /// The same court after a restart: what it knew has gone through bytes, and the store has stayed.
    fn restarted(self, settings: Settings, interfaces: [Option<&str>; 2], now: f64) -> Self {
        let taken = at(self.secs);
        let bytes = self.judge.snapshot(interfaces[0], taken).encode();
        let store: Arc<dyn Store> = Arc::clone(&self.store) as _;
        let seat = Seat { observer: "test".into(), store: Some(store), ..Seat::default() };
        let mut judge = Judge::new(settings, Arc::new(networks()), seat);
        let snapshot = Snapshot::decode(&bytes).unwrap();
        judge.resume(snapshot, interfaces[1], at(now)).unwrap();
        Self { judge, alerts: Vec::new(), secs: now, ..self }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn who_goes_on_from_a_snapshot_judges_as_who_went_on(
        before in proptest::collection::vec(contacts(), 1..100),
        after in proptest::collection::vec(contacts(), 1..100),
    ) {
        // What is kept apart from sources and contacts begins anew: those signals are left out.
        let mut settings = settings();
        settings.circuit_breaker.enabled = false;
        settings.signals.auth_attempts.enabled = false;
        settings.signals.idle_connections.enabled = false;
        settings.signals.rate.enabled = false;
        let mut court = Court::with(settings.clone(), networks(), Mode::Observe);
        // Within hours, for what is forgotten after a day is remembered a little longer over a restart.
        let hours = |time: Timestamp, from: f64| at(from + f64::from(u16::try_from(time.nanos().rem_euclid(20_000)).unwrap()));
        let before = before.iter().map(|contact| {
            Contact { time: hours(contact.time, 0.0), ..contact.clone() }
        });
        let before: Vec<_> = before.collect();
        for contact in &before {
            court.tell(contact);
        }
        let latest = before.iter().map(|contact| contact.time).max().unwrap();
        let snapshot = court.judge.snapshot(None, latest);
        prop_assert_eq!(&Snapshot::decode(&snapshot.encode()).unwrap(), &snapshot);
        let mut other = Court::with(settings, networks(), Mode::Observe);
        other.judge.resume(snapshot, None, latest).unwrap();
        for contact in &after {
            let contact = Contact { time: hours(contact.time, 20_000.0), ..contact.clone() };
            court.tell(&contact);
            other.tell(&contact);
            let risk = |court: &Court| court.judge.risk(contact.source, contact.time);
            prop_assert_eq!(risk(&court), risk(&other), "{:?}", contact);
        }
    }

    #[test]
    fn any_bytes_are_a_snapshot_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut court = Court::new();
        court.proven(OUTSIDE, (HOST, 22));
        court.scan(OUTSIDE, 9);
        let good = court.judge.snapshot(Some("eth0"), at(court.secs)).encode();
        let mut changed = good[20..].to_vec();
        for (index, bits) in flips {
            *index.get_mut(&mut changed) ^= bits;
        }
        for bytes in [bytes.clone(), sealed(&bytes), sealed(&changed)] {
            let Ok(snapshot) = Snapshot::decode(&bytes) else { continue };
            let mut court = Court::new();
            let now = snapshot.taken();
            if court.judge.resume(snapshot, None, now).is_ok() {
                court.secs = 2_000_000.0;
                court.scan(OUTSIDE, 3);
                prop_assert!(court.score(OUTSIDE) <= 100);
            }
        }
    }
}

#[test]
fn what_is_no_snapshot_is_named() {
    let good = Court::new().judge.snapshot(None, at(1.0)).encode();
    assert_eq!(Snapshot::decode(b"{}"), Err(Unreadable::Foreign));
    let mut newer = good.clone();
    newer[15] = 9;
    assert_eq!(Snapshot::decode(&newer), Err(Unreadable::Version(9)));
    for cut in 14..good.len() {
        assert!(matches!(Snapshot::decode(&good[..cut]), Err(Unreadable::Damaged(_))), "{cut}");
    }
    let early = Snapshot::decode(&Court::new().judge.snapshot(None, at(500.0)).encode()).unwrap();
    let error = Court::new().judge.resume(early, None, at(100.0)).unwrap_err();
    assert_eq!(error, Unreadable::Ahead(400));
}

#[test]
fn a_recent_snapshot_of_the_same_interface_needs_no_warming_up() {
    let cold = Settings { warmup_secs: 600, ..settings() };
    let eth0 = Some("eth0");
    for (interfaces, later, is_warm) in [
        ([eth0, eth0], 500.0, true),
        ([None, None], 500.0, true),
        ([eth0, eth0], 700.0, false),
        ([eth0, Some("eth1")], 10.0, false),
        ([eth0, None], 10.0, false),
    ] {
        let mut court = Court::with(cold.clone(), networks(), Mode::Enforce);
        court.scan(INSIDE, 1);
        court.secs += 601.0;
        let now = court.secs + later;
        let mut court = court.restarted(cold.clone(), interfaces, now);
        court.scan(OUTSIDE, 9);
        assert_eq!(!court.held().is_empty(), is_warm, "{interfaces:?} after {later} s");
    }
    // Restarts one after the other do not shorten it.
    let mut court = Court::with(cold.clone(), networks(), Mode::Enforce);
    court.scan(INSIDE, 1);
    let now = court.secs + 10.0;
    let mut court = court.restarted(cold, [eth0, eth0], now);
    court.scan(OUTSIDE, 9);
    assert_eq!(court.held(), []);
}

#[test]
fn offences_and_what_stands_are_known_after_a_restart() {
    let mut court = Court::new();
    court.intruder(OUTSIDE, (HOST, 443), 9);
    let now = court.secs + 5.0;
    let mut court = court.restarted(settings(), [None, None], now);
    court.scan(OUTSIDE, 50);
    assert_eq!(
        court.alerts,
        [],
        "its packets are dropped: what is seen of them is not held against it"
    );
    court.secs += 400.0;
    court.intruder(OUTSIDE, (HOST, 443), 9);
    let held = court.held();
    assert_eq!((held[0].scope, held[0].offence), (Scope::All, 1));
    assert!(held[0].ttl.unwrap() > Duration::from_secs(1_000));
}

#[test]
fn a_verdict_that_the_store_no_longer_has_is_made_anew() {
    let mut court = Court::new();
    court.proven(OUTSIDE, (HOST, 443));
    court.scan(OUTSIDE, 9);
    let now = court.secs + 5.0;
    let mut court = court.restarted(settings(), [None, None], now);
    // As after a reboot.
    let networks = watch::channel(Arc::new(networks())).1;
    court.store = Arc::new(MemoryStore::new(1_000, Mode::Enforce, networks));
    let store: Arc<dyn Store> = Arc::clone(&court.store) as _;
    court.judge.act_through(store);
    court.scan(OUTSIDE, 1);
    assert_eq!(court.held().len(), 1);
}

#[test]
fn contacts_that_were_counted_are_not_counted_again() {
    // Seven of twenty fail, and those are tried again after the restart: no more has failed than before.
    let mut court = Court::new();
    for port in 0..20 {
        let outcome = if port < 8 { Outcome::TimedOut } else { Outcome::Success };
        court.hear(INSIDE, (HOST, 1_000 + port), outcome, 1.0);
    }
    let now = court.secs + 60.0;
    let mut court = court.restarted(settings(), [None, None], now);
    for port in 0..8 {
        court.hear(INSIDE, (HOST, 1_000 + port), Outcome::TimedOut, 1.0);
    }
    assert_eq!((court.score(INSIDE), court.alerts.len()), (0, 0));
}

#[test]
fn destinations_that_were_counted_are_not_counted_again() {
    let mut court = Court::new();
    let other = "10.9.0.1";
    for host in [HOST, other] {
        court.hear(INSIDE, (host, 1), Outcome::Refused, 1.0);
    }
    let now = court.secs + 60.0;
    let mut court = court.restarted(settings(), [None, None], now);
    for port in 2..9 {
        court.hear(INSIDE, (if port % 2 == 0 { HOST } else { other }, port), Outcome::Refused, 1.0);
    }
    assert!(court.alerts[0].reasons[0].contains("at 2 hosts"), "{:?}", court.alerts);
}

#[test]
fn what_counted_again_is_known_after_a_restart() {
    let mut court = Court::new();
    regular(&mut court, 20);
    let now = court.secs + 60.0;
    let mut court = court.restarted(settings(), [None, None], now);
    court.scan(INSIDE, 34);
    assert_eq!(court.held(), []);
}
