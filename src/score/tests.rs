//! The judge, rule by rule. Contacts are made up, and so is their time.

mod bounds;
mod rules;
mod signals;
mod snapshots;
mod verdicts;

use std::{net::IpAddr, sync::Arc};

use tokio::sync::watch;

use super::*;
use crate::{
    networks::{NetworkMap, Networks},
    record::{Action, Alert, Contact, ObservationPoint, Outcome, Timestamp, Transport},
    verdict::{MemoryStore, Mode, Store},
};

/// A judge, its store and what it said.
struct Court {
    judge: Judge,
    store: Arc<MemoryStore>,
    alerts: Vec<Alert>,
    /// Seconds since the epoch at which the next contact is.
    secs: f64,
    /// The port that is scanned next.
    port: u16,
}

fn networks() -> Networks {
    let internal = ["10.0.0.0/8".parse().unwrap()];
    Networks {
        internal: internal.into_iter().collect(),
        admin_ports: vec![22],
        ..Networks::default()
    }
}

fn settings() -> Settings {
    Settings { max_sources: 10_000, ..Settings::default() }
}

fn at(secs: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "tests take place within a few days")]
    Timestamp::from_nanos((secs * 1e9) as i64)
}

impl Court {
    fn new() -> Self {
        Self::with(settings(), networks(), Mode::Enforce)
    }

    fn with(settings: Settings, networks: Networks, mode: Mode) -> Self {
        let networks = Arc::new(networks);
        let watched = watch::channel(Arc::clone(&networks)).1;
        let store = Arc::new(MemoryStore::new(1_000, mode, watched));
        let shared: Arc<dyn Store> = Arc::clone(&store) as _;
        let seat = Seat { observer: "test".into(), store: Some(shared), ..Seat::default() };
        let judge = Judge::new(settings, networks, seat);
        Self { judge, store, alerts: Vec::new(), secs: 1_000_000.0, port: 1_000 }
    }

    fn tell(&mut self, contact: &Contact) {
        self.judge.take(contact, false, contact.time, &mut self.alerts);
    }

    /// A contact now, and the clock moves on by `step` seconds.
    fn hear(&mut self, source: &str, target: (&str, u16), outcome: Outcome, step: f64) {
        let contact = contact(source, target, outcome, at(self.secs));
        self.tell(&contact);
        self.secs += step;
    }

    fn proven(&mut self, source: &str, target: (&str, u16)) {
        let reached = contact(source, target, Outcome::Success, at(self.secs));
        self.tell(&Contact { path_proven: true, ..reached });
    }

    /// A source that scans, and can't be another in its name: it connects as it goes.
    fn intruder(&mut self, source: &str, target: (&str, u16), count: u16) {
        self.scan(source, 1);
        self.proven(source, target);
        self.scan(source, count);
    }

    /// `count` first contacts with ports of one host that fail, a tenth of a second apart.
    fn scan(&mut self, source: &str, count: u16) {
        for _ in 0..count {
            self.port += 1;
            self.hear(source, ("10.0.0.1", self.port), Outcome::Refused, 0.1);
        }
    }

    fn score(&self, source: &str) -> u8 {
        self.judge.risk(source.parse().unwrap(), at(self.secs)).unwrap_or(0)
    }

    fn actions(&self) -> Vec<Action> {
        self.alerts.iter().map(|alert| alert.action).collect()
    }

    /// The verdicts that hold, by their networks.
    fn held(&self) -> Vec<crate::verdict::Verdict> {
        self.store.list(at(self.secs)).into_iter().map(|entry| entry.verdict).collect()
    }
}

fn contact(source: &str, target: (&str, u16), outcome: Outcome, time: Timestamp) -> Contact {
    Contact {
        time,
        origin: ObservationPoint::default(),
        source: source.parse().unwrap(),
        destination: target.0.parse().unwrap(),
        port: target.1,
        source_port: 40_000,
        transport: Transport::TCP,
        outcome,
        path_proven: false,
    }
}

/// For hours a client reaches each of so many servers once in ten minutes.
fn regular(court: &mut Court, servers: u16) {
    for _ in 0..20 {
        for server in 0..servers {
            court.hear(INSIDE, ("10.2.0.1", 8_000 + server), Outcome::Success, 0.0);
            court.secs += 600.0 / f64::from(servers);
        }
    }
}

/// An end of a connection that lasted a second.
const SHORT: Outcome =
    Outcome::Ended { duration_nanos: 1_000_000_000, sent_bytes: 2_000, received_bytes: 2_000 };
const OUTSIDE: &str = "198.51.100.7";
const INSIDE: &str = "10.9.9.9";
const HOST: &str = "10.0.0.1";
