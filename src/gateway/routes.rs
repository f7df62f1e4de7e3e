//! One event, or an array of them, in one request.

use super::answer::{self, Status};
use super::split::{SplitError, split};
use super::trace::traceparent;
use super::{Caller, Parts};
use crate::http::body;
use crate::http::peer::Peer;
use crate::http::problem::{FieldError, Problem};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header, request};
use axum::response::Response;
use pulse_dataflows::ports::LogError;
use std::sync::Arc;
use std::time::Duration;

/// When a client may come back after the log refused: its queue drains in milliseconds, a full disk does not.
pub(super) const LOG_RETRY: Duration = Duration::from_secs(1);
/// Items checked before other requests get their turn: about a millisecond.
pub(super) const ITEMS_AT_ONCE: usize = 128;
/// Code of a line or event that is too large even to be looked at.
pub(super) const TOO_LARGE: &str = "too_large";

/// `POST /api/v1/events`
pub(super) async fn single(State(parts): State<Arc<Parts>>, request: Request<Body>) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = enter(&parts, &head, &[])?;
    let mut reservation = parts.in_flight.reservation();
    let bytes: Bytes = body::read(&head.headers, body, &parts.config.body_limits(), &mut reservation).await?;
    take_rate(&parts, &caller, 1)?;
    let mut draft = parts.intake.draft(traceparent(&head.headers)).sent_by(caller.sender);
    parts.intake.add(&mut draft, &bytes);
    let (results, outcome) = parts.intake.commit(draft).await;
    outcome.map_err(|e| log_problem(&e))?;
    let result =
        results.first().ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no result"))?;
    match (result.status, result.code) {
        (Status::Rejected, code) => Err(rejected(code.unwrap_or("rejected"), result.message.clone())),
        _ => Ok(answer::single(result)),
    }
}

/// `POST /api/v1/events:batch`
pub(super) async fn batch(State(parts): State<Arc<Parts>>, request: Request<Body>) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = enter(&parts, &head, &[])?;
    let mut reservation = parts.in_flight.reservation();
    let bytes = body::read(&head.headers, body, &parts.config.body_limits(), &mut reservation).await?;
    let max = parts.config.batch_events;
    let items = split(&bytes, max).map_err(|e| match e {
        SplitError::Malformed(why) => Problem::bad_request("invalid_json", format!("the body is no JSON array: {why}")),
        SplitError::TooMany => Problem::too_large("too_many_events", format!("at most {max} events are taken at once")),
    })?;
    take_rate(&parts, &caller, items.len())?;
    let mut draft = parts.intake.draft(traceparent(&head.headers)).sent_by(caller.sender);
    for chunk in items.chunks(ITEMS_AT_ONCE) {
        chunk.iter().for_each(|item| parts.intake.add(&mut draft, item.as_bytes()));
        if items.len() > ITEMS_AT_ONCE {
            tokio::task::yield_now().await;
        }
    }
    let (results, outcome) = parts.intake.commit(draft).await;
    outcome.map_err(|e| log_problem(&e))?;
    Ok(answer::batch(&results))
}

/// What is checked before a body is read.
pub(super) fn enter(parts: &Parts, head: &request::Parts, also: &[&str]) -> Result<Caller, Problem> {
    let peer = head.extensions.get::<Peer>().copied();
    let peer = peer.unwrap_or(Peer(([127, 0, 0, 1], 0).into())); // set by the listener; absent only when called in process
    let caller = parts.admit_caller(peer, &head.headers, &head.uri)?;
    content_type(&head.headers, also)?;
    Ok(caller)
}

/// Refuses what is surely not meant for this route. Clients that say nothing, or what `curl -d` says, are believed to send
/// JSON: the body shows.
fn content_type(headers: &HeaderMap, also: &[&str]) -> Result<(), Problem> {
    const JSON: [&str; 5] = [
        "application/json",
        "text/json",
        "text/plain",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
    ];
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or("?").to_ascii_lowercase();
    let mut words = text.split(';').map(str::trim);
    let media = words.next().unwrap_or_default();
    let known = media.is_empty() || JSON.contains(&media) || also.contains(&media);
    let utf8 = |word: &str| {
        word.strip_prefix("charset=").is_none_or(|set| matches!(set.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"))
    };
    if known && words.all(utf8) {
        return Ok(());
    }
    let hint = if media.contains("ndjson") { "; NDJSON goes to /api/v1/events:stream" } else { "" };
    Err(Problem::unsupported("unsupported_media_type", format!("the body must be JSON in UTF-8{hint}")))
}

pub(super) fn take_rate(parts: &Parts, caller: &Caller, n: usize) -> Result<(), Problem> {
    let quota = parts.limits.event_quota();
    parts
        .limits
        .events(caller.slot, n)
        .map_err(|wait| Problem::rate_limited(quota, "too many events with this key", wait))
}

/// A refused single event.
fn rejected(code: &'static str, message: Option<String>) -> Problem {
    let message = message.unwrap_or_default();
    let status = if code == TOO_LARGE { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
    let errors = vec![FieldError { field: String::new(), message: message.clone() }];
    Problem { errors, ..Problem::new(status, code, message) }
}

/// The log did not take it.
pub(super) fn log_problem(error: &LogError) -> Problem {
    tracing::warn!(%error, "request refused by the log");
    Problem::unavailable("log_unavailable", "events cannot be stored at the moment; send them again", LOG_RETRY)
}
