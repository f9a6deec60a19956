//! Connections in bounded number and for a bounded time: whoever can reach the port can hold neither all our
//! file descriptors nor one of them for ever.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// Connections at once; a further one waits until one of these ends.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may go on without an answer being written: its request's head has to come by then,
/// and one that is kept open is closed then.
const QUIET: Duration = Duration::from_secs(10);
/// How long it may last in all.
const LIFE: Duration = Duration::from_mins(5);

/// A listener that keeps to these bounds.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// A connection, and its place among those there may be.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    over: Pin<Box<Sleep>>,
    last: Instant,
    _place: OwnedSemaphorePermit,
}

// === impl Bounded ===

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        // axum's own way to accept waits after an error that would come again at once (EMFILE).
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let last = Instant::now() + LIFE;
        (Connection { stream, over: Box::pin(sleep(QUIET)), last, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

// === impl Connection ===

impl Connection {
    /// An error once its time is over.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.over.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_over(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_over(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Ok(_))) {
            let until = (Instant::now() + QUIET).min(self.last);
            self.over.as_mut().reset(until);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    async fn listener() -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Bounded::new(listener), address)
    }

    #[tokio::test]
    async fn one_more_than_there_may_be_waits_for_one_to_end() {
        let (mut bounded, address) = listener().await;
        let (mut clients, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..MAX_CONNECTIONS {
            clients.push(TcpStream::connect(address).await.unwrap());
            taken.push(bounded.accept().await);
        }
        clients.push(TcpStream::connect(address).await.unwrap());
        let soon = Duration::from_millis(50);
        assert!(timeout(soon, bounded.accept()).await.is_err());
        taken.pop();
        bounded.accept().await;
    }

    #[tokio::test]
    async fn a_head_that_comes_a_byte_at_a_time_does_not_hold_its_connection() {
        let (mut bounded, address) = listener().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        client.write_all(&[b'G'; 100]).await.unwrap();
        // Everything is here before time stands still: nothing below waits.
        let mut bytes = usize::from(connection.read_u8().await.is_ok());
        tokio::time::pause();
        let error = loop {
            match connection.read_u8().await {
                Ok(_) => bytes += 1,
                Err(error) => break error,
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((10..=12).contains(&bytes), "{bytes}");
    }

    #[tokio::test]
    async fn an_answer_gives_time_for_the_next_request_but_not_for_ever() {
        let (mut bounded, address) = listener().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        client.write_all(&[b'G'; 100]).await.unwrap();
        connection.read_u8().await.unwrap();
        tokio::time::pause();
        let mut answers: u64 = 0;
        let error = loop {
            let answered = async {
                connection.read_u8().await?;
                connection.write_all(b"H").await
            };
            match answered.await {
                Ok(()) => answers += 1,
                Err(error) => break error,
            }
            tokio::time::advance(Duration::from_secs(9)).await;
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((30..=35).contains(&answers), "{answers}");
    }
}
