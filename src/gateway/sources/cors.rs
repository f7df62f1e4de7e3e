//! Lets pages of known origins send (CORS): whoever has a key for browsers names the origins in it.
//!
//! Deliberately absent: cookies, and reading anything; a page learns what became of its own events.

use crate::access::Access;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// How long a browser remembers the answer to its question, s.
const REMEMBERED_S: &str = "600";
/// What a page may say of its body.
const HEADERS: &str = "authorization, content-type, content-encoding, traceparent";

/// The origin of the page that sends, if it is one.
pub fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN)?.to_str().ok()
}

/// Middleware: answers the browser's question beforehand, and marks answers that the page may read.
pub async fn cors(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else { return next.run(request).await };
    let known = origin.to_str().is_ok_and(|origin| access.knows_origin(origin));
    let asks =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks { question(known) } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if known {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn question(known: bool) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = if known { StatusCode::NO_CONTENT } else { StatusCode::FORBIDDEN };
    if known {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED_S));
    }
    response
}
