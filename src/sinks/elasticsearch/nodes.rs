//! The cluster's nodes: requests go to each in turn, but for those that can't be reached or don't answer in
//! time. Such a one is left out for a while, and then tried by one request again.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Url;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::http::{Answer, Failure};

const FIRST_ABSENCE: Duration = Duration::from_secs(1);
const LONGEST_ABSENCE: Duration = Duration::from_secs(30);

/// The nodes of one cluster.
#[derive(Debug)]
pub(super) struct Nodes {
    all: Vec<Node>,
    turn: AtomicUsize,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    /// Its name for messages.
    pub(super) name: String,
    pub(super) base: Url,
    pub(super) bulk: Url,
    absence: Mutex<Option<Absence>>,
}

/// How long a node is left out.
#[derive(Debug, Clone, Copy)]
struct Absence {
    until: Instant,
    length: Duration,
    /// Whether a request is trying it meanwhile.
    tried: bool,
}

/// The nodes for one request: one after the other, as long as none of them can be reached.
#[derive(Debug)]
pub(super) struct Round<'a> {
    nodes: &'a Nodes,
    first: usize,
    asked: usize,
    any: bool,
}

// === impl Nodes ===

impl Nodes {
    /// Nodes by the addresses of each: its own, and that for bulk requests.
    pub(super) fn new(addresses: impl IntoIterator<Item = (Url, Url)>) -> Self {
        let node = |(base, bulk): (Url, Url)| Node {
            name: base.origin().ascii_serialization(),
            base,
            bulk,
            absence: Mutex::default(),
        };
        Self { all: addresses.into_iter().map(node).collect(), turn: AtomicUsize::new(0) }
    }

    /// Begins with the node whose turn it is.
    pub(super) fn round(&self) -> Round<'_> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        Round { nodes: self, first, asked: 0, any: false }
    }
}

// === impl Round ===

impl<'a> Round<'a> {
    /// The next node to try. When all of them are left out, one is tried all the same; `None` when
    /// there is nobody else to ask.
    pub(super) fn next(&mut self, now: Instant) -> Option<&'a Node> {
        let all = &self.nodes.all;
        let at = |number: usize| all.get(self.first.wrapping_add(number) % all.len().max(1));
        while self.asked < all.len() {
            let node = at(self.asked);
            self.asked += 1;
            if let Some(node) = node.filter(|node| node.may_be_tried(now)) {
                self.any = true;
                return Some(node);
            }
        }
        let node = at(0).filter(|_| !self.any);
        self.any = true;
        node
    }

    /// Takes note of how a node answered at `now`; true if the next one may be asked in its place.
    pub(super) fn answered(
        &self,
        node: &Node,
        answer: Result<&Answer, &Failure>,
        now: Instant,
    ) -> bool {
        let others = self.nodes.all.len() > 1;
        match answer {
            Err(
                failure @ (Failure::NotSent(reason)
                | Failure::Astray(reason)
                | Failure::TimedOut(reason)),
            ) => {
                if node.missed(now) && others {
                    warn!(node = node.name, "left out for a while: {reason}");
                }
                // What was sent may have been taken: the driver says when it goes again, and where to
                // follows from the turn.
                others && matches!(failure, Failure::NotSent(_) | Failure::Astray(_))
            }
            Ok(_) | Err(Failure::NoAnswer(_) | Failure::TooLong { .. }) => {
                if node.reached() && others {
                    info!(node = node.name, "can be reached again");
                }
                false
            }
        }
    }
}

// === impl Node ===

impl Node {
    /// Whether it is there as far as we know. When its absence is over, one request tries it, and the
    /// others go on without it until that has an answer.
    fn may_be_tried(&self, now: Instant) -> bool {
        let mut absence = self.absence.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *absence {
            None => true,
            Some(absence) if absence.until <= now => {
                *absence =
                    Absence { until: now + LONGEST_ABSENCE, tried: true, length: absence.length };
                true
            }
            Some(_) => false,
        }
    }

