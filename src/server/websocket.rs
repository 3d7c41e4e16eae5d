//! From a request that warp found to ask for a WebSocket to that WebSocket.
//!
//! warp could do this, too, but leaves tungstenite its read buffer of 128 KiB, which tungstenite overwrites with zeros
//! before each read: with 1000 sockets that was 140 kB for each, and a good part of what a message costs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::protocol::frame::{CloseFrame, Utf8Bytes};
use tungstenite::protocol::{Role, WebSocketConfig};
use warp::http::{StatusCode, header};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

/// Read at once. A message is a few hundred bytes, a description some thousand; a longer one takes more reads.
const READ_BUFFER: usize = 4 * 1024;

/// RFC 6455 section 1.3: what follows the client's key in the text whose hash proves that we speak WebSocket.
const ACCEPT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A WebSocket with a client.
pub(super) type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// A request for a WebSocket.
pub(super) struct Ws {
    upgrade: OnUpgrade,
    key: String,
    config: WebSocketConfig,
}

/// Passes requests for a WebSocket, as RFC 6455 section 4.2.1 describes them.
pub(super) fn ws() -> impl Filter<Extract = (Ws,), Error = Rejection> + Clone {
    let key = warp::header::<String>("sec-websocket-key");
    // Before `ws()`, which takes it out of the request.
    warp::ext::get::<OnUpgrade>().and(key).and(warp::ws()).map(|upgrade, key, _checked| Ws {
        upgrade,
        key,
        config: WebSocketConfig::default().read_buffer_size(READ_BUFFER),
    })
}

impl Ws {
    /// Longest message of the client, in bytes; its frames may be as long.
    pub(super) fn max_message_size(mut self, bytes: usize) -> Self {
        self.config = self.config.max_message_size(Some(bytes)).max_frame_size(Some(bytes));
        self
    }

    /// What may wait to be written, in bytes; more than tungstenite's write buffer of 128 KiB.
    pub(super) fn max_write_buffer_size(mut self, bytes: usize) -> Self {
        self.config = self.config.max_write_buffer_size(bytes);
        self
    }

    /// Answers the handshake; once the client has that, `run` has the WebSocket.
    pub(super) fn on_upgrade<F>(self, run: impl FnOnce(WebSocket) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{}{ACCEPT}", self.key).as_bytes());
        tokio::spawn(async move {
            match self.upgrade.await {
                Ok(stream) => {
                    let stream = TokioIo::new(stream);
                    run(WebSocket::from_raw_socket(stream, Role::Server, Some(self.config)).await).await;
                }
                // Gone before the answer.
                Err(e) => log::debug!("no WebSocket: {e}"),
            }
        });
        let response = warp::reply::with_status(warp::reply(), StatusCode::SWITCHING_PROTOCOLS);
        let response = warp::reply::with_header(response, header::CONNECTION, "upgrade");
        let response = warp::reply::with_header(response, header::UPGRADE, "websocket");
        let accept = STANDARD.encode(accept);
        warp::reply::with_header(response, header::SEC_WEBSOCKET_ACCEPT, accept).into_response()
    }
}

/// What tungstenite's messages lack.
pub(super) trait Frame: Sized {
    /// A ping without a payload.
    fn ping() -> Self;
    /// A close frame.
    fn close_with(code: u16, text: &'static str) -> Self;
    /// Code and text of a close frame, if it has them.
    fn close_frame(&self) -> Option<(u16, &str)>;
    /// The text of a text frame.
    fn to_str(&self) -> Result<&str, ()>;
}

impl Frame for Message {
    fn ping() -> Self {
        Self::Ping(Vec::new().into())
    }

    fn close_with(code: u16, text: &'static str) -> Self {
        Self::Close(Some(CloseFrame { code: code.into(), reason: Utf8Bytes::from_static(text) }))
    }

    fn close_frame(&self) -> Option<(u16, &str)> {
        match self {
            Self::Close(Some(frame)) => Some((frame.code.into(), frame.reason.as_str())),
            _ => None,
        }
    }

    fn to_str(&self) -> Result<&str, ()> {
        match self {
            Self::Text(text) => Ok(text.as_str()),
            _ => Err(()),
        }
    }
}
