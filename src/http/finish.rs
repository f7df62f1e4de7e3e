//! Around every route: a request id on each answer, problem bodies completed with it, and the duration by route.
//!
//! A stream's duration ends with the head of its answer.

use super::Problem;
use crate::telemetry::shared::Shared;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use std::time::Instant;

/// Header of the request id, taken over from the client when it is harmless.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over: that of any proxy fits, a log line stays a line.
const REQUEST_ID_MAX: usize = 100;

/// The id of the request, for handlers that log.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// The client's request id if it is 1 to 100 of `A-Z a-z 0-9 . _ -`, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let harmless = |id: &&str| {
        (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(harmless);
    given.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// Middleware; add it with `Router::layer` last, so that it is outermost.
pub async fn finish(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let rendered = problem.render(&id, &path);
        let (parts, body) = rendered.into_parts();
        response.headers_mut().extend(parts.headers); // keeps what the router said, such as Allow
        *response.body_mut() = body;
        if problem.status.is_server_error() {
            tracing::warn!(request_id = %id, path = %path, code = problem.code, "{}", problem.message);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    shared.observe_http(route, &method, response.status().as_u16(), started.elapsed());
    response
}
