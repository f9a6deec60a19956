//! Elasticsearch and OpenSearch, by `POST /_bulk`.
//!
//! Records → an action line and a document each ([`action`]) → one request, gzip → an end for each
//! document ([`bulk`]). A document's id is its record's, so what is sent twice (an answer was lost) is
//! there once: within one backing index; a repeat after a rollover may double it.

mod action;
mod bulk;
#[cfg(fuzzing)]
pub mod fuzzing;
mod mappings;
mod nodes;
mod probe;
mod refusal;
mod server_error;
mod setup;
mod templates;

use std::{sync::Arc, time::Duration};

use reqwest::{Url, header::HeaderMap};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{sync::OnceCell, time::Instant};
use tracing::warn;

use self::{
    action::Actions, nodes::Nodes, probe::Probe, refusal::Refusal, server_error::ServerError,
    setup::Installation,
};
use super::{
    ConfigureSink, Host, Requests, driver,
    http::{self, Answer, Authorization, BodyCompression, Client, Connection, Failure, TlsConfig},
    options::{BatchLimits, Options},
    secret::Secret,
};
use crate::{
    codec::{Encoder, Origin, Schema},
    component::{
        Clock, Component, Context, Error, ItemEnd, Items, Problem, SendError, SendOutcome, Sink,
    },
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, Meter},
    record::{Kind, Records, Returned},
};

/// Writes records into an Elasticsearch or OpenSearch cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The base addresses of the cluster's nodes, `http` or `https`; requests go to each in turn, but
    /// for those that can't be reached.
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
    client: Arc<Client>,
    nodes: Arc<Nodes>,
    probe: Probe,
    /// What is to be put in place before the first request, and whether it is.
    installation: Option<Installation>,
    installed: OnceCell<()>,
    actions: Actions,
    own_ids: bool,
    meter: Arc<Meter>,
    /// Documents in the failure store.
    in_failure_store: LogLimit,
}

// === impl DataStream ===

impl Default for DataStream {
    fn default() -> Self {
        Self { dataset: "auto".to_owned(), namespace: "default".to_owned() }
    }
}

// === impl Auth ===

impl Auth {
    /// What is wrong with the credentials, below `auth`.
    fn check(&self) -> Vec<Problem> {
        if self.authorization().is_none() {
            let problem = Problem::new("auth", "it takes user and password, or api_key, or token");
            return vec![problem.hint("leave auth out for a server that asks nobody")];
        }
        let password = self.password.as_ref().and_then(|secret| secret.check("auth.password"));
        let tokens = [("auth.api_key", &self.api_key), ("auth.token", &self.token)];
        let tokens =
            tokens.into_iter().filter_map(|(key, secret)| secret.as_ref()?.check_token(key));
        password.into_iter().chain(tokens).collect()
    }

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

    /// A node's address, and that for its bulk requests.
    fn addresses(&self, base: Url) -> (Url, Url) {
        let mut bulk = http::below(&base, "_bulk");
        bulk.query_pairs_mut().append_pair("filter_path", bulk::FILTER_PATH);
        if let Some(pipeline) = &self.pipeline {
            bulk.query_pairs_mut().append_pair("pipeline", pipeline);
        }
        (base, bulk)
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
    fn outline(&self) -> Option<String> {
        Some(format!("to {}", self.endpoints.join(", ")))
    }

    /// 5 MB before compression: the least of what Elastic advises, for each request in flight takes
    /// memory.
    fn requests(&self) -> Requests {
        let batch = BatchLimits { max_bytes: 5_000_000, ..BatchLimits::default() };
        Requests { batch, items_fail: true, ..Requests::default() }
    }

    fn hosts(&self) -> Vec<Host> {
        http::hosts(self.proxy.as_ref(), self.endpoints().into_iter().flatten())
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
            let found = (self.endpoints[at].as_str(), endpoint.err()?);
            Some(http::unreadable(format!("endpoints[{at}]"), found, "`auth`"))
        }));
        problems.extend(self.auth.iter().flat_map(Auth::check));
        problems.extend(http::check_codec(options, "Elasticsearch takes JSON documents only"));
        problems.extend(self.check_target());
        problems.extend(self.check_setup(options));
        problems.extend(self.tls.check());
        problems.extend(http::check_proxy(self.proxy.as_ref()));
        problems
    }

    fn check_environment(&self) -> Vec<Problem> {
        http::check_client(&self.connection(Duration::from_secs(1)))
    }

    fn build(&self, options: &Options, context: &Context) -> Result<Component, Error> {
        let bases: Vec<Url> =
            self.endpoints().into_iter().collect::<Result<_, _>>().map_err(Error::configuration)?;
        let connection = self.connection(Duration::from_secs(options.request.timeout_secs));
        http::warn_of_risks(&connection, &bases);
        let client = Arc::new(Client::new(&connection)?);
        let nodes = bases.into_iter().map(|base| self.addresses(base));
        let nodes = Arc::new(Nodes::new(nodes));
        let meter = Arc::clone(&context.meter);
        let sink = Elasticsearch {
            probe: Probe::new(Arc::clone(&client), Arc::clone(&nodes), meter),
            client,
            nodes,
            installation: (self.setup == Setup::Install).then(|| Installation::new(self.dataset())),
            installed: OnceCell::new(),
            actions: Actions::new(
                self,
                self.encoder(options, Origin::of(context).adding(&options.add)),
                &context.observer,
            ),
            own_ids: self.id == IdMode::Record,
            meter: Arc::clone(&context.meter),
            in_failure_store: LogLimit::series(),
        };
        driver::component(sink, self.requests(), options, context)
    }
}

