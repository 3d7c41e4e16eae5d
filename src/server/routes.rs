//! What answers where.

use std::sync::Arc;

use serde_json::json;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::header::{self, HeaderName};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::hyper::body::Bytes;
use warp::reply::{Reply, Response};
use warp::{Filter, http};

use super::page::ASSETS;
use super::socket::{self, Query};
use super::websocket::{self, Ws};
use super::{Context, Peer, api};

/// The whole site.
pub(super) type Routes = BoxedFilter<(Response,)>;

/// Builds it.
pub(super) fn routes(context: &Arc<Context>) -> Routes {
    let context = context.clone();
    // `ws()` takes the upgrade out of the request only when the request is a WebSocket's.
    let socket = websocket::ws().map(Some).or(warp::any().map(|| None)).unify();
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .and(socket)
        .then(move |method, path, query, headers, peer, socket| {
            let request = Request { method, path, query, headers, peer, socket };
            let context = context.clone();
            async move { secured(answer(request, context).await) }
        })
        .boxed()
}

/// A response with a body.
pub(super) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(body.into()).into_response();
    *response.status_mut() = status;
    insert(response.headers_mut(), header::CONTENT_TYPE, content_type);
    response
}

/// Sets a header to one of our own texts.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Ours are visible ASCII, which is always valid.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

struct Request {
    method: Method,
    path: FullPath,
    query: String,
    headers: HeaderMap,
    peer: Peer,
    socket: Option<Ws>,
}

async fn answer(request: Request, context: Arc<Context>) -> Response {
    let path = request.path.as_str();
    let is_socket = path == context.site.path;
    if let (true, Some(socket)) = (is_socket, request.socket) {
        return socket::upgrade(socket, Query::parse(&request.query), request.peer, context);
    }
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    let exists = is_socket || asset.is_some() || api::PATHS.contains(&path);
    if !exists {
        return not_found(path, &context);
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return wrong_method(&request.method);
    }
    if let Some(asset) = asset {
        return asset.response(&request.headers, &context.site.path);
    }
    match api::response(path, &context).await {
        Some(response) => response,
        None => upgrade_required(&context),
    }
}

fn not_found(path: &str, context: &Context) -> Response {
    let paths: Vec<&str> =
        ASSETS.iter().map(|asset| asset.path).chain(api::PATHS).chain([context.site.path.as_str()]).collect();
    let path: String = path.chars().take(100).collect();
    let error = json!({ "code": "not_found", "message": format!("nothing is at {path}"), "paths": paths });
    api::reply_json(StatusCode::NOT_FOUND, &json!({ "error": error }))
}

fn wrong_method(method: &Method) -> Response {
    let message =
        format!("{method} is not possible: portald is read with GET and HEAD, and changed by its config");
    let error = json!({ "code": "method_not_allowed", "message": message });
    let mut response = api::reply_json(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": error }));
    insert(response.headers_mut(), header::ALLOW, "GET, HEAD");
    response
}

fn upgrade_required(context: &Context) -> Response {
    let path = &context.site.path;
    let text = format!(
        "This is where WebSockets connect: new WebSocket(\"ws://this-host{path}?room=NAME\"), or a portals client's \
         PortalGun.\nWhat came was a plain request. If it was meant as a WebSocket, a proxy in between dropped its \
         Upgrade and Connection headers, or its version is not 13.\nThe wall for people is at / .\n"
    );
    let mut response = respond(StatusCode::UPGRADE_REQUIRED, "text/plain; charset=utf-8", text);
    insert(response.headers_mut(), header::UPGRADE, "websocket");
    insert(response.headers_mut(), header::CONNECTION, "upgrade");
    response
}

/// Scripts, styles and connections of this origin only; pictures may be made by scripts. `ws:` and `wss:` are named
/// because older Safari does not count them to 'self'.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self' ws: wss:; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
     frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

fn secured(mut response: Response) -> Response {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    insert(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    insert(headers, header::REFERRER_POLICY, "no-referrer");
    // What is not an asset is true for a moment only.
    if !headers.contains_key(header::CACHE_CONTROL) {
        insert(headers, header::CACHE_CONTROL, "no-store");
    }
    response
}
