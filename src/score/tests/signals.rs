//! Each signal: what raises it, how far, and what does not.

use super::*;
use crate::record::{Signal, TcpFlags};

#[test]
fn the_ninth_failure_of_a_scan_blocks_and_the_eighth_does_nothing() {
    let mut court = Court::new();
    court.scan(OUTSIDE, 8);
    assert_eq!((court.score(OUTSIDE), court.actions()), (0, vec![]));
    court.hear(OUTSIDE, (HOST, 9), Outcome::TimedOut, 0.0);
    assert_eq!((court.score(OUTSIDE), court.actions()), (95, vec![Action::Block]));
    let alert = &court.alerts[0];
    assert_eq!(alert.details.rule, Signal::Scan);
    assert!(alert.reasons[0].starts_with("9 of 9 first contacts failed, at 1 host,"));
}

#[test]
fn who_mostly_succeeds_may_fail_as_often_as_it_likes() {
    let mut court = Court::new();
    for round in 0..200_u16 {
        court.hear(INSIDE, (HOST, 1_000 + round), Outcome::Success, 0.1);
        court.hear(INSIDE, (HOST, 2_000 + round), Outcome::Refused, 0.1);
        court.hear(INSIDE, (HOST, 3_000 + round), Outcome::Success, 0.1);
    }
    assert_eq!(court.actions(), []);
}

#[test]
fn a_contact_counts_once_however_often_and_by_whomever_it_is_told() {
    let mut court = Court::new();
    for _ in 0..100 {
        court.hear(OUTSIDE, (HOST, 443), Outcome::TimedOut, 1.0);
        court.hear(OUTSIDE, (HOST, 443), Outcome::Refused, 1.0);
    }
    assert_eq!(court.score(OUTSIDE), 0);
}

#[test]
fn a_failure_is_taken_back_once_the_contact_succeeds() {
    let mut court = Court::new();
    for port in 0..8 {
        court.hear(INSIDE, (HOST, 1_000 + port), Outcome::TimedOut, 0.1);
        court.hear(INSIDE, (HOST, 1_000 + port), Outcome::Success, 0.1);
    }
    court.scan(INSIDE, 8);
    assert_eq!(court.actions(), []);
}

#[test]
fn contradictory_contacts_of_two_sources_are_the_better_one() {
    let mut court = Court::new();
    for port in 0..50 {
        court.hear(INSIDE, (HOST, 1_000 + port), Outcome::Success, 0.01);
        court.hear(INSIDE, (HOST, 1_000 + port), Outcome::TimedOut, 0.01);
    }
    assert_eq!(court.score(INSIDE), 0);
    assert!(court.alerts.iter().all(|alert| alert.source.is_unspecified()), "of an outage at most");
}

#[test]
fn a_scan_at_fifteen_minutes_a_probe_is_found_by_the_slow_walk() {
    let mut court = Court::new();
    for port in 0..30 {
        court.hear(OUTSIDE, (HOST, 1_000 + port), Outcome::TimedOut, 900.0);
    }
    assert_eq!(court.actions().last(), Some(&Action::Block));
}

#[test]
fn failures_that_udp_does_not_tell_are_none() {
    let mut court = Court::new();
    for port in 0..100 {
        let sent = contact(INSIDE, (HOST, 1_000 + port), Outcome::TimedOut, at(court.secs));
        court.tell(&Contact { transport: Transport::UDP, ..sent });
    }
    assert_eq!(court.actions(), []);
    for port in 0..9 {
        let sent = contact(OUTSIDE, (HOST, 1_000 + port), Outcome::Refused, at(court.secs));
        court.tell(&Contact { transport: Transport::UDP, ..sent });
    }
    assert_eq!(court.actions(), [Action::Block]);
}

/// The source leaves a contact half open, from this port of its own.
fn leave_open(court: &mut Court, source: &str, host: u16, from: u16) {
    let host = format!("10.1.{}.{}", host >> 8, host & 255);
    let left = contact(source, (&host, 443), Outcome::Refused, at(court.secs));
    court.tell(&Contact { path_proven: true, source_port: from, ..left });
}

