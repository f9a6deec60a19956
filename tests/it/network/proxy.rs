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
    let certificates = Certificates::flawed_first(scene, "proxied", &[]);
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
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(held.held(), u64::from(SENT), "{sink:?}: {:?}", held.errors());
            assert!(proxy.refused() > 0 && proxy.tunnels() == 0, "{proxy:?}");
            held.abandon().await;

            let delivery = sink.start(scene, "taken", &url, &through(PASSWORD))?;
            delivery.send(delivery::alerts(SENT, &[])).await?;
            let balance = delivery.finish(LIMIT).await;
            assert!(proxy.tunnels() > 0, "{proxy:?}");
            balance
        })?;
        let row = taker.row(sink, "a proxy on the way", SENT);
        row.enter()?;
        assert_eq!(row.doubled, 0, "{row:?}");
    }
    Ok(())
}
