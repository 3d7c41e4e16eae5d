//! The wall's files, compiled in: no path of a request ever reaches the file system.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use warp::http::{HeaderMap, StatusCode, header};
use warp::hyper::body::Bytes;
use warp::reply::Response;

use super::answers::respond;
use super::headers::insert;

/// One file.
#[derive(Debug)]
pub(super) struct Asset {
    /// Where it is served.
    pub(super) path: &'static str,
    content_type: &'static str,
    content: &'static str,
    /// `content` as gzip makes it, once somebody has asked for it.
    packed: OnceLock<Option<Bytes>>,
    /// Whether pages of other origins may import it: the client module and what it imports.
    pub(super) shared: bool,
}

/// The path that index.html is written with.
const DEFAULT_PATH: &str = "/portal";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// All of them.
pub(super) static ASSETS: [Asset; 35] = [
    own("/", HTML, include_str!("../../web/index.html")),
    own("/login.css", CSS, include_str!("../../web/login.css")),
    own("/login.js", SCRIPT, include_str!("../../web/login.js")),
    own("/wall.css", CSS, include_str!("../../web/wall.css")),
    own("/menu.css", CSS, include_str!("../../web/menu.css")),
    own("/wall.js", SCRIPT, include_str!("../../web/wall.js")),
    own("/whole.js", SCRIPT, include_str!("../../web/whole.js")),
    own("/grid.js", SCRIPT, include_str!("../../web/grid.js")),
    own("/keys.js", SCRIPT, include_str!("../../web/keys.js")),
    own("/layout.js", SCRIPT, include_str!("../../web/layout.js")),
    own("/tile.js", SCRIPT, include_str!("../../web/tile.js")),
    own("/words.js", SCRIPT, include_str!("../../web/words.js")),
    own("/advice.js", SCRIPT, include_str!("../../web/advice.js")),
    own("/api.js", SCRIPT, include_str!("../../web/api.js")),
    own("/header.js", SCRIPT, include_str!("../../web/header.js")),
    own("/memory.js", SCRIPT, include_str!("../../web/memory.js")),
    own("/menu.js", SCRIPT, include_str!("../../web/menu.js")),
    own("/stats.js", SCRIPT, include_str!("../../web/stats.js")),
    own("/stills.js", SCRIPT, include_str!("../../web/stills.js")),
    own("/zoom.js", SCRIPT, include_str!("../../web/zoom.js")),
    own("/kiosk.js", SCRIPT, include_str!("../../web/kiosk.js")),
    own("/people.js", SCRIPT, include_str!("../../web/people.js")),
    own("/publish.css", CSS, include_str!("../../web/publish.css")),
    own("/publish.js", SCRIPT, include_str!("../../web/publish.js")),
    own("/status", HTML, include_str!("../../web/status.html")),
    own("/status.css", CSS, include_str!("../../web/status.css")),
    own("/status.js", SCRIPT, include_str!("../../web/status.js")),
    own("/controls.js", SCRIPT, include_str!("../../web/controls.js")),
    types("/client.d.ts", include_str!("../../web/client.d.ts")),
    shared("/client.js", include_str!("../../web/client.js")),
    shared("/emitter.js", include_str!("../../web/emitter.js")),
    shared("/latency.js", include_str!("../../web/latency.js")),
    shared("/playback.js", include_str!("../../web/playback.js")),
    shared("/portal.js", include_str!("../../web/portal.js")),
    shared("/signaling.js", include_str!("../../web/signaling.js")),
];

const fn own(path: &'static str, content_type: &'static str, content: &'static str) -> Asset {
    Asset { path, content_type, content, packed: OnceLock::new(), shared: false }
}

const fn shared(path: &'static str, content: &'static str) -> Asset {
    Asset { path, content_type: SCRIPT, content, packed: OnceLock::new(), shared: true }
}

/// For editors and compilers, which take any type.
const fn types(path: &'static str, content: &'static str) -> Asset {
    let content_type = "text/plain; charset=utf-8";
    Asset { path, content_type, content, packed: OnceLock::new(), shared: true }
}

impl Asset {
    /// The file, or 304 when `request` says that the browser has it.
    /// `portals` is the WebSocket's path, which the page is told.
    pub(super) fn response(&self, request: &HeaderMap, portals: &str) -> Response {
        let content = self.content(portals);
        // What is filled in is not packed.
        let as_it_is = matches!(content, Cow::Borrowed(_));
        let packed = if as_it_is && takes_gzip(request) { self.packed() } else { None };
        let tag = tag(&content, packed.is_some());
        let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let fresh = known
            .flat_map(|list| list.split(','))
            .map(|one| one.trim().trim_start_matches("W/"))
            .any(|one| one == tag || one == "*");
        let mut response = if fresh {
            respond(StatusCode::NOT_MODIFIED, self.content_type, "")
        } else if let Some(packed) = packed {
            let mut response = respond(StatusCode::OK, self.content_type, packed);
            insert(response.headers_mut(), header::CONTENT_ENCODING, "gzip");
            response
        } else {
            respond(StatusCode::OK, self.content_type, content.into_owned())
        };
        let headers = response.headers_mut();
        insert(headers, header::VARY, "accept-encoding");
        // Asked for again each time: a page and its scripts must never be of two versions.
        insert(headers, header::CACHE_CONTROL, "no-cache");
        insert(headers, header::ETAG, &tag);
        response
    }

