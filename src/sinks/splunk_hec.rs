//! Splunk's HTTP event collector, with indexer acknowledgement.
//!
//! Records → envelopes, one after the other ([`envelope`]) → one request, gzip → an answer with a
//! code ([`reply`]) and, where the token has acknowledgements on, an id to ask for until the indexers
//! have the events ([`acks`]).

mod acks;
mod channel;
mod envelope;
#[cfg(fuzzing)]
pub mod fuzzing;
mod reply;

use std::{
    cmp::Ordering,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::{Method, Url, header::HeaderMap};
use schemars::JsonSchema;
use serde::Deserialize;

use self::{
    acks::{Acks, Pending},
    envelope::{Envelopes, Size},
    reply::Meaning,
};
use super::{
    ConfigureSink, Host, Requests, driver,
    http::{self, Authorization, BodyCompression, Client, Connection, TlsConfig},
    options::{BatchLimits, Options},
    secret::Secret,
};
use crate::{
    codec::{Encoder, Origin, Schema},
    component::{Component, Context, Error, ItemEnd, Items, Problem, SendError, SendOutcome, Sink},
    metrics::Meter,
    record::{Kind, Records, Returned},
};

/// A code and a text, with room for a proxy's page of errors.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// Between requests to a collector that says it is near its capacity.
const NEAR_CAPACITY_PAUSE: Duration = Duration::from_secs(1);
/// A collector refuses the first event of a body that is over its limit for one (Splunk Cloud does, at
/// some 5 MB); below this many bytes it is about the event.
const TOO_MUCH_FOR_SOME: usize = 1_000_000;
/// What a request may have at most: no collector of Splunk Cloud takes more.
const MAX_BATCH_BYTES: u32 = 5 << 20;
/// So many answers of something else than a collector, and events are kept until one answers.
const MAX_FOREIGN: u32 = 8;

/// Writes records into Splunk through an HTTP event collector.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The collector's base address, `https://HOST:8088`; `/services/collector/event` is added.
    pub endpoint: String,
    /// The collector's token.
    pub token: Secret,
    /// The index (default: the token's own). The token must allow it.
    pub index: Option<String>,
    /// The events' source (default: the token's own).
    pub source: Option<String>,
    /// The events' source type: `auto` (default) is `tidegate:` and the record's kind
    /// (`tidegate:flow`).
    pub sourcetype: String,
    /// The events' host (default: the name of the sensor that saw the record).
    pub host: Option<String>,
    /// Whether an event counts as delivered once the indexers have it.
    pub acknowledgements: Acknowledgements,
    /// Bytes an event may have, its envelope included (default 1000000; at least 1000). A larger one
    /// goes to the dead letter before it is sent.
    #[schemars(range(min = 1000))]
    pub max_event_bytes: u32,
    /// How an `https` connection is secured.
    pub tls: TlsConfig,
    /// An HTTP proxy to go through, `http://HOST:PORT` (default: none; the environment is not asked).
    pub proxy: Option<Secret>,
    /// How bodies are compressed: `gzip` (default; level 1) or `none`.
    pub compression: BodyCompression,
}

/// Indexer acknowledgement: asking the collector whether the indexers have what it took.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acknowledgements {
    /// Whether to ask (default true). A token that has it off is met without, with a warning; set
    /// `false` for Splunk Cloud, where the collector's answer is all there is.
    pub enabled: bool,
    /// Seconds between two questions (default 2; 1 to 300). One asks for all requests at once.
    #[schemars(range(min = 1, max = 300))]
    pub poll_secs: u64,
    /// Seconds after which a request nobody confirmed is sent again, and its events counted as
    /// possible duplicates (default 300; not less than `poll_secs`). Indexers under load take minutes.
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_secs: u64,
}

/// A collector that takes events.
struct SplunkHec {
    client: Arc<Client>,
    event: Url,
    envelopes: Envelopes,
    meter: Arc<Meter>,
    /// Whether the last answer said that the collector is near its capacity.
    near_capacity: AtomicBool,
    /// Good answers of something else than a collector since one last took something.
    foreign: AtomicU32,
    acks: Acks,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            token: Secret::default(),
            index: None,
            source: None,
            sourcetype: "auto".to_owned(),
            host: None,
            acknowledgements: Acknowledgements::default(),
            max_event_bytes: 1_000_000,
            tls: TlsConfig::default(),
            proxy: None,
            compression: BodyCompression::default(),
        }
    }
}