// === impl Elasticsearch ===

impl Elasticsearch {
    /// Puts what the config asks for in place, once.
    async fn install(&self) -> Result<(), SendError> {
        let Some(installation) = &self.installation else { return Ok(()) };
        let mut round = self.nodes.round();
        let mut done = Err(SendError::Hold { reason: "no endpoint".to_owned() });
        while let Some(node) = round.next(Instant::now()) {
            done = installation.install(&self.client, &round, node).await;
            if done.is_ok() || !node.is_away() {
                break;
            }
        }
        done
    }

    /// Sends a request to the next node, or the one after that where it can't be reached.
    async fn post(&self, items: &Items<'_, ()>) -> (Result<Answer, Failure>, String) {
        let mut round = self.nodes.round();
        let mut last = (Err(Failure::NotSent("no endpoint".to_owned())), String::new());
        while let Some(node) = round.next(Instant::now()) {
            let headers = HeaderMap::from_iter([
                http::header("content-type", "application/x-ndjson"),
                http::header("accept", "application/json"),
            ]);
            let (url, limit) = (node.bulk.clone(), bulk::limit(items.len()));
            let answer = self.client.post_items(url, headers, items, limit).await;
            let next = round.answered(node, answer.as_ref(), Instant::now());
            last = (answer, node.name.clone());
            if !next {
                break;
            }
        }
        last
    }

    /// Under our own ids a repeat is met as a duplicate, and counted then.
    fn unanswered(&self, node: &str, error: &SendError) -> SendError {
        let reason = format!("{node}: {error}");
        match error {
            SendError::Unclear { .. } => SendError::Unclear { may_double: !self.own_ids, reason },
            SendError::Astray { .. } => SendError::Astray { reason },
            _ => SendError::Retry { after: None, reason },
        }
    }

    fn refusal(&self, node: &str, answer: &Answer) -> SendError {
        let refusal = Refusal {
            status: answer.status,
            after: answer.after,
            told: ServerError::of_request(&answer.body),
            reason: format!("{node}: {}", self.client.quote(answer)),
        };
        refusal.means(self.own_ids)
    }

    /// What it means that there is no whole answer. One that is too long tells so many reasons, or such
    /// long ones: fewer documents have fewer. Some of them may have been taken.
    fn failure(&self, node: &str, failure: Failure, items: usize) -> SendError {
        let reason = format!("{node}: {failure}");
        match failure {
            Failure::TooLong { status, .. } if !status.is_success() => {
                Refusal { status, after: None, told: None, reason }.means(self.own_ids)
            }
            Failure::TooLong { .. } if items > 1 => {
                if !self.own_ids {
                    self.meter.duplicated(items as u64);
                }
                SendError::Split { reason }
            }
            failure => self.unanswered(node, &failure.into()),
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

    async fn send(&self, items: &Items<'_, ()>) -> Result<SendOutcome<()>, SendError> {
        self.probe.sending();
        self.installed.get_or_try_init(|| self.install()).await?;
        let (answer, node) = self.post(items).await;
        let answer = answer.map_err(|failure| self.failure(&node, failure, items.len()))?;
        if !answer.status.is_success() {
            return Err(self.refusal(&node, &answer));
        }
        self.probe.answered();
        if bulk::all_created(&answer.body, items.len()) {
            return Ok(SendOutcome::Delivered);
        }
        let redact = |text| self.client.redact(text);
        let ends = bulk::read(&answer.body, items.len(), self.own_ids, redact)
            .map_err(|error| self.unanswered(&node, &error))?;
        if ends.in_failure_store > 0 {
            self.meter.count(ERRORS, ErrorType::FailureStore, 1);
            let documents = ends.in_failure_store as u64;
            if let Some(suppressed) = self.in_failure_store.admit(documents, Clock::Wall.now(None))
            {
                warn!(
                    documents,
                    suppressed,
                    "taken into the data stream's failure store: its mapping refuses them",
                );
            }
        }
        if ends.items.iter().all(|end| *end == ItemEnd::Delivered) {
            return Ok(SendOutcome::Delivered);
        }
        Ok(SendOutcome::Items(ends.items))
    }

    async fn maintain(&self) -> Result<(), Error> {
        self.probe.start();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
