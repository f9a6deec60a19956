//! `setup: install`: puts what our documents need in place before the first of them is sent.
//!
//! What is there already is left alone, unless it is an older one of ours: a policy that somebody
//! changed to keep data longer stays as it is.

use reqwest::{Method, StatusCode, Url, header::HeaderMap};
use serde_json::Value;
use tracing::{info, warn};

use super::{
    super::http::{self, Answer, Client},
    templates::{self, Means, NAME, PATTERN, VERSION},
};
use crate::{codec::mappings::Server, component::SendError};

/// A template's answer repeats the whole template.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// What is put in place, and where.
#[derive(Debug)]
pub(super) struct Installation {
    name: String,
    pattern: String,
}

// === impl Installation ===

impl Installation {
    /// For data streams of one data set, or of each kind's own.
    pub(super) fn new(dataset: Option<&str>) -> Self {
        match dataset {
            None => Self { name: NAME.to_owned(), pattern: PATTERN.to_owned() },
            Some(dataset) => {
                Self { name: format!("{NAME}-{dataset}"), pattern: format!("logs-{dataset}-*") }
            }
        }
    }

    /// Puts all of it in place on the cluster behind `base`.
    ///
    /// # Errors
    /// When the cluster can't be reached or refuses: nothing may be sent before.
    pub(super) async fn install(&self, client: &Client, base: &Url) -> Result<(), SendError> {
        let cluster = Cluster { client, base };
        let server = cluster.detect().await?;
        let mut means = Means {
            // Elastic's own; OpenSearch has nothing like it.
            constant_keyword: server == Server::Elasticsearch,
            policy: self.install_policy(&cluster, server).await?,
            pipeline: install_pipeline(&cluster).await?,
        };
        let version = |found: &Value| {
            found.pointer("/index_templates/0/index_template/version").and_then(Value::as_u64)
        };
        let path = format!("_index_template/{}", self.name);
        let template = |means| templates::index_template(server, &self.pattern, means);
        let mut refused = cluster.replace_older(&path, &template(means), version).await?;
        if refused.as_ref().is_some_and(|refused| says(refused, "constant_keyword")) {
            means.constant_keyword = false;
            refused = cluster.replace_older(&path, &template(means), version).await?;
        }
        if let Some(refused) = refused {
            return Err(cluster.refused(&path, &refused));
        }
        info!(?server, template = self.name, pattern = self.pattern, "the cluster is set up");
        Ok(())
    }

    /// Puts the policy in place; false where the server has no such thing.
    async fn install_policy(
        &self,
        cluster: &Cluster<'_>,
        server: Server,
    ) -> Result<bool, SendError> {
        let (path, policy) = match server {
            Server::Elasticsearch => (format!("_ilm/policy/{NAME}"), templates::ilm_policy()),
            Server::OpenSearch => {
                let path = format!("_plugins/_ism/policies/{}", self.name);
                (path, templates::ism_policy(&self.pattern))
            }
        };
        let found = cluster.ask(Method::GET, &path, None).await?;
        if found.status.is_success() {
            return Ok(true);
        }
        let put = cluster.ask(Method::PUT, &path, Some(&policy)).await?;
        if has_no_route(&put) {
            warn!(path, "the server has no lifecycle policies: nothing will delete old records");
            return Ok(false);
        }
        if put.status.is_success() { Ok(true) } else { Err(cluster.refused(&path, &put)) }
    }
}

/// Puts the pipeline in place; false where the server lacks the processor it is made of.
async fn install_pipeline(cluster: &Cluster<'_>) -> Result<bool, SendError> {
    let path = format!("_ingest/pipeline/{NAME}");
    let version = |found: &Value| found[NAME]["version"].as_u64();
    match cluster.replace_older(&path, &templates::ingest_pipeline(), version).await? {
        None => Ok(true),
        Some(refused) if says(&refused, "No processor type exists") => {
            warn!(path, "the server lacks the processor set: event.ingested will not be there");
            Ok(false)
        }
        Some(refused) => Err(cluster.refused(&path, &refused)),
    }
}

/// A cluster that is being set up.
struct Cluster<'a> {
    client: &'a Client,
    base: &'a Url,
}

// === impl Cluster ===

impl Cluster<'_> {
    /// Which server it is: OpenSearch says so; one that does not tell is taken for Elasticsearch, which
    /// tells only who may monitor it.
    async fn detect(&self) -> Result<Server, SendError> {
        let answer = match self.ask(Method::GET, "", None).await {
            Err(SendError::Hold { .. }) => return Ok(Server::Elasticsearch),
            answer => answer?,
        };
        let about: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let distribution = about.pointer("/version/distribution").and_then(Value::as_str);
        Ok(if distribution == Some("opensearch") {
            Server::OpenSearch
        } else {
            Server::Elasticsearch
        })
    }

    /// Puts `document` at `path` unless what is there is as new; answers what was refused.
    async fn replace_older(
        &self,
        path: &str,
        document: &Value,
        version: impl Fn(&Value) -> Option<u64>,
    ) -> Result<Option<Answer>, SendError> {
        let found = self.ask(Method::GET, path, None).await?;
        let there: Value = serde_json::from_slice(&found.body).unwrap_or_default();
        if found.status.is_success() && version(&there).is_none_or(|there| there >= VERSION) {
            return Ok(None);
        }
        let put = self.ask(Method::PUT, path, Some(document)).await?;
        Ok((!put.status.is_success()).then_some(put))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, SendError> {
        let headers = HeaderMap::from_iter([
            http::header("content-type", "application/json"),
            http::header("accept", "application/json"),
        ]);
        let body = body.map(ToString::to_string).unwrap_or_default().into_bytes();
        let url = http::below(self.base, path);
        let shown = format!("set-up, {method} {path}");
        let answer = self.client.request(method, url, headers, body, MAX_ANSWER_BYTES).await;
        // Asked twice, it does the same: whether it was taken does not matter.
        let answer = answer.map_err(|failure| SendError::Retry {
            after: None,
            reason: format!("{shown}: {failure}"),
        })?;
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(SendError::Hold {
                reason: format!(
                    "{shown}: {}; give the user the cluster privileges manage_index_templates, \
                     manage_ingest_pipelines and manage_ilm, or install config/elasticsearch/*.json \
                     by hand and set setup: none",
                    self.client.quote(&answer)
                ),
            }),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(answer.retry(format!("{shown}: {}", self.client.quote(&answer))))
            }
            _ => Ok(answer),
        }
    }

    fn refused(&self, path: &str, answer: &Answer) -> SendError {
        let answer = Answer { body: causes(&answer.body), ..answer.clone() };
        SendError::Hold { reason: format!("set-up, PUT {path}: {}", self.client.quote(&answer)) }
    }
}

/// Whether the server does not know the address asked for.
fn has_no_route(answer: &Answer) -> bool {
    match answer.status {
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND | StatusCode::GONE => true,
        StatusCode::BAD_REQUEST => says(answer, "no handler found"),
        _ => false,
    }
}

fn says(answer: &Answer, words: &str) -> bool {
    memchr::memmem::find(&answer.body, words.as_bytes()).is_some()
}

/// What an error says, from the outside in: the last cause is the one that helps.
fn causes(body: &[u8]) -> Vec<u8> {
    let body_as_json: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut reasons = Vec::new();
    let mut error = body_as_json.get("error");
    while let Some(cause) = error {
        reasons.extend(cause["reason"].as_str());
        error = cause.get("caused_by");
    }
    if reasons.is_empty() { body.to_vec() } else { reasons.join(": ").into_bytes() }
}
