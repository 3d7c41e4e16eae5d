//! TLS over real sockets: handshakes, the certificate of the box's own, exchanging it, and clients that do it wrong.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portald::config::settings::{SecretFile, Tls as Settings};
use portald::server::Site;
use portald::server::tls::Tls;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use futures_util::{SinkExt, StreamExt};

use crate::site::{Response, Server, ids, patient, wait};

/// A directory of one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portald-tls-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> SecretFile {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        SecretFile::Path(path)
    }

    /// A certificate of its own kind, as files.
    fn certificate(&self, from: i32, until: i32) -> (Settings, CertificateDer<'static>) {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let certificate = self.file("certificate.pem", made.pem());
        (Settings::Files { certificate, key: self.file("key.pem", key.serialize_pem()) }, made.der().clone())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn self_signed(directory: &Path) -> Tls {
    Tls::open_in(&Settings::SelfSigned, Vec::new(), vec![directory.to_owned()]).unwrap()
}

async fn serving(tls: &Arc<Tls>) -> Server {
    let tls = Some(Arc::clone(tls));
    Server::with_site(patient(), |site| Site { tls, ..site }).await
}

/// TLS to `address`, trusting `trusted` alone, which must name 127.0.0.1.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::from(address.ip());
    wait("handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

async fn get(address: SocketAddr, trusted: &CertificateDer<'static>, path: &str) -> Response {
    let mut stream = connect(address, trusted).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    wait(path, stream.read_to_string(&mut text)).await.unwrap();
    Response::parse(&text)
}

/// The value of a line of `/metrics`.
async fn metric(address: SocketAddr, trusted: &CertificateDer<'static>, line: &str) -> u64 {
    let page = get(address, trusted, "/metrics").await.body;
    let value = page.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {line} in {page}")).parse().unwrap()
}

/// Sends bytes without TLS, and reads to the end.
async fn plain(address: SocketAddr, text: &str) -> Response {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    wait("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    Response::parse(&answer)
}

/// The certificate in a self-signed identity's file.
fn kept(directory: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(directory.join("tls.pem")).unwrap()
}

fn sha256(certificate: &CertificateDer<'_>) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[tokio::test]
async fn pages_and_websockets_come_over_tls() {
    let scratch = Scratch::new("sockets");
    let tls = Arc::new(self_signed(&scratch.0));
    let server = serving(&tls).await;
    let _camera = server.camera("door", "home").await;
    let trusted = kept(&scratch.0);

    assert_eq!(get(server.address, &trusted, "/healthz").await.status, 200);
    let stream = connect(server.address, &trusted).await.unwrap();
    let seen = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(tls.fingerprint(), sha256(&seen));
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));

    let url = format!("wss://{}/portal?room=home", server.address);
    let (mut socket, _) = wait("upgrade", tokio_tungstenite::client_async(url, stream)).await.unwrap();
    let Some(Ok(Message::Text(text))) = wait("an info", socket.next()).await else { panic!("no text") };
    let message: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&message["type"], ids(&message["info"])), (&json!("info"), vec!["!door"]));
    assert!(metric(server.address, &trusted, "portald_tls_certificate_expiry_seconds").await > 1_700_000_000);
}

#[tokio::test]
async fn the_boxs_own_certificate_is_made_once_and_for_its_user_alone() {
    let scratch = Scratch::new("kept");
    let directory = scratch.0.join("state/portald");
    let first = self_signed(&directory).fingerprint();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join("tls.pem"))), (0o700, 0o600));
    assert_eq!(first, sha256(&kept(&directory)));
    assert_eq!(self_signed(&directory).fingerprint(), first);
    // What a crash leaves behind, and a file that is none.
    fs::write(directory.join("tls.pem.new"), "half").unwrap();
    let mut text = fs::read_to_string(directory.join("tls.pem")).unwrap();
    assert_eq!(self_signed(&directory).fingerprint(), first);
    text.truncate(text.len() / 2);
    fs::write(directory.join("tls.pem"), text).unwrap();
    let second = self_signed(&directory);
    assert_ne!(second.fingerprint(), first);
    assert_eq!(self_signed(&directory).fingerprint(), second.fingerprint());
    let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["tls.pem"], "nothing half");
}

#[tokio::test]
async fn a_certificate_that_runs_out_is_renewed_and_one_that_does_not_is_kept() {
    let scratch = Scratch::new("renewed");
    // The last is one whose time has not come, seen by a box whose clock is behind.
    for (from, days, renewed) in [(2020, 29, true), (2020, 31, false), (2090, 40_000, false)] {
        let mut params = CertificateParams::new(vec!["box".to_owned()]).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(days * 86_400);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let pem = format!("{}{}", made.pem(), key.serialize_pem());
        fs::write(scratch.0.join("tls.pem"), pem).unwrap();
        let fingerprint = self_signed(&scratch.0).fingerprint();
        assert_eq!(fingerprint != sha256(made.der()), renewed, "{days} days before its end");
    }
}

