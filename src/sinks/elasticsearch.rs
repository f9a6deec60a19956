//! Elasticsearch and OpenSearch, by `POST /_bulk`.
//!
//! Records → an action line and a document each ([`action`]) → one request, gzip → an end for each
//! document ([`bulk`]). A document's id is its record's, so what is sent twice (an answer was lost) is
//! there once: within one backing index; a repeat after a rollover may double it.

mod action;
mod bulk;
#[cfg(fuzzing)]
pub mod fuzzing;
mod setup;
mod templates;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::{StatusCode, Url, header::HeaderMap};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::OnceCell;
use tracing::warn;

use self::{action::Actions, setup::Installation};
use super::{
    ConfigureSink, Requests, driver,
    http::{self, Authorization, BodyCompression, Client, Connection, Failure, TlsConfig},
    options::{BatchLimits, Options},
    secret::Secret,
};
use crate::{
    codec::{Codec, Encoder, Origin, Schema},
    component::{Component, Context, Error, ItemEnd, Items, Outcome, Problem, SendError, Sink},
    metrics::Meter,
    record::{Kind, Records, Returned},
};

/// Writes records into an Elasticsearch or OpenSearch cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The base addresses of the cluster's nodes, `http` or `https`; requests go to each in turn.
    pub endpoints: Vec<String>,
    /// Where documents go: `data_stream` (default) or `index`.
    pub mode: Mode,
    /// The data stream's name: `logs-DATASET-NAMESPACE`. For `mode: data_stream`.
    pub data_stream: DataStream,
    /// The index or alias that takes all documents. For `mode: index`.
    pub index: Option<String>,
    /// What a document's `_id` is: `record` (default; the record's own, so that a repeat is met as a
    /// duplicate) or `auto` (the server's, which indexes faster and doubles what is repeated).
    pub id: IdMode,
    /// Who we are (default: nobody).
    pub auth: Option<Auth>,
    /// How an `https` connection is secured.
    pub tls: TlsConfig,
    /// An HTTP proxy to go through, `http://HOST:PORT` (default: none; the environment is not asked).
    pub proxy: Option<Secret>,
    /// How bodies are compressed: `gzip` (default; level 1) or `none`.
    pub compression: BodyCompression,
    /// What is put in place in the cluster before the first record: `none` (default) or `install` (an
    /// index template, a policy that deletes after 30 days, and an ingest pipeline that sets
    /// `event.ingested`). For `mode: data_stream` and the schema `ecs`.
    pub setup: Setup,
    /// An ingest pipeline that documents pass (default: the index's own).
    pub pipeline: Option<String>,
}

/// Where documents go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A data stream for each kind of record; each document gets an `@timestamp`.
    #[default]
    DataStream,
    /// One index or alias, as it is.
    Index,
}

/// What is put in place in the cluster before the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Setup {
    /// Nothing: templates, policies and pipelines are somebody else's.
    #[default]
    None,
    /// What is not there yet, or is an older one of ours; `config/elasticsearch` and
    /// `config/opensearch` hold the same as files.
    Install,
}

/// The parts of a data stream's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataStream {
    /// The data set: `auto` (default) is `tidegate.` and the record's kind (`tidegate.flow`).
    pub dataset: String,
    /// The namespace (default `default`): tells environments apart.
    pub namespace: String,
}

/// What a document's `_id` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdMode {
    /// The record's own.
    #[default]
    Record,
    /// The server's choice.
    Auto,
}

/// Who we are: a user and password, an API key or a token.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// The user, with `password`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// An API key, as `id:key` or as the base64 of that (Kibana's "encoded"). It needs the privileges
    /// `create_doc` and `auto_configure` on the data streams, no more.
    pub api_key: Option<Secret>,
    /// A bearer token: of a service account, or a JWT.
    pub token: Option<Secret>,
}

/// A cluster that takes documents.
struct Elasticsearch {
    client: Client,
    /// The nodes' bulk addresses, and whose turn it is.
    bulk: Vec<Url>,
    bases: Vec<Url>,
    turn: AtomicUsize,
    /// What is to be put in place before the first request, and whether it is.
    installation: Option<Installation>,
    installed: OnceCell<()>,
    actions: Actions,
    own_ids: bool,
    meter: Arc<Meter>,
}

// === impl DataStream ===

impl Default for DataStream {
    fn default() -> Self {
        Self { dataset: "auto".to_owned(), namespace: "default".to_owned() }
    }
}

// === impl Auth ===

impl Auth {
    fn authorization(&self) -> Option<Authorization<'_>> {
        match (&self.user, &self.password, &self.api_key, &self.token) {
            (Some(user), Some(password), None, None) => Some(Authorization::Basic(user, password)),
            (None, None, Some(key), None) => Some(Authorization::ApiKey(key)),
            (None, None, None, Some(token)) => Some(Authorization::Bearer(token)),
            _ => None,
        }
    }
}

// === impl Config ===

