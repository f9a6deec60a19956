//! The networks of a run: lists and their files, and the addresses of the servers that sinks write to.
//! Read on start, again on SIGHUP, and the addresses once a minute.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::{
    net::lookup_host,
    sync::watch,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::{
    component::Clock,
    networks::{Former, Lists, Networks},
    sinks::Host,
    task,
};

/// How long a start waits for the addresses of all hosts together; those that come later count later.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the addresses are asked for again: names move.
const AGAIN: Duration = Duration::from_mins(1);

/// Keeps the networks of a run.
#[derive(Debug)]
pub(super) struct Keeper {
    lists: watch::Sender<Lists>,
    /// What their files held when they were read last.
    former: Former,
    hosts: BTreeMap<Host, Vec<IpAddr>>,
    clock: Clock,
    networks: watch::Sender<Arc<Networks>>,
    reload: watch::Receiver<u64>,
}

// === impl Keeper ===

impl Keeper {
    /// Reads the lists, and finds the addresses of `hosts`. A replay asks nobody for them: of names it
    /// knows nothing, so that it gives the same output twice.
    pub(super) async fn start(
        lists: Lists,
        hosts: impl IntoIterator<Item = Host>,
        clock: Clock,
        reload: watch::Receiver<u64>,
    ) -> Self {
        let hosts = hosts.into_iter().map(|host| (host, Vec::new())).collect();
        let networks = watch::channel(Arc::default()).0;
        let lists = watch::channel(lists).0;
        let mut keeper = Self { lists, former: Former::default(), hosts, clock, networks, reload };
        keeper.resolve().await;
        keeper.read().await;
        keeper
    }

    /// The networks, now and as they change.
    pub(super) fn networks(&self) -> watch::Receiver<Arc<Networks>> {
        self.networks.subscribe()
    }

    /// The lists, for whoever reads them from the config anew; they hold from the next SIGHUP on.
    pub(super) fn lists(&self) -> watch::Sender<Lists> {
        self.lists.clone()
    }

    /// Follows SIGHUP and the names for as long as the run lasts.
    pub(super) async fn follow(mut self) {
        let by_name = self.clock == Clock::Wall && !self.hosts.is_empty();
        loop {
            tokio::select! {
                changed = self.reload.changed() => match changed {
                    Ok(()) => self.read().await,
                    Err(_) => std::future::pending().await,
                },
                () = sleep(AGAIN), if by_name => {
                    if self.resolve().await {
                        self.publish((**self.networks.borrow()).clone());
                    }
                }
            }
        }
    }

    /// Reads the lists again; what is wrong in their files is told, and the good lines count.
    async fn read(&mut self) {
        let lists = self.lists.borrow().clone();
        let mut former = std::mem::take(&mut self.former);
        let read = task::blocking(move || {
            let read = lists.read_again(&mut former);
            (read, former)
        });
        let Ok(((networks, faults), former)) = read.await else { return };
        self.former = former;
        for fault in faults {
            warn!("the list of networks {fault}");
        }
        self.publish(networks);
    }

    fn publish(&self, networks: Networks) {
        let addresses = self.hosts.values().flatten().copied().map(IpNet::from);
        let destinations = addresses.collect();
        self.networks.send_replace(Arc::new(Networks { destinations, ..networks }));
    }

    /// Asks for the addresses of all hosts. One that can't be had now keeps those it had. True if there
    /// is news.
    async fn resolve(&mut self) -> bool {
        let mut news = false;
        let clock = self.clock;
        let found = join_all(self.hosts.keys().map(|host| addresses(host, clock))).await;
        for ((host, known), found) in self.hosts.iter_mut().zip(found) {
            match found {
                Ok(mut found) => {
                    found.sort_unstable();
                    found.dedup();
                    news |= *known != found;
                    *known = found;
                }
                Err(error) => warn!(
                    host = host.name,
                    "the address of a sink's server is not known, so it may be blocked: {error}"
                ),
            }
        }
        news
    }
}

async fn addresses(host: &Host, clock: Clock) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.name.parse() {
        return Ok(vec![address]);
    }
    if clock == Clock::Event {
        return Ok(Vec::new());
    }
    match timeout(PATIENCE, lookup_host((host.name.as_str(), host.port))).await {
        Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr};

    use super::*;

    fn host(name: &str) -> Host {
        Host { name: name.to_owned(), port: 443 }
    }

    async fn keeper(clock: Clock, hosts: &[&str]) -> Keeper {
        let hosts = hosts.iter().map(|name| host(name));
        Keeper::start(Lists::default(), hosts, clock, watch::channel(0).1).await
    }

    fn destinations(keeper: &Keeper) -> Vec<String> {
        let networks = keeper.networks();
        let networks = networks.borrow();
        networks.destinations.iter().map(|(network, ())| network.to_string()).collect()
    }

    /// A label longer than any may be: nobody is asked for it.
    fn impossible() -> String {
        format!("{}.example", "x".repeat(64))
    }

    #[tokio::test]
    async fn the_addresses_of_sinks_are_found_but_for_names_in_a_replay() {
        let hosts = ["192.0.2.1", "2001:db8::1", "localhost", &impossible()];
        let live = destinations(&keeper(Clock::Wall, &hosts).await);
        for known in ["192.0.2.1/32", "2001:db8::1/128"] {
            assert!(live.iter().any(|found| found == known), "{live:?}");
        }
        assert!(live.iter().any(|found| found == "127.0.0.1/32" || found == "::1/128"), "{live:?}");
        let replay = destinations(&keeper(Clock::Event, &hosts).await);
        assert_eq!(replay, ["192.0.2.1/32", "2001:db8::1/128"]);
    }

    #[tokio::test]
    async fn a_name_without_an_answer_keeps_the_addresses_it_had() {
        let mut keeper = keeper(Clock::Wall, &[&impossible()]).await;
        assert_eq!(destinations(&keeper), Vec::<String>::new());
        let before = vec![IpAddr::from(Ipv4Addr::new(192, 0, 2, 7))];
        keeper.hosts.insert(host(&impossible()), before);
        assert!(!keeper.resolve().await, "there is no news");
        keeper.read().await;
        assert_eq!(destinations(&keeper), ["192.0.2.7/32"]);
    }

    #[tokio::test]
    async fn files_are_read_again_on_sighup_and_the_good_lines_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("allow.txt");
        fs::write(&path, "10.0.0.1\n").unwrap();
        let lists = Lists { allow_files: vec![path.clone()], ..Lists::default() };
        let (reload, reloaded) = watch::channel(0);
        let keeper = Keeper::start(lists, [host("192.0.2.1")], Clock::Wall, reloaded).await;
        let mut networks = keeper.networks();
        let allows = |networks: &Networks, address: &str| {
            networks.allowed(address.parse().unwrap()).is_some()
        };
        assert!(allows(&networks.borrow_and_update(), "10.0.0.1/32"));
        let following = tokio::spawn(keeper.follow());
        fs::write(&path, "10.0.0.2\nten\n").unwrap();
        reload.send_replace(1);
        networks.changed().await.unwrap();
        let now = networks.borrow();
        assert!(allows(&now, "10.0.0.2/32") && !allows(&now, "10.0.0.1/32"));
        assert!(now.destinations.contains(Ipv4Addr::new(192, 0, 2, 1).into()), "and what is known");
        drop(now);
        // One that is gone, as while somebody writes it anew, keeps what it held.
        fs::remove_file(&path).unwrap();
        reload.send_replace(2);
        networks.changed().await.unwrap();
        assert!(allows(&networks.borrow(), "10.0.0.2/32"));
        following.abort();
    }
}
