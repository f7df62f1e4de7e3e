//! Who may see a page, and which forms count: sessions in a cookie that no script sees and no other site sends, names from a
//! trusted proxy, a token in every form.
//!
//! A form counts when it comes from our own page: the browser says so (`Sec-Fetch-Site`), and it carries a token made from the
//! session's, or, where there is no session (sign-in, `--no-auth`, a proxy), from a cookie that the page set for it.
//! Deliberately absent: checking passwords and keys, see [`super::sign_in`]; the cookie opens pages alone, never the API.

use super::{Inner, frame};
use crate::access::attempts::Attempts;
use crate::access::sessions::{Sessions, Visitor, form_token, new_token};
use crate::access::users::{self, Role};
use crate::http::Problem;
use crate::http::peer::{Peer, caller, client_ip};
use crate::sidecar::params::Sent;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// Cookie of a session.
pub const SESSION: &str = "pulse_session";
/// Cookie that stands in for it in forms where there is none.
const FORM: &str = "pulse_form";
/// Fields of a form: a page of alerts, and some more.
const FIELDS: usize = 300;
/// Passwords that are hashed at a time: each takes 19 MiB and some 30 ms of a core.
const HASHES: usize = 2;
/// Our own style, script and pictures; no frame, nothing from elsewhere, nothing in line.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What sign-in keeps in memory.
pub struct Door {
    /// Sessions.
    pub sessions: Sessions,
    /// Failed sign-ins.
    pub attempts: Attempts,
    /// Turns for hashing.
    pub hashing: Arc<Semaphore>,
}
impl Door {
    /// For these sessions.
    pub fn new(sessions: Sessions) -> Door {
        Door { sessions, attempts: Attempts::default(), hashing: Arc::new(Semaphore::new(HASHES)) }
    }
}

/// Somebody looks at a page, or sends a form.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Who; `None` on pages for everybody only.
    pub who: Option<Visitor>,
    /// What forms have to carry.
    pub token: String,
    /// May they sign out?
    pub session: bool,
    /// Is the connection to the browser encrypted?
    pub secure: bool,
    /// Where they come from, as limits count it.
    pub address: IpAddr,
    /// The session's token, to end it.
    pub cookie: Option<String>,
    /// A cookie that has to be set for the forms of this page.
    new_form: Option<String>,
}
impl Visit {
    /// May they do what this role may?
    pub fn may(&self, role: Role) -> bool {
        self.who.as_ref().is_some_and(|who| who.role >= role)
    }
    /// Under which name.
    pub fn name(&self) -> &str {
        self.who.as_ref().map_or("", |who| &who.name)
    }
}

/// What a form says.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);
impl Fields {
    /// The first value of a name; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }
    /// All values of a name.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }
}

/// The value of a cookie.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find(|(known, _)| *known == name)?.1;
    // what is no token of ours is none at all
    let plain = value.len() <= 64 && value.len() >= 32 && value.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| value.to_owned())
}

/// A cookie as it is set; `seconds` 0 ends it.
pub fn set_cookie(name: &str, value: &str, seconds: i64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("")) // letters and digits: cannot fail
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Does the browser speak TLS, to us or to a proxy? Browsers say so with forms. Who lies makes their own cookie safer.
fn is_secure(headers: &HeaderMap) -> bool {
    text(headers, "x-forwarded-proto") == "https" || text(headers, "origin").starts_with("https://")
}

/// The name that a trusted proxy gives: from its network, once, and a name.
fn proxied(inner: &Inner, head: &Parts) -> Option<String> {
    let config = &inner.parts.dashboard.config;
    let peer = head.extensions.get::<Peer>()?.0.ip().to_canonical();
    if config.trusted_user_header.is_empty() || !config.trusted_proxies.iter().any(|net| net.contains(&peer)) {
        return None;
    }
    let mut values = head.headers.get_all(config.trusted_user_header.as_str()).iter();
    let name = values.next()?.to_str().ok()?.trim();
    (values.next().is_none() && users::is_name(name)).then(|| name.to_owned())
}

/// Who it is, if anybody.
async fn who(inner: &Arc<Inner>, head: &Parts, token: Option<&String>) -> Result<Option<Visitor>, Problem> {
    if inner.parts.access.is_open() {
        return Ok(Some(Visitor { name: "anonymous".into(), role: Role::Admin }));
    }
    if let Some(name) = proxied(inner, head) {
        let asked = name.clone();
        let known = inner.ask(move |db| users::find(db, &asked)).await?;
        let role = known.map_or(inner.parts.dashboard.config.trusted_user_role, |(role, _)| role);
        return Ok(Some(Visitor { name, role }));
    }
    let Some(token) = token.cloned() else { return Ok(None) };
    let at = Arc::clone(inner);
    inner.block(move || at.door.sessions.of(&token).map_err(|error| super::super::refused(&error))).await
}

