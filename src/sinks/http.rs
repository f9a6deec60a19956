//! The HTTP client the network sinks share: TLS, authorization, compression, time-outs, and answers
//! of bounded size. What goes wrong on the way becomes a [`SendError`] without a secret in it.

mod exposure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gzip;
mod lifetime;
mod redaction;
mod retry_after;
mod tls;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Method, StatusCode, Url,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, HeaderMap, HeaderName,
        HeaderValue, LOCATION, RETRY_AFTER,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

pub(super) use self::exposure::warn_of_risks;
use self::{gzip::gzip, lifetime::Lifetime, redaction::Redaction};
use super::{Host, options::Options, secret::Secret};
pub use crate::remote::TlsConfig;
use crate::{
    codec::Codec,
    component::{Clock, Error, Items, Problem, SendError, with_causes},
};

const USER_AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
/// Longer than any handshake that is going to work.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer nobody understands is quoted, in characters.
const QUOTED_CHARS: usize = 300;

/// How request bodies are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyCompression {
    /// Not at all: for a server on the same machine.
    None,
    /// Gzip (RFC 1952), level 1.
    #[default]
    Gzip,
}

/// Who we say we are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Authorization<'a> {
    /// Nobody.
    None,
    /// RFC 7617.
    Basic(&'a str, &'a Secret),
    /// Elasticsearch's: `id:key`, or that in base64.
    ApiKey(&'a Secret),
    /// RFC 6750.
    Bearer(&'a Secret),
    /// Splunk's.
    Splunk(&'a Secret),
}

/// How a client connects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection<'a> {
    pub(super) authorization: Authorization<'a>,
    pub(super) tls: &'a TlsConfig,
    /// Whether any server's address is `https`: else, unless the proxy's is, the machine's authorities
    /// are not looked for.
    pub(super) secure: bool,
    pub(super) proxy: Option<&'a Secret>,
    pub(super) compression: BodyCompression,
    /// From the first byte sent to the last one received.
    pub(super) timeout: Duration,
    /// Whether cookies are kept, for load balancers that tell sessions by them.
    pub(super) cookies: bool,
}

/// Sends requests to one destination.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    authorization: Option<HeaderValue>,
    compression: BodyCompression,
    timeout: Duration,
    redaction: Redaction,
    lifetime: Lifetime,
    /// Whether there ever was an answer.
    heard: AtomicBool,
}

/// What the HTTP client says of an answer that does not begin as one of HTTP does.
const NO_HTTP: &str = "invalid HTTP version";
/// What the HTTP client says where a name has no address.
const UNKNOWN_NAME: &str = "dns error";

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The wait the server asked for.
    pub(super) after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// Nothing was taken, nor will be as long as the server's address, name and certificate are what they are.
    #[error("{0}")]
    Astray(String),
    /// Whether the request was taken is not known.
    #[error("{0}")]
    NoAnswer(String),
    /// The same, after all the time there is for an answer.
    #[error("{0}")]
    TimedOut(String),
    /// The answer was cut off.
    #[error("HTTP {}: the answer is longer than {limit} bytes", status.as_u16())]
    TooLong {
        /// What it said before it became too long.
        status: StatusCode,
        /// Bytes that were read.
        limit: usize,
    },
}

/// Reads a server's base address.
///
/// # Errors
/// What is wrong with it, in words for the person who wrote it.
pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    // Such a text may hold a password: it is not repeated.
    if text.contains('@') {
        return Err("the address holds a user or password: it has no place for them".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{text:?} is neither http nor https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} has a query or fragment: only the base address is wanted"));
    }
    Ok(url)
}

/// The problem of an address that can't be read, under `key`; `credentials` are the keys for these.
pub(super) fn unreadable(
    key: impl Into<String>,
    (text, why): (&str, String),
    credentials: &str,
) -> Problem {
    let problem = Problem::new(key, why);
    if text.contains('@') {
        return problem.hint(format!("leave them out here, and write them in {credentials}"));
    }
    problem.hint("write it as https://HOST:PORT, or as http://HOST:PORT where there is no TLS")
}

/// The address of `path` below a base address.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

// === impl Authorization ===

