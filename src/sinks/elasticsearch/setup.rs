//! `setup: install`: puts what our documents need in place before the first of them is sent.
//!
//! What is there already is left alone, unless it is an older one of ours, or a template of ours that
//! lacks what the cluster has got since: a policy that somebody changed to keep data longer stays as it
//! is.

mod pipeline;
mod rollover;

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio::time::Instant;
use tracing::{info, warn};

use super::mappings::{Server, Types};
use super::{
    super::http::{self, Answer, Client, Failure},
    nodes::{Node, Round},
    server_error::ServerError,
    templates::{self, Facilities, NAME, PATTERN},
};
use crate::component::SendError;

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

    /// Puts all of it in place on the cluster of `node`.
    ///
    /// # Errors
    /// When the cluster can't be reached or refuses: nothing may be sent before.
    pub(super) async fn install(
        &self,
        client: &Client,
        round: &Round<'_>,
        node: &Node,
    ) -> Result<(), SendError> {
        let cluster = Cluster { client, round, node };
        let server = match cluster.detect().await? {
            Some(server) => server,
            None => cluster.detect_by_routes(&self.name).await?,
        };
        let mut facilities = Facilities {
            types: Types {
                // Elastic's own; OpenSearch has nothing like it.
                constant_keyword: server == Server::Elasticsearch,
                match_only_text: true,
            },
            policy: self.install_policy(&cluster, server).await?,
            pipeline: pipeline::install(&cluster, server).await?,
        };
        let path = format!("_index_template/{}", self.name);
        let template = |facilities| templates::index_template(server, &self.pattern, facilities);
        let current = |found: &Value| {
            let found = found.pointer("/index_templates/0/index_template");
            found.is_none_or(|found| templates::is_current(found, &template(facilities)))
        };
        let mut refused = cluster.replace_older(&path, &template(facilities), current).await?;
        // One refusal names one type.
        for _ in 0..2 {
            let Some(refusal) = &refused else { break };
            let types = &mut facilities.types;
            if types.constant_keyword && says(refusal, "constant_keyword") {
                types.constant_keyword = false;
            } else if types.match_only_text && says(refusal, "match_only_text") {
                types.match_only_text = false;
            } else {
                break;
            }
            refused = cluster.put(&path, &template(facilities)).await?;
        }
        if let Some(refused) = refused {
            return Err(cluster.refused(&path, &refused));
        }
        rollover::bring_up_to_date(&cluster, &self.name, &self.pattern).await;
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
            Server::Elasticsearch => (ilm_path(), templates::ilm_policy()),
            Server::OpenSearch => (ism_path(&self.name), templates::ism_policy(&self.pattern)),
        };
        let found = cluster.ask(Method::GET, &path, None).await?;
        if found.status.is_success() {
            return Ok(true);
        }
        match cluster.put(&path, &policy).await? {
            None => Ok(true),
            // Another of us was quicker.
            Some(refused) if is_there(&refused) => Ok(true),
            Some(refused) if has_no_route(&refused) => {
                warn!(
                    path,
                    "the server has no lifecycle policies: nothing will delete old records"
                );
                Ok(false)
            }
            Some(refused) => Err(cluster.refused(&path, &refused)),
        }
    }
}

fn ilm_path() -> String {
    format!("_ilm/policy/{NAME}")
}

fn ism_path(name: &str) -> String {
    format!("_plugins/_ism/policies/{name}")
}

/// A cluster that is being set up.
struct Cluster<'a> {
    client: &'a Client,
    round: &'a Round<'a>,
    node: &'a Node,
}

// === impl Cluster ===

