//! The store over maps in memory, which fail when they are told to.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use ipnet::IpNet;
use proptest::{collection::vec, prelude::*};
use tokio::sync::watch;

use super::{
    GateStore, Held, Kernel, Last, MapError, Occasion, Policy, Protected, Unseen, alert,
    log::{self, Change, VerdictLog},
};
use crate::{
    host::Facts,
    metrics::XdpOutcome,
    networks::{Entry as Listed, NetworkMap, Networks},
    record::{Action as Told, Id, ObservationPoint, Timestamp},
    verdict::{Action, Answer, By, Entry, Mode, Refusal, Scope, Store, Verdict, Why},
};

/// What the maps hold, shared with the test.
#[derive(Debug, Default)]
struct Memory {
    held: BTreeMap<IpNet, (Held, Option<Duration>)>,
    allowed: Vec<IpNet>,
    changes: u64,
    /// What the next writes answer.
    refuses: VecDeque<MapError>,
}

#[derive(Debug, Clone, Default)]
struct Maps(Arc<Mutex<Memory>>);

impl Kernel for Maps {
    fn put(
        &mut self,
        network: IpNet,
        held: &Held,
        ends_in: Option<Duration>,
    ) -> Result<(), MapError> {
        let mut memory = self.0.lock().unwrap();
        if let Some(refuses) = memory.refuses.pop_front() {
            return Err(refuses);
        }
        memory.held.insert(network, (*held, ends_in));
        Ok(())
    }

    fn get(&mut self, network: IpNet) -> Result<Option<Held>, MapError> {
        Ok(self.0.lock().unwrap().held.get(&network).map(|(held, _)| *held))
    }

    fn remove(&mut self, network: IpNet) -> Result<(), MapError> {
        self.0.lock().unwrap().held.remove(&network);
        Ok(())
    }

    fn all(&mut self) -> Result<Vec<(IpNet, Held)>, MapError> {
        let memory = self.0.lock().unwrap();
        Ok(memory.held.iter().map(|(network, (held, _))| (*network, *held)).collect())
    }

    fn allow(&mut self, networks: &[IpNet]) -> Result<(), MapError> {
        let mut memory = self.0.lock().unwrap();
        if let Some(refuses) = memory.refuses.pop_front() {
            return Err(refuses);
        }
        memory.allowed = networks.to_vec();
        Ok(())
    }

    fn changes(&mut self) -> Result<u64, MapError> {
        Ok(self.0.lock().unwrap().changes)
    }

    fn changed(&mut self) -> Result<(), MapError> {
        self.0.lock().unwrap().changes += 1;
        Ok(())
    }

    fn counts(&mut self) -> Result<Vec<(XdpOutcome, u64)>, MapError> {
        Ok(Vec::new())
    }
}

/// A store and the maps below it.
struct Bench {
    maps: Maps,
    store: GateStore,
    networks: watch::Sender<Arc<Networks>>,
}

const ENFORCE: Policy = Policy { mode: Mode::Enforce, percent: 100, max: 100 };

impl Bench {
    fn new(policy: Policy) -> Self {
        Self::over(Maps::default(), policy, None)
    }

    fn over(maps: Maps, policy: Policy, user: Option<&str>) -> Self {
        let (networks, watched) = watch::channel(Arc::new(Networks::default()));
        let store = GateStore::new("gate", Box::new(maps.clone()), policy, watched, user);
        let facts = Facts {
            addresses: vec![address("192.0.2.1"), address("2001:db8::1")],
            gateways: vec![address("192.0.2.254")],
            resolvers: vec![address("192.0.2.53")],
            administrators: vec![address("198.51.100.9")],
        };
        if user.is_some() {
            store.respect(Protected::of(&facts));
        } else {
            store.protect(Protected::of(&facts), at(0)).unwrap();
        }
        Self { maps, store, networks }
    }

    fn allow(&self, networks: &[&str]) {
        let entry = |text: &&str| {
            (net(text), Listed { place: "networks.allow[0]".to_owned(), ..Listed::default() })
        };
        let allow = NetworkMap::new(networks.iter().map(entry));
        self.networks.send_replace(Arc::new(Networks { allow, ..Networks::default() }));
    }

    fn held(&self) -> Vec<String> {
        self.maps.0.lock().unwrap().held.keys().map(ToString::to_string).collect()
    }