/// Some port, another one for each number.
fn port(number: u16) -> u16 {
    32_768 + number.wrapping_mul(7_919) % 28_000
}

#[test]
fn the_twelfth_contact_that_is_left_half_open_from_one_port_blocks() {
    let mut court = Court::new();
    (0..11).for_each(|host| leave_open(&mut court, OUTSIDE, host, 40_000));
    assert_eq!(court.actions(), []);
    leave_open(&mut court, OUTSIDE, 11, 40_000);
    assert_eq!((court.score(OUTSIDE), court.actions()), (95, vec![Action::Block]));
    // Fewer of them are as many as half of what failed.
    let mut court = Court::new();
    (0..9).for_each(|host| leave_open(&mut court, OUTSIDE, host, 40_000));
    court.scan(OUTSIDE, 5);
    assert_eq!(court.actions(), []);
    court.scan(OUTSIDE, 4);
    assert_eq!(court.actions(), [Action::Block]);
}

#[test]
fn a_balancer_that_checks_its_servers_is_told_of_in_its_first_round_and_never_held_off() {
    let mut court = Court::new();
    for round in 0..100 {
        for host in 0..100 {
            leave_open(&mut court, INSIDE, host, port(100 * round + host));
        }
        court.secs += 2.0;
        assert!(court.score(INSIDE) <= 40, "round {round}");
    }
    // Again when there are four times as many: at 12 and 48 servers.
    assert_eq!((court.score(INSIDE), court.actions()), (0, vec![Action::Alert; 2]));
    // Nor while it does something else that is odd.
    let mut court = Court::new();
    for host in 0..40 {
        leave_open(&mut court, INSIDE, host, port(host));
        court.hear(INSIDE, (&format!("10.1.0.{host}"), 0), Outcome::Echo, 0.1);
    }
    assert!(!court.actions().contains(&Action::RateLimit), "{:?}", court.actions());
    assert!(court.score(INSIDE) < 60 && court.held().is_empty());
}

#[test]
fn servers_that_are_down_among_those_that_a_balancer_checks_make_it_no_scanner() {
    let mut court = Court::new();
    for host in 0..30 {
        leave_open(&mut court, INSIDE, host, port(host));
        if host % 3 == 0 {
            court.hear(INSIDE, ("10.1.9.9", 1_000 + host), Outcome::Refused, 0.1);
        }
    }
    assert_eq!((court.actions(), court.held().len()), (vec![Action::Alert], 0));
}

#[test]
fn one_handshake_that_two_tell_is_no_check() {
    let mut court = Court::new();
    for host in 0..20 {
        leave_open(&mut court, OUTSIDE, host, 40_000);
        leave_open(&mut court, OUTSIDE, host, 40_000);
    }
    assert_eq!(court.actions(), [Action::Block]);
}

#[test]
fn handshakes_that_are_left_half_open_at_one_port_without_end_are_a_flood() {
    let mut court = Court::new();
    for number in 0..200 {
        leave_open(&mut court, OUTSIDE, 1, port(number));
    }
    assert!((60..80).contains(&court.score(OUTSIDE)), "{}", court.score(OUTSIDE));
}

#[test]
fn odd_flags_alone_are_limited_and_with_split_headers_blocked() {
    let mut court = Court::new();
    for _ in 0..20 {
        court.hear(OUTSIDE, (HOST, 80), Outcome::OddFlags(TcpFlags(TcpFlags::FIN)), 0.01);
    }
    assert_eq!(court.score(OUTSIDE), 79, "one signal alone is held below a block");
    assert!(court.held().iter().all(|held| held.action == crate::verdict::Action::RateLimit));
    court.hear(OUTSIDE, (HOST, 80), Outcome::SplitHeader, 0.0);
    assert_eq!(court.actions().last(), Some(&Action::Block), "two signals agree");
}