impl Config {
    fn connection(&self, timeout: Duration) -> Connection<'_> {
        Connection {
            authorization: Authorization::Splunk(&self.token),
            tls: &self.tls,
            secure: http::endpoint(&self.endpoint).is_ok_and(|url| url.scheme() == "https"),
            proxy: self.proxy.as_ref(),
            compression: self.compression,
            timeout,
            // A load balancer tells by them which collector knows our acknowledgements.
            cookies: true,
        }
    }

    fn check_endpoint(&self) -> Option<Problem> {
        if self.endpoint.is_empty() {
            let problem = Problem::new("endpoint", "there is no collector to write to");
            return Some(problem.hint("name it: endpoint: \"https://HOST:8088\""));
        }
        match http::endpoint(&self.endpoint) {
            Err(why) => Some(http::unreadable("endpoint", (&self.endpoint, why), "`token`")),
            Ok(url) if url.path().contains("/services/collector") => Some(
                Problem::new("endpoint", format!("{url} names the collector's path"))
                    .hint("leave /services/collector out: it is added"),
            ),
            Ok(_) => None,
        }
    }

    fn check_envelope(&self) -> impl Iterator<Item = Problem> {
        let texts = [
            ("index", self.index.as_deref(), "leave it out for the token's own"),
            ("source", self.source.as_deref(), "leave it out for the token's own"),
            ("sourcetype", Some(self.sourcetype.as_str()), "leave it out for one by kind"),
            ("host", self.host.as_deref(), "leave it out for the sensor's name"),
        ];
        let empty = texts.into_iter().filter(|(_, text, _)| *text == Some(""));
        empty.map(|(key, _, hint)| Problem::new(key, "it is empty").hint(hint))
    }
}

// === impl Acknowledgements ===

impl Default for Acknowledgements {
    fn default() -> Self {
        Self { enabled: true, poll_secs: 2, timeout_secs: 300 }
    }
}

impl Acknowledgements {
    fn check(&self) -> Option<Problem> {
        let Self { poll_secs, timeout_secs, .. } = self;
        (timeout_secs < poll_secs).then(|| {
            let message = format!("{timeout_secs} is less than poll_secs, {poll_secs}");
            let problem = Problem::new("acknowledgements.timeout_secs", message);
            problem.hint(format!("give {poll_secs} to 86400"))
        })
    }
}

impl ConfigureSink for Config {
    fn outline(&self) -> Option<String> {
        Some(format!("to {}", self.endpoint))
    }

    /// What collectors took at most in their first releases (`max_content_length`), and little enough
    /// for indexers to acknowledge soon.
    fn requests(&self) -> Requests {
        let batch = BatchLimits { max_bytes: 1_000_000, ..BatchLimits::default() };
        let confirmed_later = self.acknowledgements.enabled;
        Requests { batch, confirmed_later, ..Requests::default() }
    }

    fn schema(&self) -> Schema {
        Schema::Cim
    }

    fn hosts(&self) -> Vec<Host> {
        http::hosts(self.proxy.as_ref(), http::endpoint(&self.endpoint))
    }

    fn check(&self, options: &Options) -> Vec<Problem> {
        let mut problems: Vec<_> = self.check_endpoint().into_iter().collect();
        if self.token.is_empty() {
            let problem = Problem::new("token", "there is no token");
            problems.push(problem.hint("take it from the environment, token: \"${HEC_TOKEN}\", or a file, token: \"${file:PATH}\", that holds it"));
        } else {
            problems.extend(self.token.check_token("token"));
        }
        if let Some(bytes) = options.batch.max_bytes.filter(|bytes| *bytes > MAX_BATCH_BYTES) {
            let problem = Problem::new("batch.max_bytes", format!("{bytes} is out of range"));
            problems.push(problem.hint(format!("collectors take up to {MAX_BATCH_BYTES}")));
        }
        problems.extend(http::check_codec(options, "the collector takes JSON events only"));
        problems.extend(self.check_envelope());
        problems.extend(self.acknowledgements.check());
        problems.extend(self.tls.check());
        problems.extend(http::check_proxy(self.proxy.as_ref()));
        problems
    }

    fn check_environment(&self) -> Vec<Problem> {
        http::check_client(&self.connection(Duration::from_secs(1)))
    }

    fn build(&self, options: &Options, context: &Context) -> Result<Component, Error> {
        let endpoint = http::endpoint(&self.endpoint).map_err(Error::configuration)?;
        let connection = self.connection(Duration::from_secs(options.request.timeout_secs));
        http::warn_of_risks(&connection, std::slice::from_ref(&endpoint));
        let client = Arc::new(Client::new(&connection)?);
        let encoder = Encoder::new(
            &options.encoding,
            self.schema(),
            Origin::of(context).adding(&options.add),
        );
        let sink = SplunkHec {
            event: http::below(&endpoint, "services/collector/event"),
            envelopes: Envelopes::new(self, encoder, &context.observer),
            meter: Arc::clone(&context.meter),
            near_capacity: AtomicBool::new(false),
            foreign: AtomicU32::new(0),
            acks: Acks::new(
                &self.acknowledgements,
                options.request.concurrency,
                http::below(&endpoint, "services/collector/ack"),
                Arc::clone(&client),
                Arc::clone(&context.meter),
            ),
            client,
        };
        driver::component(sink, self.requests(), options, context)
    }
}

// === impl SplunkHec ===

