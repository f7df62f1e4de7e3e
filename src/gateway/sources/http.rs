//! What all ways in have in common over HTTP: a request is read within its bounds, its sender is known, what it holds is translated,
//! checked, appended, and answered with 200 and a result for each item. Never 202: some SDKs take only 200 for success.
//!
//! Content types are not judged: SDKs label gzipped JSON as forms. Deliberately absent: formats.

use super::envelope::Unusable;
use super::found::{Event, Found, What};
use super::{Way, cloudevents, credentials, ga4, posthog, segment, shopify, signature, stripe, woocommerce};
use crate::access::{Principal, Sender};
use crate::gateway::intake::Draft;
use crate::gateway::metrics::Outcome;
use crate::gateway::routes::{ITEMS_AT_ONCE, log_problem, take_rate};
use crate::gateway::trace::traceparent;
use crate::gateway::{Caller, Parts, answer};
use crate::http::body::Reservation;
use crate::http::peer::Peer;
use crate::http::{Problem, body};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header, request};
use axum::response::Response;
use axum::routing::post;
use pulse_operators::record::scored::text as quoted;
use std::sync::Arc;

type Handled = Result<Response, Problem>;
type Known = State<Arc<Parts>>;

/// The routes.
pub(in crate::gateway) fn routes() -> Router<Arc<Parts>> {
    Router::new()
        .route("/v1/{call}", post(tracked))
        .route("/cloudevents", post(cloud))
        .route("/batch", post(captured))
        .route("/batch/", post(captured))
        .route("/capture", post(captured))
        .route("/capture/", post(captured))
        .route("/e", post(captured))
        .route("/e/", post(captured))
        .route("/i/v0/e", post(captured))
        .route("/i/v0/e/", post(captured))
        .route("/mp/collect", post(measured))
        .route("/webhooks/shopify", post(from_shopify))
        .route("/webhooks/woocommerce", post(from_woocommerce))
        .route("/webhooks/stripe", post(from_stripe))
}

/// `POST /v1/track` and the like
async fn tracked(State(parts): Known, Path(call): Path<String>, request: Request<Body>) -> Handled {
    let calls = ["track", "page", "screen", "identify", "group", "alias", "batch"];
    let call = calls.into_iter().find(|known| *known == call).ok_or_else(Problem::not_found)?;
    let max = parts.config.batch_events;
    with_key(&parts, Way::Segment, request, move |_, body, found| match call {
        "batch" => segment::batch(body, max, found),
        call => segment::single(call, body, found),
    })
    .await
}

/// `POST /cloudevents`
async fn cloud(State(parts): Known, request: Request<Body>) -> Handled {
    let max = parts.config.batch_events;
    let mode = cloudevents::Mode::of(request.headers());
    with_key(&parts, Way::CloudEvents, request, move |headers, body, found| {
        cloudevents::translate(mode, headers, body, max, found)
    })
    .await
}

/// `POST /batch` and the like
async fn captured(State(parts): Known, request: Request<Body>) -> Handled {
    let max = parts.config.batch_events;
    with_key(&parts, Way::Posthog, request, move |_, body, found| posthog::translate(body, max, found)).await
}

/// `POST /mp/collect`
async fn measured(State(parts): Known, request: Request<Body>) -> Handled {
    let max = parts.config.batch_events;
    with_key(&parts, Way::Ga4, request, move |_, body, found| ga4::translate(body, max, found)).await
}

/// `POST /webhooks/shopify`
async fn from_shopify(State(parts): Known, request: Request<Body>) -> Handled {
    let config = &parts.sources.shopify;
    let check = |headers: &HeaderMap, body: &[u8]| {
        signature::base64_of_body(&config.secret, body, text_of(headers, "x-shopify-hmac-sha256"))
    };
    signed(&parts, Way::Shopify, config, request, check, |headers, body, found| {
        let [topic, id, at] =
            ["topic", "webhook-id", "triggered-at"].map(|name| text_of(headers, &format!("x-shopify-{name}")));
        shopify::translate(&shopify::Delivery { topic, id, at }, body, found)
    })
    .await
}

/// `POST /webhooks/woocommerce`
async fn from_woocommerce(State(parts): Known, request: Request<Body>) -> Handled {
    let config = &parts.sources.woocommerce;
    let check = |headers: &HeaderMap, body: &[u8]| {
        let header = text_of(headers, "x-wc-webhook-signature");
        woocommerce::is_ping(body) || signature::base64_of_body(&config.secret, body, header)
    };
    signed(&parts, Way::Woocommerce, config, request, check, |headers, body, found| {
        if woocommerce::is_ping(body.as_bytes()) {
            return Ok(());
        }
        woocommerce::translate(text_of(headers, "x-wc-webhook-topic"), body, found)
    })
    .await
}

