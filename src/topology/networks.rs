//! The networks of a run: lists and their files, and the addresses of the servers that sinks write to.
//! Read on start, again on SIGHUP, and the addresses once a minute.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::{
    net::lookup_host,
    sync::watch,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::{
    component::Clock,
    networks::{Lists, Networks},
    sinks::Host,
};

/// How long a start waits for the addresses of all hosts together; those that come later count later.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the addresses are asked for again: names move.
const AGAIN: Duration = Duration::from_mins(1);

/// Keeps the networks of a run.
#[derive(Debug)]
pub(super) struct Keeper {
    lists: Lists,
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
        let mut keeper = Self { lists, hosts, clock, networks, reload };
        keeper.resolve().await;
        keeper.read().await;
        keeper
    }

    /// The networks, now and as they change.
    pub(super) fn networks(&self) -> watch::Receiver<Arc<Networks>> {
        self.networks.subscribe()
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
        let lists = std::mem::take(&mut self.lists);
        let read = spawn_blocking(move || (lists.read(), lists)).await;
        let Ok(((networks, faults), lists)) = read else { return };
        self.lists = lists;
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
