//! Addresses, credentials and what is printed of them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        let applied = tls::apply(&tls, reqwest::Client::builder(), true);
        assert!(applied.unwrap_err().is_configuration(), "{content:?}");
    }
}

/// What a request to a server that answers with `head` comes to.
async fn asked(head: &'static [u8]) -> (String, Result<Answer, Failure>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/_bulk", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(head).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let client = client(Authorization::None);
    let url = Url::parse(&url).unwrap();
    let answer = client.request(Method::GET, url, HeaderMap::new(), "", 1024).await;
    (server.await.unwrap(), answer)
}

#[tokio::test]
async fn an_answer_is_wanted_as_it_is() {
    let (request, answer) = asked(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert!(request.to_ascii_lowercase().contains("accept-encoding: identity\r\n"), "{request}");
    assert_eq!(answer.unwrap().body, b"{}");
}

#[tokio::test]
async fn a_server_that_wants_tls_is_told_from_one_that_says_nothing() {
    // An alert of TLS: a message that was not expected.
    let (_, answer) = asked(b"\x15\x03\x01\x00\x02\x02\x0a").await;
    let Err(Failure::Astray(reason)) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("write https://"), "{reason}");
    let (_, answer) = asked(b"").await;
    let Err(Failure::NoAnswer(reason)) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("write https://"), "{reason}");
}

#[tokio::test]
async fn a_redirection_names_its_target_and_no_credential_in_it() {
    for (location, target) in [
        ("https://es.example/", "https://es.example/"),
        ("https://u:hunter2@es.example:9200/x?key=hunter2", "https://es.example:9200/x"),
        ("/login", "http://127.0.0.1:"),
    ] {
        let head =
            format!("HTTP/1.1 301 Moved\r\nlocation: {location}\r\ncontent-length: 1\r\n\r\nx");
        let (_, answer) = asked(Box::leak(head.into_boxed_str()).as_bytes()).await;
        let Err(Failure::Astray(quote)) = answer else { panic!("{answer:?}") };
        assert!(quote.starts_with("HTTP 301: it leads to ") && quote.contains(target), "{quote}");
        assert!(!quote.contains("hunter2"), "{quote}");
    }
}

#[test]
fn a_failed_handshake_comes_with_what_to_do() {
    for (causes, advice) in [
        ("invalid peer certificate: UnknownIssuer", "tls.ca"),
        ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "signed by it"),
        ("invalid peer certificate: certificate not valid for name \"a\"", "name in the address"),
        ("received corrupt message of type InvalidContentType", "http://"),
        ("invalid peer certificate: Expired", "clock"),
    ] {
        assert!(tls::advice(causes).is_some_and(|said| said.contains(advice)), "{causes}");
    }
    assert_eq!(tls::advice("Connection refused (os error 111)"), None);
}

#[test]
fn a_key_with_a_passphrase_is_told_from_one_that_is_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    };
    for content in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n",
    ] {
        let (cert, key) = (path("cert", "-----BEGIN CERTIFICATE-----"), path("key", content));
        let tls = TlsConfig { cert, key, ..TlsConfig::default() };
        let error = tls::apply(&tls, reqwest::Client::builder(), true).unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains("passphrase"), "{error}");
    }
}

/// Serves connections as long as they are kept, answers requests with these statuses, and says on which
/// connection each one came.
async fn serve(listener: tokio::net::TcpListener, statuses: &[u16]) -> Vec<usize> {
    let mut came_on = Vec::new();
    for connection in 0.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        loop {
            if came_on.len() == statuses.len() {
                return came_on;
            }
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => break,
                }
            }
            if request.is_empty() {
                break;
            }
            let head =
                format!("HTTP/1.1 {} X\r\ncontent-length: 0\r\n\r\n", statuses[came_on.len()]);
            came_on.push(connection);
            stream.write_all(head.as_bytes()).await.unwrap();
        }
    }
    came_on
}

#[tokio::test]
async fn a_connection_is_kept_until_somebody_on_it_refuses_us() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let statuses = [200, 200, 429, 403, 200, 200];
    let server = serve(listener, &statuses);
    let client = client(Authorization::None);
    let asked = async {
        for status in statuses {
            let answer = client.request(Method::GET, url.clone(), HeaderMap::new(), "", 1024).await;
            assert_eq!(answer.unwrap().status, status);
        }
        // The server looks once more before it counts.
        drop(client);
    };
    let (came_on, ()) = tokio::join!(server, asked);
    assert_eq!(came_on, [0, 0, 0, 0, 0, 1]);
}
