//! Addresses, credentials and what is printed of them.

use super::*;

fn client(authorization: Authorization<'_>) -> Client {
    Client::new(&Connection {
        authorization,
        tls: &TlsConfig::default(),
        secure: false,
        proxy: None,
        compression: BodyCompression::None,
        timeout: Duration::from_secs(1),
        cookies: false,
    })
    .unwrap()
}

#[test]
fn each_credential_has_its_scheme() {
    let secret = Secret::from("secret");
    let pair = Secret::from("id:key");
    let cases = [
        (Authorization::None, None),
        (Authorization::Basic("user", &secret), Some("Basic dXNlcjpzZWNyZXQ=")),
        (Authorization::ApiKey(&pair), Some("ApiKey aWQ6a2V5")),
        (Authorization::ApiKey(&secret), Some("ApiKey secret")),
        (Authorization::Bearer(&secret), Some("Bearer secret")),
        (Authorization::Splunk(&secret), Some("Splunk secret")),
    ];
    for (authorization, header) in cases {
        assert_eq!(authorization.header().as_deref(), header, "{authorization:?}");
    }
}

#[test]
fn neither_a_client_nor_a_quote_shows_a_credential() {
    let secret = Secret::from("hunter2");
    let client = client(Authorization::Basic("user", &secret));
    let sent = STANDARD.encode("user:hunter2");
    let body = format!("you sent Basic {sent}, that is hunter2\n\u{1b}[31m");
    let answer = Answer { status: StatusCode::BAD_GATEWAY, after: None, body: body.into_bytes() };
    let quote = client.quote(&answer);
    assert_eq!(quote, "HTTP 502: you sent Basic (secret), that is (secret)  [31m");
    for text in [quote, format!("{client:?}")] {
        assert!(!text.contains("hunter2") && !text.contains(&sent), "{text}");
    }
}

#[test]
fn a_credential_no_header_can_hold_is_an_error_that_does_not_repeat_it() {
    let secret = Secret::from("two\nlines");
    let error = Client::new(&Connection {
        authorization: Authorization::Splunk(&secret),
        tls: &TlsConfig::default(),
        secure: false,
        proxy: None,
        compression: BodyCompression::None,
        timeout: Duration::from_secs(1),
        cookies: false,
    })
    .unwrap_err();
    assert!(error.is_configuration() && !error.to_string().contains("lines"), "{error}");
}

#[test]
fn a_path_goes_below_the_base_address_whatever_its_slashes() {
    for base in ["http://h:9200", "http://h:9200/", "http://h:9200/es", "http://h:9200/es/"] {
        let url = below(&endpoint(base).unwrap(), "_bulk").to_string();
        assert!(url.ends_with("/_bulk") && !url.contains("//_") && url.contains("h:9200"), "{url}");
        assert_eq!(base.contains("/es"), url.contains("/es/"), "{url}");
    }
}

#[test]
fn an_authority_file_without_one_is_a_config_error() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    for content in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nAAAA\n")] {
        if let Some(content) = content {
            std::fs::write(&ca, content).unwrap();
        }
        let tls = TlsConfig { ca: Some(ca.clone()), ..TlsConfig::default() };
        let applied = tls.apply(reqwest::Client::builder(), true);
        assert!(applied.unwrap_err().is_configuration(), "{content:?}");
    }
}
