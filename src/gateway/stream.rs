//! NDJSON both ways: result lines leave while event lines still come. Lines that are there together are appended together;
//! a few appends are under way at a time, their results keep the order of the lines.
//!
//! A client that sends faster than the log takes, or reads its results too slowly, is simply read more slowly.
//!
//! Deliberately absent: a limit on the length of a stream. Its pace, its lines and what is under way are bounded.

use super::answer::{self, ItemResult, Status};
use super::intake::Draft;
use super::lines::{Line, Lines};
use super::routes::{LOG_RETRY, TOO_LARGE, enter};
use super::trace::traceparent;
use super::{Caller, Parts};
use crate::http::Problem;
use crate::http::body::{self, BodyReader, Encoding, Reservation};
use crate::http::peer::Peer;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Request, header};
use axum::response::Response;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use pulse_operators::record::Reject;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Appends of one stream under way: covers the time of a sync at full rate.
const APPENDS_MAX: usize = 8;
/// Pieces of the answer that may wait for a slow reader.
const ANSWERS_WAITING_MAX: usize = 16;
/// Most that a stream may grow by decompression, beyond what a batch may: logs reach 50.
const EXPANSION_MAX: u64 = 200;
/// Pause when all requests together hold too much.
const MEMORY_PAUSE: Duration = Duration::from_millis(50);
/// Media types of NDJSON.
const NDJSON: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];

/// `POST /api/v1/events:stream`
pub(super) async fn stream(State(parts): State<Arc<Parts>>, request: Request<Body>) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = enter(&parts, &head, &NDJSON)?;
    let encoding = Encoding::of(&head.headers)?;
    let (out, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
    let wire = Arc::new(AtomicU64::new(0));
    let idle = Duration::from_millis(parts.config.stream_idle_ms);
    let lines = Lines::new(body::reader(body, encoding, idle, u64::MAX, Arc::clone(&wire)));
    let trace = traceparent(&head.headers);
    let flow = Flow { parts, caller, lines, wire, out, idle, trace, next: 0 };
    tracing::debug!(peer = ?head.extensions.get::<Peer>(), "stream opened");
    tokio::spawn(flow.run());
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(answers)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no")); // proxies must not hold results back
    Ok(response)
}

type Answer = Result<Bytes, std::convert::Infallible>;

struct Flow {
    parts: Arc<Parts>,
    caller: Caller,
    lines: Lines<BodyReader>,
    wire: Arc<AtomicU64>,
    out: mpsc::Sender<Answer>,
    idle: Duration,
    trace: Option<Arc<str>>,
    /// Index of the next line.
    next: u64,
}

/// Why a stream ends.
enum End {
    /// The client has sent everything.
    Done,
    /// Nobody reads the results.
    Gone,
    /// For this reason.
    Why(Problem),
}

impl Flow {
    async fn run(mut self) {
        let mut appends: FuturesOrdered<BoxFuture<'static, Vec<u8>>> = FuturesOrdered::new();
        let stop = self.parts.shutdown.clone();
        let end = loop {
            tokio::select! {
                Some(bytes) = appends.next(), if !appends.is_empty() => {
                    if !self.send(bytes).await {
                        break End::Gone;
                    }
                }
                filled = self.lines.fill(), if appends.len() < APPENDS_MAX => match filled {
                    Ok(true) => match self.take().await {
                        Ok(append) => appends.push_back(append),
                        Err(end) => break end,
                    },
                    Ok(false) => break End::Done,
                    Err(error) => break End::Why(body::read_problem(&error)),
                },
                () = stop.cancelled() => {
                    break End::Why(Problem::unavailable("shutting_down", "the gateway stops; open a new stream", LOG_RETRY));
                }
            }
        };
        // Whatever ended it: what was appended is answered, so that the client knows what to send again.
        while let Some(bytes) = appends.next().await {
            if matches!(end, End::Gone) || !self.send(bytes).await {
                return;
            }
        }
        if let End::Why(problem) = end {
            let last = serde_json::json!({"index": null, "id": null, "status": "closed", "code": problem.code,
                "message": problem.message});
            self.send(format!("{last}\n").into_bytes()).await;
        }
    }
    /// Sends a piece of the answer; `false` when nobody reads it.
    async fn send(&mut self, bytes: Vec<u8>) -> bool {
        let sent = tokio::time::timeout(self.idle, self.out.send(Ok(bytes.into()))).await;
        matches!(sent, Ok(Ok(())))
    }
    /// Takes up the lines that are there; what remains is to wait for the log.
    async fn take(&mut self) -> Result<BoxFuture<'static, Vec<u8>>, End> {
        let allowed = self.parts.config.decoded_bytes as u64 + EXPANSION_MAX * self.wire.load(Ordering::Relaxed);
        if self.lines.bytes > allowed {
            return Err(End::Why(Problem::too_large("body_too_large", "the stream grows too much by decompression")));
        }
        let mut draft = self.parts.intake.draft(self.trace.clone()).sent_by(self.caller.sender);
        let (intake, mut bytes) = (&self.parts.intake, 0);
        self.lines.take(|line| match line {
            Line::Text(text) => {
                bytes += text.len();
                intake.add(&mut draft, text);
            }
            Line::TooLong => {
                let message = "the line is longer than an event may be".to_owned();
                intake.refuse(&mut draft, b"", Reject { code: TOO_LARGE, message });
            }
        });
        let reservation = reserve(Arc::clone(&self.parts), bytes).await;
        while let Err(wait) = self.parts.limits.events(self.caller.slot, draft.len()) {
            tokio::time::sleep(wait).await;
        }
        let first = self.next;
        self.next += draft.len() as u64;
        Ok(Box::pin(finish(Arc::clone(&self.parts), draft, first, reservation)))
    }
}

/// Room for these bytes, waited for.
async fn reserve(parts: Arc<Parts>, bytes: usize) -> Reservation {
    let mut reservation = parts.in_flight.reservation();
    while reservation.grow_to(bytes).is_err() {
        tokio::time::sleep(MEMORY_PAUSE).await;
    }
    reservation
}

/// Appends a draft and renders its result lines. When the log refuses, each line says so, and the stream slows down.
async fn finish(parts: Arc<Parts>, draft: Draft, first: u64, reservation: Reservation) -> Vec<u8> {
    let (mut results, outcome) = parts.intake.commit(draft).await;
    if outcome.is_err() {
        tokio::time::sleep(LOG_RETRY).await;
        results = results.into_iter().map(unavailable).collect();
    }
    drop(reservation);
    answer::lines(first, &results)
}

/// The result of an item of a refused append. What is no event stays refused; what the log has stays a duplicate.
fn unavailable(result: ItemResult) -> ItemResult {
    if result.status != Status::Accepted {
        return result;
    }
    ItemResult {
        status: Status::Unavailable,
        code: Some("log_unavailable"),
        message: Some("not stored; send it again".into()),
        ..result
    }
}
