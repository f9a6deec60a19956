//! An HTTP proxy (RFC 9110, section 9.3.6) that asks for a password, and leads wherever it likes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What it asks for.
const USER: &str = "proxied";
/// The password it asks for.
pub(crate) const PASSWORD: &str = "hunter2-of-the-proxy";

/// The proxy; gone when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    tunnels: AtomicU64,
    refused: AtomicU64,
}

// === impl Proxy ===

impl Proxy {
    /// Starts one that leads every tunnel to `server`, whatever it was asked for.
    pub(crate) async fn to(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let accepting = tokio::spawn({
            let counts = Arc::clone(&counts);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, server, Arc::clone(&counts)));
                }
            }
        });
        Ok(Self { address, counts, accepting })
    }

    /// Its address for a config, with this password in it.
    pub(crate) fn url(&self, password: &str) -> String {
        format!("http://{USER}:{password}@{}", self.address)
    }

    /// Tunnels it made.
    pub(crate) fn tunnels(&self) -> u64 {
        self.counts.tunnels.load(Relaxed)
    }

    /// Requests it refused for want of the password.
    pub(crate) fn refused(&self) -> u64 {
        self.counts.refused.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves one connection to its end; `None` however it ended.
async fn serve(mut client: TcpStream, server: SocketAddr, counts: Arc<Counts>) -> Option<()> {
    let mut head = Vec::new();
    while memchr::memmem::find(&head, b"\r\n\r\n").is_none() {
        if client.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let credential = STANDARD.encode(format!("{USER}:{PASSWORD}")).to_lowercase();
    if !head.contains(&format!("proxy-authorization: basic {credential}\r\n")) {
        counts.refused.fetch_add(1, Relaxed);
        let answer = b"HTTP/1.1 407 X\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
        client.write_all(answer).await.ok()?;
        return None;
    }
    if !head.starts_with("connect ") {
        client.write_all(b"HTTP/1.1 405 X\r\ncontent-length: 0\r\n\r\n").await.ok()?;
        return None;
    }
    counts.tunnels.fetch_add(1, Relaxed);
    client.write_all(b"HTTP/1.1 200 X\r\n\r\n").await.ok()?;
    let mut server = TcpStream::connect(server).await.ok()?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}