#[test]
fn a_signal_may_block_alone_where_the_config_says_so() {
    let mut settings = settings();
    settings.signals.stealth_flags.may_block = true;
    let mut court = Court::with(settings, networks(), Mode::Enforce);
    for _ in 0..5 {
        court.hear(OUTSIDE, (HOST, 80), Outcome::OddFlags(TcpFlags(TcpFlags::FIN)), 0.0);
    }
    assert_eq!(court.actions().last(), Some(&Action::Block));
}

#[test]
fn a_signal_that_is_off_says_nothing() {
    let mut settings = settings();
    settings.signals.scan.enabled = false;
    let mut court = Court::with(settings, networks(), Mode::Enforce);
    court.scan(OUTSIDE, 100);
    assert_eq!((court.score(OUTSIDE), court.actions()), (0, vec![]));
}

#[test]
fn ack_probes_count_by_distinct_ports() {
    let mut court = Court::new();
    for _ in 0..500 {
        court.hear(OUTSIDE, (HOST, 80), Outcome::AckProbe, 0.01);
    }
    assert!(court.score(OUTSIDE) <= 1);
    for port in 0..100 {
        court.hear(OUTSIDE, (HOST, 1_000 + port), Outcome::AckProbe, 0.01);
    }
    assert!((60..80).contains(&court.score(OUTSIDE)), "{}", court.score(OUTSIDE));
}

#[test]
fn ack_probes_of_ports_that_answer_are_taken_back() {
    let mut court = Court::new();
    for port in 0..80 {
        court.hear(OUTSIDE, (HOST, 1_000 + port), Outcome::AckProbe, 0.0);
        court.hear(OUTSIDE, (HOST, 1_000 + port), Outcome::Success, 0.0);
        court.hear(OUTSIDE, (HOST, 1_000 + port), Outcome::Success, 0.0);
    }
    assert_eq!((court.score(OUTSIDE), court.actions()), (0, vec![]));
    for port in 0..100 {
        court.hear(OUTSIDE, (HOST, 2_000 + port), Outcome::AckProbe, 0.0);
        court.hear(OUTSIDE, (HOST, 1_000 + port % 80), Outcome::Success, 0.0);
    }
    assert!((60..80).contains(&court.score(OUTSIDE)), "{}", court.score(OUTSIDE));
}

#[test]
fn a_traceroute_is_one_contact_with_each_host() {
    let mut court = Court::new();
    let refused = |court: &mut Court, host: &str, port, transport| {
        let told = contact(INSIDE, (host, port), Outcome::Refused, at(court.secs));
        court.tell(&Contact { transport, ..told });
    };
    for host in 1..=8 {
        let host = format!("10.4.0.{host}");
        (33_434..=33_534).for_each(|port| refused(&mut court, &host, port, Transport::UDP));
    }
    assert_eq!(court.actions(), []);
    (33_434..33_443).for_each(|port| refused(&mut court, HOST, port, Transport::TCP));
    assert_eq!(court.actions(), [Action::Block], "of TCP each is one");
}

#[test]
fn echoes_to_many_hosts_alert_and_to_one_host_do_not() {
    let mut court = Court::new();
    for _ in 0..100 {
        court.hear(INSIDE, (HOST, 0), Outcome::Echo, 1.0);
    }
    assert!(court.score(INSIDE) < 5);
    for host in 0..30 {
        court.hear(INSIDE, (&format!("10.2.0.{host}"), 0), Outcome::Echo, 0.1);
    }
    assert_eq!((court.score(INSIDE), court.actions().last()), (50, Some(&Action::Alert)));
}

#[test]
fn tries_to_log_in_are_limited_on_their_port_and_an_admins_logins_are_not() {
    let mut court = Court::new();
    for _ in 0..12 {
        court.proven(INSIDE, (HOST, 22));
        court.hear(INSIDE, (HOST, 22), SHORT, 10.0);
    }
    assert!(court.score(INSIDE) < 40);
    for _ in 0..30 {
        court.proven(OUTSIDE, (HOST, 22));
        court.hear(OUTSIDE, (HOST, 22), SHORT, 0.3);
    }
    assert_eq!(court.score(OUTSIDE), 79);
    let held = court.held();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].action, held[0].port), (crate::verdict::Action::RateLimit, Some(22)));
}

