//! The login page: a plain form, which works without its script.

use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::Context;
use super::access::{Caller, Credentials, Shown, Visit, cookie_name};
use super::answers::{bad_body, respond, seconds};
use super::body::{Body, MAX_FORM};
use super::headers::{LOGIN_POLICY, insert};
use crate::proto::ids::Name;

/// Where the form is, and where it goes.
pub(super) const LOGIN: &str = "/login";
/// Where cookies are taken back.
pub(super) const LOGOUT: &str = "/logout";

const TEMPLATE: &str = include_str!("../../web/login.html");
const LOGOUT_FORM: &str = "<form method=\"post\" action=\"logout\">\
     <button class=\"second\" type=\"submit\">Log out on this device</button></form>";
/// A year: a screen on a wall has no keyboard. A new password ends it at once.
const MAX_AGE: u32 = 365 * 24 * 60 * 60;
/// Longest address to go to after the login, in bytes.
const MAX_NEXT: usize = 2048;

/// What the form is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// The room to open.
    room: Option<String>,
    /// Where to go then; always within this site.
    next: Option<String>,
}

impl Form {
    /// From the query of `/login`, or of the page that is shown instead.
    pub(super) fn of(query: &str) -> Self {
        Self::read(query.as_bytes()).0
    }

    /// For the wall at `/?query`. A token in it did not help, so it is left out.
    pub(super) fn instead_of_wall(query: &str) -> Self {
        let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "token");
        let kept = form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish();
        let next = if kept.is_empty() { "./".to_owned() } else { format!("./?{kept}") };
        Self { next: Some(next).filter(|next| is_local(next)), ..Self::of(query) }
    }

    /// A form as it was sent, and the password in it. Of a field given twice the first counts.
    fn read(text: &[u8]) -> (Self, Option<String>) {
        let get = |name| {
            let first = form_urlencoded::parse(text).find(|(n, _)| n == name);
            first.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
        };
        (Self { room: get("room"), next: get("next").filter(|next| is_local(next)) }, get("password"))
    }

    /// Where to go after the login.
    fn destination(&self) -> String {
        let wall = || {
            let room = self.room.as_ref().map(|room| ("room", room));
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(room).finish();
            if query.is_empty() { "./".to_owned() } else { format!("./?{query}") }
        };
        self.next.clone().unwrap_or_else(wall)
    }

    /// Whether `caller` may go there.
    fn is_open_to(&self, caller: &Caller) -> bool {
        match self.room.as_deref().map(Name::new) {
            Some(Ok(room)) => caller.opens(&room),
            // Some room or other.
            _ => caller.cookies().next().is_some(),
        }
    }
}

/// Whether a browser that goes to `next` stays here: a path, which no second slash turns into a host.
fn is_local(next: &str) -> bool {
    let path = next.strip_prefix('.').unwrap_or(next);
    path.starts_with('/')
        && !path.starts_with("//")
        && next.len() <= MAX_NEXT
        // Browsers read \ as /, and leave out tabs and line ends.
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// The form; `fault` says why it is there again.
pub(super) fn page(status: StatusCode, form: &Form, fault: Option<&str>) -> Response {
    answer(status, html(form, fault, false))
}

/// The form for who asked for it; who is logged in may log out here.
pub(super) fn asked_for(query: &str, caller: &Caller) -> Response {
    // The wall itself has sent them here.
    let again = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "again");
    let fault = again
        .then_some("This page is no longer let in: the password was changed, or this device was logged out.");
    answer(StatusCode::OK, html(&Form::of(query), fault, caller.has_cookies()))
}

fn answer(status: StatusCode, html: String) -> Response {
    let mut response = respond(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_SECURITY_POLICY, LOGIN_POLICY);
    // With `no-referrer` browsers send a form with `Origin: null` (Fetch standard), which could be any page's.
    insert(headers, header::REFERRER_POLICY, "same-origin");
    if status == StatusCode::UNAUTHORIZED {
        insert(headers, header::WWW_AUTHENTICATE, "Bearer realm=\"portald\"");
    }
    response
}

fn html(form: &Form, fault: Option<&str>, logged_in: bool) -> String {
    let fault =
        fault.map(|fault| format!("<p class=\"fault\" id=\"fault\" role=\"alert\">{}</p>", escaped(fault)));
    let what =
        form.room.as_ref().map_or_else(|| "the camera wall".to_owned(), |room| format!("the room “{room}”"));
    // What is filled in has no braces, so nothing in it is filled in again.
    TEMPLATE
        .replace("{fault}", &fault.unwrap_or_default())
        .replace("{logout}", if logged_in { LOGOUT_FORM } else { "" })
        .replace("{what}", &escaped(&what))
        .replace("{next}", &escaped(form.next.as_deref().unwrap_or_default()))
        .replace("{room}", &escaped(form.room.as_deref().unwrap_or_default()))
}

