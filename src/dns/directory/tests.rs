use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use ipnet::IpNet;

use super::*;
use crate::metrics::Label;
use crate::record::NameOrigin;

const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));
const TTL: Duration = Duration::from_mins(5);

fn options() -> Options {
    Options {
        ask: true,
        private: false,
        allow: NetworkSet::default(),
        deny: NetworkSet::default(),
        max_entries: 1000,
        rate_limit_per_sec: 1000,
    }
}

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn public(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0800_0000 + number).into()
}

fn names(reliable: &[&str]) -> Answer {
    let reliable = reliable.iter().map(|name| (*name).into()).collect();
    Answer::Names(HostNames { origin: NameOrigin::Ptr, reliable, unverified: Vec::new() }, TTL)
}

fn counts(directory: &mut Directory) -> BTreeMap<&'static str, u64> {
    directory.take_counts().map(|(lookup, count)| (lookup.name(), count)).collect()
}

#[test]
fn an_address_is_asked_for_once_until_the_answer_is_too_old() {
    let (mut directory, now) = (Directory::new(options()), start());
    assert!(directory.want(ONE, now));
    assert!(directory.want(ONE, now));
    let question = directory.next(now).unwrap();
    assert_eq!(question, Question { address: ONE, route: Route::Public });
    assert!(directory.want(ONE, now));
    assert_eq!(directory.next(now), Err(None));

    directory.answered(question, names(&["dns.example"]), now);
    assert!(!directory.awaits(ONE));
    assert!(!directory.want(ONE, now));
    assert_eq!(directory.names(ONE, now).unwrap().name(), Some("dns.example"));
    assert!(directory.want(ONE, now + TTL));
    assert_eq!(directory.next(now + TTL), Ok(question));
    let counts = counts(&mut directory);
    assert_eq!(counts, BTreeMap::from([("hit", 1), ("miss", 3), ("named", 1), ("stale", 1)]));
}

#[test]
fn only_what_may_be_asked_is_asked_and_where_it_belongs() {
    let network = |text: &str| [text.parse::<IpNet>().unwrap()].into_iter().collect::<NetworkSet>();
    let with_private = || Options { private: true, ..options() };
    let public = Some(Route::Public);
    let cases = [
        ("skip", options(), "8.8.8.8", public),
        ("skip", options(), "10.0.0.1", None),
        ("skip", options(), "fe80::1", None),
        ("private", with_private(), "10.0.0.1", Some(Route::Private)),
        ("private", with_private(), "8.8.8.8", public),
        ("private", with_private(), "127.0.0.1", None),
        ("private", with_private(), "224.0.0.251", None),
        ("allow", Options { allow: network("9.0.0.0/8"), ..options() }, "8.8.8.8", None),
        ("allow", Options { allow: network("8.0.0.0/8"), ..options() }, "8.8.8.8", public),
        ("deny", Options { deny: network("8.8.0.0/16"), ..options() }, "8.8.8.8", None),
        ("off", Options { ask: false, ..options() }, "8.8.8.8", None),
    ];
    for (case, options, address, route) in cases {
        let (mut directory, now) = (Directory::new(options), start());
        let waits = directory.want(address.parse().unwrap(), now);
        assert_eq!(waits, route.is_some(), "{case} {address}");
        assert_eq!(directory.next(now).ok().map(|q| q.route), route, "{case} {address}");
    }
}

#[test]
fn questions_go_out_no_faster_than_the_rate_and_no_more_at_once_than_allowed() {
    let mut directory = Directory::new(Options { rate_limit_per_sec: 10, ..options() });
    let now = start();
    let awaited = (0..100).filter(|number| directory.want(public(*number), now)).count();
    assert_eq!(awaited, 10, "no record waits for what the rate puts off");
    let burst = std::iter::from_fn(|| directory.next(now).ok()).count();
    assert_eq!(burst, 10);
    assert_eq!(directory.next(now), Err(Some(now + Duration::from_millis(100))));

    let mut directory = Directory::new(Options { rate_limit_per_sec: 1000, ..options() });
    for number in 0..300 {
        directory.want(public(number), now);
    }
    let out: Vec<_> = std::iter::from_fn(|| directory.next(now).ok()).collect();
    assert_eq!(out.len(), MAX_IN_FLIGHT);
    directory.answered(out[0], Answer::Nameless(None), now);
    assert!(directory.next(now).is_ok());
}

#[test]
fn a_flood_of_addresses_is_not_queued_without_end() {
    let (mut directory, now) = (Directory::new(options()), start());
    for number in 0..100_000 {
        directory.want(public(number), now);
    }
    assert_eq!(directory.queue.len(), MAX_QUEUED);
    assert_eq!(counts(&mut directory)["queue_full"], 100_000 - MAX_QUEUED as u64);
}

#[test]
fn nothing_waits_for_a_resolver_that_has_stopped_answering() {
    let (mut directory, now) = (Directory::new(options()), start());
    for number in 0..1000 {
        directory.want(public(number), now);
    }
    let out: Vec<_> = std::iter::from_fn(|| directory.next(now).ok()).collect();
    let silence = now + Duration::from_secs(2);
    let mut later_ones = Vec::new();
    for question in out {
        directory.answered(question, Answer::Failed(Failure::Timeout), silence);
        later_ones.extend(directory.next(silence));
    }
    assert!(!later_ones.is_empty(), "questions go out while it is not yet known to be gone");
    assert_eq!(directory.queue.len(), 0);
    assert!((0..2000).all(|number| !directory.awaits(public(number))));
    assert!(!directory.want(public(1001), silence));

    let later = silence + Duration::from_secs(1);
    assert!(!directory.want(public(1002), later), "the question that tries it again");
    let question = directory.next(later).unwrap();
    assert!(!directory.want(public(1003), later));
    directory.answered(question, names(&["back.example"]), later);
    assert!(directory.want(public(1003), later));
    assert!(directory.names(public(1002), later).is_some());
}

#[test]
fn a_public_resolver_that_is_gone_does_not_stop_the_private_one() {
    let mut directory = Directory::new(Options { private: true, ..options() });
    let now = start();
    for number in 0..16 {
        directory.want(public(number), now);
        let question = directory.next(now).unwrap();
        directory.answered(question, Answer::Failed(Failure::Timeout), now);
    }
    assert!(!directory.want(public(16), now));
    assert!(directory.want("10.0.0.1".parse().unwrap(), now));
}

#[test]
fn a_server_that_refuses_is_alive() {
    let (mut directory, now) = (Directory::new(options()), start());
    for number in 0..100 {
        assert!(directory.want(public(number), now));
        let question = directory.next(now).unwrap();
        directory.answered(question, Answer::Failed(Failure::Refused), now);
        assert!(!directory.want(public(number), now));
    }
}
