//! A proxy on the way, which wants a password of its own.

use std::time::Duration;

use serde_json::json;

use super::{SENT, Sink, Taker};
use crate::harness::{
    Case, Outcome, Scene,
    certificates::Certificates,
    delivery,
    proxy::{PASSWORD, Proxy},
    server,
};

const LIMIT: Duration = Duration::from_mins(2);

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new(everything_goes_through_the_proxy_and_waits_while_it_refuses)]
}

fn everything_goes_through_the_proxy_and_waits_while_it_refuses(scene: &Scene) -> Outcome {
    let certificates = Certificates::good(scene, "proxied");
    let runtime = tokio::runtime::Runtime::new()?;
    for sink in Sink::ALL {
        let taker = Taker::default();
        runtime.block_on(async {
            let server = taker.serve(Some(&certificates)).await?;
            let proxy = Proxy::to(server.address).await?;
            // Nobody listens there: only the proxy knows the way.
            let url = format!("https://localhost:{}", server::free_port().map_err(|_| "no port")?);
            let through = |password: &str| {
                json!({"tls": {"ca": certificates.ca}, "proxy": proxy.url(password)})
            };
            let held = sink.start(scene, "refused", &url, &through("wrong"))?;
            held.send(delivery::alerts(SENT, &[])).await?;
            held.keeps(SENT, "not_delivered_yet")?;
            held.abandon().await;
            assert!(proxy.refused() > 0 && proxy.tunnels() == 0, "{proxy:?}");
            assert_eq!((server.connections(), taker.delivered()), (0, 0), "{sink:?}");

            let delivery = sink.start(scene, "taken", &url, &through(PASSWORD))?;
            delivery.send(delivery::alerts(SENT, &[])).await?;
            let balance = delivery.finish(LIMIT).await;
            assert!(proxy.tunnels() > 0, "{proxy:?}");
            balance
        })?;
        taker.enter(scene, sink, "taken", "a proxy on the way")?;
    }
    Ok(())
}