async fn visit(inner: &Arc<Inner>, head: &Parts) -> Result<Visit, Problem> {
    let token = cookie(&head.headers, SESSION);
    let who = who(inner, head, token.as_ref()).await?;
    let peer = head.extensions.get::<Peer>().copied();
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let proxies = &inner.parts.dashboard.config.trusted_proxies;
    let address = peer.map_or(nobody, |peer| caller(client_ip(peer, &head.headers, proxies)));
    let session = who.is_some() && token.is_some() && !inner.parts.access.is_open() && proxied(inner, head).is_none();
    let (seed, new_form) = match (&token, cookie(&head.headers, FORM)) {
        (Some(token), _) if session => (token.clone(), None),
        (_, Some(form)) => (form, None),
        _ => {
            let new = new_token()
                .map_err(|_| Problem::unavailable("internal", "no randomness to be had", super::super::RETRY))?;
            (new.clone(), Some(new))
        }
    };
    let secure = is_secure(&head.headers);
    Ok(Visit { who, token: form_token(&seed), session, secure, address, cookie: token, new_form })
}

/// A page: passes when the visitor may see it.
pub async fn look(inner: Arc<Inner>, need: Option<Role>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let visit = match visit(&inner, &head).await {
        Ok(visit) => visit,
        Err(problem) => return guarded(frame::refusal(None, &problem)),
    };
    if let Some(turned_away) = turned_away(&visit, need, &head) {
        return guarded(turned_away);
    }
    let path = head.uri.path().to_owned();
    head.extensions.insert(visit.clone());
    let response = next.run(Request::from_parts(head, body)).await;
    if need.is_some() && response.status().is_success() {
        inner.parts.access.saw(visit.name(), &path);
    }
    finish(response, &visit)
}

/// A form: passes when it is ours and the visitor may send it.
pub async fn act(inner: Arc<Inner>, need: Option<Role>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let visit = match visit(&inner, &head).await {
        Ok(visit) => visit,
        Err(problem) => return guarded(frame::refusal(None, &problem)),
    };
    if let Some(turned_away) = turned_away(&visit, need, &head) {
        return guarded(turned_away);
    }
    match fields(&head, body, &visit.token).await {
        Ok(fields) => head.extensions.insert(fields),
        Err(problem) => return guarded(frame::refusal(Some(&visit), &problem)),
    };
    head.extensions.insert(visit.clone());
    finish(next.run(Request::from_parts(head, Body::empty())).await, &visit)
}

/// The fields of a form of ours.
async fn fields(head: &Parts, body: Body, token: &str) -> Result<Fields, Problem> {
    let foreign = || {
        Problem::new(
            StatusCode::FORBIDDEN,
            "foreign_form",
            "this form does not come from a page of yours that is still good: open the page again",
        )
    };
    if !matches!(text(&head.headers, "sec-fetch-site"), "" | "same-origin" | "none") {
        return Err(foreign());
    }
    let media = text(&head.headers, header::CONTENT_TYPE.as_str());
    if !media.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return Err(Problem::unsupported("unsupported_media_type", "the body must be a form"));
    }
    let sent = Sent::from_request(Request::from_parts(head.clone(), body), &()).await?;
    let pairs = url::form_urlencoded::parse(&sent.bytes).into_owned();
    let fields = Fields(pairs.take(FIELDS).collect());
    match bool::from(fields.get("token").as_bytes().ct_eq(token.as_bytes())) {
        true => Ok(fields),
        false => Err(foreign()),
    }
}

/// The answer to who may not pass.
fn turned_away(visit: &Visit, need: Option<Role>, head: &Parts) -> Option<Response> {
    let need = need?;
    if visit.may(need) {
        return None;
    }
    if visit.who.is_some() {
        let message = format!("this needs the role '{}'", need.name());
        return Some(frame::refusal(Some(visit), &Problem::new(StatusCode::FORBIDDEN, "forbidden", message)));
    }
    let to = head.uri.path_and_query().map_or("/", |path| path.as_str());
    // A link from elsewhere (a mail, a chat) comes without the strict cookie; the second time it is we who ask.
    if head.method == Method::GET && text(&head.headers, "sec-fetch-site") == "cross-site" {
        return Some(frame::again(to));
    }
    let to = if head.method == Method::GET { to } else { "/" };
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
    Some(see_other(&format!("/sign-in?{query}")))
}

/// To another page, with GET.
pub fn see_other(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or_else(|_| HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// A page in place of a problem, the cookie for its forms, and what protects it.
fn finish(mut response: Response, visit: &Visit) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = frame::refusal(Some(visit), &problem);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    if let Some(form) = &visit.new_form {
        response.headers_mut().append(header::SET_COOKIE, set_cookie(FORM, form, 86_400, visit.secure));
    }
    guarded(response)
}

/// What protects a page. Referrers stay within the site: forms are known by them.
pub fn guarded(mut response: Response) -> Response {
    let headers: [(HeaderName, &'static str); 8] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=()"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