impl SplunkHec {
    /// Waits for a collector's answer where something else has answered for it: to a request without
    /// events, as those would be there twice and more if they had been taken.
    async fn find_collector(&self) -> Result<(), SendError> {
        if self.foreign.load(Relaxed) < MAX_FOREIGN {
            return Ok(());
        }
        let headers = HeaderMap::from_iter([http::header("content-type", "application/json")]);
        let asked = self.client.request(
            Method::POST,
            self.event.clone(),
            headers,
            Vec::new(),
            MAX_ANSWER_BYTES,
        );
        let answer = asked
            .await
            .map_err(|failure| SendError::Retry { after: None, reason: failure.to_string() })?;
        if !reply::is_of_a_collector(&answer) {
            let reason = format!("no collector answers: {}", self.client.quote(&answer));
            return Err(SendError::Hold { reason });
        }
        self.foreign.store(0, Relaxed);
        Ok(())
    }

    /// The ends of so many events when those before a place were taken, without an id to ask for
    /// them by, and the one at the place ended so. Where ids are awaited, those before it are sent
    /// again, and may be there twice then.
    fn taken_before(&self, at: usize, len: usize, end: &ItemEnd) -> SendOutcome<Pending> {
        let before = if self.acks.are_awaited() {
            self.meter.duplicated(at as u64);
            ItemEnd::Untried
        } else {
            ItemEnd::Delivered
        };
        let ends = (0..len).map(|index| match index.cmp(&at) {
            Ordering::Less => before.clone(),
            Ordering::Equal => end.clone(),
            Ordering::Greater => ItemEnd::Untried,
        });
        SendOutcome::Items(ends.collect())
    }

    /// What became of events of which one can't be read.
    fn refused(
        &self,
        at: Option<usize>,
        items: &Items<'_, Size>,
        reason: String,
    ) -> Result<SendOutcome<Pending>, SendError> {
        let len = items.len();
        match at {
            Some(0) if len > 1 && items.bytes() > TOO_MUCH_FOR_SOME => {
                Err(SendError::Split { reason })
            }
            Some(at) if at < len => Ok(self.taken_before(at, len, &ItemEnd::Refused(reason))),
            _ => {
                // Any but the one may have been taken.
                self.meter.duplicated(len.saturating_sub(1) as u64);
                Err(SendError::Split { reason })
            }
        }
    }
}

impl Sink for SplunkHec {
    /// Whether the event may be sent at all; those that may not are kept apart.
    type Meta = Size;
    type Pending = Pending;

    fn encode(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<Size, Error> {
        self.envelopes.write(records, index, out)
    }

    fn returned(&self, kind: Kind, item: &[u8]) -> Returned {
        self.envelopes.returned(kind, item)
    }

    async fn send(&self, items: &Items<'_, Size>) -> Result<SendOutcome<Pending>, SendError> {
        if items.meta() == Some(&Size::TooLarge) {
            let reason = |bytes: usize| format!("{bytes} bytes are over max_event_bytes");
            let ends = items.iter().map(|(event, _)| ItemEnd::Refused(reason(event.len())));
            return Ok(SendOutcome::Items(ends.collect()));
        }
        if self.near_capacity.load(Relaxed) {
            tokio::time::sleep(NEAR_CAPACITY_PAUSE).await;
        }
        self.find_collector().await?;
        // The right to be first is held until the answer is read.
        let (channel, _first) = self.acks.channel().await;
        let mut headers = HeaderMap::from_iter([http::header("content-type", "application/json")]);
        headers.insert(acks::CHANNEL_HEADER, channel.header());
        let sent =
            self.client.post_items(self.event.clone(), headers, items, MAX_ANSWER_BYTES).await;
        let answer = sent.map_err(|failure| {
            // The collector may have started anew, and would count its ids from the beginning.
            self.acks.renew(&channel);
            SendError::from(failure)
        })?;

        let meaning = reply::meaning(&answer);
        self.near_capacity.store(matches!(meaning, Meaning::Taken { full: true, .. }), Relaxed);
        let reason = || self.client.quote(&answer);
        match meaning {
            Meaning::Taken { ack_id, .. } => {
                self.foreign.store(0, Relaxed);
                let pending = self.acks.expect(&channel, ack_id);
                Ok(pending.map_or(SendOutcome::Delivered, SendOutcome::Pending))
            }
            Meaning::Refused { at } => self.refused(at, items, reason()),
            Meaning::TooLarge => Err(SendError::Split { reason: reason() }),
            Meaning::RefusesUs => Err(SendError::Hold { reason: reason() }),
            Meaning::WrongChannel => {
                self.acks.renew(&channel);
                Err(answer.retry(reason()))
            }
            Meaning::NoAcks => {
                self.acks.give_up();
                Err(answer.retry(reason()))
            }
            Meaning::Later { taken: 0 } => Err(answer.retry(reason())),
            Meaning::Later { taken } if taken < items.len() => {
                Ok(self.taken_before(taken, items.len(), &ItemEnd::Retry(reason())))
            }
            Meaning::Later { .. } | Meaning::Unclear => {
                Err(SendError::Unclear { may_double: true, reason: reason() })
            }
            Meaning::Foreign => {
                self.foreign.fetch_add(1, Relaxed);
                Err(SendError::Unclear { may_double: true, reason: reason() })
            }
        }
    }

    async fn confirm(&self, pending: Pending) -> Result<bool, SendError> {
        Ok(self.acks.confirm(pending).await)
    }
}

#[cfg(test)]
mod tests;
