//! The beginning of a connection on a port with TLS: the handshake, or a plain request that came to the wrong door.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Tls;
use crate::config::settings::Host;
use crate::server::linger::Lingering;

/// The first byte of a TLS connection: the record type "handshake" (RFC 8446, 5.1).
const HANDSHAKE: u8 = 0x16;

/// What a client opened.
pub(in crate::server) enum Opened<G: Send + Unpin + 'static> {
    /// TLS is up.
    Encrypted(Box<TlsStream<Lingering<G>>>),
    /// The client speaks something else; nothing was read of it.
    Plain(Lingering<G>),
}

/// Why TLS did not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Failure {
    /// It took too long.
    Timeout,
    /// The client went away.
    Closed,
    /// The client spoke plain HTTP.
    Plain,
    /// The client does not like what we sent, most often because it does not know our certificate.
    Refused,
    /// No version, cipher or protocol in common.
    Incompatible,
    /// What the client sent is not TLS.
    Protocol,
}

impl Failure {
    /// Each of them.
    pub(in crate::server) const ALL: [Self; 6] =
        [Self::Timeout, Self::Closed, Self::Plain, Self::Refused, Self::Incompatible, Self::Protocol];

    /// For counting.
    pub(in crate::server) fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Plain => "plain_http",
            Self::Refused => "refused",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            None => Self::Closed,
            Some(rustls::Error::AlertReceived(_)) => Self::Refused,
            Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
                Self::Incompatible
            }
            Some(_) => Self::Protocol,
        }
    }
}

/// Opens a connection. The stream keeps `guard`, its slot, to its end. Takes as long as the client does: the caller
/// sets the limit.
///
/// # Errors
/// The kind, and the cause in words for the log.
pub(in crate::server) async fn open<G: Send + Unpin + 'static>(
    stream: TcpStream,
    guard: G,
    linger: Duration,
    tls: &Tls,
) -> Result<Opened<G>, (Failure, String)> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => return Err((Failure::Closed, "nothing came".to_owned())),
        Ok(_) => {}
        Err(e) => return Err((Failure::Closed, e.to_string())),
    }
    let stream = Lingering::new(stream, guard, linger);
    if first != [HANDSHAKE] {
        return Ok(Opened::Plain(stream));
    }
    let config: Arc<ServerConfig> = tls.config();
    match TlsAcceptor::from(config).accept(stream).await {
        Ok(stream) => Ok(Opened::Encrypted(Box::new(stream))),
        Err(e) => Err((Failure::of(&e), e.to_string())),
    }
}

/// Answers a plain request: people type `http://`, and a page that was a bookmark before TLS was switched on should be
/// found. What cannot be repeated safely elsewhere, and may hold secrets, is refused instead.
pub(in crate::server) async fn redirect(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let host =
        request.headers().get(HOST).and_then(|host| host.to_str().ok()).and_then(Host::parse_with_port);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let safe = matches!(*request.method(), Method::GET | Method::HEAD) && path.starts_with('/');
    let upgrade = request.headers().contains_key(hyper::header::UPGRADE);
    let location = host.filter(|_| safe && !upgrade).and_then(|(host, port)| {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        HeaderValue::try_from(format!("https://{host}{port}{path}")).ok()
    });
    let text =
        "This port speaks HTTPS: write https:// (wss:// for a WebSocket) in place of http:// (ws://).\n";
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(location) = location {
        headers.insert(LOCATION, location);
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    }
    Ok(response)
}