    /// The file packed.
    fn packed(&self) -> Option<Bytes> {
        self.packed.get_or_init(|| gzip(self.content).map(Bytes::from)).clone()
    }

    /// Only the page itself has something to fill in.
    fn content(&self, portals: &str) -> Cow<'static, str> {
        if self.content_type == HTML && portals != DEFAULT_PATH {
            let quoted = portals.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
            let (was, is) = (format!("content=\"{DEFAULT_PATH}\""), format!("content=\"{quoted}\""));
            Cow::Owned(self.content.replace(&was, &is))
        } else {
            Cow::Borrowed(self.content)
        }
    }
}

/// Changes with any of the files: a page that finds another than it came with is of an older daemon.
pub(super) fn version() -> String {
    let mut hasher = DefaultHasher::new();
    ASSETS.iter().for_each(|asset| asset.content.hash(&mut hasher));
    format!("{:016x}", hasher.finish())
}

/// Of what is sent, so it is another for the same file packed.
fn tag(content: &str, packed: bool) -> String {
    let mut hasher = DefaultHasher::new();
    (content, packed).hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Whether the browser unpacks gzip (RFC 9110, 12.5.3).
fn takes_gzip(request: &HeaderMap) -> bool {
    let lists = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// None if it cannot be packed; then it goes as it is.
fn gzip(content: &str) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content.as_bytes()).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_has_the_file_is_told_so() {
        let asset = &ASSETS[0];
        for known in [
            tag(asset.content, false),
            format!("W/{}", tag(asset.content, false)),
            format!("\"x\", {}", tag(asset.content, false)),
            "*".into(),
        ] {
            let mut request = HeaderMap::new();
            insert(&mut request, header::IF_NONE_MATCH, &known);
            assert_eq!(asset.response(&request, DEFAULT_PATH).status(), StatusCode::NOT_MODIFIED, "{known}");
        }
        let mut request = HeaderMap::new();
        insert(&mut request, header::IF_NONE_MATCH, "\"other\"");
        assert_eq!(asset.response(&request, DEFAULT_PATH).status(), StatusCode::OK);
    }

    #[test]
    fn a_file_is_packed_for_browsers_that_unpack_it() {
        let asset = &ASSETS[0];
        let ask = |accepted: &str, path| {
            let mut request = HeaderMap::new();
            insert(&mut request, header::ACCEPT_ENCODING, accepted);
            asset.response(&request, path).headers().clone()
        };
        for (accepted, packed) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("xgzip", false),
        ] {
            let headers = ask(accepted, DEFAULT_PATH);
            assert_eq!(headers.get(header::CONTENT_ENCODING).is_some(), packed, "{accepted:?}");
            assert_eq!(headers[header::VARY], "accept-encoding");
            assert_eq!(headers[header::ETAG], *tag(asset.content, packed));
        }
        assert!(ask("gzip", "/other").get(header::CONTENT_ENCODING).is_none(), "something was filled in");
        let packed = asset.packed().unwrap();
        let unpacked = std::io::read_to_string(flate2::read::GzDecoder::new(&packed[..])).unwrap();
        assert_eq!(unpacked, asset.content);
    }

    #[test]
    fn every_file_is_served() {
        let web = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        let mut files: Vec<String> = std::fs::read_dir(web)
            .unwrap()
            .map(|entry| format!("/{}", entry.unwrap().file_name().to_str().unwrap()))
            .filter(|name| [".html", ".css", ".js", ".d.ts"].iter().any(|ending| name.ends_with(ending)))
            .map(|name| name.replace("/index.html", "/").replace("/status.html", "/status"))
            // With something filled in, by `login`.
            .filter(|name| name != "/login.html")
            .collect();
        files.sort();
        let mut served: Vec<_> = ASSETS.iter().map(|asset| asset.path).collect();
        served.sort_unstable();
        assert_eq!(served, files);
    }

    #[test]
    fn other_origins_get_the_client_with_all_that_it_imports_and_nothing_else() {
        let mut expected = vec!["/client.js".to_owned(), "/client.d.ts".to_owned()];
        let mut next = 0;
        while let Some(path) = expected.get(next).cloned() {
            let content = ASSETS.iter().find(|asset| asset.path == path).unwrap().content;
            let imports =
                content.lines().filter(|line| line.starts_with("import ") || line.starts_with("export "));
            for file in
                imports.filter_map(|line| line.split_once(" from './")?.1.split_once('\'')).map(|(f, _)| f)
            {
                let path = format!("/{file}");
                if !expected.contains(&path) {
                    expected.push(path);
                }
            }
            next += 1;
        }
        expected.sort();
        let mut shared: Vec<_> = ASSETS.iter().filter(|asset| asset.shared).map(|asset| asset.path).collect();
        shared.sort_unstable();
        assert_eq!(shared, expected);
    }
}
