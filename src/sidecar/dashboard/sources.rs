//! *Sources*: what each sends, when it was heard last, and what was refused and why.

use super::frame::{self, Here, escaped};
use super::words::{self, count, many, span};
use super::{Page, Seen, charts, query};
use crate::sidecar::api::Shared;
use crate::store::now_ms;
use crate::store::query::{Page as Rows, Span, overview, rejects};
use axum::extract::{Extension, State};
use axum::http::Uri;
use maud::{Markup, html};

/// Sources and refusals that are shown.
const SOURCES: usize = 100;
const ROWS: usize = 30;
/// Refusals are counted over the last day.
const DAY_MS: i64 = 86_400_000;
/// Characters of a refused payload that are shown.
const PAYLOAD: usize = 400;

/// `GET /sources`
pub async fn page(State(inner): Shared, Extension(visit): Seen, uri: Uri) -> Page {
    let now = now_ms();
    let mut params = query(&uri);
    let code = params.text("code").ok().flatten().filter(|code| !code.is_empty());
    let span = Span { limit: ROWS, ..params.span().unwrap_or_default() };
    let asked = code.clone();
    let (sources, counts, rows) = inner
        .ask(move |db| {
            let sources = overview::sources(db, now)?;
            let counts = overview::rejects(db, now - DAY_MS)?;
            Ok((sources, counts, rejects::list(db, asked.as_deref(), &span)?))
        })
        .await?;
    let content = html! {
        h1 { "Sources" }
        section.card aria-labelledby="heard" {
            h2 id="heard" { "Heard from in the last week" }
            div id="list" data-live { (activity(&sources, now)) }
        }
        section.card aria-labelledby="counts" {
            h2 id="counts" { "Refused in the last 24 hours" }
            div id="reject-counts" data-live { (refusals(&counts, now)) }
        }
        section.card aria-labelledby="refused" {
            h2 id="refused" { "Latest refusals" @if let Some(code) = &code { ": " (code) } }
            @if code.is_some() { p { a href="/sources" { "All of them" } } }
            div id="rejects" data-live { (latest(&rows, now)) }
            @if let Some(next) = &rows.next {
                @let of = code.as_ref().map(|code| format!("code={}&", escaped(code))).unwrap_or_default();
                p.pages { a rel="next" href=(format!("/sources?{of}cursor={next}")) { "Older" } }
            }
        }
    };
    Ok(frame::page(&visit, Here::Sources, "Sources", None, content))
}

fn activity(sources: &[overview::SourceActivity], now: i64) -> Markup {
    html! {
        @if sources.is_empty() { (frame::empty("Nothing has come in the last week.")) p { a href="/start" { "How to send the first event" } } } @else {
            div.scroll tabindex="0" role="region" aria-label="Sources" {
                table {
                    thead { tr { th scope="col" { "Source" } th scope="col" { "Last event" } th scope="col" { "This hour" } th scope="col" { "24 h" } th scope="col" { "By hour" } } }
                    tbody {
                        @for source in sources.iter().take(SOURCES) {
                            tr data-source=(source.source) {
                                th scope="row" { (source.source) }
                                td { (span(now - source.last_ms)) " ago" }
                                td { (count(source.hours.last().copied().unwrap_or(0))) }
                                td data-day=(source.day()) { (count(source.day())) }
                                td.wide { (charts::hours(&source.source, &source.hours, now)) }
                            }
                        }
                    }
                }
            }
            p.dim { "Events that were scored, by hour of their own time." }
        }
    }
}

fn refusals(counts: &[overview::RejectCount], now: i64) -> Markup {
    let seen: u64 = counts.iter().map(|one| one.count).sum();
    html! {
        @if counts.is_empty() { (frame::empty("Nothing was refused.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Refusals by code" {
                table {
                    thead { tr { th scope="col" { "Why" } th scope="col" { "Source" } th scope="col" { "How many" } th scope="col" { "Last" } } }
                    tbody {
                        @for one in counts {
                            tr {
                                th scope="row" { a href=(format!("/sources?code={}", escaped(&one.code))) { (one.code) } }
                                td { @if one.source.is_empty() { span.dim { "unknown" } } @else { (one.source) } }
                                td { (count(one.count)) } td { (words::moment(one.last_ms, now)) }
                            }
                        }
                    }
                }
            }
            @if seen as i64 >= overview::REJECTS { p.dim { "Of the latest " (many(seen, "refusal", "refusals")) "." } }
        }
    }
}

fn latest(rows: &Rows<rejects::Reject>, now: i64) -> Markup {
    html! {
        @if rows.items.is_empty() { (frame::empty("None.")) }
        ul.rows {
            @for one in &rows.items {
                li.row {
                    div.text {
                        p { b { (one.code) } " " (one.message) }
                        p.dim { (one.stage) @if !one.source.is_empty() { " · " (one.source) } " · hash " (one.payload_hash) }
                        @if let Some(payload) = &one.payload {
                            details { summary { "What came" } pre tabindex="0" { code { (payload.chars().take(PAYLOAD).collect::<String>()) } } }
                        }
                    }
                    div.marks { (words::moment(one.time_ms, now)) }
                }
            }
        }
    }
}
