//! *Incident*, silences too: what was expected and what came, since when, what moved with it, the verdict.

use super::frame::{self, Here, escaped};
use super::words::{self, count, number, span};
use super::{Form, Page, Seen, alert::pretty, alerts as lists, charts, gate, now, told};
use crate::access::users::Role;
use crate::http::Problem;
use crate::sidecar::api::Shared;
use crate::sidecar::labels::{self, Subject};
use crate::sidecar::params::Id;
use crate::sidecar::{refused, views};
use crate::store::now_ms;
use crate::store::query::{alerts, incidents, labels as said};
use axum::extract::{Extension, State};
use maud::{Markup, html};
use std::sync::Arc;

/// `GET /incidents/{id}`
pub async fn page(State(inner): Shared, Extension(visit): Seen, Id(id): Id) -> Page {
    let now = now_ms();
    let found = inner
        .ask(move |db| {
            let Some(one) = incidents::get(db, &id)? else { return Ok(None) };
            let verdicts = said::in_force(db, &format!("incident:{id}"))?;
            let history = alerts::history(db, &id)?;
            let until = one.resolved_ms.unwrap_or(now).min(one.opened_ms + 2 * 3_600_000) + 900_000;
            let chart =
                now::chart(db, (one.metric.as_str(), one.metric.as_str(), one.dimensions.as_str()), until.min(now))?;
            Ok(Some((one, verdicts, history, chart)))
        })
        .await?;
    let (one, verdicts, history, chart) = found.ok_or_else(Problem::not_found)?;
    let told = told::IncidentTold::of(&one);
    let more = vec![("history", views::history(&history)), ("verdicts", views::verdicts(&verdicts))];
    let json = views::incident(&one, more).get().to_owned();
    let path = format!("/incidents/{}", escaped(&one.incident_id));
    let title = told::incident(&one);
    let content = html! {
        p.dim { a href="/alerts?kind=incidents" { "Incidents" } " / " (one.kind) }
        (head(&one, &told, now))
        @if !chart.points.is_empty() { section.card aria-label="Series" { (charts::line(&chart)) } }
        div.split {
            section.card aria-labelledby="moved" { h2 id="moved" { "What moved with it" } (contributors(&told)) }
            section.card aria-labelledby="verdict" {
                h2 id="verdict" { "What is it?" }
                div id="said" data-live {
                    @for one in &verdicts { p { b { (words::verdict(&one.verdict)) } " – " (one.by) ", " (words::moment(one.time_ms, now)) } }
                    @if verdicts.is_empty() { p.dim { "Nobody has said so far." } }
                    @if visit.may(Role::Analyst) {
                        form id="judge" method="post" action=(format!("{path}/verdict")) { (frame::token(&visit)) (lists::verdict_buttons()) }
                        @match &one.acked_by {
                            Some(by) => { p.dim { "Taken on by " (by) } }
                            None => { (frame::button(&visit, Role::Analyst, &format!("{path}/ack"), "Take on", &[])) }
                        }
                    }
                }
            }
        }
        section.card aria-labelledby="way" {
            h2 id="way" { "Its way" }
            ol.timeline id="timeline" data-live {
                @for (ms, kind) in &history { li { (words::moment(*ms, now)) span { (kind) } } }
            }
        }
        section.card aria-labelledby="record" {
            h2 id="record" { "The record" }
            @if !told.event_ids.is_empty() {
                details { summary { (count(told.event_ids.len() as u64)) " of its events" } p.dim { (told.event_ids.join(", ")) } }
            }
            details { summary { "The incident as JSON" } pre tabindex="0" { code { (pretty(&json)) } } }
        }
    };
    Ok(frame::page(
        &visit,
        Here::Alerts,
        &title,
        Some("a trouble, f false alarm"),
        html! { div data-keys="one" { (content) } },
    ))
}

fn head(one: &incidents::Incident, told: &told::IncidentTold, now: i64) -> Markup {
    let length = one.resolved_ms.unwrap_or(now) - told.started_at.map_or(one.opened_ms, |time| time.0);
    html! {
        h1 id="sentence" { (told::incident(one)) }
        p {
            (words::severity(&one.severity)) " " span.badge { (one.status) } " "
            "since " (words::moment(told.started_at.map_or(one.opened_ms, |time| time.0), now)) ", for " (span(length))
        }
        dl.figures {
            @if let Some(value) = one.value { (frame::figure("Came", html! { (number(value)) }, html! { (told.direction) })) }
            @if let Some((low, high)) = one.expected {
                (frame::figure("Usual", html! { (number(low)) " to " (number(high)) }, html! {}))
            }
            @if let Some(amount) = told.impact.amount.filter(|amount| *amount != 0.0) {
                (frame::figure("Costs", html! { (number(amount)) " " (told.impact.currency) }, html! {
                    @if let Some(events) = told.impact.events { (number(events)) " events" } }))
            }
            @if let Some(detected) = told.detected_at.zip(told.started_at).map(|(at, from)| at.0 - from.0) {
                (frame::figure("Noticed after", html! { (span(detected)) }, html! {}))
            }
        }
    }
}

fn contributors(told: &told::IncidentTold) -> Markup {
    html! {
        @if told.contributors.is_empty() { (frame::empty("Nothing else.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Contributors" {
                table {
                    thead { tr { th scope="col" { "Series" } th scope="col" { "Came" } th scope="col" { "Usual" } } }
                    tbody {
                        @for one in told.contributors.iter().take(12) {
                            @let of: Vec<String> = one.dimensions.iter().map(|(name, value)| format!("{name} {value}")).collect();
                            tr {
                                th scope="row" { (one.metric.replace('_', " ")) @if !of.is_empty() { " (" (of.join(", ")) ")" } }
                                td { (one.value.map(number).unwrap_or_default()) } td { (one.expected.map(number).unwrap_or_default()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `POST /incidents/{id}/verdict`
pub async fn verdict(State(inner): Shared, Extension(visit): Seen, Id(id): Id, Extension(fields): Form) -> Page {
    let (to, subject) = (format!("/incidents/{}", escaped(&id)), Subject::Incident(id));
    let word = fields.get("verdict");
    labels::say(&inner, subject.clone(), word, fields.get("reason"), visit.name()).await?;
    labels::shown(&inner, &subject, word, visit.name()).await;
    Ok(gate::see_other(&to))
}

/// `POST /incidents/{id}/ack`
pub async fn ack(State(inner): Shared, Extension(visit): Seen, Id(id): Id) -> Page {
    let (at, by, to) = (Arc::clone(&inner), visit.name().to_owned(), format!("/incidents/{}", escaped(&id)));
    let known = inner
        .block(move || {
            at.parts.store.write(|tx| incidents::ack(tx, &id, &by, now_ms())).map_err(|error| refused(&error))
        })
        .await?;
    if known { Ok(gate::see_other(&to)) } else { Err(Problem::not_found()) }
}
