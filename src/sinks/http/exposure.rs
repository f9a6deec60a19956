//! Warnings about what a config gives away: once, when a sink is built.

use std::net::IpAddr;

use reqwest::Url;
use tracing::warn;

use super::{Authorization, Connection, redaction};

/// What is wrong with how a sink talks to its servers, in words.
fn risks(connection: &Connection<'_>, servers: &[Url]) -> Vec<String> {
    let mut risks = Vec::new();
    let mut in_clear = |what: &str, url: &Url| {
        if url.scheme() == "http" && !is_local(url) {
            let place = url.origin().ascii_serialization();
            risks.push(format!("{what} can be read on the way to {place}: use https"));
        }
    };
    if !matches!(connection.authorization, Authorization::None) {
        for url in servers {
            in_clear("the credential", url);
        }
    }
    let proxy = connection.proxy.and_then(redaction::proxy_address);
    if let Some(proxy) = proxy.filter(|proxy| proxy.password().is_some()) {
        in_clear("the proxy's password", &proxy);
    }
    if connection.secure && !connection.tls.verify {
        risks.push("tls.verify is false: anybody on the way can read and change it all".to_owned());
    }
    risks
}

/// Warns of credentials that travel in the clear, and of a server that may be anybody.
pub(in crate::sinks) fn warn_of_risks(connection: &Connection<'_>, servers: &[Url]) {
    for risk in risks(connection, servers) {
        warn!("{risk}");
    }
}

/// Whether what is sent there stays on this machine.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost" || host.ends_with(".localhost"), |ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::*, *};

    #[test]
    fn what_a_config_gives_away_is_said() {
        let secret = Secret::from("hunter2");
        let clear = Some(Secret::from("http://u:hunter2@proxy:1"));
        let open = Some(Secret::from("http://proxy:1"));
        let basic = Authorization::Basic("u", &secret);
        let cases = [
            (basic, "http://es:9200", None, true, 1),
            (basic, "http://127.0.0.1:9200", None, true, 0),
            (basic, "http://[::1]:9200", None, true, 0),
            (basic, "http://localhost:9200", None, true, 0),
            (basic, "HTTPS://es:9200", None, true, 0),
            (basic, "https://es:9200", None, false, 1),
            (Authorization::None, "http://es:9200", None, true, 0),
            (Authorization::None, "https://es:9200", clear.as_ref(), true, 1),
            (Authorization::None, "https://es:9200", open.as_ref(), true, 0),
        ];
        for (authorization, server, proxy, verify, count) in cases {
            let server = endpoint(server).unwrap();
            let connection = Connection {
                authorization,
                tls: &TlsConfig { verify, ..TlsConfig::default() },
                secure: server.scheme() == "https",
                proxy,
                compression: BodyCompression::None,
                timeout: Duration::from_secs(1),
                cookies: false,
            };
            let risks = risks(&connection, &[server]);
            assert_eq!(risks.len(), count, "{connection:?}: {risks:?}");
            assert!(!format!("{risks:?}").contains("hunter2"), "{risks:?}");
        }
    }
}