    fn hit(&self, network: &str, packets: u64) {
        let mut memory = self.maps.0.lock().unwrap();
        let (held, _) = memory.held.get_mut(&net(network)).unwrap();
        held.packets += packets;
        held.bytes += packets * 60;
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn verdict(network: &str, ttl_secs: Option<u64>, by: By) -> Verdict {
    Verdict {
        id: Id::of("verdict", "test").bytes(network.as_bytes()).finish(),
        network: net(network),
        action: Action::Drop,
        scope: Scope::All,
        port: None,
        ttl: ttl_secs.map(Duration::from_secs),
        score: 85,
        offence: 1,
        reasons: vec!["a scan".into()],
        by,
    }
}

fn block(network: &str) -> Verdict {
    verdict(network, Some(60), By::Score)
}

#[test]
fn what_is_never_blocked_is_refused_with_the_reason() {
    let bench = Bench::new(ENFORCE);
    bench.allow(&["203.0.113.0/24"]);
    for (network, reason) in [
        ("0.0.0.0/0", "every address"),
        ("::/0", "every address"),
        ("192.0.2.1/32", "an address of this host is 192.0.2.1"),
        ("192.0.2.0/28", "an address of this host is 192.0.2.1"),
        ("2001:db8::/64", "an address of this host is 2001:db8::1"),
        ("192.0.2.254/32", "the default gateway"),
        ("192.0.2.53/32", "a resolver"),
        ("198.51.100.9/32", "an administrator's session"),
        ("169.254.169.254/32", "the cloud's metadata"),
        ("203.0.113.7/32", "is allowed (networks.allow[0])"),
    ] {
        let Answer::Refused(refusal) = bench.store.apply(block(network), at(1)) else {
            panic!("{network} was blocked");
        };
        assert!(refusal.to_string().contains(reason), "{network}: {refusal}");
    }
    assert!(bench.held().is_empty());
    assert_eq!(bench.store.apply(block("192.0.2.2/32"), at(1)), Answer::Applied(Mode::Enforce));
    // One that is allowed in a network that is blocked passes by the kernel's own list.
    assert_eq!(bench.store.apply(block("203.0.0.0/16"), at(1)), Answer::Applied(Mode::Enforce));
}

#[test]
fn a_busy_map_is_tried_once_more_and_other_errors_are_told() {
    let bench = Bench::new(ENFORCE);
    let refuse = |errors: &[MapError]| {
        bench.maps.0.lock().unwrap().refuses = errors.iter().cloned().collect();
        bench.store.apply(block("203.0.113.1/32"), at(1))
    };
    assert_eq!(refuse(&[MapError::Busy]), Answer::Applied(Mode::Enforce));
    let failed = |text: &str| Answer::Refused(Refusal::Failed(text.to_owned()));
    assert_eq!(refuse(&[MapError::Busy, MapError::Busy]), failed("the map is busy"));
    assert_eq!(refuse(&[MapError::NoMemory]), failed("the kernel has no memory"));
    assert!(matches!(refuse(&[MapError::Full]), Answer::Refused(Refusal::Full { .. })));
    // What held before goes on.
    assert_eq!(bench.store.list(at(2)).len(), 1);
}

#[test]
fn a_full_store_refuses_until_something_ends() {
    let bench = Bench::new(Policy { max: 2, ..ENFORCE });
    for network in ["203.0.113.1/32", "203.0.113.2/32"] {
        assert_eq!(bench.store.apply(block(network), at(0)), Answer::Applied(Mode::Enforce));
    }
    let third = || bench.store.apply(block("203.0.113.3/32"), at(59));
    assert_eq!(third(), Answer::Refused(Refusal::Full { max: 2 }));
    let again = bench.store.apply(block("203.0.113.2/32"), at(59));
    assert_eq!(again, Answer::Applied(Mode::Enforce), "it takes no further place");
    let later = bench.store.apply(block("203.0.113.3/32"), at(60));
    assert_eq!(later, Answer::Applied(Mode::Enforce));
    assert_eq!(bench.held(), ["203.0.113.2/32", "203.0.113.3/32"]);
}

#[test]
fn a_renewed_verdict_keeps_what_it_has_met_and_an_ended_one_says_it() {
    let bench = Bench::new(ENFORCE);
    assert_eq!(bench.store.apply(block("203.0.113.1/32"), at(0)), Answer::Applied(Mode::Enforce));
    bench.hit("203.0.113.1/32", 5);
    assert_eq!(bench.store.apply(block("203.0.113.1/32"), at(50)), Answer::Applied(Mode::Enforce));
    bench.hit("203.0.113.1/32", 2);
    let listed = bench.store.list(at(51));
    assert_eq!((listed[0].packets, listed[0].bytes), (7, 420));
    assert!(bench.store.list(at(110)).is_empty());
    let explained = bench.store.explain(address("203.0.113.1"), at(200));
    let ended = explained[0].ended.unwrap();
    assert_eq!((explained[0].packets, ended.why, ended.at), (7, Why::Expired, at(110)));
    let (lines, missing) = bench.store.take_lines();
    assert_eq!((lines.len(), missing), (3, 0));
    assert!(lines[2].contains(r#""change":"expired""#), "{}", lines[2]);
    assert!(lines[2].contains(r#""packets":7"#), "{}", lines[2]);
}

#[test]
fn an_allow_entry_lifts_what_it_covers_at_once() {
    let bench = Bench::new(ENFORCE);
    for network in ["203.0.113.1/32", "203.0.113.2/32", "198.51.100.1/32"] {
        assert_eq!(bench.store.apply(block(network), at(0)), Answer::Applied(Mode::Enforce));
    }
    bench.allow(&["203.0.113.0/24"]);
    bench.store.tend(at(1)).unwrap();
    assert_eq!(bench.held(), ["198.51.100.1/32"]);
    assert!(bench.maps.0.lock().unwrap().allowed.contains(&net("203.0.113.0/24")));
    let explained = bench.store.explain(address("203.0.113.1"), at(2));
    assert_eq!(explained[0].ended.unwrap().why, Why::Allowed);
    // So does a fact about this host.
    let facts = Facts { gateways: vec![address("198.51.100.1")], ..Facts::default() };
    bench.store.protect(Protected::of(&facts), at(3)).unwrap();
    assert!(bench.held().is_empty());
}

#[test]
fn a_share_of_sources_is_enforced_the_same_ones_each_time() {
    let modes = |percent| {
        let bench = Bench::new(Policy { percent, max: 1000, ..ENFORCE });
        let mode =
            |last: u32| match bench.store.apply(block(&format!("203.0.113.{last}/32")), at(0)) {
                Answer::Applied(mode) => mode == Mode::Enforce,
                Answer::Refused(refusal) => panic!("{refusal}"),
            };
        (0..250).map(mode).collect::<Vec<_>>()
    };
    let (ten, fifty) = (modes(10), modes(50));
    assert_eq!(ten, modes(10));
    let count = |modes: &[bool]| modes.iter().filter(|enforced| **enforced).count();
    assert!((10..45).contains(&count(&ten)), "{}", count(&ten));
    assert!((100..150).contains(&count(&fifty)), "{}", count(&fifty));
    assert!(ten.iter().zip(&fifty).all(|(ten, fifty)| !ten || *fifty), "more are added, none left");
    assert!(modes(100).iter().all(|enforced| *enforced));
    // A person means all of it.
    let bench = Bench::new(Policy { percent: 1, ..ENFORCE });
    let told = bench.store.apply(verdict("203.0.113.9/32", None, By::Cli), at(0));
    assert_eq!(told, Answer::Applied(Mode::Enforce));
}

#[test]
fn observe_never_arms_enforce() {
    let bench = Bench::new(Policy { mode: Mode::Observe, ..ENFORCE });
    for by in [By::Score, By::Cli, By::List] {
        let answer = bench.store.apply(verdict("203.0.113.1/32", None, by), at(0));
        assert_eq!(answer, Answer::Applied(Mode::Observe));
    }
    // What was observed is not put back by a gate that enforces.
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    log.append(&bench.store.take_lines().0).unwrap();
    let enforcing = Bench::new(ENFORCE);
    assert_eq!(
        enforcing.store.adopt(log.read("gate").unwrap(), Occasion::Start, at(1)).unwrap(),
        (0, 0)
    );
    assert!(enforcing.held().is_empty());
}

#[test]
fn verdicts_that_are_given_after_the_source_has_ended_are_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = || VerdictLog::new(folder.path());
    let ended = Arc::new(());
    let bench = Bench::new(ENFORCE);
    bench.store.leave(Last { log: log(), alive: Box::new(Arc::clone(&ended)) });
    let answer = bench.store.apply(verdict("203.0.113.1/32", None, By::Score), at(0));
    assert_eq!(answer, Answer::Applied(Mode::Enforce));
    assert_eq!((log().read("gate").unwrap().len(), Arc::strong_count(&ended)), (0, 2));
    drop(bench);
    assert_eq!((log().read("gate").unwrap().len(), Arc::strong_count(&ended)), (1, 1));
}

#[test]
fn after_a_reboot_verdicts_of_people_and_lists_are_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    let before = Bench::new(ENFORCE);
    for verdict in [
        verdict("203.0.113.1/32", None, By::Cli),
        verdict("203.0.113.2/32", Some(100), By::List),
        verdict("203.0.113.3/32", Some(10), By::Cli),
        verdict("203.0.113.4/32", None, By::Score),
        verdict("203.0.113.5/32", None, By::Cli),
        verdict("192.0.2.77/32", None, By::Cli),
    ] {
        assert_eq!(before.store.apply(verdict, at(0)), Answer::Applied(Mode::Enforce));
    }
    before.store.remove(net("203.0.113.5/32"), at(1)).unwrap();
    log.append(&before.store.take_lines().0).unwrap();
    let after = Bench::new(ENFORCE);
    after.allow(&["192.0.2.64/26"]);
    assert_eq!(
        after.store.adopt(log.read("gate").unwrap(), Occasion::Start, at(50)).unwrap(),
        (0, 2)
    );
    assert_eq!(after.held(), ["203.0.113.1/32", "203.0.113.2/32"]);
    let left = after.maps.0.lock().unwrap().held[&net("203.0.113.2/32")].1;
    assert_eq!(left, Some(Duration::from_secs(50)), "no longer than it had");
    assert!(log.read("another").unwrap().is_empty());
}

#[test]
fn after_a_restart_verdicts_have_their_reasons_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    let before = Bench::new(ENFORCE);
    assert_eq!(before.store.apply(block("203.0.113.1/32"), at(0)), Answer::Applied(Mode::Enforce));
    before.hit("203.0.113.1/32", 3);
    log.append(&before.store.take_lines().0).unwrap();
    let after = Bench::over(before.maps.clone(), ENFORCE, None);
    assert_eq!(
        after.store.adopt(log.read("gate").unwrap(), Occasion::Start, at(5)).unwrap(),
        (1, 0)
    );
    let listed = after.store.list(at(6));
    assert_eq!(&*listed[0].verdict.reasons[0], "a scan");
    assert_eq!((listed[0].packets, listed[0].verdict.offence), (3, 1));
    assert!(after.store.list(at(60)).is_empty(), "it ends when it would have");
}

#[test]
fn what_an_allow_entry_covers_is_lifted_when_a_start_takes_it_over() {
    let before = Bench::new(ENFORCE);
    for last in [1, 2] {
        let answer = before.store.apply(block(&format!("203.0.113.{last}/32")), at(0));
        assert_eq!(answer, Answer::Applied(Mode::Enforce));
    }
    let after = Bench::over(before.maps.clone(), ENFORCE, None);
    after.allow(&["203.0.113.1/32"]);
    after.store.adopt(Vec::new(), Occasion::Start, at(1)).unwrap();
    assert_eq!(after.held(), ["203.0.113.2/32"]);
    assert!(after.store.take_lines().0[0].contains(r#""change":"allowed""#));
}

#[test]
fn what_the_kernel_lost_and_nobody_puts_back_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    let before = Bench::new(ENFORCE);
    for verdict in [
        verdict("203.0.113.1/32", Some(600), By::Score),
        verdict("203.0.113.2/32", Some(10), By::Cli),
        verdict("203.0.113.3/32", None, By::Cli),
    ] {
        assert_eq!(before.store.apply(verdict, at(0)), Answer::Applied(Mode::Enforce));
    }
    log.append(&before.store.take_lines().0).unwrap();
    let after = Bench::new(ENFORCE);
    // The kernel has no room for the third.
    after.maps.0.lock().unwrap().refuses = [MapError::Full].into();
    let read = || log.read("gate").unwrap();
    assert_eq!(after.store.adopt(read(), Occasion::Start, at(50)).unwrap(), (0, 0));
    let how = |last: u8| {
        let known = after.store.explain(IpAddr::from([203, 0, 113, last]), at(51));
        known[0].ended.map(|ended| (ended.at, ended.why))
    };
    assert_eq!(how(1), Some((at(50), Why::Removed)));
    assert_eq!(how(2), Some((at(10), Why::Expired)));
    assert_eq!(how(3), Some((at(50), Why::Removed)));
    log.append(&after.store.take_lines().0).unwrap();
    assert!(read().iter().all(|entry| entry.ended.is_some()), "and the log says so");
}

#[test]
fn an_allow_list_that_could_not_be_written_is_tried_again() {
    let bench = Bench::new(ENFORCE);
    assert_eq!(bench.store.apply(block("203.0.113.1/32"), at(0)), Answer::Applied(Mode::Enforce));
    bench.allow(&["203.0.113.0/24"]);
    bench.maps.0.lock().unwrap().refuses = vec![MapError::Full; 2].into();
    for _ in 0..2 {
        assert_eq!(bench.store.tend(at(1)), Err(MapError::Full));
    }
    assert!(bench.held().is_empty(), "what it covers is lifted all the same");
    assert_eq!(bench.store.tend(at(2)), Ok(true));
    assert!(bench.maps.0.lock().unwrap().allowed.contains(&net("203.0.113.0/24")));
    assert_eq!(bench.store.tend(at(3)), Ok(false));
}

#[test]
fn a_verdict_of_the_judge_takes_nothing_away_from_one_of_a_person() {
    let judged = |by, theirs: Verdict, ttl, action| {
        let bench = Bench::new(ENFORCE);
        let theirs = Verdict { by, ..theirs };
        assert_eq!(bench.store.apply(theirs, at(0)), Answer::Applied(Mode::Enforce));
        let judged = verdict("203.0.113.1/32", Some(ttl), By::Score);
        matches!(bench.store.apply(Verdict { action, ..judged }, at(1)), Answer::Applied(_))
    };
    let forever = verdict("203.0.113.1/32", None, By::Cli);
    let short = verdict("203.0.113.1/32", Some(10), By::Cli);
    let limit = Verdict { action: Action::RateLimit, ..short.clone() };
    for by in [By::Cli, By::List] {
        assert!(!judged(by, forever.clone(), 60, Action::Drop), "it would end with it");
        assert!(!judged(by, short.clone(), 60, Action::RateLimit), "it is milder");
        assert!(!judged(by, short.clone(), 5, Action::Drop), "it is shorter");
        assert!(judged(by, short.clone(), 60, Action::Drop));
        assert!(judged(by, limit.clone(), 60, Action::Drop));
    }
    assert!(judged(By::Score, forever, 60, Action::RateLimit), "its own it may change");
}

#[test]
fn a_change_of_the_command_line_leaves_reasons_that_the_log_has_not_yet() {
    let daemon = Bench::new(ENFORCE);
    assert_eq!(daemon.store.apply(block("203.0.113.1/32"), at(0)), Answer::Applied(Mode::Enforce));
    daemon.store.adopt(Vec::new(), Occasion::Change, at(1)).unwrap();
    assert_eq!(&*daemon.store.list(at(2))[0].verdict.reasons[0], "a scan");
}

#[test]
fn verdicts_of_people_are_known_however_often_the_log_was_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    let line = |network, ttl, by, change| {
        let entry = Entry::new(verdict(network, ttl, by), Mode::Enforce, at(1));
        log::line(change, "gate", &entry, None, at(8))
    };
    log.append(&[
        line("203.0.113.1/32", None, By::Cli, Change::Applied),
        line("203.0.113.2/32", None, By::List, Change::Applied),
        line("203.0.113.3/32", None, By::Score, Change::Applied),
        line("203.0.113.4/32", None, By::Cli, Change::Applied),
        line("203.0.113.4/32", None, By::Cli, Change::Removed),
        line("203.0.113.5/32", Some(2), By::Cli, Change::Applied),
    ])
    .unwrap();
    let large = "x".repeat(16 << 20);
    let mut unseen = Unseen::open(&log, folder.path(), "gate");
    for _ in 0..4 {
        log.append(std::slice::from_ref(&large)).unwrap();
    }
    let known = log.read("gate").unwrap();
    let known: Vec<_> = known.iter().map(|entry| entry.verdict.network).collect();
    assert_eq!(known, [net("203.0.113.1/32"), net("203.0.113.2/32")]);
    assert!(unseen.read().unwrap().is_empty(), "nothing has changed");
    // One that was taken back since is not what the head of the file says.
    log.append(&[line("203.0.113.1/32", None, By::Cli, Change::Removed)]).unwrap();
    let known = log.read("gate").unwrap();
    assert_eq!(known.iter().filter(|entry| entry.ended.is_none()).count(), 1);
}

#[test]
fn a_log_that_can_t_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    assert!(log.read("gate").unwrap().is_empty(), "none is no mistake");
    std::fs::create_dir(log.path()).unwrap();
    assert!(log.read("gate").is_err() && log.behind(log::Place::default(), "gate", 1).is_err());
}

#[test]
fn a_person_s_command_is_seen_by_the_daemon_and_ends_nothing_by_itself() {
    let daemon = Bench::new(ENFORCE);
    let command = Bench::over(daemon.maps.clone(), ENFORCE, Some("alice"));
    assert_eq!(daemon.store.changes().unwrap(), 0);
    let added = command.store.apply(verdict("203.0.113.1/32", Some(10), By::Cli), at(0));
    assert_eq!(added, Answer::Applied(Mode::Enforce));
    command.store.announce().unwrap();
    assert_eq!(daemon.store.changes().unwrap(), 1);
    let (lines, _) = command.store.take_lines();
    assert!(lines[0].contains(r#""user":"alice""#), "{}", lines[0]);
    daemon.store.adopt(Vec::new(), Occasion::Change, at(1)).unwrap();
    assert_eq!(daemon.store.list(at(2)).len(), 1);
    assert!(command.store.list(at(11)).is_empty(), "its time is over");
    assert_eq!(command.held().len(), 1, "the daemon ends it");
    command.hit("203.0.113.1/32", 4);
    let again = command.store.apply(verdict("203.0.113.1/32", Some(10), By::Cli), at(11));
    assert_eq!(again, Answer::Applied(Mode::Enforce));
    assert_eq!(command.store.list(at(12))[0].packets, 0, "what the first one met is not its own");
    daemon.store.adopt(Vec::new(), Occasion::Change, at(12)).unwrap();
    daemon.store.tend(at(21)).unwrap();
    assert!(daemon.held().is_empty());
}

#[test]
fn a_torn_or_foreign_line_of_the_log_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    let bench = Bench::new(ENFORCE);
    assert_eq!(bench.store.apply(block("203.0.113.1/32"), at(0)), Answer::Applied(Mode::Enforce));
    let (lines, _) = bench.store.take_lines();
    let endless = format!("\"{}\"", "x".repeat(200_000));
    let torn: String = lines[0].chars().take(40).collect();
    let bad = ["", "{}", "\u{0}", &endless, "[1]", &torn].map(str::to_owned);
    log.append(&bad).unwrap();
    log.append(&lines).unwrap();
    log.append(&bad).unwrap();
    assert_eq!(log.read("gate").unwrap().len(), 1);
}

#[test]
fn a_command_counts_no_verdict_that_is_over_and_the_daemon_has_yet_to_end() {
    let maps = Maps::default();
    let daemon = Bench::over(maps.clone(), Policy { max: 2, ..ENFORCE }, None);
    let short = Some(5);
    for address in ["203.0.113.1/32", "203.0.113.2/32"] {
        let answer = daemon.store.apply(verdict(address, short, By::Cli), at(0));
        assert_eq!(answer, Answer::Applied(Mode::Enforce));
    }
    let apply = |now| {
        let command = Bench::over(maps.clone(), Policy { max: 2, ..ENFORCE }, Some("ann"));
        command.store.adopt(Vec::new(), Occasion::Change, at(now)).unwrap();
        command.store.apply(verdict("2001:db8::3/128", None, By::Cli), at(now))
    };
    assert_eq!(apply(4), Answer::Refused(Refusal::Full { max: 2 }));
    assert_eq!(apply(6), Answer::Applied(Mode::Enforce));
}

#[test]
fn what_a_crash_left_of_a_line_takes_no_other_along() {
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    let bench = Bench::new(ENFORCE);
    for (place, torn) in ["", "{\"change\":\"appl", "\u{0}\u{0}", "{}\n{"].iter().enumerate() {
        std::fs::write(log.path(), torn).unwrap();
        let address = format!("203.0.113.{place}/32");
        let answer = bench.store.apply(verdict(&address, None, By::Cli), at(0));
        assert_eq!(answer, Answer::Applied(Mode::Enforce));
        log.append(&bench.store.take_lines().0).unwrap();
        let read = log.read("gate").unwrap();
        assert_eq!(read.len(), 1, "behind {torn:?}");
        assert_eq!(read[0].verdict.network, net(&address));
        let lines = std::fs::read_to_string(log.path()).unwrap();
        assert!(!lines.contains("\n\n") && !lines.starts_with('\n'), "{lines:?}");
    }
}

#[test]
fn a_log_that_has_grown_is_rotated_and_four_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    let large = "x".repeat(16 << 20);
    for round in 0..7 {
        log.append(&[format!("{round}{large}")]).unwrap();
    }
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    let expected = ["", ".1", ".2", ".3", ".4"].map(|end| format!("verdicts.ndjson{end}"));
    assert_eq!(names, expected);
    let first = |name: &str| std::fs::read(folder.path().join(name)).unwrap()[0];
    assert_eq!((first("verdicts.ndjson"), first("verdicts.ndjson.4")), (b'6', b'2'));
}

proptest! {
    #[test]
    fn whatever_stands_in_the_log_is_read_or_skipped(
        text in vec(any::<u8>(), 0..600),
        cut in 0_usize..400,
        changed in any::<(u16, u8)>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let log = VerdictLog::new(folder.path());
        let entry = Entry::new(verdict("203.0.113.7/32", Some(60), By::Cli), Mode::Enforce, at(7));
        let good = log::line(Change::Applied, "gate", &entry, Some("ann"), at(8));
        let mut bad = good.clone().into_bytes();
        let place = usize::from(changed.0) % bad.len();
        bad[place] = changed.1;
        let cut = &good.as_bytes()[..cut.min(good.len())];
        let all = [&text[..], b"\n", &bad, b"\n", cut, b"\n", good.as_bytes(), b"\n"].concat();
        std::fs::write(log.path(), &all).unwrap();
        let (found, end) = log.behind(log::Place::default(), "gate", usize::MAX).unwrap();
        prop_assert_eq!(&found.last().unwrap().entry, &entry);
        prop_assert_eq!(end, log.end().unwrap());
        prop_assert!(!log.read("gate").unwrap().is_empty());
        // By one line at a time it is the same.
        let (mut one_by_one, mut place) = (Vec::new(), log::Place::default());
        while place != end {
            let (some, next) = log.behind(place, "gate", 1).unwrap();
            one_by_one.extend(some);
            place = next;
        }
        prop_assert_eq!(one_by_one, found);
    }
}

#[test]
fn a_reader_of_the_log_goes_on_where_it_was_over_rotation_and_torn_lines() {
    let folder = tempfile::tempdir().unwrap();
    let log = VerdictLog::new(folder.path());
    let line = |last: u8, change| {
        let entry = Entry::new(
            verdict(&format!("203.0.113.{last}/32"), None, By::Cli),
            Mode::Enforce,
            at(7),
        );
        log::line(change, "gate", &entry, Some("ann"), at(8))
    };
    let mut unseen = Unseen::open(&log, folder.path(), "gate");
    assert!(unseen.read().unwrap().is_empty(), "there is no log yet");
    log.append(&[line(1, Change::Applied), "nonsense".to_owned(), line(2, Change::Removed)])
        .unwrap();
    let other = log::line(
        Change::Applied,
        "other",
        &Entry::new(verdict("203.0.113.3/32", None, By::Cli), Mode::Enforce, at(7)),
        None,
        at(8),
    );
    log.append(&[other]).unwrap();
    let read = unseen.read().unwrap();
    let seen: Vec<_> = read.iter().map(|one| (one.change, one.entry.verdict.network)).collect();
    let net = |last: u8| format!("203.0.113.{last}/32").parse().unwrap();
    assert_eq!(seen, [(Change::Applied, net(1)), (Change::Removed, net(2))]);
    assert_eq!((read[0].user.as_deref(), read[0].at), (Some("ann"), at(8)));
    assert_eq!(unseen.read().unwrap(), read, "what was not told is read again");
    unseen.told().unwrap();
    assert!(unseen.read().unwrap().is_empty());
    // Rotated, with a line that nobody has read, a long one, and one that is being written.
    log.append(&[line(4, Change::Expired)]).unwrap();
    let rotated = folder.path().join("verdicts.ndjson.1");
    std::fs::rename(log.path(), rotated).unwrap();
    log.append(&["x".repeat(200_000), line(5, Change::Allowed)]).unwrap();
    let torn = line(6, Change::Applied);
    let (begun, rest) = torn.split_at(torn.len() / 2);
    let text = std::fs::read_to_string(log.path()).unwrap() + begun;
    std::fs::write(log.path(), &text).unwrap();
    let mut unseen = Unseen::open(&log, folder.path(), "gate");
    let seen: Vec<_> = unseen.read().unwrap().iter().map(|one| one.entry.verdict.network).collect();
    assert_eq!(seen, [net(4), net(5)]);
    unseen.told().unwrap();
    std::fs::write(log.path(), text + rest + "\n").unwrap();
    assert_eq!(unseen.read().unwrap().len(), 1);
    // Whatever the place says that is no place in this log: all that is kept.
    std::fs::write(folder.path().join("verdicts-gate.told"), r#"{"file":1,"byte":99}"#).unwrap();
    assert_eq!(Unseen::open(&log, folder.path(), "gate").read().unwrap().len(), 5);
    unseen.skip().unwrap();
    assert!(unseen.read().unwrap().is_empty());
}

#[test]
fn a_record_tells_of_what_the_judge_does_not() {
    let entry = |by| {
        let verdict = verdict("203.0.113.0/24", None, by);
        Entry { packets: 12, bytes: 720, ..Entry::new(verdict, Mode::Enforce, at(7)) }
    };
    let told = |change, by| {
        let logged =
            log::Logged { change, at: at(8), user: None, source: "gate".into(), entry: entry(by) };
        alert(&logged, ObservationPoint::default(), &"c0ffee".into())
    };
    assert_eq!(told(Change::Applied, By::Score), None, "it has said so itself");
    let ended = told(Change::Expired, By::Score).unwrap();
    assert_eq!((ended.action, ended.message()), (Told::Expire, "Verdict changed"));
    assert!(ended.reasons[0].ends_with("has reached its time; it dropped 12 packets, 720 bytes"));
    assert!(!ended.details.is_in_force && ended.rule().is_none());
    let set = told(Change::Applied, By::Cli).unwrap();
    assert_eq!((set.action, set.details.is_in_force), (Told::Block, true));
    assert_eq!(told(Change::Allowed, By::List).unwrap().action, Told::Unblock);
    assert_ne!(set.id("here"), ended.id("here"));
}

/// Holds of the program's guard.
#[cfg(feature = "xdp")]
mod holds {
    use tidegate_ebpf::{
        Error,
        evidence::{Event, Place, Tally, Told},
        guard::Suspect,
    };

    use super::*;
    use crate::gate::{
        evidence::Ring,
        guard::{Desk, Terms},
    };

    const TERMS: Terms =
        Terms { distinct_ports: 32, hold: Duration::from_secs(10), syn_rate: Some(500) };
    const MARK: u64 = 9;

    /// Each source met five packets; who was let go.
    #[derive(Debug, Default)]
    struct Made {
        released: Vec<u32>,
        is_anothers: bool,
    }

    impl Ring for Made {
        fn drain(&mut self, _: usize, _: &mut dyn FnMut(Event)) -> usize {
            0
        }

        fn place(&mut self, _: u32) -> Result<Place, Error> {
            Ok(Place::default())
        }

        fn tally(&mut self) -> Result<Tally, Error> {
            Ok(Tally::default())
        }

        fn suspect(&mut self, _: u32) -> Result<Suspect, Error> {
            let mark = if self.is_anothers { MARK + 2 } else { MARK };
            Ok(Suspect { mark, packets: 5, bytes: 300, ..Suspect::default() })
        }

        fn release(&mut self, index: u32, mark: u64) -> Result<(), Error> {
            assert_eq!(mark, MARK);
            self.released.push(index);
            Ok(())
        }
    }

    fn event(source: &str, told: Told) -> Event {
        let source = address(source);
        let IpAddr::V4(octets) = source else { panic!("it is IPv4") };
        Event {
            time_ns: 0,
            mark: MARK,
            source,
            destination: address("192.0.2.1"),
            // So that they are told apart.
            place: octets.octets()[3].into(),
            source_port: 40_000,
            destination_port: 32,
            tcp_flags: 2,
            told,
            transport: 6,
            proven: false,
            socket: None,
            outward: false,
        }
    }

    fn bench(policy: Policy) -> (Maps, Arc<GateStore>, Desk) {
        let Bench { maps, store, .. } = Bench::new(policy);
        let store = Arc::new(store);
        (maps, Arc::clone(&store), Desk::new(store, TERMS))
    }

    #[test]
    fn a_hold_becomes_a_verdict_and_ends_where_there_may_be_none() {
        let (_maps, store, desk) = bench(ENFORCE);
        let mut ring = Made::default();
        for source in ["203.0.113.7", "192.0.2.254", "198.51.100.9"] {
            desk.decide(&event(source, Told::Held), &mut ring, at(1));
        }
        desk.decide(&event("203.0.113.8", Told::Attempt), &mut ring, at(1));
        assert_eq!(ring.released, [7, 254, 9], "the verdict is in its place, or nothing is");
        let listed = store.list(at(10));
        let [entry] = &listed[..] else { panic!("{listed:?}") };
        let verdict = &entry.verdict;
        assert_eq!((verdict.network, verdict.by), (net("203.0.113.7/32"), By::Guard));
        assert_eq!((verdict.action, verdict.scope), (Action::Drop, Scope::New));
        assert_eq!((entry.mode, entry.packets, entry.bytes), (Mode::Enforce, 5, 300));
        assert!(verdict.reasons[0].contains("it tried 32 ports within 10 s"));
        assert!(store.list(at(11)).is_empty());
        let (lines, _) = store.take_lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn a_hold_leaves_the_verdict_of_somebody_else_in_force() {
        let (maps, store, desk) = bench(ENFORCE);
        let mut ring = Made::default();
        let port = Verdict { port: Some(22), ..verdict("203.0.113.7/32", Some(60), By::Cli) };
        assert_eq!(store.apply(port, at(0)), Answer::Applied(Mode::Enforce));
        // The command line's, which the daemon has not seen yet.
        let command = Bench::over(maps, ENFORCE, Some("alice"));
        let theirs = verdict("203.0.113.8/32", Some(60), By::Cli);
        assert_eq!(command.store.apply(theirs, at(0)), Answer::Applied(Mode::Enforce));
        for source in ["203.0.113.7", "203.0.113.8"] {
            desk.decide(&event(source, Told::Held), &mut ring, at(1));
        }
        assert!(ring.released.is_empty(), "the program's own hold goes on");
        assert!(store.list(at(2)).iter().all(|entry| entry.verdict.by == By::Cli));
        // Once it is over there is room for the guard's.
        desk.decide(&event("203.0.113.8", Told::Held), &mut ring, at(60));
        assert_eq!(ring.released, [8]);
    }

    #[test]
    fn a_limit_gives_way_to_a_hold_and_not_the_other_way_round() {
        let (_maps, store, desk) = bench(ENFORCE);
        let mut ring = Made::default();
        for (told, action, packets) in [
            (Told::Limited, Action::RateLimit, 5),
            (Told::Held, Action::Drop, 10),
            (Told::Limited, Action::Drop, 10),
        ] {
            desk.decide(&event("203.0.113.7", told), &mut ring, at(1));
            let entry = &store.list(at(2))[0];
            assert_eq!((entry.verdict.action, entry.packets), (action, packets), "{told:?}");
        }
    }

    #[test]
    fn what_another_met_in_the_same_place_is_not_its_own() {
        let (_maps, store, desk) = bench(ENFORCE);
        let mut ring = Made { is_anothers: true, ..Made::default() };
        desk.decide(&event("203.0.113.7", Told::Held), &mut ring, at(1));
        assert_eq!(store.list(at(2))[0].packets, 0);
    }

    #[test]
    fn a_gate_that_enforces_for_a_share_only_observes_what_its_guard_holds() {
        let (_maps, store, desk) = bench(Policy { percent: 99, ..ENFORCE });
        desk.decide(&event("203.0.113.7", Told::Held), &mut Made::default(), at(1));
        assert_eq!(store.list(at(2))[0].mode, Mode::Observe);
    }

    #[test]
    fn a_hold_goes_on_where_there_is_no_room_for_its_verdict() {
        let (_maps, store, desk) = bench(Policy { max: 1, ..ENFORCE });
        assert_eq!(store.apply(block("203.0.113.1/32"), at(0)), Answer::Applied(Mode::Enforce));
        let mut ring = Made::default();
        desk.decide(&event("203.0.113.7", Told::Held), &mut ring, at(1));
        assert!(ring.released.is_empty());
    }
}
