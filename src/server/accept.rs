//! Our own accept loop: warp's sets no timer, so hyper's limit on slow headers is silently off, and it has no caps.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use warp::http::Request;

use super::access::{Refusal, network_refused};
use super::life::Life;
use super::linger::Lingering;
use super::refusals::Reason;
use super::routes::Routes;
use super::slots::{Full, Slot};
use super::tls::{self, Failure, Opened};
use super::{Context, Peer, told_to_end};

/// Wait after failed accepts: the first, and the longest. What fails repeatedly is running out of descriptors or
/// memory: trying again at once would burn a core, and nobody misses a second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long portald, when it ends, waits for the request of a connection that has sent none: whoever connected at the last
/// moment during an upgrade is answered.
const LAST_REQUEST: Duration = Duration::from_millis(300);

/// Refusals being explained at one time; beyond, a connection is just closed. Bounds what refusing costs.
const REFUSALS: usize = 32;

/// The largest request head, in bytes: hyper's smallest. Ours is a path, a few names and a browser's cookies.
const REQUEST_HEAD: usize = 8 * 1024;

/// Accepts connections until told to end, and starts a task for each.
pub(super) async fn run(listener: TcpListener, routes: Routes, context: Arc<Context>) {
    let mut end = pin!(told_to_end(context.shutdown.clone()));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut wait = BACK_OFF.0;
    loop {
        let accepted = tokio::select! {
            () = &mut end => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                wait = BACK_OFF.0;
                admit(stream, address, &routes, &context, &refusals);
            }
            // The client's fault and over with it.
            Err(e)
                if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(e) => {
                if wait == BACK_OFF.0 {
                    log::error!("cannot accept connections: {e}; trying again until it works");
                }
                tokio::select! {
                    () = &mut end => return,
                    () = sleep(wait) => wait = (wait * 2).min(BACK_OFF.1),
                }
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    address: SocketAddr,
    routes: &Routes,
    context: &Arc<Context>,
    refusals: &Arc<Semaphore>,
) {
    let address = address.ip().to_canonical();
    // Candidates and pings are small and must not wait for one another.
    let _ = stream.set_nodelay(true);
    let access = &context.site.access;
    if !access.admits(address) {
        return refuse(stream, address, Refused::Network(network_refused(address)), context, refusals);
    }
    // A proxy has as many connections as those behind it; they are counted when it says who they are.
    let counted = (!access.is_proxy(address)).then_some(address);
    match context.slots.take(counted, &context.limits()) {
        Ok(slot) => {
            tokio::spawn(connection(stream, slot, address, routes.clone(), context.clone()));
        }
        Err(full) => refuse(stream, address, Refused::Full(full), context, refusals),
    }
}

async fn connection(stream: TcpStream, slot: Slot, address: IpAddr, routes: Routes, context: Arc<Context>) {
    let routes = TowerToHyperService::new(warp::service(routes));
    let asked = Arc::new(AtomicBool::new(false));
    let asks = asked.clone();
    // A plain request to a port with TLS never gets to the routes.
    let secure = context.site.tls.is_some();
    let life = Life::new(context.limits().connection);
    let lives = life.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        asks.store(true, Relaxed);
        request.extensions_mut().insert(Peer { address, secure });
        request.extensions_mut().insert(lives.clone());
        routes.call(request)
    });
    // The slot goes with the stream, into a WebSocket if it becomes one.
    let linger = context.limits().linger;
    let Some(tls) = &context.site.tls else {
        return serve(Lingering::new(stream, slot, linger), service, address, &asked, &life, &context).await;
    };
    let opened = tokio::select! {
        opened = timeout(context.limits().header, tls::open(stream, slot, linger, tls)) => opened,
        () = told_to_end(context.shutdown.clone()) => return,
    };
    let (failure, cause) = match opened {
        Ok(Ok(Opened::Encrypted(stream))) => {
            return serve(stream, service, address, &asked, &life, &context).await;
        }
        Ok(Ok(Opened::Plain(stream))) => {
            context.counters.handshake_failed(Failure::Plain);
            return serve(stream, service_fn(tls::redirect), address, &asked, &life, &context).await;
        }
        Ok(Err(failure)) => failure,
        Err(_) => (Failure::Timeout, "it took too long".to_owned()),
    };
    context.counters.handshake_failed(failure);
    log::debug!(address:%, reason = failure.label(); "no TLS with {address}: {cause}");
}

/// Speaks HTTP until the client leaves, the connection's time is up, or portald ends. `asked` says whether a request
/// came.
async fn serve<S, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: S,
    address: IpAddr,
    asked: &AtomicBool,
    life: &Life,
    context: &Context,
) where
    S: HttpService<Incoming, ResBody = B> + Service<Request<Incoming>, Response = Response<B>>,
    <S as Service<Request<Incoming>>>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limits = context.limits();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(REQUEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => Some(result),
        () = life.over() => None,
        () = async {
            told_to_end(context.shutdown.clone()).await;
            if !asked.load(Relaxed) {
                sleep(LAST_REQUEST).await;
            }
        } => None,
    };
    if let Some(result) = result {
        if let Err(e) = result {
            // Browsers open connections that they may need, and leave others idle: no reason for a line in the log.
            if e.is_timeout() && !asked.load(Relaxed) {
                context.refusals.count(Reason::Handshake);
            }
            log::debug!(address:%; "connection ended: {e}");
        }
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.close, connection).await;
}

/// Why a connection is not even read from.
enum Refused {
    Network(Refusal),
    Full(Full),
}

/// Counts a connection that is refused, and says why while that costs little.
fn refuse(
    stream: TcpStream,
    address: IpAddr,
    why: Refused,
    context: &Arc<Context>,
    refusals: &Arc<Semaphore>,
) {
    let (status, text, retry) = match &why {
        Refused::Network(refusal) => {
            context.refusals.note(refusal.reason, address, &refusal.message);
            ("403 Forbidden", refusal.message.clone(), "")
        }
        Refused::Full(full) => {
            context.refusals.note(full.reason(), address, full);
            ("503 Service Unavailable", full.to_string(), "retry-after: 5\r\n")
        }
    };
    let response = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         {retry}connection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    if context.site.tls.is_some() {
        return; // the client expects TLS, and would take a text for a fault of it
    }
    if let Ok(permit) = refusals.clone().try_acquire_owned() {
        let mut stream = Lingering::new(stream, permit, context.limits().linger);
        tokio::spawn(async move {
            // It fits the empty send buffer of a new connection: this does not wait for the client.
            if let Err(e) = stream.write_all(response.as_bytes()).await {
                log::debug!("refusal not delivered: {e}");
            }
        });
    }
}
