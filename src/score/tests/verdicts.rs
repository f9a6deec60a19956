//! How long a verdict holds, for what, and what keeps it from being made.

use std::time::Duration;

use super::*;
use crate::verdict::Scope;

#[test]
fn who_may_be_spoofed_is_held_off_briefly_and_only_from_beginning_anything() {
    let mut court = Court::new();
    court.scan(OUTSIDE, 9);
    let held = court.held();
    assert_eq!(held[0].scope, Scope::New);
    assert!(held[0].ttl.unwrap() <= Duration::from_mins(1));
    for _ in 0..3 {
        court.secs += 61.0;
        court.scan(OUTSIDE, 1);
        let held = court.held();
        assert!(held[0].ttl.unwrap() <= Duration::from_mins(1) && held[0].offence == 0);
    }
}

#[test]
fn a_client_in_whose_name_somebody_scans_keeps_its_sessions() {
    // Its host answers by RSTs what it never asked for.
    let spoofed = |court: &mut Court, count: u16| {
        for _ in 0..count {
            court.port += 1;
            let left = contact(OUTSIDE, ("10.0.0.1", court.port), Outcome::Refused, at(court.secs));
            court.tell(&Contact { path_proven: true, ..left });
            court.secs += 0.1;
        }
    };
    let mut court = Court::new();
    for _ in 0..3 {
        court.proven(OUTSIDE, (HOST, 443));
        spoofed(&mut court, 12);
        let held = court.held();
        assert_eq!((held[0].scope, held[0].offence), (Scope::New, 0), "{held:?}");
        assert!(held[0].ttl.unwrap() <= Duration::from_mins(1));
        court.secs += 61.0;
    }
    // Who never was a client is the one who gives up its own handshakes.
    let mut court = Court::new();
    spoofed(&mut court, 12);
    assert_eq!(court.held()[0].scope, Scope::All);
    // Whoever tries to log in is nobody else.
    let mut court = Court::new();
    court.proven(OUTSIDE, (HOST, 443));
    for _ in 0..40 {
        let try_ = Outcome::Ended { duration_nanos: 1, sent_bytes: 1, received_bytes: 1 };
        court.proven(OUTSIDE, (HOST, 22));
        court.hear(OUTSIDE, (HOST, 22), try_, 0.3);
    }
    spoofed(&mut court, 12);
    assert_eq!(court.held()[0].scope, Scope::All);
}

#[test]
fn each_offence_of_a_proven_source_lasts_four_times_as_long_up_to_a_day() {
    let mut court = Court::new();
    let mut expected = 300.0_f64;
    court.scan(OUTSIDE, 1);
    for offence in 0..5 {
        court.proven(OUTSIDE, (HOST, 443));
        court.scan(OUTSIDE, 9);
        let held = court.held();
        let secs = held[0].ttl.unwrap().as_secs_f64();
        assert_eq!((held[0].scope, held[0].offence), (Scope::All, offence), "{held:?}");
        assert!((0.89..=1.11).contains(&(secs / expected)), "{secs}");
        expected *= 4.0;
        court.secs += secs + 1.0;
    }
    let mut settings = settings();
    settings.block.ttl_max_secs = 200;
    let mut court = Court::with(settings, networks(), Mode::Enforce);
    court.intruder(OUTSIDE, (HOST, 443), 9);
    assert_eq!(court.held()[0].ttl, Some(Duration::from_secs(200)));
}

#[test]
fn an_offence_is_half_forgotten_after_a_week() {
    let mut court = Court::new();
    court.intruder(OUTSIDE, (HOST, 443), 9);
    court.secs += 30.0 * 86_400.0;
    court.intruder(OUTSIDE, (HOST, 443), 9);
    assert_eq!(court.held()[0].offence, 0);
}

#[test]
fn what_is_seen_of_a_silenced_source_is_not_held_against_it() {
    let mut court = Court::new();
    court.intruder(OUTSIDE, (HOST, 443), 9);
    let before = court.judge.sources().next().unwrap();
    court.scan(OUTSIDE, 100);
    assert_eq!(court.judge.sources().next(), Some(before));
    assert_eq!(court.alerts.len(), 1);
}

#[test]
fn after_its_time_a_source_may_connect_again_and_the_next_failure_blocks_it_anew() {
    let mut court = Court::new();
    court.proven(OUTSIDE, (HOST, 443));
    court.scan(OUTSIDE, 9);
    court.secs += 400.0;
    court.hear(OUTSIDE, (HOST, 80), Outcome::Success, 1.0);
    assert_eq!(court.held(), []);
    court.scan(OUTSIDE, 2);
    assert_eq!(court.held().len(), 1);
}

#[test]
fn a_lifted_block_is_not_made_again_until_the_evidence_has_faded() {
    let mut court = Court::new();
    court.scan(OUTSIDE, 9);
    court.store.remove("198.51.100.7/32".parse().unwrap(), at(court.secs)).unwrap();
    court.secs += 61.0;
    court.scan(OUTSIDE, 5);
    assert_eq!(court.held(), []);
    assert_eq!(court.actions(), [Action::Block, Action::Refused]);
    court.secs += 2.0 * 86_400.0;
    court.scan(OUTSIDE, 9);
    assert_eq!(court.held().len(), 1, "its evidence is new");
}