/// The page that somebody gets who wants the wall and does not know what it takes.
pub(super) fn instead_of_wall(query: &str, caller: &Caller) -> Response {
    let form = Form::instead_of_wall(query);
    match caller.shown {
        Shown::TooMany(wait) => too_many(&form, wait),
        Shown::Wrong => page(StatusCode::UNAUTHORIZED, &form, Some("The token in the address is wrong.")),
        Shown::Right => {
            page(StatusCode::UNAUTHORIZED, &form, Some("The token in the address does not open this room."))
        }
        Shown::Nothing => page(StatusCode::UNAUTHORIZED, &form, None),
    }
}

/// Takes the form: cookies for what the password opens, and on to where it was wanted.
pub(super) async fn log_in(body: Body, visit: &Visit, context: &Context) -> Response {
    let body = match context.read(body, MAX_FORM, visit).await {
        Ok(body) => body,
        Err(fault) => return bad_body(fault),
    };
    let (form, password) = Form::read(&body);
    let password = password.unwrap_or_default();
    let password = password.trim();
    if password.is_empty() {
        return page(StatusCode::UNAUTHORIZED, &form, Some("No password was typed in."));
    }
    let caller = context.caller(&visit.client, &Credentials::password(password));
    if let Shown::TooMany(wait) = caller.shown {
        context.note_unauthorized(&caller, visit, "login");
        return too_many(&form, wait);
    }
    if caller.shown == Shown::Wrong {
        context.note_unauthorized(&caller, visit, "login");
        return page(StatusCode::UNAUTHORIZED, &form, Some("That password is wrong."));
    }
    if !form.is_open_to(&caller) && caller.shown != Shown::Nothing {
        return page(StatusCode::UNAUTHORIZED, &form, Some("That password does not open this room."));
    }
    let secure = if visit.client.secure { "; Secure" } else { "" };
    let mut response = see_other(&form.destination());
    for (name, value) in caller.cookies() {
        set_cookie(
            &mut response,
            &format!("{name}={value}; Max-Age={MAX_AGE}; Path=/; HttpOnly; SameSite=Lax{secure}"),
        );
    }
    response
}

/// Takes back every cookie of ours that came.
pub(super) fn log_out(headers: &HeaderMap) -> Response {
    let mut response = see_other("./login");
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let names =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('=')).map(|(n, _)| n);
    let ours = cookie_name(&super::access::Scope::Viewer);
    let prefix = ours.trim_end_matches("viewer");
    for name in names.filter(|name| name.starts_with(prefix)) {
        set_cookie(&mut response, &format!("{name}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"));
    }
    response
}

fn too_many(form: &Form, wait: std::time::Duration) -> Response {
    let wait = seconds(wait);
    let fault = format!("Too many wrong passwords came from your address. Try again in {wait} s.");
    let mut response = page(StatusCode::TOO_MANY_REQUESTS, form, Some(&fault));
    insert(response.headers_mut(), header::RETRY_AFTER, &wait.to_string());
    response
}

fn see_other(location: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    insert(response.headers_mut(), header::LOCATION, location);
    response
}

fn set_cookie(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

fn escaped(text: &str) -> String {
    let mut html = String::new();
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '{' => html.push_str("&#123;"),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_login_the_browser_stays_here() {
        for local in ["/", "/?room=home", "/prefix/?room=home&camera=x", "./", "./?room=home#x"] {
            assert!(is_local(local), "{local}");
        }
        for away in [
            "",
            "//evil.com",
            "///evil.com",
            "/\\evil.com",
            "\\\\evil.com",
            "https://evil.com",
            "javascript:alert(1)",
            "evil",
            "..//evil.com",
            ".//evil.com",
            "/\t/evil.com",
            "/\n",
            "/a b",
            "?x",
            &format!("/{}", "x".repeat(3000)),
        ] {
            assert!(!is_local(away), "{away:?}");
        }
        let (form, password) = Form::read(b"password=a%26b&room=att%22ic&next=%2F%2Fevil.com&next=/x");
        assert_eq!((form.destination().as_str(), password.as_deref()), ("./?room=att%22ic", Some("a&b")));
        assert_eq!(Form::default().destination(), "./");
    }

    #[test]
    fn the_wall_is_come_back_to_without_the_token_that_was_wrong() {
        let form = Form::instead_of_wall("room=home&token=wrong&camera=x");
        assert_eq!(form.destination(), "./?room=home&camera=x");
        assert_eq!(form.room.as_deref(), Some("home"));
        assert_eq!(Form::instead_of_wall("").destination(), "./");
    }

    #[test]
    fn nothing_that_is_sent_becomes_part_of_the_page() {
        let form = Form { room: Some("\"><script>{next}".into()), next: Some("/'\"<{room}".into()) };
        let html = html(&form, Some("<b>"), true);
        assert!(!html.contains("<script>") && !html.contains("<b>") && !html.contains("\"<{"), "{html}");
        assert!(html.contains("&quot;&gt;&lt;script&gt;&#123;next}"), "{html}");
        assert!(!html.contains('{'), "nothing is left to fill in: {html}");
    }
}