/// `POST /webhooks/stripe`
async fn from_stripe(State(parts): Known, request: Request<Body>) -> Handled {
    let config = &parts.sources.stripe;
    let check = |headers: &HeaderMap, body: &[u8]| {
        let header = text_of(headers, "stripe-signature");
        let now_s = crate::engine::now_ms() / 1_000;
        signature::stripe(&config.webhook.secret, body, header, now_s, config.tolerance_s)
    };
    signed(&parts, Way::Stripe, &config.webhook, request, check, |_, body, found| stripe::translate(body, found)).await
}

/// A header as text; empty when it is none.
fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A request whose sender has a key.
async fn with_key(
    parts: &Parts,
    way: Way,
    request: Request<Body>,
    translate: impl for<'a> FnOnce(&HeaderMap, &'a str, &mut Found<'a>) -> Result<(), Unusable>,
) -> Handled {
    let (head, body) = request.into_parts();
    let mut way = way;
    let taken = keyed(parts, &mut way, &head, body, translate).await;
    told(parts, way, taken)
}

async fn keyed(
    parts: &Parts,
    way: &mut Way,
    head: &request::Parts,
    body: Body,
    translate: impl for<'a> FnOnce(&HeaderMap, &'a str, &mut Found<'a>) -> Result<(), Unusable>,
) -> Handled {
    let peer = address(head);
    let mut caller = parts.admit_address(peer, &head.headers)?;
    // a key in the headers is judged before the body is read
    let key = credentials::of(&head.headers);
    let early = key.map(|key| parts.access.verify_text(&key, &head.uri)).transpose()?;
    let mut reservation = parts.in_flight.reservation();
    let bytes = body::read(&head.headers, body, &parts.config.body_limits(), &mut reservation).await?;
    let bytes = unpacked(parts, *way, bytes, &mut reservation).await?;
    let text = utf8(&bytes)?;
    let mut found = Found::default();
    translate(&head.headers, text, &mut found).map_err(|why| unusable(parts, why))?;
    *way = found.way.unwrap_or(*way);
    let principal = match early {
        Some(principal) => principal,
        None => parts.access.verify_text(found.key.as_deref().unwrap_or_default(), &head.uri)?,
    };
    let sender = parts.admit_sender(&mut caller, &principal, &head.headers)?;
    let of = Of { way: *way, source: source_of(*way, &principal), sender, peer, head };
    take(parts, &caller, &of, &found).await
}

/// The producer of events that name none: what the key is called, else the way in.
fn source_of(way: Way, principal: &Principal) -> String {
    let name = principal.name.trim();
    let usable = !name.is_empty() && name.chars().count() <= super::native::NAME_CHARS;
    if usable { name.to_owned() } else { way.name().to_owned() }
}

/// A request that its sender has signed.
async fn signed(
    parts: &Parts,
    way: Way,
    config: &super::config::WebhookIn,
    request: Request<Body>,
    check: impl FnOnce(&HeaderMap, &[u8]) -> bool,
    translate: impl for<'a> FnOnce(&HeaderMap, &'a str, &mut Found<'a>) -> Result<(), Unusable>,
) -> Handled {
    let (head, body) = request.into_parts();
    let taken = async {
        let peer = address(&head);
        let caller = parts.admit_address(peer, &head.headers)?;
        if config.secret.is_empty() {
            let message = format!("this way in is closed: set sources.{}.secret or secret_file", way.name());
            return Err(Problem::new(StatusCode::NOT_FOUND, "source_closed", message));
        }
        let mut reservation = parts.in_flight.reservation();
        let bytes = body::read(&head.headers, body, &parts.config.body_limits(), &mut reservation).await?;
        if !check(&head.headers, &bytes) {
            let message = "the signature does not fit body and secret";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "wrong_signature", message));
        }
        let text = utf8(&bytes)?;
        let mut found = Found::default();
        translate(&head.headers, text, &mut found).map_err(|why| unusable(parts, why))?;
        let of = Of { way, source: config.source.clone(), sender: Sender::Shop, peer, head: &head };
        take(parts, &caller, &of, &found).await
    };
    told(parts, way, taken.await)
}

