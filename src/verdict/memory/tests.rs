use std::time::Duration;

use super::*;
use crate::verdict::entries::MAX_ENDED;
use crate::{
    networks::{self, NetworkMap, NetworkSet},
    record::Id,
    verdict::{Action, By, Ended, Scope},
};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_nanos(secs * 1_000_000_000)
}

fn net(text: &str) -> IpNet {
    networks::parse(text).unwrap()
}

fn verdict(network: &str, ttl_secs: u64) -> Verdict {
    Verdict {
        id: Id::of("verdict", network).finish(),
        network: net(network),
        action: Action::Drop,
        scope: Scope::All,
        port: None,
        ttl: (ttl_secs > 0).then(|| Duration::from_secs(ttl_secs)),
        score: 85,
        offence: 0,
        reasons: vec!["a scan".into()],
        by: By::Score,
    }
}

fn allowing(allowed: &[&str]) -> Arc<Networks> {
    let entry = |text: &&str| {
        let place = format!("list of {text}");
        (net(text), networks::Entry { place, ..networks::Entry::default() })
    };
    let destinations: NetworkSet = [net("198.51.100.9")].into_iter().collect();
    let allow = NetworkMap::new(allowed.iter().map(entry));
    Arc::new(Networks { allow, destinations, ..Networks::default() })
}

fn store(max: usize, allowed: &[&str]) -> (MemoryStore, watch::Sender<Arc<Networks>>) {
    let (sender, networks) = watch::channel(allowing(allowed));
    (MemoryStore::new(max, Mode::Observe, networks), sender)
}

fn listed(store: &MemoryStore, now: i64) -> Vec<String> {
    store.list(at(now)).iter().map(|entry| entry.verdict.network.to_string()).collect()
}

const APPLIED: Answer = Answer::Applied(Mode::Observe);

#[test]
fn a_verdict_holds_until_its_time_is_over_and_is_explained_after_it() {
    let (store, _networks) = store(10, &[]);
    assert_eq!(store.apply(verdict("203.0.113.5", 60), at(100)), APPLIED);
    assert_eq!(store.apply(verdict("203.0.113.0/24", 0), at(100)), APPLIED);
    assert_eq!(listed(&store, 159), ["203.0.113.0/24", "203.0.113.5/32"]);
    assert_eq!(listed(&store, 160), ["203.0.113.0/24"]);
    assert_eq!(listed(&store, 1_000_000), ["203.0.113.0/24"], "without a ttl it stays");
    let explained = store.explain("203.0.113.5".parse().unwrap(), at(1_000_000));
    let ended: Vec<_> = explained.iter().map(|entry| entry.ended).collect();
    assert_eq!(ended, [Some(Ended { at: at(160), why: Why::Expired }), None]);
    assert_eq!(store.explain("203.0.114.5".parse().unwrap(), at(200)), []);
}

#[test]
fn a_further_verdict_takes_the_place_of_the_first_with_its_own_time() {
    let (store, _networks) = store(1, &[]);
    assert_eq!(store.apply(verdict("203.0.113.5", 60), at(100)), APPLIED);
    let longer = Verdict { offence: 1, ..verdict("203.0.113.5/32", 240) };
    assert_eq!(store.apply(longer, at(150)), APPLIED, "it needs no room of its own");
    let entries = store.list(at(389));
    assert_eq!((entries.len(), entries[0].verdict.offence), (1, 1));
    assert!(store.list(at(390)).is_empty());
}

#[test]
fn a_full_store_refuses_and_has_room_again_when_time_goes_on() {
    let (store, _networks) = store(2, &[]);
    assert_eq!(store.apply(verdict("203.0.113.1", 60), at(0)), APPLIED);
    assert_eq!(store.apply(verdict("2001:db8::1", 90), at(0)), APPLIED);
    let refused = store.apply(verdict("203.0.113.3", 60), at(59));
    assert_eq!(refused, Answer::Refused(Refusal::Full { max: 2 }));
    assert_eq!(store.apply(verdict("203.0.113.3", 60), at(60)), APPLIED);
    assert_eq!(listed(&store, 60), ["203.0.113.3/32", "2001:db8::1/128"]);
}

