//! The login page, and what people and pages see that may not see everything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portald::config::settings::{self as config, Networks};
use portald::server::Access;
use portald::status::State;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::access::{ADMIN, ATTIC, VIEWER, exchange, guarded};
use crate::site::{Response, Server, Setup, patient, status, wait};

const PEER: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[tokio::test]
async fn the_form_keeps_what_was_wanted_and_goes_there() {
    let server = guarded(patient()).await;
    let page = get(&server, "/?room=home&camera=door&token=wrong", &[]).await;
    assert_eq!((page.status, page.header("cache-control")), (401, Some("no-store")));
    assert!(page.header("www-authenticate").unwrap().starts_with("Bearer"), "no window of the browser's own");
    assert!(page.body.contains("role=\"alert\">The token in the address is wrong."), "{}", page.body);
    assert!(page.body.contains("value=\"./?room=home&amp;camera=door\""), "{}", page.body);
    // Its policy lets no inline script or style run, so it must not bring any.
    let without = page.body.replace("<script type=\"module\" src=\"login.js\"></script>", "");
    assert!(without.len() < page.body.len() && !without.contains("<script"), "{}", page.body);
    assert!(!page.body.contains("<style") && !page.body.contains("style="));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self'") && policy.contains("script-src 'self'; "), "{policy}");
    assert!(!policy.contains("unsafe") && get(&server, "/login.js", &[]).await.status == 200, "{policy}");
    // Else browsers send the form with `Origin: null`.
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));

    let wrong = form(&server, "password=nonsense&room=home&next=.%2F%3Froom%3Dhome", &[]).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    assert!(wrong.body.contains("role=\"alert\">That password is wrong."), "{}", wrong.body);
    assert!(
        wrong.body.contains("value=\"./?room=home\"") && !wrong.body.contains("nonsense"),
        "{}",
        wrong.body
    );
    let other = form(&server, &format!("password={VIEWER}&room=attic"), &[]).await;
    assert!(other.status == 401 && other.body.contains("does not open this room"), "{}", other.body);
    let uplink = form(&server, "password=box-token", &[]).await;
    assert_eq!((uplink.status, uplink.header("set-cookie")), (401, None), "a box is no viewer");

    for (body, location) in [
        (format!("password={VIEWER}&next=.%2F%3Froom%3Dhome%26camera%3Ddoor"), "./?room=home&camera=door"),
        (format!("password=+{VIEWER}%0A&next=/prefix/?room=home"), "/prefix/?room=home"),
        (format!("password={VIEWER}&room=home&next=https%3A%2F%2Fevil.com"), "./?room=home"),
        (format!("password={VIEWER}&next=%2F%2Fevil.com"), "./"),
        (format!("password={VIEWER}&next=%2F%5Cevil.com"), "./"),
        (format!("password={ATTIC}&room=attic"), "./?room=attic"),
    ] {
        let right = form(&server, &body, &[]).await;
        assert_eq!((right.status, right.header("location")), (303, Some(location)), "{body}");
        assert!(right.header("set-cookie").is_some());
    }
}