impl Config {
    /// The data stream or index that takes records of a kind.
    fn target(&self, kind: Kind) -> String {
        match self.mode {
            Mode::Index => self.index.clone().unwrap_or_default(),
            Mode::DataStream => {
                let namespace = &self.data_stream.namespace;
                match self.dataset() {
                    None => format!("logs-tidegate.{kind}-{namespace}"),
                    Some(dataset) => format!("logs-{dataset}-{namespace}"),
                }
            }
        }
    }

    /// The data set of all kinds, if it is not each kind's own.
    fn dataset(&self) -> Option<&str> {
        Some(self.data_stream.dataset.as_str()).filter(|dataset| *dataset != "auto")
    }

    /// An encoder whose documents name the data stream they go to.
    fn encoder(&self, options: &Options, origin: Origin) -> Encoder {
        let origin = origin.in_data_stream(self.dataset(), &self.data_stream.namespace);
        Encoder::new(&options.encoding, self.schema(), origin)
    }

    fn endpoints(&self) -> Vec<Result<Url, String>> {
        self.endpoints.iter().map(|text| http::endpoint(text)).collect()
    }

    fn connection(&self, timeout: Duration) -> Connection<'_> {
        let authorization = self.auth.as_ref().and_then(Auth::authorization);
        Connection {
            authorization: authorization.unwrap_or(Authorization::None),
            tls: &self.tls,
            secure: self.endpoints().iter().flatten().any(|url| url.scheme() == "https"),
            proxy: self.proxy.as_ref(),
            compression: self.compression,
            timeout,
            cookies: false,
        }
    }

    fn check_setup(&self, options: &Options) -> Option<Problem> {
        let schema = options.encoding.schema.unwrap_or(self.schema());
        let fits = self.mode == Mode::DataStream && schema == Schema::Ecs;
        (self.setup == Setup::Install && !fits).then(|| {
            Problem::new("setup", "what is installed is for data streams of the schema ecs")
                .hint("set setup: none, or mode: data_stream and encoding.schema: ecs")
        })
    }

    fn check_target(&self) -> Vec<Problem> {
        let parts = [
            ("data_stream.dataset", self.data_stream.dataset.as_str()),
            ("data_stream.namespace", self.data_stream.namespace.as_str()),
        ];
        match (self.mode, self.index.as_deref()) {
            (Mode::Index, None | Some("")) => {
                vec![Problem::new("index", "mode: index needs the name of an index")]
            }
            (Mode::Index, Some(index)) => unfit("index", index, "").into_iter().collect(),
            (Mode::DataStream, Some(_)) => vec![
                Problem::new("index", "an index has no meaning for mode: data_stream")
                    .hint("set mode: index, or name the parts under data_stream"),
            ],
            // Elastic's own rule: a hyphen would move the border between the parts.
            (Mode::DataStream, None) => {
                parts.into_iter().filter_map(|(key, part)| unfit(key, part, "-")).collect()
            }
        }
    }
}

/// A name Elasticsearch would refuse, or that has one of the characters in `also`.
fn unfit(key: &str, name: &str, also: &str) -> Option<Problem> {
    let bad = |char: char| {
        char.is_uppercase()
            || char.is_control()
            || r#"\/*?"<>| ,#:"#.contains(char)
            || also.contains(char)
    };
    let fits = !name.is_empty()
        && name.len() <= 100
        && !name.starts_with(['-', '_', '+', '.'])
        && !name.contains(bad);
    (!fits).then(|| {
        Problem::new(key, format!("{name:?} can't name an index"))
            .hint("use lower-case letters, digits, `_` and `.`, at most 100 bytes")
    })
}

impl ConfigureSink for Config {
    /// 5 MB before compression: the least of what Elastic advises, for each request in flight takes
    /// memory.
    fn requests(&self) -> Requests {
        let batch = BatchLimits { max_bytes: 5_000_000, ..BatchLimits::default() };
        Requests { batch, ..Requests::default() }
    }

