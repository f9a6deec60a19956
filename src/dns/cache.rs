//! What is known of addresses, bounded, and for how long (RFC 2308, RFC 9520).

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::unsync;

use crate::record::HostNames;

/// Names are kept for as long as their records say, but for no less and no more than this.
const MIN_NAMED: Duration = Duration::from_mins(1);
const MAX_NAMED: Duration = Duration::from_hours(24);
/// Likewise that there is none.
const MIN_NAMELESS: Duration = Duration::from_secs(1);
const MAX_NAMELESS: Duration = Duration::from_hours(1);
/// A denial without an SOA record says nothing of its validity (RFC 2308, 5: it is not for caching):
/// it keeps the address from being asked for with every record, and no more.
const UNDATED_NAMELESS: Duration = Duration::from_mins(1);
/// A failure, the first time; twice as long each time it fails again, up to the limit of RFC 9520.
const FIRST_FAILURE: Duration = Duration::from_secs(1);
const MAX_FAILURE: Duration = Duration::from_mins(5);
/// Doublings after which that limit is reached.
const MAX_DOUBLINGS: u32 = 9;

/// What a resolver says of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has names, valid for so long.
    Names(HostNames, Duration),
    /// It has no name, and that is valid for so long (RFC 2308: the lesser of the SOA record's TTL and
    /// its minimum); `None` without an SOA record.
    Nameless(Option<Duration>),
    /// It has PTR records, valid for so long, but no host name among them.
    Invalid(Duration),
    /// There is no telling.
    Failed(Failure),
}

/// Why there is no telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer came.
    Timeout,
    /// An answer came that is none (SERVFAIL, REFUSED, nonsense).
    Refused,
}

/// What the cache knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// The address's names, that it has none, or that asking is of no use yet.
    Fresh,
    /// It did know, but too long ago.
    Stale,
    /// Nothing.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Cache(unsync::Cache<IpAddr, Entry>);

#[derive(Debug, Clone)]
struct Entry {
    names: Option<Arc<HostNames>>,
    /// Failures in a row.
    failures: u32,
    expires: Instant,
}

// === impl Cache ===

impl Cache {
    /// A cache that holds `max_entries` addresses; the least used goes first.
    pub(super) fn new(max_entries: usize) -> Self {
        Self(unsync::Cache::new(max_entries))
    }

    pub(super) fn known(&self, address: IpAddr, now: Instant) -> Known {
        match self.0.get(&address) {
            Some(entry) if entry.expires > now => Known::Fresh,
            Some(_) => Known::Stale,
            None => Known::Unknown,
        }
    }

    /// The names of an address, unless they are too old.
    pub(super) fn names(&self, address: IpAddr, now: Instant) -> Option<&Arc<HostNames>> {
        let entry = self.0.peek(&address).filter(|entry| entry.expires > now)?;
        entry.names.as_ref()
    }

    pub(super) fn insert(&mut self, address: IpAddr, answer: Answer, now: Instant) {
        let (names, failures, valid) = match answer {
            Answer::Names(names, ttl) => {
                (Some(Arc::new(names)), 0, ttl.clamp(MIN_NAMED, MAX_NAMED))
            }
            Answer::Nameless(ttl) => {
                (None, 0, ttl.unwrap_or(UNDATED_NAMELESS).clamp(MIN_NAMELESS, MAX_NAMELESS))
            }
            Answer::Invalid(ttl) => (None, 0, ttl.clamp(MIN_NAMED, MAX_NAMELESS)),
            Answer::Failed(_) => {
                let before = self.0.peek(&address).map_or(0, |entry| entry.failures);
                let pause = FIRST_FAILURE * (1 << before.min(MAX_DOUBLINGS));
                (None, before.saturating_add(1), pause.min(MAX_FAILURE))
            }
        };
        self.0.insert(address, Entry { names, failures, expires: now + valid });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::NameOrigin;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8));

    fn named(seconds: u64) -> Answer {
        let names = HostNames {
            origin: NameOrigin::Ptr,
            reliable: vec!["dns.example".into()],
            unverified: Vec::new(),
        };
        Answer::Names(names, Duration::from_secs(seconds))
    }

    /// For how many seconds an answer is good.
    fn kept(cache: &mut Cache, answer: Answer) -> u64 {
        let now = tokio::time::Instant::now().into_std();
        cache.insert(ADDRESS, answer, now);
        let expires = cache.0.peek(&ADDRESS).unwrap().expires;
        assert_eq!(cache.known(ADDRESS, now), Known::Fresh);
        assert_eq!(cache.known(ADDRESS, expires), Known::Stale);
        assert_eq!(cache.names(ADDRESS, expires), None);
        (expires - now).as_secs()
    }

    #[test]
    fn an_answer_is_kept_as_long_as_its_records_say_within_bounds() {
        let nameless = |seconds: u64| Answer::Nameless(Some(Duration::from_secs(seconds)));
        let cases = [
            (named(0), 60),
            (named(3600), 3600),
            (named(u64::from(u32::MAX)), 86_400),
            (nameless(0), 1),
            (nameless(30), 30),
            (nameless(86_400), 3600),
            (Answer::Nameless(None), 60),
            (Answer::Invalid(Duration::from_hours(24)), 3600),
        ];
        for (answer, seconds) in cases {
            assert_eq!(kept(&mut Cache::new(10), answer.clone()), seconds, "{answer:?}");
        }
    }

    #[test]
    fn each_failure_in_a_row_is_kept_twice_as_long_up_to_five_minutes() {
        let mut cache = Cache::new(10);
        let failed = || Answer::Failed(Failure::Timeout);
        let seconds: Vec<_> = (0..11).map(|_| kept(&mut cache, failed())).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        kept(&mut cache, named(60));
        assert_eq!(kept(&mut cache, failed()), 1);
    }

    #[test]
    fn a_full_cache_forgets_rather_than_grows() {
        let mut cache = Cache::new(100);
        let now = tokio::time::Instant::now().into_std();
        for number in 0..10_000_u32 {
            cache.insert(std::net::Ipv4Addr::from(number).into(), named(60), now);
        }
        assert!(cache.0.len() <= 100, "{} entries", cache.0.len());
    }
}
