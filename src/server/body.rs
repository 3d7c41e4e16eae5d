//! The body of a request: bounded in size and in time.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use warp::Buf;

/// Largest form, in bytes: a password of 1 kB, each byte written as three, and where to go then.
pub(super) const MAX_FORM: usize = 8 * 1024;
/// Largest JSON body, in bytes: a room with as many cameras as there may be has 3 kB.
pub(super) const MAX_JSON: usize = 16 * 1024;

/// What is still to come of a request.
pub(super) struct Body(Pin<Box<dyn Stream<Item = Result<Vec<u8>, warp::Error>> + Send>>);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

/// Why a body cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Over so many bytes.
    TooLarge(usize),
    /// Not there in time.
    TooSlow,
    /// The client is gone.
    Gone,
}

impl Body {
    /// Wraps warp's.
    pub(super) fn new(
        stream: impl Stream<Item = Result<impl Buf + 'static, warp::Error>> + Send + 'static,
    ) -> Self {
        let chunk = |mut chunk: _| copied(&mut chunk);
        Self(Box::pin(stream.map(move |result| result.map(chunk))))
    }

    /// All of it, at most `max` bytes within `limit`.
    pub(super) async fn read(mut self, max: usize, limit: Duration) -> Result<Vec<u8>, BodyError> {
        let whole = async {
            let mut bytes = Vec::new();
            while let Some(chunk) = self.0.next().await {
                bytes.extend(chunk.map_err(|_| BodyError::Gone)?);
                if bytes.len() > max {
                    return Err(BodyError::TooLarge(max));
                }
            }
            Ok(bytes)
        };
        timeout(limit, whole).await.unwrap_or(Err(BodyError::TooSlow))
    }
}

fn copied(chunk: &mut impl Buf) -> Vec<u8> {
    let mut bytes = vec![0; chunk.remaining()];
    chunk.copy_to_slice(&mut bytes);
    bytes
}
