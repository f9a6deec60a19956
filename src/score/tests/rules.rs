//! Levels, and who is spared.

use super::*;
use crate::networks::Entry;

fn listed(net: &str, place: &str) -> NetworkMap<Entry> {
    let entry = Entry { place: place.to_owned(), ..Entry::default() };
    NetworkMap::new([(net.parse().unwrap(), entry)])
}

#[test]
fn an_allowed_source_is_alerted_on_and_not_blocked() {
    let allow = listed("198.51.100.0/24", "networks.allow[3]");
    let mut court = Court::with(settings(), Networks { allow, ..networks() }, Mode::Enforce);
    court.scan(OUTSIDE, 20);
    assert_eq!(court.actions(), [Action::Refused]);
    let alert = &court.alerts[0];
    assert!(alert.details.is_alert && court.held().is_empty());
    assert!(alert.reasons.last().unwrap().contains("networks.allow[3]"));
}

#[test]
fn an_ignored_source_is_not_judged() {
    let ignore = listed("198.51.100.7/32", "networks.ignore[0]");
    let mut court = Court::with(settings(), Networks { ignore, ..networks() }, Mode::Enforce);
    court.scan(OUTSIDE, 100);
    assert!(court.judge.is_empty() && court.alerts.is_empty());
}

#[test]
fn what_a_sink_writes_to_is_not_blocked() {
    let destinations = ["198.51.100.7/32".parse().unwrap()].into_iter().collect();
    let mut court = Court::with(settings(), Networks { destinations, ..networks() }, Mode::Enforce);
    court.scan(OUTSIDE, 20);
    assert_eq!((court.actions(), court.held().len()), (vec![Action::Refused], 0));
}

#[test]
fn a_brute_force_is_blocked_while_an_older_admin_session_survives() {
    let mut settings = settings();
    settings.signals.auth_attempts.may_block = true;
    let mut court = Court::with(settings, networks(), Mode::Enforce);
    court.proven(INSIDE, (HOST, 22));
    court.secs += 181.0;
    for _ in 0..30 {
        court.proven(OUTSIDE, (HOST, 22));
        court.hear(OUTSIDE, (HOST, 22), SHORT, 1.0);
    }
    assert!(court.actions().contains(&Action::Block));
    assert!(court.held().iter().all(|held| held.network.addr().to_string() == OUTSIDE));
    court.scan(INSIDE, 20);
    assert_eq!(court.actions().last(), Some(&Action::Refused), "its session is open");
}

#[test]
fn a_session_that_has_ended_spares_nobody() {
    let mut court = Court::new();
    court.proven(INSIDE, (HOST, 22));
    court.secs += 200.0;
    let ended =
        Outcome::Ended { duration_nanos: 200_000_000_000, sent_bytes: 1, received_bytes: 1 };
    court.hear(INSIDE, (HOST, 22), ended, 1.0);
    court.scan(INSIDE, 20);
    assert_eq!(court.actions().last(), Some(&Action::Block));
}

#[test]
fn a_source_that_calmed_down_is_judged_anew_and_one_that_has_not_is_not_told_again() {
    let mut court = Court::new();
    court.scan(OUTSIDE, 9);
    court.scan(OUTSIDE, 3);
    assert_eq!(court.alerts.len(), 1);
    court.secs += 2.0 * 86_400.0;
    assert_eq!(court.score(OUTSIDE), 0);
    court.hear(OUTSIDE, (HOST, 9), Outcome::Refused, 0.0);
    assert_eq!(court.alerts.len(), 1, "one failure of a new day is one");
    court.scan(OUTSIDE, 9);
    assert_eq!(court.alerts.len(), 2);
}

#[test]
fn the_same_is_told_once_a_day_and_again_when_it_has_grown_fourfold() {
    let mut court = Court::with(settings(), networks(), Mode::Observe);
    for port in 0..300 {
        court.hear(OUTSIDE, (HOST, 1_000 + port), Outcome::Refused, 10.0);
    }
    // At 9, 36 and 144 failures, each with the first verdict that is due then.
    assert_eq!(court.actions(), [Action::WouldBlock; 3]);
}

#[test]
fn records_about_outsiders_are_events_and_about_insiders_alerts() {
    let mut court = Court::new();
    court.scan(OUTSIDE, 9);
    court.scan(INSIDE, 9);
    let are_alerts: Vec<_> = court.alerts.iter().map(|alert| alert.details.is_alert).collect();
    assert_eq!(are_alerts, [false, true]);
    let mut settings = settings();
    settings.external = External::Alert;
    let mut court = Court::with(settings, networks(), Mode::Enforce);
    court.scan(OUTSIDE, 9);
    assert!(court.alerts[0].details.is_alert);
}

