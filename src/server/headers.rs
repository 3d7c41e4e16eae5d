//! The headers of every answer: what browsers are to forbid, and which pages may read it.

use warp::http::header::{self, HeaderName};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::Response;

use super::access::{Standing, Visit};

/// Scripts, styles and connections of this origin only; pictures may be made by scripts. `ws:` and `wss:` are named
/// because older Safari does not count them to 'self'.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self' ws: wss:; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
     frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

/// For the login page: a form that goes nowhere but here.
pub(super) const LOGIN_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; \
     img-src data:; frame-ancestors 'self'; base-uri 'none'; form-action 'self'";

/// What a page of ours may use: a webcam to show to a mesh room, and the screen. Everything else that browsers know
/// and ask nobody about, or ask in our name, is off.
const PERMISSIONS_POLICY: &str = "camera=(self), microphone=(self), fullscreen=(self), picture-in-picture=(self), \
     screen-wake-lock=(self), autoplay=(self), accelerometer=(), clipboard-read=(), display-capture=(), \
     encrypted-media=(), geolocation=(), gyroscope=(), hid=(), idle-detection=(), local-fonts=(), magnetometer=(), \
     midi=(), payment=(), publickey-credentials-get=(), serial=(), usb=(), xr-spatial-tracking=()";

/// Which pages of other origins may read an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// None.
    Nobody,
    /// Those in `cors`.
    Listed,
    /// Those, and all that may connect: a page that may open the WebSocket may load its client, and what the client
    /// asks before. Not everybody's: that this box runs portald is a stranger's business neither.
    Connecting,
}

impl Readers {
    /// The origin that may read the answer to `visit`, as `Access-Control-Allow-Origin` names it.
    pub(super) fn allow(self, visit: &Visit) -> Option<&HeaderValue> {
        let (origin, standing) = visit.origin.as_ref()?;
        let allowed = match (self, standing) {
            (Self::Nobody, _) | (_, Standing::Foreign | Standing::Own) => false,
            (_, Standing::Reader | Standing::Welcome { reads: true }) | (Self::Connecting, _) => true,
            (Self::Listed, Standing::Welcome { reads: false }) => false,
        };
        allowed.then_some(origin)
    }

    /// Tells the browser.
    pub(super) fn tell(self, response: &mut Response, allowed: Option<&HeaderValue>) {
        if self == Self::Nobody {
            return;
        }
        let headers = response.headers_mut();
        // Whoever keeps the answer must not give it to another page.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
}

/// The answer to the question before a question that has an `Authorization` (Fetch standard, CORS preflight).
pub(super) fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    insert(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD");
    insert(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization");
    // Ten minutes: a change of `cors` is noticed soon.
    insert(headers, header::ACCESS_CONTROL_MAX_AGE, "600");
    response
}

/// Sets a header to one of our own texts.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Ours are visible ASCII, which is always valid.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Adds what every answer has. An answer that says otherwise is left as it is.
pub(super) fn secured(mut response: Response) -> Response {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY),
        // Not into other pages as a picture or a script. Modules are fetched with CORS, which this leaves alone.
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // What is not an asset is true for a moment only.
        (header::CACHE_CONTROL, "no-store"),
    ] {
        if !headers.contains_key(&name) {
            insert(headers, name, value);
        }
    }
    response
}