impl Authorization<'_> {
    fn header(self) -> Option<String> {
        Some(match self {
            Self::None => return None,
            Self::Basic(user, password) => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))
            }
            Self::ApiKey(key) if key.expose().contains(':') => {
                format!("ApiKey {}", STANDARD.encode(key.expose()))
            }
            Self::ApiKey(key) => format!("ApiKey {}", key.expose()),
            Self::Bearer(token) => format!("Bearer {}", token.expose()),
            Self::Splunk(token) => format!("Splunk {}", token.expose()),
        })
    }

    fn secrets(self) -> Vec<Secret> {
        let credential = match self {
            Self::None => return Vec::new(),
            Self::Basic(_, secret)
            | Self::ApiKey(secret)
            | Self::Bearer(secret)
            | Self::Splunk(secret) => secret.clone(),
        };
        let sent = self.header().unwrap_or_default();
        let sent = sent.split_once(' ').map_or("", |(_, sent)| sent);
        vec![credential, Secret::from(sent)]
    }
}

// === impl Client ===

impl Client {
    /// A client that is not connected yet.
    ///
    /// # Errors
    /// When a certificate or key can't be read or used, or a credential can't stand in a header.
    pub(super) fn new(connection: &Connection<'_>) -> Result<Self, Error> {
        let failed = |error: reqwest::Error| {
            Error::configuration(format!("no HTTP client: {}", with_causes(&error.without_url())))
        };
        let authorization = connection.authorization.header().map(|text| {
            let mut value = HeaderValue::try_from(text).map_err(|_| {
                Error::configuration("the credential holds characters no HTTP header may hold")
            })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        let mut secrets = connection.authorization.secrets();
        let proxy = connection.proxy.and_then(redaction::proxy_address);
        let secure = connection.secure || proxy.is_some_and(|proxy| proxy.scheme() == "https");
        let mut builder = tls::apply(connection.tls, reqwest::Client::builder(), secure)?
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            // A request that may have been taken is sent again by the driver, which counts it.
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .cookie_store(connection.cookies)
            .connect_timeout(CONNECT_TIMEOUT.min(connection.timeout))
            .timeout(connection.timeout);
        if let Some(proxy) = connection.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy.expose()).map_err(failed)?);
            secrets.extend(redaction::of_proxy(proxy));
        }
        Ok(Self {
            http: builder.build().map_err(failed)?,
            authorization: authorization.transpose()?,
            compression: connection.compression,
            timeout: connection.timeout,
            redaction: Redaction::new(secrets),
            lifetime: Lifetime::new(Instant::now()),
            heard: AtomicBool::new(false),
        })
    }

    /// Posts the items one after the other, and reads an answer of at most `limit` bytes.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub(super) async fn post_items<M: Sync>(
        &self,
        url: Url,
        mut headers: HeaderMap,
        items: &Items<'_, M>,
        limit: usize,
    ) -> Result<Answer, Failure> {
        let mut body = items.concat();
        if self.compression == BodyCompression::Gzip {
            body = gzip(&body).await.into();
        }
        if self.compression == BodyCompression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        self.request(Method::POST, url, headers, body, limit).await
    }

    /// Sends a request as it is, and reads an answer of at most `limit` bytes.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub(super) async fn request(
        &self,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: impl Into<reqwest::Body>,
        limit: usize,
    ) -> Result<Answer, Failure> {
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        // What an answer says is read as it comes: a gateway must not compress it.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.lifetime.ends(Instant::now()) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let request = self.http.request(method, url).headers(headers).body(body);
        let failed = |error| self.failure(error);
        let mut response = request.send().await.map_err(failed)?;
        self.heard.store(true, Ordering::Relaxed);
        self.lifetime.answered(response.status());
        if let Some(target) = redirection(&response) {
            let body = format!("it leads to {target}: name that address").into_bytes();
            let answer = Answer { status: response.status(), after: None, body };
            return Err(Failure::Astray(self.quote(&answer)));
        }
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = asked.and_then(|text| retry_after::parse(text, Clock::Wall.now(None)));
        let mut answer = Answer { status: response.status(), after, body: Vec::new() };
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.body.len() + chunk.len() > limit {
                return Err(Failure::TooLong { status: answer.status, limit });
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    /// What an answer says, in a line: for one that means the request was not taken.
    pub(super) fn quote(&self, answer: &Answer) -> String {
        let text = String::from_utf8_lossy(&answer.body);
        let words = text.chars().map(|char| if char.is_control() { ' ' } else { char });
        // As a whole, before it is cut: half a secret is a secret too.
        let words = self.redact(words.collect());
        let quoted: String = words.chars().take(QUOTED_CHARS).collect();
        format!("HTTP {}: {}", answer.status.as_u16(), quoted.trim())
    }

    fn failure(&self, error: reqwest::Error) -> Failure {
        let (connect, timeout) = (error.is_connect(), error.is_timeout());
        let in_clear = error.url().is_some_and(|url| url.scheme() == "http");
        let causes = self.redact(with_causes(&error.without_url()));
        match (connect, timeout) {
            (true, _) => {
                let advice = tls::advice(&causes).map(|advice| format!(": {advice}"));
                let is_astray = advice.is_some() || causes.contains(UNKNOWN_NAME);
                let reason = format!("can't connect: {causes}{}", advice.unwrap_or_default());
                if is_astray { Failure::Astray(reason) } else { Failure::NotSent(reason) }
            }
            (false, true) => {
                Failure::TimedOut(format!("no whole answer within {} s", self.timeout.as_secs()))
            }
            (false, false) if in_clear && !self.heard.load(Ordering::Relaxed) => {
                // A TLS server answers with an alert, which is no HTTP, or ends the connection.
                let reason = format!("{causes}: if the server wants TLS, write https://");
                if causes.contains(NO_HTTP) {
                    Failure::Astray(reason)
                } else {
                    Failure::NoAnswer(reason)
                }
            }
            (false, false) => Failure::NoAnswer(causes),
        }
    }

    /// A server that repeats what it was sent must not make us print it.
    pub(super) fn redact(&self, text: String) -> String {
        self.redaction.hide(text)
    }
}

// === impl Answer ===

impl Answer {
    /// The answer as a whole means: later, or after the wait it asks for.
    pub(super) fn retry(&self, reason: String) -> SendError {
        SendError::Retry { after: self.after, reason }
    }
}

// === impl Failure ===

impl From<Failure> for SendError {
    fn from(failure: Failure) -> Self {
        let reason = failure.to_string();
        match failure {
            Failure::NotSent(_) => Self::Retry { after: None, reason },
            Failure::Astray(_) => Self::Astray { reason },
            Failure::NoAnswer(_) | Failure::TimedOut(_) | Failure::TooLong { .. } => {
                Self::Unclear { may_double: true, reason }
            }
        }
    }
}

/// A header and its value, both known to be well-formed.
pub(super) fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

/// Whom requests to these servers are sent to: the proxy, if there is one.
pub(super) fn hosts(proxy: Option<&Secret>, servers: impl IntoIterator<Item = Url>) -> Vec<Host> {
    let host = |url: Url| {
        let name = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Host { name, port: url.port_or_known_default()? })
    };
    match proxy {
        Some(proxy) => redaction::proxy_address(proxy).and_then(host).into_iter().collect(),
        None => servers.into_iter().filter_map(host).collect(),
    }
}

