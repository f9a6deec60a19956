//! Data streams that were made of an older version of our template get a new index, so that what the
//! template has got since holds for the next records.

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    super::templates::{MADE_OF, VERSION},
    Answer, Cluster,
};

/// How old the index has to be: what another of us rolled over at the same time is not rolled over again.
const AGE: &str = "5s";

/// The data streams of a pattern, as `_resolve/index` tells them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resolved {
    data_streams: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
    /// One name or several; the last one is written to.
    #[serde(default)]
    backing_indices: Value,
}

/// Rolls over each data stream of `pattern` whose index is older than our template and whose next one
/// would be made of it. Where that does not succeed, the stream stays as it is until its policy rolls it
/// over or we start again: records go on.
pub(super) async fn bring_up_to_date(cluster: &Cluster<'_>, template: &str, pattern: &str) {
    let path = format!("_resolve/index/{pattern}");
    let Some(resolved) = allowed(cluster, Method::GET, &path, None).await else { return };
    let resolved: Resolved = serde_json::from_slice(&resolved.body).unwrap_or_default();
    for stream in resolved.data_streams {
        let Some(index) = stream.written() else { continue };
        let path = format!("{index}/_mapping");
        let Some(mapping) = allowed(cluster, Method::GET, &path, None).await else { continue };
        if made_of(&answered(&mapping)[index]["mappings"]) >= VERSION {
            continue;
        }
        // Perhaps its template is somebody else's, of a higher priority.
        if !is_ours(cluster, &stream.name, template).await {
            continue;
        }
        let path = format!("{}/_rollover", stream.name);
        let older = json!({"conditions": {"max_age": AGE}});
        if allowed(cluster, Method::POST, &path, Some(&older)).await.is_some() {
            info!(
                data_stream = stream.name,
                "rolled over: its index was made of an older version of the template"
            );
        }
    }
}

/// Whether the next index of a data stream will be made of our template: by what the server says of the
/// stream, or, where it knows no such question, by what it would make.
async fn is_ours(cluster: &Cluster<'_>, stream: &str, template: &str) -> bool {
    let path = format!("_data_stream/{stream}");
    let about = cluster.ask(Method::GET, &path, None).await;
    if let Ok(about) = about.as_ref().map(answered)
        && let Some(name) = about.pointer("/data_streams/0/template")
    {
        return name == template;
    }
    let path = format!("_index_template/_simulate_index/{stream}");
    let next = allowed(cluster, Method::POST, &path, None).await;
    next.is_some_and(|next| made_of(&answered(&next)["template"]["mappings"]) >= VERSION)
}

fn answered(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// The answer, unless there is nothing or we may not have it: that is said.
async fn allowed(
    cluster: &Cluster<'_>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Option<Answer> {
    let reason = match cluster.ask(method, path, body).await {
        Ok(answer) if answer.status.is_success() => return Some(answer),
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => return None,
        Ok(answer) => cluster.client.quote(&answer),
        Err(error) => error.to_string(),
    };
    warn!(
        path,
        "a data stream may lack what the template has got, until it is rolled over: {reason}"
    );
    None
}

/// The version of the template that a mapping was made of; 0 for one that does not tell.
fn made_of(mapping: &Value) -> u64 {
    mapping["_meta"][MADE_OF].as_u64().unwrap_or(0)
}

// === impl Stream ===

impl Stream {
    /// The index that is written to.
    fn written(&self) -> Option<&str> {
        match &self.backing_indices {
            Value::Array(names) => names.last()?.as_str(),
            Value::String(name) => Some(name),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_streams_indices_is_written_to() {
        for (names, written) in [
            (json!(["a-1", "a-2"]), Some("a-2")),
            (json!("a-1"), Some("a-1")),
            (json!([]), None),
            (json!(null), None),
            (json!([7]), None),
        ] {
            let stream: Stream =
                serde_json::from_value(json!({"name": "a", "backing_indices": names})).unwrap();
            assert_eq!(stream.written(), written, "{names}");
        }
    }

    #[test]
    fn a_mapping_that_does_not_tell_is_the_oldest() {
        assert_eq!(made_of(&Value::Null), 0);
        assert_eq!(made_of(&json!({"_meta": {MADE_OF: "3"}})), 0);
        assert_eq!(made_of(&json!({"_meta": {MADE_OF: 3}})), 3);
    }
}