#[tokio::test]
async fn a_start_does_not_depend_on_the_disk() {
    let scratch = Scratch::new("no-disk");
    fs::write(scratch.0.join("file"), "").unwrap();
    // Below a file no directory can be made, whoever tries.
    let blocked = scratch.0.join("file/below");
    let tls = Tls::open_in(&Settings::SelfSigned, Vec::new(), vec![blocked.clone()]).unwrap();
    let first = tls.fingerprint();
    tls.reload().unwrap();
    assert_eq!(tls.fingerprint(), first, "what is in memory stays as long as the process");
    let second = scratch.0.join("second");
    let tls = Tls::open_in(&Settings::SelfSigned, Vec::new(), vec![blocked, second.clone()]).unwrap();
    assert_eq!(tls.fingerprint(), sha256(&kept(&second)), "the next directory is tried");
}

#[tokio::test]
async fn a_reload_is_for_new_connections_and_old_ones_live_on() {
    let scratch = Scratch::new("reload");
    let (settings, first) = scratch.certificate(2020, 2100);
    let tls = Arc::new(Tls::open(&settings, Vec::new()).unwrap());
    let server = serving(&tls).await;
    let stream = connect(server.address, &first).await.unwrap();
    let url = format!("wss://{}/portal?room=mesh", server.address);
    let (mut socket, _) = wait("upgrade", tokio_tungstenite::client_async(url, stream)).await.unwrap();

    let (_, second) = scratch.certificate(2020, 2100);
    tls.reload().unwrap();
    assert_eq!(get(server.address, &second, "/healthz").await.status, 200);
    connect(server.address, &first).await.unwrap_err();

    // Broken files change nothing and say why.
    scratch.file("key.pem", KeyPair::generate().unwrap().serialize_pem());
    let error = tls.reload().unwrap_err();
    assert!(error.to_string().contains("does not belong to the certificate"), "{error}");
    assert_eq!(get(server.address, &second, "/healthz").await.status, 200);

    socket.send(Message::text(r#"{"type":"ping","ping":7}"#)).await.unwrap();
    loop {
        match wait("the pong", socket.next()).await {
            Some(Ok(Message::Text(text))) if text.contains("pong") => break,
            Some(Ok(_)) => {}
            other => panic!("the old socket ended: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_the_next_step() {
    let scratch = Scratch::new("faults");
    let (settings, certificate) = scratch.certificate(2020, 2100);
    let Settings::Files { certificate: good_certificate, key: good_key } = settings else { panic!() };
    let key_text = fs::read_to_string(scratch.0.join("key.pem")).unwrap();
    let missing = SecretFile::Path(scratch.0.join("none.pem"));
    let der = scratch.file("der.pem", &certificate);
    let encrypted = scratch.file("e.pem", key_text.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE"));
    let old = scratch.file("o.pem", "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nAAAA\n");
    let other = scratch.file("other.pem", KeyPair::generate().unwrap().serialize_pem());
    let junk = scratch.file("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let junk_key = scratch.file("jk.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let large = scratch.file("large.pem", vec![b'x'; 2 << 20]);
    let no_credential = SecretFile::Credential("portald-test-none".into());
    for (certificate, key, says, hint) in [
        (&missing, &good_key, "certificate: ", "check the path"),
        (&good_certificate, &missing, "key: ", "check the path"),
        (&good_certificate, &no_credential, "systemd credential portald-test-none", "check the path"),
        (&der, &good_key, "no PEM certificate", "openssl x509 -inform der"),
        (&good_key, &good_certificate, "no PEM certificate", "BEGIN CERTIFICATE"),
        (&good_certificate, &good_certificate, "no PEM private key", "exchanged"),
        (&good_certificate, &encrypted, "encrypted with a passphrase", "openssl pkey"),
        (&good_certificate, &old, "encrypted with a passphrase", "openssl pkey"),
        (&good_certificate, &other, "does not belong", "must print the same"),
        (&junk, &good_key, "certificate: ", "must be able to read it"),
        (&good_certificate, &junk_key, "cannot be used", "ECDSA P-256"),
        (&large, &good_key, "1 MiB", "PEM is wanted"),
    ] {
        let settings = Settings::Files { certificate: certificate.clone(), key: key.clone() };
        let error = Tls::open(&settings, Vec::new()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.hint().contains(hint), "{error}: {}", error.hint());
        assert!(error.to_string().starts_with("[server.tls] "), "{error}");
    }
    let good = Settings::Files { certificate: good_certificate, key: good_key };
    assert_eq!(Tls::open(&good, Vec::new()).unwrap().fingerprint(), sha256(&certificate));
}

#[tokio::test]
async fn slow_broken_and_foreign_handshakes_are_cut_off_and_counted() {
    let scratch = Scratch::new("slow");
    let (settings, trusted) = scratch.certificate(2020, 2100);
    let tls = Some(Arc::new(Tls::open(&settings, Vec::new()).unwrap()));
    let limits = portald::server::Limits { header: Duration::from_millis(200), ..patient() };
    let server = Server::with_site(limits, |site| Site { tls, ..site }).await;
    let address = server.address;
    let failed = |reason: &str| format!("portald_tls_handshakes_failed_total{{reason=\"{reason}\"}}");

    // One that says nothing, and one that begins and stops.
    for begin in [&b""[..], &[0x16, 3, 1, 2, 0]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut rest = Vec::new();
        let _ = wait("the end", stream.read_to_end(&mut rest)).await;
    }
    // A busy machine may take its time for those that follow.
    server.limit(patient());
    assert_eq!(metric(address, &trusted, &failed("timeout")).await, 2);

    drop(TcpStream::connect(address).await.unwrap());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]).await.unwrap();
    let mut rest = Vec::new();
    let _ = wait("the end", stream.read_to_end(&mut rest)).await;
    let (_, stranger) = Scratch::new("stranger").certificate(2020, 2100);
    connect(address, &stranger).await.unwrap_err();
    for reason in ["closed", "protocol", "refused"] {
        let what = format!("{reason} to be counted");
        wait(&what, async {
            while metric(address, &trusted, &failed(reason)).await == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn plain_http_is_shown_the_way() {
    let scratch = Scratch::new("plain");
    let (settings, trusted) = scratch.certificate(2020, 2100);
    let server = serving(&Arc::new(Tls::open(&settings, Vec::new()).unwrap())).await;
    for (method, host, target, location) in [
        ("GET", "box:8080", "/?room=home", Some("https://box:8080/?room=home")),
        ("HEAD", "[fd00::1]:8080", "/", Some("https://[fd00::1]:8080/")),
        ("GET", "192.168.1.5", "/client.js", Some("https://192.168.1.5/client.js")),
        ("GET", "box/evil", "/", None),
        ("GET", "user@box", "/", None),
        ("POST", "box:8080", "/", None),
        ("OPTIONS", "box:8080", "*", None),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let answer = plain(server.address, &request).await;
        let expected = if location.is_some() { 308 } else { 400 };
        assert_eq!((answer.status, answer.header("location")), (expected, location), "{request}");
        assert!(method == "HEAD" || answer.body.contains("https://"), "{}", answer.body);
    }
    let upgrade =
        "GET /portal?room=home HTTP/1.1\r\nhost: box\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(plain(server.address, upgrade).await.status, 400);
    assert_eq!(plain(server.address, "SSH-2.0-OpenSSH_9.2\r\n\r\n").await.status, 400);
    let count =
        metric(server.address, &trusted, "portald_tls_handshakes_failed_total{reason=\"plain_http\"}");
    assert_eq!(count.await, 9);
}

/// Through the real daemon: what is logged is what clients see, and SIGHUP exchanges it.
#[cfg(feature = "media")]
mod daemon {
    use super::*;
    use crate::daemon::Daemon;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_fingerprint_in_the_log_is_the_certificates() {
        let mut daemon =
            Daemon::start_with("[server.tls]\nself_signed = true\n[camera.a]\nsource = \"test\"\n", 308)
                .await;
        daemon
            .wait_for("its address", async |daemon: &Daemon| daemon.log().contains("is at https://127.0.0.1"))
            .await;
        let trusted = kept(&daemon.directory().join("state"));
        let address = SocketAddr::from(([127, 0, 0, 1], daemon.port));
        assert_eq!(get(address, &trusted, "/healthz").await.status, 200);
        assert!(daemon.log().contains(&sha256(&trusted)), "{}", daemon.log());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sighup_exchanges_the_certificate_or_says_why_not() {
        let scratch = Scratch::new("sighup");
        let (_, first) = scratch.certificate(2020, 2100);
        let path = |name: &str| scratch.0.join(name).display().to_string();
        let tables = format!(
            "[server.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n[camera.a]\nsource = \"test\"\n",
            path("certificate.pem"),
            path("key.pem")
        );
        let mut daemon = Daemon::start_with(&tables, 308).await;
        let address = SocketAddr::from(([127, 0, 0, 1], daemon.port));
        assert_eq!(get(address, &first, "/healthz").await.status, 200);

        let (_, second) = scratch.certificate(2020, 2021);
        daemon.signal("HUP");
        let expired = "expired on 2021-01-01";
        daemon.wait_for("a warning", async |daemon: &Daemon| daemon.log().contains(expired)).await;
        let (_, third) = scratch.certificate(2020, 2100);
        daemon.signal("HUP");
        let logged = sha256(&third);
        daemon.wait_for("the third", async |daemon: &Daemon| daemon.log().contains(&logged)).await;
        daemon.wait_for("its use", async |_: &Daemon| connect(address, &third).await.is_ok()).await;
        assert!(daemon.log().contains(&sha256(&second)));

        fs::remove_file(scratch.0.join("key.pem")).unwrap();
        daemon.signal("HUP");
        let why = format!("key: {}: No such file", path("key.pem"));
        daemon.wait_for("the reason", async |daemon: &Daemon| daemon.log().contains(&why)).await;
        assert_eq!(get(address, &third, "/healthz").await.status, 200);
    }
}