#[test]
fn no_more_blocks_a_minute_than_the_config_allows() {
    let mut settings = settings();
    settings.block.max_new_per_minute = 5;
    let mut court = Court::with(settings, networks(), Mode::Enforce);
    court.secs = 1_000_020.0;
    for host in 0..20 {
        for port in 0..9 {
            let source = format!("198.51.100.{host}");
            court.hear(&source, (HOST, port), Outcome::Refused, 0.0);
        }
    }
    let number = |action| court.actions().iter().filter(|other| **other == action).count();
    assert_eq!((number(Action::Block), number(Action::Refused), court.held().len()), (5, 15, 5));
}

#[test]
fn an_outage_blocks_none_of_those_whom_it_hits() {
    let mut court = Court::new();
    let clients = in_an_outage(&mut court);
    for client in &clients[..10] {
        for port in 0..20 {
            court.hear(client, ("10.0.0.2", 9_000 + port), Outcome::TimedOut, 0.01);
        }
    }
    assert_eq!(court.held(), []);
    assert!(court.alerts.iter().all(|alert| alert.action == Action::Refused));
    let begun = &court.alerts[0];
    assert!(begun.reasons[0].contains("outage") && begun.details.is_alert);
    assert!(begun.source.is_unspecified(), "it is about nobody");
    let of_clients = court.alerts[1..].iter();
    assert!(of_clients.clone().count() > 0);
    for alert in of_clients {
        assert!(alert.reasons.last().unwrap().contains("outage"), "{alert:?}");
    }
    court.judge.reach(at(court.secs + 60.0), &mut court.alerts);
    let about_nobody =
        |court: &Court| court.alerts.iter().filter(|alert| alert.source.is_unspecified()).count();
    assert_eq!(about_nobody(&court), 1, "silence is no success");
    court.judge.reach(at(court.secs + 700.0), &mut court.alerts);
    let over = court.alerts.last().unwrap();
    assert!(over.reasons[0].starts_with("the outage is over") && !over.details.is_alert);
    court.judge.reach(at(court.secs + 730.0), &mut court.alerts);
    assert_eq!(about_nobody(&court), 2);
}

/// Sixty clients reach two ports of a host, and a while later none of them does.
fn in_an_outage(court: &mut Court) -> Vec<String> {
    let clients: Vec<_> = (0..60).map(|n| format!("10.5.0.{n}")).collect();
    for client in &clients {
        for port in [80, 443] {
            court.hear(client, (HOST, port), Outcome::Success, 0.01);
        }
    }
    court.secs += 100.0;
    for client in &clients {
        court.hear(client, (HOST, 80), Outcome::TimedOut, 0.01);
    }
    clients
}

#[test]
fn an_outage_in_which_all_try_new_things_lasts_until_something_works() {
    let mut court = Court::new();
    let clients = in_an_outage(&mut court);
    // Five minutes in which each tries what it knows, and something new.
    for round in 0..60 {
        for client in &clients {
            court.hear(client, (HOST, 443), Outcome::TimedOut, 0.04);
            court.hear(client, ("10.0.0.2", 9_000 + round), Outcome::TimedOut, 0.04);
        }
    }
    assert_eq!(court.held(), []);
    let refused = court.alerts.iter().filter(|alert| !alert.source.is_unspecified());
    assert!(refused.clone().count() > 0 && refused.clone().all(|a| a.action == Action::Refused));
    court.secs += 10.0;
    for client in clients.iter().cycle().take(240) {
        court.hear(client, (HOST, 443), Outcome::Success, 0.1);
    }
    let over = court.alerts.last().unwrap();
    assert!(over.reasons[0].starts_with("the outage is over"), "{over:?}");
    // What failed is forgotten, also where it works now: then some fail, as they do on any day.
    for client in &clients {
        court.hear(client, ("10.0.0.2", 9_000), Outcome::Success, 0.01);
        for port in 0..3 {
            court.hear(client, ("10.0.0.3", 9_000 + port), Outcome::TimedOut, 0.01);
        }
    }
    assert_eq!((court.held(), court.score(&clients[0])), (vec![], 0));
    court.scan(&clients[0], 12);
    assert_eq!(court.held().len(), 1, "who scans now is blocked");
}