/// What is wrong with the codec of a sink that sends JSON documents only; `takes` says so of its
/// destination.
pub(super) fn check_codec(options: &Options, takes: &str) -> Option<Problem> {
    let wrong = options.encoding.codec != Codec::Json;
    wrong.then(|| Problem::new("encoding.codec", takes).hint("use codec: json"))
}

/// What keeps a client of this connection from being made: files of `tls` that are missing or damaged.
pub(super) fn check_client(connection: &Connection<'_>) -> Vec<Problem> {
    let client = Client::new(connection);
    client.err().map(|error| Problem::new("tls", with_causes(&error))).into_iter().collect()
}

/// What is wrong with the address of a proxy, below `proxy`. A scheme that the client does not speak
/// must not be left to it: it would go round the proxy, and take the credential along.
pub(super) fn check_proxy(proxy: Option<&Secret>) -> Option<Problem> {
    let proxy = proxy?;
    if let Some(problem) = proxy.check("proxy") {
        return Some(problem);
    }
    let spoken = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let message = match redaction::proxy_address(proxy) {
        Some(url) if !spoken(&url) => {
            format!("a proxy of the scheme {} can't be used", url.scheme())
        }
        Some(_) if reqwest::Proxy::all(proxy.expose()).is_ok() => return None,
        _ => "the proxy's address is no URL".to_owned(),
    };
    let hint = "write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT";
    Some(Problem::new("proxy", message).hint(hint))
}

/// Where an answer sends us instead. Nothing follows it: a credential must not go where it points.
fn redirection(response: &reqwest::Response) -> Option<String> {
    let target = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
    let mut target = response.url().join(target.to_str().ok()?).ok()?;
    target.set_query(None);
    target.set_username("").and_then(|()| target.set_password(None)).ok()?;
    Some(target.to_string())
}

#[cfg(test)]
mod tests;
