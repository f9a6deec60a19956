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