#[test]
fn who_tries_to_log_in_at_three_hosts_is_blocked() {
    let mut court = Court::new();
    for _ in 0..20 {
        for host in 1..=3 {
            let host = format!("10.3.0.{host}");
            court.proven(OUTSIDE, (&host, 22));
            court.hear(OUTSIDE, (&host, 22), SHORT, 0.1);
        }
    }
    assert_eq!(court.actions().last(), Some(&Action::Block));
}

#[test]
fn a_deployment_that_logs_in_at_many_hosts_a_few_times_is_left_alone() {
    let mut court = Court::new();
    for _ in 0..4 {
        for host in 1..=60 {
            let host = format!("10.3.0.{host}");
            court.proven(INSIDE, (&host, 22));
            court.hear(INSIDE, (&host, 22), SHORT, 0.1);
        }
    }
    assert!(court.actions().iter().all(|action| *action == Action::Log), "{:?}", court.actions());
}

#[test]
fn long_sessions_are_no_tries() {
    let mut court = Court::new();
    let long =
        Outcome::Ended { duration_nanos: 60_000_000_000, sent_bytes: 9_000, received_bytes: 9 };
    for _ in 0..100 {
        court.hear(OUTSIDE, (HOST, 22), long, 0.3);
    }
    assert_eq!(court.score(OUTSIDE), 0);
}

#[test]
fn idle_connections_count_only_if_nothing_was_asked_on_them() {
    let open = |count, bytes| Outcome::Open { count, bytes };
    let mut court = Court::new();
    for (count, bytes) in [(150, 150 * 5_000), (150, 0), (150, 150), (150, 0)] {
        court.hear(INSIDE, (HOST, 443), open(count, bytes), 10.0);
    }
    assert_eq!(court.score(INSIDE), 0, "keep-alive connections rest after their requests");
    court.hear(OUTSIDE, (HOST, 80), open(50, 50 * 300), 10.0);
    assert_eq!(court.score(OUTSIDE), 0, "fifty are not many");
    court.hear(OUTSIDE, (HOST, 80), open(150, 150 * 300), 10.0);
    assert!((60..80).contains(&court.alerts.last().unwrap().risk_score));
}

#[test]
fn a_rate_never_blocks_nor_helps_to_block() {
    let mut court = Court::new();
    let sends = Outcome::Counts { packets: 500_000, syns: 50_000, completed: 0 };
    let flood = contact(OUTSIDE, ("0.0.0.0", 0), sends, at(court.secs));
    court.tell(&flood);
    assert_eq!(court.score(OUTSIDE), 60);
    for host in 0..30 {
        court.hear(OUTSIDE, (&format!("10.2.0.{host}"), 0), Outcome::Echo, 0.0);
    }
    assert_eq!(court.score(OUTSIDE), 79, "60 and 50 would be 80");
    assert!(!court.actions().contains(&Action::Block));
}

#[test]
fn what_benign_sources_send_is_within_the_rate() {
    let mut court = Court::new();
    for _ in 0..600 {
        let sends = Outcome::Counts { packets: 24_000, syns: 75, completed: 0 };
        court.hear(INSIDE, ("0.0.0.0", 0), sends, 1.0);
    }
    assert_eq!(court.score(INSIDE), 0);
}