#[tokio::test]
async fn behind_tls_the_cookie_is_for_tls_alone_and_logging_out_takes_it_back() {
    let server = guarded(patient()).await;
    let secure = [
        ("host", "cams.example.org".to_owned()),
        ("origin", "https://cams.example.org".to_owned()),
        ("x-forwarded-for", "192.168.1.7".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
    ];
    let body = format!("password={VIEWER}");
    let proxy = Ipv4Addr::LOCALHOST.into();
    let answer = exchange(&server, proxy, "POST", "/login", &secure, &body).await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let cookie = ("cookie", cookie.split(';').next().unwrap().to_owned());
    let page = get(&server, "/login", std::slice::from_ref(&cookie)).await;
    assert!(page.status == 200 && page.body.contains("action=\"logout\""), "{}", page.body);
    assert!(!get(&server, "/login", &[]).await.body.contains("logout"));
    let lines = [("host", "portald".to_owned()), cookie];
    let out = exchange(&server, PEER, "POST", "/logout", &lines, "").await;
    assert_eq!((out.status, out.header("location")), (303, Some("./login")));
    let taken = out.header("set-cookie").unwrap();
    assert!(taken.starts_with("portald-viewer=; Max-Age=0; Path=/"), "{taken}");
    assert_eq!(get(&server, "/logout", &[]).await.header("allow"), Some("POST"));
}

#[tokio::test]
async fn everyone_is_shown_what_they_may_see() {
    let server = guarded(patient()).await;
    for (camera, rooms) in [("door", &["home"][..]), ("hatch", &["attic"]), ("stairs", &["home", "attic"])] {
        server.cameras.set(status(camera, rooms, State::Absent));
    }
    for (token, rooms, cameras, stairs) in [
        (VIEWER, json!(["home", "mesh"]), json!(["door", "stairs"]), json!(["home"])),
        (ATTIC, json!(["attic"]), json!(["hatch", "stairs"]), json!(["attic"])),
        (
            ADMIN,
            json!(["attic", "home", "mesh"]),
            json!(["door", "hatch", "stairs"]),
            json!(["home", "attic"]),
        ),
    ] {
        let names = async |path: &str| {
            let list = get(&server, &format!("{path}?token={token}"), &[]).await.json();
            json!(list.as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>())
        };
        assert_eq!(names("/api/rooms").await, rooms, "{token}");
        assert_eq!(names("/api/cameras").await, cameras, "{token}");
        assert_eq!(names("/readyz").await, cameras, "{token}");
        let list = get(&server, &format!("/api/cameras?token={token}"), &[]).await.json();
        let shown = list.as_array().unwrap().iter().find(|camera| camera["name"] == "stairs").unwrap();
        assert_eq!(shown["rooms"], stairs, "{token}");
    }
    let ready = get(&server, "/readyz", &[]).await;
    assert_eq!((ready.status, ready.json()), (503, json!([])), "that, but not which");
}

#[tokio::test]
async fn only_listed_pages_read_the_api() {
    let server = guarded(patient()).await;
    let path = format!("/api/cameras?token={VIEWER}");
    for (origin, reads, connects) in [
        ("http://192.168.1.9:3000", true, true),
        ("https://reader.example.org", true, false),
        ("http://192.168.1.9:8000", false, true),
        ("https://evil.com", false, false),
        ("null", false, false),
    ] {
        let lines = [("origin", origin.to_owned())];
        for (path, allowed) in [
            (path.as_str(), reads),
            ("/api/rooms", reads),
            ("/metrics", reads),
            ("/api/rtc", reads || connects),
            ("/client.js", reads || connects),
            ("/", false),
            ("/login", false),
        ] {
            let answer = get(&server, path, &lines).await;
            assert_ne!(answer.status, 403);
            let expected = allowed.then_some(origin);
            assert_eq!(answer.header("access-control-allow-origin"), expected, "{path} for {origin}");
            assert_eq!(answer.header("access-control-allow-credentials"), None);
        }
        let asks = [
            ("host", "portald".to_owned()),
            ("origin", origin.to_owned()),
            ("access-control-request-method", "GET".to_owned()),
            ("access-control-request-headers", "authorization".to_owned()),
        ];
        let preflight = exchange(&server, PEER, "OPTIONS", "/api/cameras", &asks, "").await;
        assert_eq!(preflight.status, if reads { 204 } else { 405 }, "{origin}");
        let headers = preflight.header("access-control-allow-headers");
        assert_eq!(headers, reads.then_some("authorization"), "{origin}");
    }
}

#[tokio::test]
async fn a_stranger_is_refused_before_anything_is_read() {
    let networks = Networks { any: false, lan: false, listed: vec!["10.0.0.0/8".parse().unwrap()] };
    let access = Access::open(&config::Access { networks, ..config::Access::default() }, &[]).unwrap();
    let server = Server::with(Setup { access, ..Setup::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut text = String::new();
    // Nothing was sent: it is told all the same.
    let end = wait("the refusal", async {
        while !text.contains("[access]") {
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    });
    end.await;
    let refused = Response::parse(&text);
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("127.0.0.1") && refused.body.contains("networks ="), "{}", refused.body);
}

#[tokio::test]
async fn without_passwords_nobody_is_asked_for_one() {
    let server = Server::start().await;
    for path in ["/", "/?token=left-over", "/api/cameras?token=left-over", "/metrics", "/api/rtc"] {
        // More often than anybody may be wrong.
        for _ in 0..12 {
            assert_eq!(server.get(path).await.status, 200, "{path}");
        }
    }
    server.connect("room=home&token=left-over").await.info().await;
    let answer = server.request("POST", "/login", "content-length: 10\r\n\r\npassword=x").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("./")));
}

async fn get(server: &Server, path: &str, more: &[(&'static str, String)]) -> Response {
    let lines = [&[("host", "portald".to_owned())], more].concat();
    exchange(server, PEER, "GET", path, &lines, "").await
}

async fn form(server: &Server, body: &str, more: &[(&'static str, String)]) -> Response {
    let lines = [&[("host", "portald".to_owned()), ("origin", "http://portald".to_owned())], more].concat();
    exchange(server, PEER, "POST", "/login", &lines, body).await
}
