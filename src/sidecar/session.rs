//! The page's sign-in: a read key in a cookie that no script sees and no other site sends.
//!
//! Deliberately absent: users and roles; the cookie opens the page alone, never the API.

use super::Answer;
use super::api::Shared;
use super::params::Sent;
use crate::access::{Access, Scope};
use crate::http::Problem;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Name of the cookie.
const COOKIE: &str = "pulse_key";
/// How long a sign-in lasts, seconds: a day on call.
const AGE_S: u32 = 86_400;

/// May whoever sends these headers see the page?
pub fn allowed(access: &Access, headers: &HeaderMap) -> bool {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let key = values.find(|(name, _)| *name == COOKIE).map_or("", |(_, value)| value);
    access.verify_key(key).is_some_and(|principal| principal.require(Scope::Read).is_ok())
}

/// To the page, with this cookie.
fn to_page(cookie: &str) -> Answer {
    let value =
        HeaderValue::from_str(cookie).map_err(|_| Problem::bad_request("invalid_key", "this cannot be a key"))?;
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response();
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(response)
}

/// Is this a form of our own page? Browsers say where a form comes from.
fn same_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    site.is_none_or(|site| matches!(site, "same-origin" | "none"))
}

/// `POST /sign-in`: a form with the field `key`.
pub async fn sign_in(State(inner): Shared, sent: Sent) -> Answer {
    let uri = format!("/?{}", String::from_utf8_lossy(&sent.bytes)).parse().map_err(|_| Problem::unauthorized())?;
    let pairs =
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|_| Problem::unauthorized())?;
    let key = pairs.iter().find(|(name, _)| name == "key").map_or("", |(_, value)| value.trim());
    let good = same_site(&sent.headers)
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && inner.parts.access.verify_key(key).is_some_and(|principal| principal.require(Scope::Read).is_ok());
    if !good {
        return Ok(super::page::sign_in_page(true));
    }
    // Behind a proxy that speaks TLS the cookie stays there.
    let proto = sent.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let secure = if proto == Some("https") { "; Secure" } else { "" };
    to_page(&format!("{COOKIE}={key}; Path=/; Max-Age={AGE_S}; HttpOnly; SameSite=Strict{secure}"))
}

/// `POST /sign-out`
pub async fn sign_out() -> Result<Response, Problem> {
    to_page(&format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"))
}
