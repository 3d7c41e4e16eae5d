//! Our own accept loop: warp's sets no timer, so hyper's limit on slow headers is silently off, and it has no caps.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use warp::http::Request;

use super::linger::Lingering;
use super::routes::Routes;
use super::slots::{Full, Slot};
use super::{Context, Peer, told_to_end};

/// Wait after failed accepts: the first, and the longest. What fails repeatedly is running out of descriptors or
/// memory: trying again at once would burn a core, and nobody misses a second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

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
    match context.slots.take(address) {
        Ok(slot) => {
            tokio::spawn(connection(stream, slot, address, routes.clone(), context.clone()));
        }
        Err(full) => {
            context.counters.refused(full);
            report(full, address);
            if let Ok(permit) = refusals.clone().try_acquire_owned() {
                tokio::spawn(refuse(Lingering::new(stream, permit, context.limits.linger), full));
            }
        }
    }
}

async fn connection(stream: TcpStream, slot: Slot, address: IpAddr, routes: Routes, context: Arc<Context>) {
    let limits = &context.limits;
    let routes = TowerToHyperService::new(warp::service(routes));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(address));
        routes.call(request)
    });
    // The slot goes with the stream, into a WebSocket if it becomes one.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(REQUEST_HEAD)
        .serve_connection(TokioIo::new(Lingering::new(stream, slot, limits.linger)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => Some(result),
        () = sleep(limits.connection) => None,
        () = told_to_end(context.shutdown.clone()) => None,
    };
    if let Some(result) = result {
        if let Err(e) = result {
            log::debug!(address:%; "connection ended: {e}");
        }
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.close, connection).await;
}

async fn refuse<G: Send + Unpin + 'static>(mut stream: Lingering<G>, full: Full) {
    let reason = match full {
        Full::Total { places, .. } => format!("portald has all of its {places} connections in use."),
        Full::Address { places, .. } => {
            format!("portald takes {places} connections from one address, and yours has them all in use.")
        }
    };
    let text = format!("{reason} Close pages that are not needed, then try again.\n");
    let response = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         retry-after: 5\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // It fits the empty send buffer of a new connection: this does not wait for the client.
    if let Err(e) = stream.write_all(response.as_bytes()).await {
        log::debug!("refusal not delivered: {e}");
    }
}

/// Once for each time that it fills up, or a flood of connections would be a flood of log lines.
fn report(full: Full, address: IpAddr) {
    match full {
        Full::Total { places, first: true } => {
            log::warn!("all {places} connections are in use; more are refused")
        }
        Full::Address { places, first: true } => {
            log::warn!(address:%; "{address} has {places} connections, more are refused");
        }
        _ => {}
    }
}