#[test]
fn an_outsider_whose_path_is_proven_and_who_met_several_hosts_is_an_alert() {
    let mut court = Court::new();
    court.proven(OUTSIDE, (HOST, 443));
    for host in 0..11 {
        court.hear(OUTSIDE, (&format!("10.4.0.{host}"), 445), Outcome::Refused, 0.1);
    }
    assert!(court.alerts[0].details.is_alert);
}

#[test]
fn all_that_can_be_told_has_at_most_twelve_messages() {
    let mut messages = std::collections::BTreeSet::new();
    let mut court = Court::new();
    court.scan(OUTSIDE, 9);
    let alert = court.alerts[0].clone();
    for rule in crate::record::Signal::ALL {
        for action in Action::ALL {
            let details = crate::record::Details { rule, ..(*alert.details).clone() };
            let alert = Alert { action, details: Box::new(details), ..alert.clone() };
            messages.insert(alert.message());
        }
    }
    assert!(messages.len() <= 12, "{messages:?}");
}

#[test]
fn settings_that_are_read_again_judge_who_is_known() {
    let mut court = Court::new();
    court.scan(OUTSIDE, 8);
    let mut stricter = settings();
    stricter.signals.scan.min_failures = 5;
    court.judge.judge_by(stricter, "new".into());
    court.hear(OUTSIDE, (HOST, 9), Outcome::Refused, 0.0);
    assert_eq!(court.actions(), [Action::Block]);
    assert_eq!(&*court.alerts[0].details.config_hash, "new");
}

#[test]
fn what_the_store_blocks_with_is_preferred_for_what_it_tells_and_for_nothing_else() {
    let mut settings = settings();
    settings.block.via = Some("gate".into());
    let mut court = Court::with(settings, networks(), Mode::Observe);
    let on = |source: &str| {
        let interface = crate::record::Interface::Named("eth0".into());
        ObservationPoint::of(source, Some(interface))
    };
    let odd = Outcome::OddFlags(crate::record::TcpFlags(0));
    for (origin, outcome) in
        [(on("gate"), odd), (on("wire"), odd), (on("wire"), Outcome::SplitHeader)]
    {
        let told = contact(OUTSIDE, (HOST, 80), outcome, at(court.secs));
        court.tell(&Contact { origin, ..told });
    }
    // 16 points for one packet with odd flags, 27 for one split header.
    assert_eq!(court.score(OUTSIDE), 38);
}

#[test]
fn counts_of_a_source_do_not_hide_those_of_what_it_sends_to_one_host() {
    let mut settings = settings();
    settings.block.via = Some("gate".into());
    let mut court = Court::with(settings, networks(), Mode::Observe);
    let on = |source: &str| {
        let interface = crate::record::Interface::Named("eth0".into());
        ObservationPoint::of(source, Some(interface))
    };
    let sends = |packets| Outcome::Counts { packets, syns: 0, completed: 0 };
    let of_source = contact(OUTSIDE, ("0.0.0.0", 0), sends(1_000), at(court.secs));
    court.tell(&Contact { origin: on("gate"), ..of_source.clone() });
    let flood = contact(OUTSIDE, ("0.0.0.0", 0), sends(500_000), at(court.secs));
    court.tell(&Contact { origin: on("wire"), ..flood });
    assert_eq!(court.score(OUTSIDE), 0, "the gate has told of the source");
    let mut echoes = contact(OUTSIDE, (HOST, 0), sends(1_000), at(court.secs));
    echoes.transport = Transport::ICMP;
    court.tell(&Contact { origin: on("wire"), ..echoes });
    assert!(court.score(OUTSIDE) > 0, "of echo requests it tells nothing");
}

#[test]
fn a_gate_and_a_capture_that_contradict_each_other_make_no_scanner() {
    for (gate, wire) in [
        (Outcome::Success, Outcome::TimedOut),
        (Outcome::Success, Outcome::Refused),
        (Outcome::Refused, Outcome::Success),
        (Outcome::TimedOut, Outcome::Success),
    ] {
        for gate_first in [true, false] {
            let mut settings = settings();
            settings.block.via = Some("gate".into());
            let mut court = Court::with(settings, networks(), Mode::Enforce);
            let on = |source: &str| {
                let interface = crate::record::Interface::Named("eth0".into());
                ObservationPoint::of(source, Some(interface))
            };
            let mut told = [(on("gate"), gate), (on("wire"), wire)];
            if !gate_first {
                told.reverse();
            }
            for port in 0..50 {
                for (origin, outcome) in told {
                    let heard = contact(OUTSIDE, (HOST, port), outcome, at(court.secs));
                    court.tell(&Contact { origin, ..heard });
                }
                court.secs += 1.0;
            }
            assert_eq!((court.score(OUTSIDE), court.held()), (0, Vec::new()), "{told:?}");
        }
    }
}
