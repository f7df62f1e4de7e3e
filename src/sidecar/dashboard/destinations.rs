//! *Destinations*: who is told, what was tried, sending again, a new secret, a test.
//!
//! Everything goes through delivery's own routes, so that a page cannot do what the API could not. Where delivery is another process, the
//! page says so.

use super::frame::{self, Here, escaped};
use super::gate::{self, Fields, Visit};
use super::words::{self, count};
use super::{Form, Inner, Page, Seen};
use crate::access::users::Role;
use crate::deliver::api;
use crate::http::Problem;
use crate::json::Time;
use crate::sidecar::api::Shared;
use crate::sidecar::params::Id;
use crate::store::now_ms;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{Method, Request, StatusCode, header};
use maud::{Markup, html};
use serde_json::{Value, json};
use tower::ServiceExt;

/// Attempts that are shown.
const ATTEMPTS: usize = 50;
/// Longest answer that is read: a page of attempts with a kilobyte of answer each.
const ANSWER_BYTES: usize = 4 << 20;

/// Asks delivery; its JSON.
async fn ask(inner: &Inner, method: Method, path: &str, body: Option<Value>) -> Result<Value, Problem> {
    let Some(deliver) = &inner.parts.webhooks else {
        let message = "alerts are sent by another process: ask the API of the one that runs `pulse deliver`";
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_here", message));
    };
    let failed = || Problem::unavailable("unavailable", "delivery does not answer", super::super::RETRY);
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request =
        Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json").body(body);
    let answer = api::routes(deliver).oneshot(request.map_err(|_| failed())?).await.map_err(|_| failed())?;
    let problem = answer.extensions().get::<Problem>().cloned();
    if let Some(problem) = problem {
        return Err(problem);
    }
    let bytes = axum::body::to_bytes(answer.into_body(), ANSWER_BYTES).await.map_err(|_| failed())?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn text<'a>(item: &'a Value, path: &str) -> &'a str {
    item.pointer(path).and_then(Value::as_str).unwrap_or_default()
}
fn whole(item: &Value, path: &str) -> u64 {
    item.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}
