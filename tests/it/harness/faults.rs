//! An HTTP server that does what no real one does on demand: it answers as a case tells it to, cuts
//! an answer short, waits too long, resets a connection, or shows a wrong certificate.

use std::{
    collections::BTreeMap,
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{Case, Outcome, Scene, certificates::Certificates, http, panic_text};

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
    /// A reset of the connection: what is under way on it is lost, either way.
    Reset,
}

/// The server; gone when dropped. A panic of what answers is a panic of the case then: the client has
/// seen no more of it than a connection that ended.
#[derive(Debug)]
pub(crate) struct FaultServer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

/// What has happened to the server, and what is yet to happen.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    requests: AtomicUsize,
    mended: AtomicBool,
    /// Requests still to be reset once their head has been read.
    unread: AtomicUsize,
    panic: Mutex<Option<String>>,
}

type Respond = dyn Fn(&Request) -> Reply + Send + Sync;

// === impl FaultServer ===

impl FaultServer {
    /// Starts it: plainly, or with certificates.
    pub(crate) async fn start(
        certificates: Option<&Certificates>,
        respond: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), certificates, respond).await
    }

    /// The same at an address of loopback that the case chooses.
    pub(crate) async fn start_at(
        address: SocketAddr,
        certificates: Option<&Certificates>,
        respond: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let configs = certificates.map(Certificates::configs);
        let respond: Arc<Respond> = Arc::new(respond);
        let seen = Arc::new(Seen::default());
        let accepting = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    seen.connections.fetch_add(1, SeqCst);
                    let (respond, seen) = (Arc::clone(&respond), Arc::clone(&seen));
                    let mended = seen.mended.load(SeqCst);
                    let config =
                        configs.clone().map(|[first, good]| if mended { good } else { first });
                    tokio::spawn(async move {
                        let Some(config) = config else {
                            return plainly(stream, &respond, &seen).await;
                        };
                        let stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
                        seen.handshakes.fetch_add(1, SeqCst);
                        securely(stream, &respond, &seen).await
                    });
                }
            }
        });
        Ok(Self { address, seen, accepting })
    }

    /// The next so many requests are reset when their head has been read, and nothing of their body.
    pub(crate) fn reset_unread(&self, requests: usize) {
        self.seen.unread.store(requests, SeqCst);
    }

    /// Its certificate is a good one from the next connection on.
    pub(crate) fn mend(&self) {
        self.seen.mended.store(true, SeqCst);
    }

    /// Connections that were made, whatever became of them.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }

    /// TLS handshakes that both sides have ended content.
    pub(crate) fn handshakes(&self) -> usize {
        self.seen.handshakes.load(SeqCst)
    }

    /// Requests that came as a whole.
    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(SeqCst)
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
        let panic = self.seen.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic
            && !thread::panicking()
        {
            panic!("the scripted server was asked something it does not expect: {panic}");
        }
    }
}

// === impl Seen ===

impl Seen {
    /// The reply to a request; `None` if it panics.
    fn reply(&self, respond: &Arc<Respond>, request: &Request) -> Option<Reply> {
        let replied = catch_unwind(AssertUnwindSafe(|| respond(request)));
        let keep = |panic: Box<dyn std::any::Any + Send>| {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| panic_text(panic.as_ref()).to_owned());
        };
        replied.map_err(keep).ok()
    }

    fn resets_unread(&self) -> bool {
        self.unread.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

async fn plainly(mut stream: TcpStream, respond: &Arc<Respond>, seen: &Seen) -> Option<()> {
    if let Some(Reset) = serve(&mut stream, respond, seen).await {
        stream.set_zero_linger().ok()?;
    }
    Some(())
}

async fn securely(
    mut stream: tokio_rustls::server::TlsStream<TcpStream>,
    respond: &Arc<Respond>,
    seen: &Seen,
) -> Option<()> {
    if let Some(Reset) = serve(&mut stream, respond, seen).await {
        stream.get_ref().0.set_zero_linger().ok()?;
    }
    Some(())
}

/// A connection is to be reset rather than closed.
struct Reset;

/// Serves one connection to its end; `None` however it ended, but for a reset.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    respond: &Arc<Respond>,
    seen: &Seen,
) -> Option<Reset> {
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
        if seen.resets_unread() {
            return Some(Reset);
        }
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
        let number = seen.requests.fetch_add(1, SeqCst);
        match seen.reply(respond, &Request { number, target, headers, body })? {
            Reply::Hangup => return None,
            Reply::Reset => return Some(Reset),
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

/// The cases about this server.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new(a_reset_is_a_reset), Case::new(a_panic_of_what_answers_is_one_of_the_case)]
}

fn a_reset_is_a_reset(_scene: &Scene) -> Outcome {
    tokio::runtime::Runtime::new()?.block_on(async {
        for unread in [0, 1] {
            let server = FaultServer::start(None, |_| Reply::Reset).await?;
            server.reset_unread(unread);
            let mut stream = TcpStream::connect(server.address).await?;
            stream.write_all(b"GET / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}").await?;
            let read = stream.read(&mut [0; 1]).await.map_err(|error| error.kind());
            assert_eq!(read, Err(std::io::ErrorKind::ConnectionReset));
            assert_eq!(server.requests(), 1 - unread);
        }
        Ok(())
    })
}

fn a_panic_of_what_answers_is_one_of_the_case(_scene: &Scene) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(FaultServer::start(None, |_| panic!("as asked")))?;
    let answer = runtime.block_on(http::get(&server.url()));
    assert!(answer.is_err(), "{answer:?}");
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(server))).expect_err("a panic");
    let text = panic_text(dropped.as_ref());
    assert!(text.ends_with(": as asked"), "{text}");
    Ok(())
}