    /// It can't be reached, or hangs: it is left out, twice as long as the last time if it was tried again since.
    /// True if it was there before.
    fn missed(&self, now: Instant) -> bool {
        let mut absence = self.absence.lock().unwrap_or_else(PoisonError::into_inner);
        let length = match *absence {
            None => FIRST_ABSENCE,
            Some(Absence { tried: false, .. }) => return false,
            Some(Absence { length, .. }) => (length * 2).min(LONGEST_ABSENCE),
        };
        absence.replace(Absence { until: now + length, length, tried: false }).is_none()
    }

    /// Whether it could not be reached the last time.
    pub(super) fn is_away(&self) -> bool {
        self.absence.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// It is there; true if it was not before.
    fn reached(&self) -> bool {
        self.absence.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u16) -> Nodes {
        let address = |port| Url::parse(&format!("http://node:{port}")).unwrap();
        Nodes::new((0..count).map(|number| (address(9200 + number), address(9200 + number))))
    }

    fn miss(round: &Round<'_>, node: &Node, now: Instant) -> bool {
        round.answered(node, Err(&Failure::NotSent("refused".to_owned())), now)
    }

    fn ports(nodes: &Nodes, rounds: usize, now: Instant) -> Vec<u16> {
        let port = |_| nodes.round().next(now).and_then(|node| node.base.port()).unwrap();
        (0..rounds).map(port).collect()
    }

    #[tokio::test]
    async fn each_node_has_its_turn() {
        assert_eq!(ports(&nodes(3), 4, Instant::now()), [9200, 9201, 9202, 9200]);
    }

    #[tokio::test]
    async fn a_node_that_can_not_be_reached_is_left_out_ever_longer() {
        let (nodes, mut now) = (nodes(2), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let mut round = nodes.round();
            let mut node = round.next(now).unwrap();
            if node.base.port() != Some(9200) {
                round = nodes.round();
                node = round.next(now).unwrap();
            }
            assert!(miss(&round, node, now), "the other one is asked in its place");
            assert_eq!(round.next(now).and_then(|node| node.base.port()), Some(9201));
            let end = now + Duration::from_secs(seconds);
            assert_eq!(ports(&nodes, 4, end - Duration::from_millis(1)), [9201; 4]);
            now = end;
        }
        // One request tries it, and the others don't wait for what comes of that.
        let tried = ports(&nodes, 6, now);
        assert_eq!(tried.iter().filter(|port| **port == 9200).count(), 1, "{tried:?}");
        let answer = Failure::NoAnswer("reset".to_owned());
        nodes.round().answered(&nodes.all[0], Err(&answer), now);
        let tried = ports(&nodes, 4, now);
        assert_eq!(tried.iter().filter(|port| **port == 9200).count(), 2, "{tried:?}");
    }

    #[tokio::test]
    async fn a_node_that_hangs_is_left_out_and_what_it_got_is_not_sent_elsewhere_at_once() {
        let (nodes, now) = (nodes(2), Instant::now());
        let hung = Failure::TimedOut("no whole answer within 60 s".to_owned());
        let mut round = nodes.round();
        let node = round.next(now).unwrap();
        assert!(!round.answered(node, Err(&hung), now));
        assert_eq!(ports(&nodes, 4, now), [9201; 4]);
        assert_eq!(node.base.port(), Some(9200));
    }

    #[tokio::test]
    async fn when_all_are_away_a_request_tries_one_and_no_more() {
        let (nodes, now) = (nodes(2), Instant::now());
        let mut round = nodes.round();
        while let Some(node) = round.next(now) {
            miss(&round, node, now);
        }
        for _ in 0..4 {
            let mut round = nodes.round();
            assert!(round.next(now).is_some());
            assert!(round.next(now).is_none());
        }
    }

    #[tokio::test]
    async fn an_only_node_is_asked_whatever_it_does() {
        let (nodes, now) = (nodes(1), Instant::now());
        for _ in 0..3 {
            let mut round = nodes.round();
            let node = round.next(now).unwrap();
            assert!(!miss(&round, node, now), "there is nobody else");
            assert!(round.next(now).is_none());
        }
    }
}
