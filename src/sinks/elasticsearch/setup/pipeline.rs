//! The ingest pipeline that a cluster gets: with all that its processors can add.

use reqwest::Method;
use serde_json::Value;
use tracing::{info, warn};

use super::{
    super::{
        mappings::Server,
        templates::{self, NAME, Places},
    },
    Cluster, says,
};
use crate::component::SendError;

/// Puts the pipeline in place, the best that the server has the processors for; false where it lacks even
/// the one that all are made of.
pub(super) async fn install(cluster: &Cluster<'_>, server: Server) -> Result<bool, SendError> {
    let path = format!("_ingest/pipeline/{NAME}");
    let found = cluster.ask(Method::GET, &path, None).await?;
    let is_there = found.status.is_success();
    let found: Value = serde_json::from_slice(&found.body).unwrap_or_default();
    let kinds = match server {
        Server::OpenSearch => &Places::ALL[..],
        Server::Elasticsearch => &Places::ALL[1..],
    };
    for places in kinds {
        if is_there && templates::is_current_pipeline(&found[NAME], *places) {
            return Ok(true);
        }
        let Some(refused) = cluster.put(&path, &templates::ingest_pipeline(*places)).await? else {
            if *places == Places::None {
                info!(path, "the server has no geoip: records get neither places nor networks");
            }
            return Ok(true);
        };
        let no_processor = says(&refused, "No processor type exists");
        let no_data = *places == Places::Ip2Geo && says(&refused, "datasource");
        if !no_processor && !no_data {
            return Err(cluster.refused(&path, &refused));
        }
    }
    warn!(path, "the server lacks the processor set: event.ingested will not be there");
    Ok(false)
}