fn time(item: &Value, path: &str) -> Option<i64> {
    Time::parse(text(item, path)).map(|time| time.0)
}
fn list(item: &Value, path: &str) -> String {
    let words: Vec<&str> =
        item.pointer(path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    words.join(", ")
}

/// `GET /destinations`
pub async fn page(State(inner): Shared, Extension(visit): Seen) -> Page {
    let now = now_ms();
    let content = match ask(&inner, Method::GET, "/webhooks?limit=500", None).await {
        Err(problem) if problem.code == "not_here" => html! { section.card { (frame::empty(&problem.message)) } },
        Err(problem) => return Err(problem),
        Ok(found) => {
            let items = found.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            html! {
                @if items.is_empty() {
                    section.card {
                        (frame::empty("Nobody is told of alerts so far: they stand here only."))
                        p { "A destination is made over the API, once with its secret in the answer, or in the configuration:" }
                        pre tabindex="0" { code { "curl -s http://HOST/api/v1/webhooks -H 'authorization: Bearer KEY' -H 'content-type: application/json' -d '{\"url\": \"https://example.com/pulse\"}'" } }
                    }
                }
                div id="list" data-live { @for item in &items { (card(&visit, item, now, false)) } }
            }
        }
    };
    Ok(frame::page(&visit, Here::Destinations, "Destinations", None, html! { h1 { "Destinations" } (content) }))
}

fn card(visit: &Visit, item: &Value, now: i64, alone: bool) -> Markup {
    let id = text(item, "/id");
    let path = format!("/destinations/{}", escaped(id));
    let enabled = item.get("enabled").and_then(Value::as_bool).unwrap_or(false);
    let (dead, pending) = (whole(item, "/messages/dead"), whole(item, "/messages/pending"));
    html! {
        section.card data-destination=(id) aria-label=(text(item, "/url")) {
            h2 { @if alone { (text(item, "/url")) } @else { a href=(path) { (text(item, "/url")) } } }
            p {
                span.badge { (text(item, "/kind")) } " "
                @if enabled { span.badge.ok { "sends" } } @else { span.badge.bad { "disabled" } }
                @if let Some(since) = time(item, "/failing_since") { " " span.badge.bad { "failing since " (words::moment(since, now)) } }
                @if let Some(until) = time(item, "/rotating_until") { " " span.badge { "old secret until " (words::moment(until, now)) } }
                @if item.get("configured").and_then(Value::as_bool).unwrap_or(false) { " " span.badge { "from the configuration" } }
            }
            @if !text(item, "/description").is_empty() { p { (text(item, "/description")) } }
            @if !text(item, "/disabled/reason").is_empty() { p.bad { (text(item, "/disabled/reason")) } }
            dl.figures {
                (frame::figure("Delivered", html! { (count(whole(item, "/messages/delivered"))) }, html! {}))
                (frame::figure("Waiting", html! { (count(pending)) }, html! {}))
                (frame::figure("Given up", html! { span.bad[dead > 0] { (count(dead)) } }, html! {}))
                (frame::figure("Held back", html! { (count(whole(item, "/messages/suppressed"))) }, html! {}))
            }
            p.dim {
                "Gets " @match list(item, "/types").as_str() { "" => { "everything" } types => { (types) } }
                @if !text(item, "/min_severity").is_empty() { ", from " (text(item, "/min_severity")) " on" }
                @if !list(item, "/groups").is_empty() { ", about " (list(item, "/groups")) }
            }
            @if alone { (actions(visit, &path, item, enabled)) }
        }
    }
}

fn actions(visit: &Visit, path: &str, item: &Value, enabled: bool) -> Markup {
    let configured = item.get("configured").and_then(Value::as_bool).unwrap_or(false);
    let action = |name: &str, label: &str| frame::button(visit, Role::Admin, &format!("{path}/{name}"), label, &[]);
    html! {
        div.actions {
            @if enabled { (action("test", "Send a test")) (action("replay", "Send again what was given up in the last day")) }
            @else { (action("enable", "Send again")) }
            @if !configured && text(item, "/kind") == "webhook" { (action("rotate", "New secret")) }
        }
    }
}

/// `GET /destinations/{id}`
pub async fn one(State(inner): Shared, Extension(visit): Seen, Id(id): Id) -> Page {
    show(&inner, &visit, &id, html! {}).await
}

async fn show(inner: &Inner, visit: &Visit, id: &str, note: Markup) -> Page {
    let now = now_ms();
    let found = ask(inner, Method::GET, "/webhooks?limit=1000", None).await?;
    let items = found.get("items").and_then(Value::as_array);
    let item = items.into_iter().flatten().find(|item| text(item, "/id") == id).ok_or_else(Problem::not_found)?;
    let path = format!("/webhooks/{}/attempts?limit={ATTEMPTS}", escaped(id));
    let attempts = ask(inner, Method::GET, &path, None).await?;
    let attempts = attempts.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let content = html! {
        p.dim { a href="/destinations" { "Destinations" } " / " (id) }
        h1 { "Destination" }
        (note)
        div id="state" data-live { (card(visit, item, now, true)) }
        section.card aria-labelledby="attempts" {
            h2 id="attempts" { "Attempts, the latest first" }
            div id="attempt-list" data-live { (attempt_table(&attempts, now)) }
        }
    };
    Ok(frame::page(visit, Here::Destinations, "Destination", None, content))
}

fn attempt_table(attempts: &[Value], now: i64) -> Markup {
    html! {
        @if attempts.is_empty() { (frame::empty("Nothing was sent so far.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Attempts" {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Outcome" } th scope="col" { "Status" } th scope="col" { "Took" } th scope="col" { "Attempt" } th scope="col" { "Message" } th scope="col" { "Answer" } } }
                    tbody {
                        @for one in attempts {
                            tr data-attempt=(whole(one, "/id")) {
                                td { (words::moment(one.get("at_ms").and_then(Value::as_i64).unwrap_or(0), now)) }
                                td { (text(one, "/outcome")) }
                                td { @if let Some(status) = one.get("status").and_then(Value::as_u64) { (status) } }
                                td { (words::span(one.get("duration_ms").and_then(Value::as_i64).unwrap_or(0))) }
                                td { (whole(one, "/number")) }
                                td { code { (text(one, "/message_id")) } }
                                td { (text(one, "/reply").chars().take(120).collect::<String>()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `POST /destinations/{id}/{action}`
pub async fn act(
    State(inner): Shared,
    Extension(visit): Seen,
    Path((id, action)): Path<(String, String)>,
    Extension(fields): Form,
) -> Page {
    let body = body(&action, &fields).ok_or_else(Problem::not_found)?;
    tracing::info!(by = visit.name(), endpoint = id, action, "a destination is acted on from the dashboard");
    let path = format!("/webhooks/{}/{action}", escaped(&id));
    let answer = ask(&inner, Method::POST, &path, body).await?;
    let note = match action.as_str() {
        "rotate" => html! {
            p.note role="status" { "The new secret, shown this once: " code id="secret" { (text(&answer, "/secret")) } " The old one holds until " (text(&answer, "/old_valid_until")) "." }
        },
        "test" => html! { p.note role="status" { "test.ping: " b id="outcome" { (text(&answer, "/outcome")) } } },
        "replay" => {
            html! { p.note role="status" { (words::many(whole(&answer, "/replayed"), "message goes", "messages go")) " out again." } }
        }
        _ => return Ok(gate::see_other(&format!("/destinations/{}", escaped(&id)))),
    };
    show(&inner, &visit, &id, note).await
}

/// What delivery is told; `None`: there is no such action.
fn body(action: &str, fields: &Fields) -> Option<Option<Value>> {
    match action {
        "test" | "rotate" | "enable" => Some(None),
        "replay" => Some(Some(match fields.get("message") {
            "" => json!({"from": now_ms() - 86_400_000, "states": ["dead"]}),
            message => json!({"message_id": message}),
        })),
        _ => None,
    }
}