#[test]
fn failures_as_an_outage_begins_are_forgotten_with_it() {
    let mut court = Court::new();
    court.scan("10.5.0.0", 2);
    court.secs += 60.0;
    let mut clients = Vec::new();
    for n in 0..60 {
        clients.push(format!("10.5.0.{n}"));
        court.hear(&clients[n], (HOST, 80), Outcome::Success, 0.01);
    }
    court.secs += 100.0;
    court.scan("10.5.0.0", 6);
    for client in &clients {
        court.hear(client, (HOST, 80), Outcome::TimedOut, 0.01);
    }
    court.scan("10.5.0.0", 1);
    court.secs += 60.0;
    for client in &clients {
        court.hear(client, (HOST, 80), Outcome::Success, 0.01);
    }
    court.scan("10.5.0.0", 6);
    assert_eq!(court.held(), [], "eight of nine failed while there was no outage");
    court.scan("10.5.0.0", 1);
    assert_eq!(court.held().len(), 1);
}

#[test]
fn who_was_suspected_before_an_outage_is_so_after_it() {
    let mut court = Court::with(settings(), networks(), Mode::Observe);
    for port in 0..200 {
        court.hear(OUTSIDE, (HOST, port), Outcome::Success, 0.0);
    }
    court.scan(OUTSIDE, 210);
    let clients = in_an_outage(&mut court);
    court.scan(OUTSIDE, 10);
    // Nor does it hold the outage open.
    for client in &clients[..10] {
        for port in 0..200 {
            court.hear(OUTSIDE, (HOST, port), Outcome::Refused, 0.0);
        }
        court.secs += 4.0;
        court.hear(client, (HOST, 80), Outcome::Success, 0.0);
        court.hear(client, (HOST, 443), Outcome::Success, 0.0);
    }
    let over = court.alerts.iter().rfind(|alert| alert.source.is_unspecified()).unwrap();
    assert!(over.reasons[0].starts_with("the outage is over"), "{over:?}");
    assert!(court.score(OUTSIDE) >= 80);
}

#[test]
fn one_client_that_tries_again_and_again_what_is_gone_spares_nobody() {
    let mut court = Court::new();
    for port in [22, 443, 8443] {
        court.hear(INSIDE, (HOST, port), Outcome::Success, 1.0);
    }
    for half in 0..200_u16 {
        for port in [22, 443, 8443] {
            court.hear(INSIDE, (HOST, port), Outcome::Refused, 0.0);
        }
        if half > 100 && half.is_multiple_of(5) {
            court.scan(OUTSIDE, 1);
        }
        court.secs += 0.4;
    }
    assert_eq!(court.actions(), [Action::Block]);
}

#[test]
fn a_sacrificed_scanner_can_not_trip_the_breaker() {
    let mut court = Court::new();
    for port in 0..200 {
        court.hear("198.51.100.8", (HOST, port), Outcome::Success, 0.0);
    }
    for port in 200..600 {
        court.hear("198.51.100.8", (HOST, port), Outcome::Refused, 0.0);
    }
    for port in 0..200 {
        court.hear("198.51.100.8", (HOST, port), Outcome::Refused, 0.0);
    }
    court.scan(OUTSIDE, 9);
    assert_eq!(court.actions().last(), Some(&Action::Block));
}

#[test]
fn nothing_is_put_in_force_while_the_judge_warms_up() {
    let mut settings = settings();
    settings.warmup_secs = 600;
    let mut court = Court::with(settings, networks(), Mode::Enforce);
    court.scan(OUTSIDE, 9);
    assert_eq!((court.actions(), court.held().len()), (vec![Action::WouldBlock], 0));
    court.secs += 601.0;
    court.scan(OUTSIDE, 9);
    assert_eq!(court.actions().last(), Some(&Action::Block));
}

#[test]
fn in_observe_a_block_is_one_that_would_be_and_without_a_store_too() {
    let mut court = Court::with(settings(), networks(), Mode::Observe);
    court.scan(OUTSIDE, 9);
    assert_eq!(court.actions(), [Action::WouldBlock]);
    assert!(!court.alerts[0].details.is_in_force);
    let mut judge = Judge::new(settings(), Arc::new(networks()), Seat::default());
    let mut alerts = Vec::new();
    for port in 0..9 {
        let contact = contact(OUTSIDE, (HOST, port), Outcome::Refused, at(5.0));
        judge.take(&contact, false, contact.time, &mut alerts);
    }
    assert_eq!(alerts[0].action, Action::WouldBlock);
}

#[test]
fn a_full_store_refuses_and_says_so() {
    let mut court = Court::new();
    let watched = watch::channel(Arc::new(networks())).1;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(0, Mode::Enforce, watched));
    let seat = Seat { store: Some(store), ..Seat::default() };
    court.judge = Judge::new(settings(), Arc::new(networks()), seat);
    court.scan(OUTSIDE, 9);
    assert_eq!(court.actions(), [Action::Refused]);
    assert!(court.alerts[0].reasons.last().unwrap().contains("in use"));
}

#[test]
fn addresses_of_one_64_outside_are_one_source() {
    let mut court = Court::new();
    for port in 0..9 {
        let source = format!("2001:db8:1:2::{port}");
        court.hear(&source, ("2001:db8:ff::1", 1_000 + port), Outcome::Refused, 0.1);
    }
    assert_eq!(court.held()[0].network.to_string(), "2001:db8:1:2::/64");
}
