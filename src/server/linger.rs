//! A TCP stream whose end is polite, and which holds its slot until the very end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// Bytes thrown away while waiting for the client's end.
const DRAIN: u64 = 1024 * 1024;

/// A stream and what must live as long as it (`G`: a slot).
///
/// Closing a socket with unread bytes makes Linux send a reset, which destroys what the client has not read yet:
/// the very response, or close frame, that says why. So when this is dropped, a task ends our side, reads on for a
/// moment, and only then closes.
#[derive(Debug)]
pub(super) struct Lingering<G: Send + 'static> {
    /// Some until dropped.
    parts: Option<(TcpStream, G)>,
    /// The client has closed, or the connection is broken: nothing to wait for.
    over: bool,
    limit: Duration,
}

impl<G: Send + 'static> Lingering<G> {
    /// Wraps `stream`; its end takes `limit` at most.
    pub(super) fn new(stream: TcpStream, guard: G, limit: Duration) -> Self {
        Self { parts: Some((stream, guard)), over: false, limit }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.parts
            .as_mut()
            .map(|(stream, _)| Pin::new(stream))
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.over |= result.is_err();
        result
    }
}

impl<G: Send + 'static> Drop for Lingering<G> {
    fn drop(&mut self) {
        // Outside a runtime the process is ending.
        if let (Some((stream, guard)), false, Ok(runtime)) =
            (self.parts.take(), self.over, Handle::try_current())
        {
            runtime.spawn(linger(stream, guard, self.limit));
        }
    }
}

async fn linger<G>(mut stream: TcpStream, guard: G, limit: Duration) {
    let goodbye = async {
        stream.shutdown().await?;
        let mut sink = [0; 4096];
        let mut rest = stream.take(DRAIN);
        while rest.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(limit, goodbye).await;
    drop(guard);
}

impl<G: Send + Unpin + 'static> AsyncRead for Lingering<G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(self.stream()?.poll_read(cx, buf));
        self.over |= buf.filled().len() == before && buf.remaining() > 0;
        Poll::Ready(self.note(result))
    }
}

impl<G: Send + Unpin + 'static> AsyncWrite for Lingering<G> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(self.stream()?.poll_write(cx, buf));
        Poll::Ready(self.note(result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(self.stream()?.poll_write_vectored(cx, bufs));
        Poll::Ready(self.note(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.parts.as_ref().is_some_and(|(stream, _)| stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
