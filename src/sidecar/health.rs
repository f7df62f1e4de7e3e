//! Metrics, latency, health, and the description of the interface.

use super::Answer;
use super::api::Shared;
use super::params::Params;
use crate::http::Problem;
use crate::telemetry::exposition::exposition;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};

/// `/openapi.json`
pub async fn openapi(State(inner): Shared) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], inner.openapi.clone()).into_response()
}

/// `/metrics`
pub async fn metrics(State(inner): Shared, headers: HeaderMap) -> Response {
    let (content_type, text) = exposition(&inner.parts.metrics, &headers);
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// `/metrics/latency`
pub async fn latency(State(inner): Shared, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let format = params.one_of("format", &["json", "hlog"])?;
    let latency = &inner.parts.shared.latency;
    if format.as_deref() != Some("hlog") {
        return Ok(super::views::json(&serde_json::json!({"stages": latency.figures()})));
    }
    let log = latency
        .interval_log()
        .ok_or_else(|| Problem::unavailable("internal", "the histograms cannot be written", super::RETRY))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], log).into_response())
}

/// `/readyz`
pub async fn ready(State(inner): Shared) -> Response {
    crate::http::health::readyz(&inner.parts.checks)
}