#[test]
fn a_flood_is_told_of_its_destination_at_once_and_blocks_nobody() {
    let mut court = Court::new();
    let counts = |syns, completed| Outcome::Counts { packets: 0, syns, completed };
    for _ in 0..20 {
        court.hear("0.0.0.0", (HOST, 443), counts(500, 495), 1.0);
    }
    assert_eq!(court.actions(), [], "a busy server");
    court.hear("0.0.0.0", (HOST, 80), counts(100, 3), 1.0);
    assert_eq!(court.actions(), [Action::Alert], "in its first second");
    assert_eq!(court.alerts[0].details.rule, Signal::DestinationFlood);
    assert_eq!(
        court.alerts[0].details.destination.unwrap().address,
        HOST.parse::<IpAddr>().unwrap()
    );
    court.hear("0.0.0.0", (HOST, 80), counts(100, 3), 1.0);
    assert_eq!((court.alerts.len(), court.held().len()), (1, 0), "once");
}

#[test]
fn a_resolved_destination_counts_neither_way_until_they_mostly_fail() {
    let mut court = Court::new();
    let resolved = |court: &mut Court, port, outcome| {
        let contact = contact(INSIDE, ("203.0.113.5", port), outcome, at(court.secs));
        court.judge.take(&contact, true, contact.time, &mut court.alerts);
    };
    for port in 1_000..1_009 {
        resolved(&mut court, port, Outcome::TimedOut);
    }
    assert_eq!(court.actions(), []);
    for port in 2_000..2_009 {
        resolved(&mut court, port, Outcome::TimedOut);
    }
    assert_eq!(court.actions(), [Action::Block], "a scanner that resolves first is still found");
}

#[test]
fn a_source_is_judged_as_of_its_own_contacts_though_others_are_a_day_ahead() {
    let judged = |by_each_source: bool, is_other_ahead: bool| {
        let mut court = Court::new();
        if by_each_source {
            court.judge.go_by_each_source();
        }
        for port in 2_000..2_020 {
            if is_other_ahead {
                let ahead = at(court.secs + 86_400.0);
                court.tell(&contact("198.51.100.9", (HOST, 443), Outcome::Success, ahead));
            }
            court.hear(OUTSIDE, (HOST, port), Outcome::Refused, 6.0 * 3_600.0);
        }
        (court.score(OUTSIDE), court.alerts.len())
    };
    assert_eq!(judged(true, true), judged(true, false));
    // What fades would not, if the clock of the one ahead were that of all.
    assert_ne!(judged(false, true), judged(false, false));
}

#[test]
fn each_destination_counts_once_however_many_there_are_and_however_often_it_is_met() {
    let mut court = Court::new();
    let hosts: Vec<_> = (1..=20).map(|host| format!("10.9.0.{host}")).collect();
    for (round, outcome) in
        [Outcome::Success, Outcome::Refused, Outcome::Refused].iter().enumerate()
    {
        for host in &hosts {
            let port = 1_000 + u16::try_from(round).unwrap();
            court.hear(INSIDE, (host, port), *outcome, 1.0);
        }
    }
    let told = court.alerts.last().unwrap();
    assert!(told.reasons[0].contains("at 20 hosts"), "{told:?}");
}

#[test]
fn who_lives_off_few_servers_may_fail_as_a_busy_client_does() {
    let mut court = Court::new();
    regular(&mut court, 20);
    court.scan(INSIDE, 34);
    assert_eq!((court.held(), court.score(INSIDE)), (vec![], 0));
    // Forty more than it might else: it is a scanner after all.
    court.scan(INSIDE, 25);
    assert_eq!(court.held(), []);
    court.scan(INSIDE, 1);
    assert_eq!(court.held().len(), 1);
    // Who phones home to one server gains three.
    let mut court = Court::new();
    regular(&mut court, 1);
    court.scan(INSIDE, 9);
    assert_eq!(court.held().len(), 1);
}

#[test]
fn what_succeeds_again_counts_no_sooner_than_the_config_says() {
    let mut court = Court::new();
    for _ in 0..1_000 {
        for server in 0..10 {
            court.hear(INSIDE, ("10.2.0.1", 8_000 + server), Outcome::Success, 0.001);
        }
    }
    court.secs += 1_800.0;
    court.scan(INSIDE, 10);
    assert_eq!(court.held().len(), 1, "ten of twenty failed");
}
