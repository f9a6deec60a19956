//! Asks resolvers: the only DNS I/O.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, Record, RecordType},
    system_conf::read_system_conf,
};

use super::{
    cache::{Answer, Failure},
    directory::Question,
    host_name::host_name,
    range::Route,
    server::{Private, Server},
};
use crate::record::{HostNames, NameOrigin};

/// How long one try may take; there are two.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a question may take, whatever the resolver does.
const LIMIT: Duration = Duration::from_secs(2);
/// Names kept of an address; more is no name but a list.
const MAX_NAMES: usize = 16;
/// Names of an address that are confirmed, a question each, the first in order. What a look-up may
/// cost is ours to say, not the owner's of the reverse zone.
const MAX_CONFIRMED: usize = 2;
/// Questions under way in one connection: more than can ever be out.
const MAX_ACTIVE: usize = 65_536;

/// Finds the names of addresses. Keeps no answers.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "hickory's resolver has none to show")]
pub struct Resolver {
    public: TokioResolver,
    private: Option<TokioResolver>,
    forward_confirm: bool,
}

/// There is no resolver to ask.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system's can't be read.
    #[error("the system's resolvers can't be read from /etc/resolv.conf: name them in `resolvers`")]
    System(#[source] NetError),
    /// The system has none.
    #[error("/etc/resolv.conf names no resolver: name them in `resolvers`")]
    NoSystem,
    /// It can't be built.
    #[error("the resolver can't be set up")]
    Setup(#[source] NetError),
}

// === impl Resolver ===

impl Resolver {
    /// Asks `servers`, or the system's if there are none; for private addresses only `private`.
    /// With `forward_confirm` a name counts as reliable if it leads back to the address.
    ///
    /// # Errors
    /// When the system's resolvers are wanted and can't be read.
    pub fn new(servers: &[Server], private: Private, forward_confirm: bool) -> Result<Self, Error> {
        let public = match servers {
            [] => system_servers()?,
            named => named.iter().map(|server| name_server(server.0)).collect(),
        };
        let private = match private {
            Private::Skip => None,
            Private::Ask(server) => Some(build(vec![name_server(server.0)])?),
        };
        Ok(Self { public: build(public)?, private, forward_confirm })
    }

    /// Asks for the names of an address, and then for the names' addresses: four seconds at most.
    pub async fn ask(&self, question: Question) -> Answer {
        let resolver = match (question.route, &self.private) {
            (Route::Public, _) => &self.public,
            (Route::Private, Some(private)) => private,
            (Route::Private, None) => return Answer::Failed(Failure::Refused),
        };
        self.names(resolver, question.address).await
    }

    async fn names(&self, resolver: &TokioResolver, address: IpAddr) -> Answer {
        let pointers = match lookup(resolver, Name::from(address), RecordType::PTR).await {
            Ok(pointers) => pointers,
            Err(error) => return failed(&error),
        };
        let (mut names, mut ttl) = (BTreeSet::new(), u32::MAX);
        for record in answers(&pointers) {
            if let RData::PTR(target) = &record.data {
                names.extend(host_name(&target.0.to_ascii()));
                ttl = ttl.min(record.ttl);
            }
        }
        if ttl == u32::MAX {
            return Answer::Nameless(None);
        }
        if names.is_empty() {
            return Answer::Invalid(seconds(ttl));
        }
        let checks =
            names.into_iter().take(MAX_NAMES).enumerate().map(|(place, name)| async move {
                let asked = self.forward_confirm && place < MAX_CONFIRMED;
                let confirmed = asked && leads_back(resolver, &name, address).await;
                (name, confirmed)
            });
        let mut found =
            HostNames { origin: NameOrigin::Ptr, reliable: Vec::new(), unverified: Vec::new() };
        for (name, confirmed) in join_all(checks).await {
            if confirmed { &mut found.reliable } else { &mut found.unverified }.push(name);
        }
        Answer::Names(found, seconds(ttl))
    }
}

async fn lookup(
    resolver: &TokioResolver,
    name: Name,
    record_type: RecordType,
) -> Result<Lookup, NetError> {
    let answer = tokio::time::timeout(LIMIT, resolver.lookup(name, record_type)).await;
    answer.unwrap_or(Err(NetError::Timeout))
}

/// Whether the name's own addresses hold `address`.
async fn leads_back(resolver: &TokioResolver, name: &str, address: IpAddr) -> bool {
    let Ok(mut name) = Name::from_ascii(name) else {
        return false;
    };
    name.set_fqdn(true);
    let record_type = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
    let Ok(addresses) = lookup(resolver, name, record_type).await else {
        return false;
    };
    answers(&addresses).any(|record| match &record.data {
        RData::A(found) => IpAddr::V4(found.0) == address,
        RData::AAAA(found) => IpAddr::V6(found.0) == address,
        _ => false,
    })
}

/// The records that answer the question: owned by the name asked for or one it is an alias of. What
/// else a server puts into its answer section is not believed.
fn answers(lookup: &Lookup) -> impl Iterator<Item = &Record> {
    let mut owners = vec![lookup.query().name()];
    for record in lookup.answers() {
        if let RData::CNAME(target) = &record.data
            && owners.contains(&&record.name)
        {
            owners.push(&target.0);
        }
    }
    lookup.answers().iter().filter(move |record| owners.contains(&&record.name))
}

fn failed(error: &NetError) -> Answer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(denial)) => {
            Answer::Nameless(denial.negative_ttl.map(seconds))
        }
        NetError::Timeout | NetError::Io(_) | NetError::NoConnections => {
            Answer::Failed(Failure::Timeout)
        }
        _ => Answer::Failed(Failure::Refused),
    }
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(ttl.into())
}

fn system_servers() -> Result<Vec<NameServerConfig>, Error> {
    let (system, _) = read_system_conf().map_err(Error::System)?;
    match system.name_servers() {
        [] => Err(Error::NoSystem),
        servers => Ok(servers.to_vec()),
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

/// A resolver without a cache, a hosts file and a search list: the caller has the cache, and the
/// rest would answer from elsewhere than DNS.
fn build(servers: Vec<NameServerConfig>) -> Result<TokioResolver, Error> {
    let config = ResolverConfig::from_name_servers(servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = TRY_TIMEOUT;
    options.attempts = 1;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = MAX_ACTIVE;
    builder.build().map_err(Error::Setup)
}

#[cfg(test)]
mod tests;