#[test]
fn what_is_allowed_or_ours_or_everybody_is_refused_with_the_reason() {
    let (store, _networks) = store(10, &["10.0.0.0/8", "fd00::7"]);
    let refused = |network: &str| match store.apply(verdict(network, 60), at(0)) {
        Answer::Refused(refusal) => format!("{}: {refusal}", refusal.name()),
        Answer::Applied(_) => "applied".to_owned(),
    };
    assert_eq!(refused("10.1.2.3"), "allowed: 10.0.0.0/8 is allowed (list of 10.0.0.0/8)");
    assert_eq!(refused("fd00::7"), "allowed: fd00::7/128 is allowed (list of fd00::7)");
    assert_eq!(
        refused("198.51.100.9"),
        "never_blocked: 198.51.100.9/32 is never blocked: a sink writes to it"
    );
    for everybody in ["0.0.0.0/0", "::/0"] {
        assert_eq!(refused(everybody), format!("everybody: {everybody} is every address"));
    }
    assert_eq!(refused("fd00::/64"), "applied", "who is allowed in it is for the packet's lookup");
    assert_eq!(listed(&store, 0), ["fd00::/64"]);
}

#[test]
fn an_allow_entry_lifts_what_it_covers_at_once() {
    let (store, networks) = store(10, &[]);
    assert_eq!(store.apply(verdict("203.0.113.5", 0), at(0)), APPLIED);
    assert_eq!(store.apply(verdict("203.0.114.5", 0), at(0)), APPLIED);
    networks.send_replace(allowing(&["203.0.113.0/24"]));
    assert_eq!(listed(&store, 7), ["203.0.114.5/32"]);
    let explained = store.explain("203.0.113.5".parse().unwrap(), at(8));
    assert_eq!(explained[0].ended, Some(Ended { at: at(7), why: Why::Allowed }));
}

#[test]
fn what_is_taken_back_is_given_as_it_ended() {
    let (store, _networks) = store(10, &[]);
    for last in 1..=3 {
        assert_eq!(store.apply(verdict(&format!("203.0.113.{last}"), 60), at(0)), APPLIED);
    }
    let removed = store.remove(net("203.0.113.2"), at(5)).unwrap();
    assert_eq!(removed.ended, Some(Ended { at: at(5), why: Why::Removed }));
    assert_eq!(store.remove(net("203.0.113.2"), at(6)), None);
    assert_eq!(store.flush(at(7)).len(), 2);
    assert!(store.list(at(7)).is_empty());
    assert_eq!(store.apply(verdict("203.0.113.2", 60), at(8)), APPLIED);
    let explained = store.explain("203.0.113.2".parse().unwrap(), at(8));
    assert_eq!((explained.len(), explained[0].ended), (1, None), "the old one is forgotten");
}

#[test]
fn what_is_remembered_is_bounded_and_the_oldest_go_first() {
    let (store, _networks) = store(usize::MAX, &[]);
    let ended = u32::try_from(MAX_ENDED).unwrap() + 10;
    for number in 0..ended {
        let network = IpNet::from(IpAddr::from((0x0100_0000 + number).to_be_bytes()));
        let verdict = Verdict { network, ..verdict("203.0.113.1", 1) };
        assert_eq!(store.apply(verdict, at(number.into())), APPLIED);
    }
    assert!(store.list(at(i64::from(ended) + 1)).is_empty());
    let explained = |number: u32| {
        let address = (0x0100_0000 + number).to_be_bytes().into();
        store.explain(address, at(i64::from(ended) + 1)).len()
    };
    assert_eq!([explained(0), explained(9), explained(10), explained(ended - 1)], [0, 0, 1, 1]);
}
