//! What answers where.

use std::sync::Arc;

use serde_json::json;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::header;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

use super::access::{Caller, Credentials, Visit};
use super::answers::{not_allowed, refused, reply_json, respond};
use super::body::Body;
use super::headers::{Readers, insert, preflight, secured};
use super::life::Life;
use super::page::ASSETS;
use super::socket::{self, Query};
use super::websocket::{self, Ws};
use super::{Context, Peer, api, cameras, login, rooms, stills};

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
        .and(warp::ext::get::<Life>())
        .and(socket)
        .and(warp::body::stream().map(Body::new))
        .then(move |method, path, query, headers, peer, life, socket, body| {
            let request = Request { method, path, query, headers, peer, life, socket, body };
            let context = context.clone();
            async move { secured(screened(request, context).await) }
        })
        .boxed()
}

struct Request {
    method: Method,
    path: FullPath,
    query: String,
    headers: HeaderMap,
    peer: Peer,
    life: Life,
    socket: Option<Ws>,
    body: Body,
}

impl Request {
    fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

/// Nothing looks at a request before it was let in.
async fn screened(request: Request, context: Arc<Context>) -> Response {
    let connects = request.socket.is_some() || !(request.reads() || request.method == Method::OPTIONS);
    let visit = match context.site.access.screen(request.peer, &request.headers, connects) {
        Ok(visit) => visit,
        Err(refusal) => {
            context.refusals.note(refusal.reason, request.peer.address, &refusal.message);
            return refused(&refusal);
        }
    };
    let readers = readers(request.path.as_str());
    let reader = readers.allow(&visit).cloned();
    let mut response = if request.method == Method::OPTIONS && reader.is_some() {
        preflight()
    } else {
        answer(request, visit, context).await
    };
    readers.tell(&mut response, reader.as_ref());
    response
}

/// Which pages of other origins may read what is at `path`.
fn readers(path: &str) -> Readers {
    if path == "/api/rtc" || ASSETS.iter().any(|asset| asset.shared && asset.path == path) {
        Readers::Connecting
    } else if api::PATHS.contains(&path) {
        Readers::Listed
    } else {
        Readers::Nobody
    }
}

async fn answer(request: Request, visit: Visit, context: Arc<Context>) -> Response {
    let (path, reads) = (request.path.as_str(), request.reads());
    let query = Query::parse(&request.query);
    let credentials = Credentials::of(&request.headers, query.token());
    let is_socket = path == context.site.path;
    if let (true, Some(socket)) = (is_socket, request.socket) {
        let caller = context.caller(&visit.client, &credentials);
        return socket::upgrade(socket, query, visit, caller, context);
    }
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    // Styles and scripts are everybody's: neither they nor their absence need a look at secrets.
    if let (true, Some(asset), true) = (reads, asset, path != "/") {
        return asset.response(&request.headers, &context.site.path);
    }
    match path {
        login::LOGIN if request.method == Method::POST => {
            return login::log_in(request.body, &visit, &context).await;
        }
        login::LOGOUT if request.method == Method::POST => return login::log_out(&request.headers),
        login::LOGOUT => return wrong_method(&request.method, "POST"),
        login::LOGIN if !reads => return wrong_method(&request.method, "GET, HEAD, POST"),
        _ => {}
    }
    if rooms::named(path).is_some() || (path == rooms::PATH && !reads && request.method != Method::OPTIONS) {
        let caller = context.caller(&visit.client, &credentials.without_token());
        let (method, headers) = (&request.method, &request.headers);
        return rooms::change(method, path, headers, request.body, &visit, &caller, &context).await;
    }
    if let Some(name) = cameras::named(path) {
        let caller = context.caller(&visit.client, &credentials.without_token());
        let (method, headers) = (&request.method, &request.headers);
        return cameras::change(method, name, headers, request.body, &visit, &caller, &context).await;
    }
    let still = stills::Wanted::parse(path);
    let exists =
        is_socket || asset.is_some() || still.is_some() || path == login::LOGIN || api::PATHS.contains(&path);
    if !exists {
        return not_found(path, &context);
    }
    if !reads {
        return wrong_method(&request.method, "GET, HEAD");
    }
    if is_socket {
        return upgrade_required(&context);
    }
    // A change is not allowed to who shows a token in the address, and so is not offered.
    let credentials = if path == "/api/access" { credentials.without_token() } else { credentials };
    let caller = context.caller(&visit.client, &credentials);
    if let Some(wanted) = still {
        let response = stills::response(
            wanted,
            &request.method,
            &request.query,
            &caller,
            request.life,
            Arc::clone(&context),
        );
        let response = response.await;
        if response.status() == StatusCode::UNAUTHORIZED {
            context.note_unauthorized(&caller, &visit, path);
        }
        return response;
    }
    if path == login::LOGIN {
        return login::asked_for(&request.query, &caller);
    }
    if let Some(wall) = asset {
        if shows_wall(&query, &caller, &context).await {
            return wall.response(&request.headers, &context.site.path);
        }
        if caller.shown_something() {
            context.note_unauthorized(&caller, &visit, "the wall");
        }
        return login::instead_of_wall(&request.query, &caller);
    }
    match api::response(path, &caller, &context).await {
        Some(response) => {
            if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS) {
                context.note_unauthorized(&caller, &visit, path);
            }
            response
        }
        None => not_found(path, &context),
    }
}

/// Whether `caller` may see the room that the wall is asked for; without one, the page takes one that it may see.
async fn shows_wall(query: &Query, caller: &Caller, context: &Context) -> bool {
    match query.room() {
        Some(room) => caller.opens_asked(room),
        None => api::opens_any(caller, context).await,
    }
}

fn not_found(path: &str, context: &Context) -> Response {
    let paths: Vec<&str> = ASSETS
        .iter()
        .map(|asset| asset.path)
        .chain(api::PATHS)
        .chain([login::LOGIN, login::LOGOUT, context.site.path.as_str()])
        .collect();
    let path: String = path.chars().take(100).collect();
    let error = json!({ "code": "not_found", "message": format!("nothing is at {path}"), "paths": paths });
    reply_json(StatusCode::NOT_FOUND, &json!({ "error": error }))
}

fn wrong_method(method: &Method, allowed: &str) -> Response {
    let message = format!(
        "{method} is not possible here; {allowed} are. What can be changed over HTTP is below /api/cameras and at /api/rooms"
    );
    not_allowed(allowed, message)
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
