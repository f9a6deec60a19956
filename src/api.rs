//! The HTTP endpoint for operators: `/metrics`, `/health` and `/ready`, on loopback by default.

mod bounded;

use std::net::SocketAddr;

use axum::{
    Json, Router,
    extract::State as Shared,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::bounded::Bounded;
use crate::{
    component::{Error, Role},
    metrics::State,
    topology::Observed,
};

/// The endpoint, bound and ready to serve.
#[derive(Debug)]
pub struct Api {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Debug, Clone)]
struct Served {
    components: Vec<Observed>,
    metrics: PrometheusHandle,
}

/// What `/health` says of one component.
#[derive(Debug, Serialize)]
struct ComponentHealth {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    state: &'static str,
    healthy: bool,
    /// What is wrong, while it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    says: Option<serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Health {
    healthy: bool,
    components: Vec<ComponentHealth>,
}

// === impl Api ===

impl Api {
    /// Binds the address.
    ///
    /// # Errors
    /// If the address is taken or not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let cannot_listen = |error| {
            Error::configuration(format!("cannot listen on `{address}` for metrics and health"))
                .because(error)
                .hint("set `api.address` to a free address of this machine")
        };
        let listener = TcpListener::bind(address).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        Ok(Self { listener, address })
    }

    /// The address it listens on, with the port the system chose if the config says 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled.
    pub async fn serve(
        self,
        components: Vec<Observed>,
        metrics: PrometheusHandle,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/metrics", get(metrics_page))
            .route("/health", get(health))
            .route("/ready", get(ready))
            .fallback(elsewhere)
            .with_state(Served { components, metrics });
        axum::serve(Bounded::new(self.listener), routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn metrics_page(Shared(served): Shared<Served>) -> String {
    served.metrics.run_upkeep();
    served.metrics.render()
}

/// 200 while every component is well, else 503; either way each component's state.
async fn health(Shared(served): Shared<Served>) -> Response {
    let components: Vec<_> = served.components.iter().map(ComponentHealth::of).collect();
    let healthy = components.iter().all(|component| component.healthy);
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health { healthy, components })).into_response()
}

/// 200 once every source runs and every sink is built.
async fn ready(Shared(served): Shared<Served>) -> Response {
    let unready = served.components.iter().filter(|Observed { meter, role, .. }| match role {
        Role::Source => meter.state() != State::Running,
        Role::Transform | Role::Sink => matches!(meter.state(), State::Starting | State::Failed),
    });
    let ids: Vec<_> = unready.map(|component| component.meter.id()).collect();
    if ids.is_empty() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", ids.join(", ")))
            .into_response()
    }
}

/// Whoever opens the address in a browser is told what there is.
async fn elsewhere() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "not found: there are /metrics, /health and /ready\n")
}

// === impl ComponentHealth ===

impl ComponentHealth {
    fn of(Observed { meter, .. }: &Observed) -> Self {
        let state = meter.state();
        let healthy = matches!(state, State::Running | State::Ended);
        Self {
            id: meter.id().to_owned(),
            kind: meter.kind(),
            state: state.name(),
            healthy,
            last_error: meter.last_error().filter(|_| !healthy),
            says: meter.says(),
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::task;

    /// A browser showed an empty page.
    #[tokio::test]
    async fn another_path_says_which_there_are() {
        let api = Api::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let (address, stop) = (api.address(), CancellationToken::new());
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let serving = task::spawn(api.serve(Vec::new(), metrics, stop.clone()));
        for path in ["", "healthz", "metrics/"] {
            let mut connection = TcpStream::connect(address).await.unwrap();
            let asks = format!("GET /{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            connection.write_all(asks.as_bytes()).await.unwrap();
            let mut says = String::new();
            connection.read_to_string(&mut says).await.unwrap();
            assert!(says.starts_with("HTTP/1.1 404 "), "{path}: {says}");
            assert!(says.contains("/metrics, /health and /ready"), "{path}: {says}");
        }
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