    fn check(&self, options: &Options) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.endpoints.is_empty() {
            problems.push(
                Problem::new("endpoints", "there is no server to write to")
                    .hint("name at least one: endpoints: [\"https://HOST:9200\"]"),
            );
        }
        let endpoints = self.endpoints().into_iter().enumerate();
        problems.extend(endpoints.filter_map(|(at, endpoint)| {
            Some(Problem::new(format!("endpoints[{at}]"), endpoint.err()?))
        }));
        if self.auth.as_ref().is_some_and(|auth| auth.authorization().is_none()) {
            let problem = Problem::new("auth", "it takes user and password, or api_key, or token");
            problems.push(problem.hint("leave auth out for a server that asks nobody"));
        }
        if options.encoding.codec != Codec::Json {
            let problem = Problem::new("encoding.codec", "Elasticsearch takes JSON documents only");
            problems.push(problem.hint("use codec: json"));
        }
        problems.extend(self.check_target());
        problems.extend(self.check_setup(options));
        problems.extend(self.tls.check());
        problems.extend(http::check_proxy(self.proxy.as_ref()));
        problems
    }

    fn check_environment(&self) -> Vec<Problem> {
        let client = Client::new(&self.connection(Duration::from_secs(1)));
        client.err().map(|error| Problem::new("tls", error.to_string())).into_iter().collect()
    }

    fn build(&self, options: &Options, context: &Context) -> Result<Component, Error> {
        let bulk = self.endpoints().into_iter().map(|endpoint| {
            let mut url = http::below(&endpoint.map_err(Error::configuration)?, "_bulk");
            url.query_pairs_mut().append_pair("filter_path", bulk::FILTER_PATH);
            if let Some(pipeline) = &self.pipeline {
                url.query_pairs_mut().append_pair("pipeline", pipeline);
            }
            Ok(url)
        });
        let bases: Vec<Url> = self
            .endpoints()
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(Error::configuration)?;
        let connection = self.connection(Duration::from_secs(options.request.timeout_secs));
        http::warn_of_risks(context.meter.id(), &connection, &bases);
        let sink = Elasticsearch {
            client: Client::new(&connection)?,
            bulk: bulk.collect::<Result<_, Error>>()?,
            bases,
            turn: AtomicUsize::new(0),
            installation: (self.setup == Setup::Install).then(|| Installation::new(self.dataset())),
            installed: OnceCell::new(),
            actions: Actions::new(
                self,
                self.encoder(options, Origin::of(context)),
                &context.observer,
            ),
            own_ids: self.id == IdMode::Record,
            meter: Arc::clone(&context.meter),
        };
        driver::component(sink, self.requests(), options, context)
    }
}

// === impl Elasticsearch ===

impl Elasticsearch {
    /// The next node's bulk address, and the node's name for messages.
    fn next(&self) -> Result<(Url, String), SendError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let url = self.bulk.iter().cycle().nth(turn % self.bulk.len().max(1)).cloned();
        let url = url.ok_or_else(|| SendError::Hold { reason: "no endpoint".to_owned() })?;
        let node = url.origin().ascii_serialization();
        Ok((url, node))
    }

    /// Puts what the config asks for in place, once.
    async fn install(&self) -> Result<(), SendError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let base = self.bases.get(turn % self.bases.len().max(1));
        match (&self.installation, base) {
            (Some(installation), Some(base)) => installation.install(&self.client, base).await,
            _ => Ok(()),
        }
    }

    /// Under our own ids a repeat is met as a duplicate, and counted then: nothing is unclear.
    fn unanswered(&self, node: &str, error: &SendError) -> SendError {
        let reason = format!("{node}: {error}");
        match error {
            SendError::Unclear { .. } if !self.own_ids => SendError::Unclear { reason },
            _ => SendError::Retry { after: None, reason },
        }
    }

    fn refusal(&self, node: &str, answer: &http::Answer) -> SendError {
        let reason = format!("{node}: {}", self.client.quote(answer));
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => SendError::Hold { reason },
            // The body as a whole can't be read, or is too much: the document that makes it so is
            // found by halving.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::BAD_REQUEST => SendError::Split { reason },
            StatusCode::TOO_MANY_REQUESTS => SendError::Busy { after: answer.after, reason },
            // They don't say how far the request came.
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT if !self.own_ids => {
                SendError::Unclear { reason }
            }
            _ => answer.retry(reason),
        }
    }
}

impl Sink for Elasticsearch {
    type Meta = ();
    type Pending = ();

    fn encode(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        self.actions.write(records, index, out)
    }

    fn returned(&self, kind: Kind, item: &[u8]) -> Returned {
        action::returned(kind, item)
    }

    async fn send(&self, items: &Items<'_, ()>) -> Result<Outcome<()>, SendError> {
        self.installed.get_or_try_init(|| self.install()).await?;
        let (url, node) = self.next()?;
        let headers = HeaderMap::from_iter([
            http::header("content-type", "application/x-ndjson"),
            http::header("accept", "application/json"),
        ]);
        let answer = self.client.post_items(url, headers, items, bulk::limit(items.len())).await;
        let answer = match answer {
            // So many reasons, or such long ones: fewer documents have fewer.
            Err(Failure::TooLong { .. }) if self.own_ids && items.len() > 1 => {
                let reason = format!("{node}: the answer is too long to read");
                return Err(SendError::Split { reason });
            }
            answer => answer.map_err(|failure| self.unanswered(&node, &failure.into()))?,
        };
        if !answer.status.is_success() {
            return Err(self.refusal(&node, &answer));
        }
        if bulk::all_created(&answer.body, items.len()) {
            return Ok(Outcome::Delivered);
        }
        let ends = bulk::read(&answer.body, items.len(), self.own_ids)
            .map_err(|error| self.unanswered(&node, &error))?;
        if ends.in_failure_store > 0 {
            self.meter.error("failure_store");
            warn!(
                sink = self.meter.id(),
                documents = ends.in_failure_store,
                "taken into the data stream's failure store: its mapping refuses them",
            );
        }
        if ends.items.iter().all(|end| *end == ItemEnd::Delivered) {
            return Ok(Outcome::Delivered);
        }
        Ok(Outcome::Items(ends.items))
    }
}

#[cfg(test)]
mod tests;
