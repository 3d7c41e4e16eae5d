//! A WebSocket to another server: TCP, TLS where the address asks for it, the handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::config::settings::{Secret, SecretFile};

/// How long each of connecting, TLS and the handshake may take; the kernel alone would try for minutes.
const STEP: Duration = Duration::from_secs(10);
/// The largest message taken. The largest a portald sends is the `info` of a room of 1000 members of 300 bytes each.
const MAX_MESSAGE: usize = 1024 * 1024;
/// What may wait to be sent: a session's messages have 10 kB. The library's default is unbounded.
const WRITE_BUFFER: usize = 1024 * 1024;
/// How much of a refusal's text is shown, in characters.
const MAX_REFUSAL: usize = 200;

/// An open WebSocket.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the token cannot be read from {file}: {source}; see token_file of [uplink]")]
    Token { file: String, source: io::Error },
    #[error("the address cannot be used: {0}")]
    Address(String),
    #[error("{host} cannot be reached: {source}")]
    Connect { host: String, source: io::Error },
    #[error("TLS: {0}")]
    Untrusted(String),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("that server refuses the WebSocket: {1}")]
    Refused(StatusCode, String),
    #[error("{0}")]
    Handshake(WsError),
}

impl DialError {
    /// Whether somebody has to change something before it can work.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Token { .. } | Self::Address(_) | Self::Untrusted(_) => true,
            // A server that is full, and a proxy whose server is away, answer with 5xx.
            Self::Refused(status, _) => !status.is_server_error(),
            Self::Connect { .. } | Self::Tls(_) | Self::Handshake(_) => false,
        }
    }
}

/// Opens sockets to one server; clones are the same.
#[derive(Clone)]
pub(super) struct Dialer {
    url: String,
    token: Option<SecretFile>,
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Dialer {
    /// For `url` (`ws://…` or `wss://…`). A server with TLS must show the certificate with `fingerprint` (SHA-256), or
    /// without one, a certificate that an authority known to this box signed. Reads those authorities from disk.
    pub(super) fn new(url: String, token: Option<SecretFile>, fingerprint: Option<[u8; 32]>) -> Self {
        let is_tls = url.starts_with("wss:");
        Self { url, token, tls: Arc::new(tls(is_tls, fingerprint)) }
    }

    /// Opens a socket; `query` is appended to the address.
    pub(super) async fn dial(&self, query: &str) -> Result<Socket, DialError> {
        let token = self.token.as_ref().map(read).transpose()?;
        let unusable = |what: &dyn std::fmt::Display| DialError::Address(what.to_string());
        let uri: Uri = format!("{}?{query}", self.url).parse().map_err(|e| unusable(&e))?;
        let mut request = uri.clone().into_client_request().map_err(|e| unusable(&e))?;
        if let Some(token) = token {
            // In a header: addresses get into the logs of proxies.
            let bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal()));
            let mut bearer = bearer.map_err(|_| DialError::Token {
                file: self.token.as_ref().map(ToString::to_string).unwrap_or_default(),
                source: io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it has characters that no header can have",
                ),
            })?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let stream = self.connect(&uri).await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE))
            .max_write_buffer_size(WRITE_BUFFER);
        let shaken = timeout(STEP, client_async_with_config(request, stream, Some(config))).await;
        match shaken {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(WsError::Http(response))) => {
                Err(DialError::Refused(response.status(), refusal(&response)))
            }
            Ok(Err(error)) => Err(DialError::Handshake(error)),
            Err(_) => Err(DialError::Handshake(WsError::Io(io::ErrorKind::TimedOut.into()))),
        }
    }

    async fn connect(&self, uri: &Uri) -> Result<Box<dyn Stream>, DialError> {
        let is_tls = uri.scheme_str() == Some("wss");
        let host = uri.host().ok_or_else(|| DialError::Address(UrlError::NoHostName.to_string()))?;
        // The library gives addresses of IPv6 with their brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let connected = timeout(STEP, TcpStream::connect((host, port))).await;
        let tcp = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let tcp = tcp.map_err(|source| DialError::Connect { host: format!("{host}:{port}"), source })?;
        // Candidates are small and must not wait for one another.
        let _ = tcp.set_nodelay(true);
        if !is_tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|e| DialError::Address(e.to_string()))?;
        let shaken = timeout(STEP, TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp)).await;
        let tls = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        Ok(Box::new(tls.map_err(tls_fault)?))
    }
}

fn read(file: &SecretFile) -> Result<Secret, DialError> {
    file.read().map_err(|source| DialError::Token { file: file.to_string(), source })
}

/// What a server said instead of upgrading: ours says it in JSON, others in what may be a page.
fn refusal(response: &Response<Option<Vec<u8>>>) -> String {
    let body = response.body().as_deref().unwrap_or_default();
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = json.as_ref().and_then(|json| json["error"]["message"].as_str()).unwrap_or_default();
    let said: String = said.chars().take(MAX_REFUSAL).collect();
    match response.status() {
        status if !said.is_empty() => format!("{status}: {said}"),
        StatusCode::NOT_FOUND => "there is no WebSocket at this path (404); see url of [uplink]".to_owned(),
        status => status.to_string(),
    }
}

fn tls_fault(error: io::Error) -> DialError {
    let fault = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match fault {
        Some(rustls::Error::General(ours)) => DialError::Untrusted(ours.clone()),
        Some(rustls::Error::InvalidCertificate(fault)) => DialError::Untrusted(format!(
            "the server's certificate is not trusted ({fault:?}); if it is self-signed, write its fingerprint, which \
             that server logs, into [uplink]"
        )),
        _ => DialError::Tls(error),
    }
}

fn tls(is_used: bool, fingerprint: Option<[u8; 32]>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    if is_used && fingerprint.is_none() {
        let found = rustls_native_certs::load_native_certs();
        let (_, unusable) = roots.add_parsable_certificates(found.certs);
        for error in found.errors {
            log::warn!("certificate authorities of this box: {error}");
        }
        log::debug!("{} certificate authorities, {unusable} of them unusable", roots.len());
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    // Fails only for a provider without any suite of these versions, and ours is whole.
    let builder = match builder.with_safe_default_protocol_versions() {
        Ok(builder) => builder,
        Err(error) => unreachable!("ring speaks TLS 1.2 and 1.3: {error}"),
    };
    match fingerprint {
        None => builder.with_root_certificates(roots).with_no_client_auth(),
        Some(fingerprint) => {
            let pinned = Arc::new(Pinned { fingerprint, provider });
            builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth()
        }
    }
}

/// Trusts one certificate, whatever it says of itself; that the server has its key is verified as always.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = digest(&SHA256, end_entity);
        if found.as_ref() == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        let shown: Vec<String> = found.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        Err(rustls::Error::General(format!(
            "the server's certificate has the fingerprint {}, not the one in [uplink]; the log of that server shows \
             which is right",
            shown.join(":")
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