/// What PostHog's script for pages packs without saying so in the headers: gzip, or base64 in a form.
async fn unpacked(parts: &Parts, way: Way, bytes: Bytes, reservation: &mut Reservation) -> Result<Bytes, Problem> {
    let bytes = match way {
        Way::Posthog => posthog::form(&bytes).map_or(bytes, Bytes::from),
        _ => bytes,
    };
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    body::read(&headers, Body::from(bytes), &parts.config.body_limits(), reservation).await
}
/// How gzip begins; no JSON does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Counts the request by its outcome.
fn told(parts: &Parts, way: Way, taken: Handled) -> Handled {
    parts.intake.metrics().request(way, taken.as_ref().map_or_else(|problem| problem.code, |_| "ok"));
    taken
}

fn address(head: &request::Parts) -> Peer {
    // set by the listener; absent only when called in process
    head.extensions.get::<Peer>().copied().unwrap_or(Peer(([127, 0, 0, 1], 0).into()))
}

fn utf8(bytes: &Bytes) -> Result<&str, Problem> {
    std::str::from_utf8(bytes)
        .map_err(|e| Problem::bad_request("invalid_utf8", format!("not UTF-8 at byte {}", e.valid_up_to())))
}

fn unusable(parts: &Parts, why: Unusable) -> Problem {
    match why {
        Unusable::Malformed(why) => Problem::bad_request("invalid_json", why),
        Unusable::TooMany => {
            let max = parts.config.batch_events;
            Problem::too_large("too_many_events", format!("at most {max} events are taken at once"))
        }
    }
}

/// Whose a request is.
struct Of<'a> {
    way: Way,
    source: String,
    sender: Sender,
    peer: Peer,
    head: &'a request::Parts,
}

/// Checks, appends, answers.
async fn take(parts: &Parts, caller: &Caller, of: &Of<'_>, found: &Found<'_>) -> Handled {
    take_rate(parts, caller, found.len())?;
    let mut draft = parts.intake.draft(traceparent(&of.head.headers)).sent_by(of.sender);
    let mut event = Vec::new();
    for chunk in found.items().chunks(ITEMS_AT_ONCE) {
        chunk.iter().for_each(|item| add(parts, of, found, item, &mut draft, &mut event));
        if found.len() > ITEMS_AT_ONCE {
            tokio::task::yield_now().await;
        }
    }
    let (results, outcome) = parts.intake.commit(draft).await;
    outcome.map_err(|e| log_problem(&e))?;
    let counts = answer::counts(&results);
    let outcomes = [Outcome::Accepted, Outcome::Duplicate, Outcome::Rejected, Outcome::Ignored];
    outcomes.into_iter().zip(counts).for_each(|(outcome, n)| parts.intake.metrics().way(of.way, outcome, n as u64));
    Ok(answer::batch(&results))
}

fn add(parts: &Parts, of: &Of, found: &Found, item: &super::found::Item, draft: &mut Draft, room: &mut Vec<u8>) {
    match &item.what {
        What::Event(event) => {
            whole(parts, of, found, event, draft.received_ms(), room);
            parts.intake.add_from(draft, room, item.theirs.as_bytes());
        }
        What::Verdict(record) => parts.intake.add_verdict(draft, record),
        What::Refused(reject) => parts.intake.refuse(draft, item.theirs.as_bytes(), reject.clone()),
        What::Ignored(code, why) => parts.intake.ignore(draft, code, why.clone()),
    }
}

/// Head and tail of an event.
fn whole(parts: &Parts, of: &Of, found: &Found, event: &Event, received_ms: i64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(b"{\"source\":");
    quoted(out, event.source.as_deref().unwrap_or(&of.source));
    if let Some(time_ms) = found.time(event, received_ms) {
        out.extend_from_slice(format!(",\"time\":{time_ms}").as_bytes());
    }
    if of.sender == Sender::Browser {
        if event.lacks.ip {
            let ip = crate::http::peer::client_ip(of.peer, &of.head.headers, &parts.config.trusted_proxies);
            out.extend_from_slice(format!(",\"ip\":\"{ip}\"").as_bytes());
        }
        let agent = text_of(&of.head.headers, header::USER_AGENT.as_str());
        if event.lacks.user_agent && !agent.is_empty() {
            out.extend_from_slice(b",\"user_agent\":");
            quoted(out, agent);
        }
    }
    out.extend_from_slice(found.tail(event));
}
