//! An HTTP server that does what no real one does on demand: it answers as a case tells it to, cuts
//! an answer short, waits too long, or shows a wrong certificate.

use std::{
    collections::BTreeMap,
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificates;

/// A request as it came, its body unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// From 0, in the order of arrival.
    pub(crate) number: usize,
    /// The path with its query.
    pub(crate) target: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    /// Unpacked.
    pub(crate) body: Vec<u8>,
}

/// What a client gets to see.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A status, a body, and perhaps a header more.
    Answer(u16, String, Option<(&'static str, String)>),
    /// The first half of that answer; then the connection ends.
    Half(u16, String),
    /// The answer, this much later.
    Slow(Duration, u16, String),
    /// The end of the connection, without a word.
    Hangup,
}

/// The server; gone when dropped.
#[derive(Debug)]
pub(crate) struct FaultServer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

// === impl FaultServer ===

impl FaultServer {
    /// Starts it: plainly, or with certificates.
    pub(crate) async fn start(
        certificates: Option<&Certificates>,
        respond: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let configs = certificates.map(|certificates| certificates.configs.clone());
        let respond: Arc<Respond> = Arc::new(respond);
        let requests = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn(async move {
            let mut accepted = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let (respond, requests) = (Arc::clone(&respond), Arc::clone(&requests));
                let config = configs.as_ref().and_then(|all| all.get(accepted).or(all.last()));
                let config = config.cloned();
                accepted += 1;
                tokio::spawn(async move {
                    match config {
                        None => serve(stream, &respond, &requests).await,
                        Some(config) => {
                            let stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
                            serve(stream, &respond, &requests).await
                        }
                    }
                });
            }
        });
        Ok(Self { address, accepting })
    }

    /// Its address for a config.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same with TLS, by the name that good certificates bear.
    pub(crate) fn secure_url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type Respond = dyn Fn(&Request) -> Reply + Send + Sync;

/// Serves one connection to its end; `None` however it ended.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    respond: &Arc<Respond>,
    requests: &AtomicUsize,
) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let (first, rest) = head.split_once("\r\n")?;
        let headers: BTreeMap<_, _> = rest
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let bytes: usize =
            headers.get("content-length").map_or(Some(0), |text| text.parse().ok())?;
        while read.len() < end + 4 + bytes {
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        }
        let mut body = read[end + 4..end + 4 + bytes].to_vec();
        read.drain(..end + 4 + bytes);
        if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            let packed = std::mem::take(&mut body);
            flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut body).ok()?;
        }
        let target = first.split(' ').nth(1)?.to_owned();
        let number = requests.fetch_add(1, Ordering::SeqCst);
        match respond(&Request { number, target, headers, body }) {
            Reply::Hangup => return None,
            Reply::Answer(status, body, more) => {
                stream.write_all(&answer(status, &body, more)).await.ok()?;
            }
            Reply::Slow(delay, status, body) => {
                tokio::time::sleep(delay).await;
                stream.write_all(&answer(status, &body, None)).await.ok()?;
            }
            Reply::Half(status, body) => {
                let bytes = answer(status, &body, None);
                stream.write_all(&bytes[..bytes.len() - body.len().div_ceil(2)]).await.ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
        }
    }
}

fn answer(status: u16, body: &str, more: Option<(&str, String)>) -> Vec<u8> {
    let more = more.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{more}\r\n{body}", body.len())
        .into_bytes()
}
