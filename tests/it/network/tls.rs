//! Who the server is, and who we are.

use std::time::Duration;

use serde_json::json;

use super::{SENT, Sink, Taker};
use crate::harness::{
    Case, Outcome, Scene,
    certificates::{Certificates, Flaw},
    delivery,
};

const LIMIT: Duration = Duration::from_mins(2);

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_wrong_certificate_keeps_the_records_until_it_is_mended),
        Case::new(a_server_that_asks_for_a_certificate_gets_ours),
    ]
}

fn a_wrong_certificate_keeps_the_records_until_it_is_mended(scene: &Scene) -> Outcome {
    let flaws = [
        ("TLS with a wrong name, then mended", Flaw::WrongName),
        ("TLS with a wrong authority, then mended", Flaw::WrongAuthority),
        ("TLS that has expired, then mended", Flaw::Expired),
    ];
    let runtime = tokio::runtime::Runtime::new()?;
    for sink in Sink::ALL {
        for (fault, flaw) in flaws {
            let certificates = Certificates::flawed(scene, fault, flaw);
            let taker = Taker::default();
            let balance = runtime.block_on(async {
                let server = taker.serve(Some(&certificates)).await?;
                let more = json!({"tls": {"ca": certificates.ca}});
                let delivery = sink.start(scene, fault, &server.secure_url(), &more)?;
                delivery.send(delivery::alerts(SENT, &[])).await?;
                delivery.keeps(SENT, "not_delivered_yet")?;
                assert!(server.connections() > 0, "{server:?}");
                assert_eq!((server.handshakes(), server.requests()), (0, 0), "{fault}");
                server.mend();
                delivery.finish(LIMIT).await
            })?;
            taker.enter(scene, sink, fault, fault)?;
            assert_eq!(balance.duplicated, 0, "nothing was sent to a stranger: {balance:?}");
        }
    }
    Ok(())
}

fn a_server_that_asks_for_a_certificate_gets_ours(scene: &Scene) -> Outcome {
    let certificates = Certificates::mutual(scene, "mutual");
    let [cert, key] = &certificates.client;
    let runtime = tokio::runtime::Runtime::new()?;
    for sink in Sink::ALL {
        let taker = Taker::default();
        runtime.block_on(async {
            let server = taker.serve(Some(&certificates)).await?;
            let url = server.secure_url();
            let without = json!({"tls": {"ca": certificates.ca}});
            let held = sink.start(scene, "without", &url, &without)?;
            held.send(delivery::alerts(SENT, &[])).await?;
            held.keeps(SENT, "not_delivered_yet")?;
            assert!(server.connections() > 0, "{server:?}");
            held.abandon().await;
            assert_eq!((server.handshakes(), server.requests()), (0, 0), "{sink:?}");

            let with = json!({"tls": {"ca": certificates.ca, "cert": cert, "key": key}});
            let delivery = sink.start(scene, "with", &url, &with)?;
            delivery.send(delivery::alerts(SENT, &[])).await?;
            delivery.finish(LIMIT).await
        })?;
        taker.enter(scene, sink, "with", "a server that asks for our certificate")?;
    }
    Ok(())
}