impl Cluster<'_> {
    /// Which server it is, if it says so: not everybody may ask, and not every one answers.
    async fn detect(&self) -> Result<Option<Server>, SendError> {
        let answer = match self.ask(Method::GET, "", None).await {
            Err(SendError::Hold { .. }) => return Ok(None),
            answer => answer?,
        };
        let about: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let version = |key: &str| about.get("version")?.get(key)?.as_str();
        Ok(match (version("distribution"), version("number")) {
            (Some("opensearch"), _) => Some(Server::OpenSearch),
            (None, None) => None,
            _ => Some(Server::Elasticsearch),
        })
    }

    /// Which server it is, by the kind of policy it knows; one that knows none is taken for
    /// Elasticsearch.
    async fn detect_by_routes(&self, name: &str) -> Result<Server, SendError> {
        if knows(&self.ask(Method::GET, &ilm_path(), None).await?) {
            return Ok(Server::Elasticsearch);
        }
        let ism = knows(&self.ask(Method::GET, &ism_path(name), None).await?);
        Ok(if ism { Server::OpenSearch } else { Server::Elasticsearch })
    }

    /// Puts `document` at `path` unless what is there is as it should be; answers what was refused.
    async fn replace_older(
        &self,
        path: &str,
        document: &Value,
        is_current: impl Fn(&Value) -> bool,
    ) -> Result<Option<Answer>, SendError> {
        let found = self.ask(Method::GET, path, None).await?;
        let there: Value = serde_json::from_slice(&found.body).unwrap_or_default();
        if found.status.is_success() && is_current(&there) {
            return Ok(None);
        }
        self.put(path, document).await
    }

    /// Puts `document` at `path`; answers what was refused.
    async fn put(&self, path: &str, document: &Value) -> Result<Option<Answer>, SendError> {
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
        let url = http::below(&self.node.base, path);
        let shown = format!("{}: set-up, {method} /{path}", self.node.name);
        let answer = self.client.request(method, url, headers, body, MAX_ANSWER_BYTES).await;
        self.round.answered(self.node, answer.as_ref(), Instant::now());
        // Asked twice, it does the same: whether it was taken does not matter.
        let answer = answer.map_err(|failure| {
            let reason = format!("{shown}: {failure}");
            match failure {
                Failure::Astray(_) => SendError::Astray { reason },
                _ => SendError::Retry { after: None, reason },
            }
        })?;
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(SendError::Hold {
                reason: format!(
                    "{shown}: {}; give the user the privileges that docs/elasticsearch.md names, or \
                     install the files below config by hand and set setup: none",
                    self.client.quote(&answer)
                ),
            }),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(answer.retry(format!("{shown}: {}", self.client.quote(&answer))))
            }
            // A page to sign in at, say.
            status if status.is_success() && !is_object(&answer.body) => Err(SendError::Hold {
                reason: format!("{shown}: {}: that is no server's", self.client.quote(&answer)),
            }),
            _ => Ok(answer),
        }
    }

    fn refused(&self, path: &str, answer: &Answer) -> SendError {
        // The last cause is the one that helps.
        let causes = ServerError::of_request(&answer.body).map(|told| told.reasons().join(": "));
        let causes = causes.filter(|causes| !causes.is_empty()).map(String::into_bytes);
        let body = causes.unwrap_or_else(|| answer.body.clone());
        let quoted = self.client.quote(&Answer { body, ..answer.clone() });
        SendError::Hold { reason: format!("{}: set-up, PUT /{path}: {quoted}", self.node.name) }
    }
}

/// Whether the server itself says that it does not know the address something was put to.
fn has_no_route(answer: &Answer) -> bool {
    let own = ServerError::of_request(&answer.body).is_some()
        || says(answer, "Incorrect HTTP method for");
    match answer.status {
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND | StatusCode::GONE => own,
        StatusCode::BAD_REQUEST => says(answer, "no handler found"),
        _ => false,
    }
}

/// Whether the server knows the address asked for, whether or not anything is there.
fn knows(answer: &Answer) -> bool {
    let missing = answer.status == StatusCode::NOT_FOUND
        && ServerError::of_request(&answer.body).is_some_and(|told| told.kind().is_some());
    answer.status.is_success() || missing
}

/// Whether what was put is there already.
fn is_there(answer: &Answer) -> bool {
    let kind = ServerError::of_request(&answer.body);
    let exists = |told: &ServerError| told.kind() == Some("resource_already_exists_exception");
    answer.status == StatusCode::CONFLICT || kind.as_ref().is_some_and(exists)
}

fn is_object(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, Value>>(body).is_ok()
}

fn says(answer: &Answer, words: &str) -> bool {
    memchr::memmem::find(&answer.body, words.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, after: None, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn only_the_server_itself_can_say_that_it_has_no_policies() {
        let gone = r#"{"error":{"type":"api_not_available_exception"},"status":410}"#;
        let method = r#"{"error":"Incorrect HTTP method for uri [/_ilm]","status":405}"#;
        let handler = r#"{"error":"no handler found for uri [/_ilm] and method [PUT]"}"#;
        let missing = r#"{"error":{"type":"resource_not_found_exception"},"status":404}"#;
        let page = "<html>nginx</html>";
        let cases = [
            (410, gone, true, false),
            (405, method, true, false),
            (400, handler, true, false),
            (404, missing, true, true),
            (404, page, false, false),
            (405, page, false, false),
            (200, "{}", false, true),
        ];
        for (status, body, no_route, known) in cases {
            let answer = answer(status, body);
            assert_eq!((has_no_route(&answer), knows(&answer)), (no_route, known), "{body}");
        }
    }

    #[test]
    fn what_another_put_there_first_is_there() {
        let exists = r#"{"error":{"type":"resource_already_exists_exception"},"status":400}"#;
        let other = r#"{"error":{"type":"illegal_argument_exception"},"status":400}"#;
        for (status, body, there) in [(409, "", true), (400, exists, true), (400, other, false)] {
            assert_eq!(is_there(&answer(status, body)), there, "{status} {body}");
        }
    }
}
