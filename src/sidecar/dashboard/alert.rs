//! *Alert*: why, in one sentence and as bars; what this customer usually does; what is like it; its way with latencies; the verdict; the
//! record itself.

use super::frame::{self, Here, escaped};
use super::gate::{self, Visit};
use super::words::{self, count, number, span};
use super::{Page, Seen, alerts as lists, charts, told};
use crate::access::users::Role;
use crate::http::Problem;
use crate::sidecar::api::Shared;
use crate::sidecar::params::Id;
use crate::sidecar::{refused, views};
use crate::store::query::events::{self, Brief, EventRow};
use crate::store::query::overview::{self, Sent};
use crate::store::query::{Span, alerts, labels};
use crate::store::{self, Db, now_ms};
use axum::extract::{Extension, State};
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events of an entity that its habits are read from: some weeks of a good customer.
const HABITS: usize = 200;
/// Alerts among which those of the same cause are looked for, and how many are shown.
const LIKE: (usize, usize) = (200, 6);
/// Characters of the record that are shown: a record is below 20 kB.
const RECORD: usize = 40_000;

/// All that the page shows.
struct Whole {
    alert: alerts::Alert,
    told: told::Told,
    event: Option<EventRow>,
    verdicts: Vec<labels::Verdict>,
    history: Vec<(i64, String)>,
    sent: Vec<Sent>,
    /// By entity (kind, id): its events before this one, newest first.
    habits: Vec<(String, String, Vec<Brief>)>,
    like: Vec<alerts::Alert>,
    json: String,
}

fn gather(db: &Db, id: &str) -> store::Result<Option<Whole>> {
    let Some(alert) = alerts::get(db, id)? else { return Ok(None) };
    let told = told::Told::of(&alert);
    let event = events::by_id(db, &alert.event_id, Some(&alert.source))?.into_iter().next_back();
    let verdicts = labels::in_force(db, &format!("alert:{id}"))?;
    let history = alerts::history(db, id)?;
    let more = vec![("history", views::history(&history)), ("verdicts", views::verdicts(&verdicts))];
    let json = views::alert(&alert, more).get().to_owned();
    let until = event.as_ref().map_or(alert.opened_ms, |event| event.time_ms);
    let mut entities: Vec<(String, String)> =
        told.entity().map(|(kind, id)| (kind.to_owned(), id.to_owned())).into_iter().collect();
    let named = event.as_ref().map(|event| events::entities(db, event)).transpose()?.unwrap_or_default();
    let customer =
        named.iter().find_map(|name| name.strip_prefix("customer:")).map(|id| ("customer".to_owned(), id.to_owned()));
    entities.extend(customer.filter(|customer| !entities.contains(customer)));
    let mut habits = vec![];
    for (kind, id) in entities {
        let before = events::of_entity(db, (kind.as_str(), id.as_str()), until, HABITS)?;
        let before: Vec<Brief> = before.into_iter().filter(|one| one.event_id != alert.event_id).collect();
        if !before.is_empty() {
            habits.push((kind, id, before));
        }
    }
    let newest = alerts::list(db, &alerts::StateFilter::default(), &Span { limit: LIKE.0, ..Span::default() })?.items;
    let same = |other: &alerts::Alert| other.alert_id != alert.alert_id && told::Told::of(other).cause == told.cause;
    let like: Vec<alerts::Alert> =
        newest.into_iter().filter(|other| !told.cause.is_empty() && same(other)).take(LIKE.1).collect();
    let sent = overview::messages(db, id)?;
    Ok(Some(Whole { alert, told, event, verdicts, history, sent, habits, like, json }))
}

/// `GET /alerts/{id}`
pub async fn page(State(inner): Shared, Extension(visit): Seen, Id(id): Id) -> Page {
    let whole = inner.ask(move |db| gather(db, &id)).await?.ok_or_else(Problem::not_found)?;
    let now = now_ms();
    let title = whole.told.why();
    let content = html! {
        p.dim { a href="/alerts" { "Alerts" } " / " (whole.told.subject()) }
        (head(&whole, now))
        div.split {
            section.card aria-labelledby="why" { h2 id="why" { "Why" } (reasons(&whole)) }
            section.card aria-labelledby="verdict" { h2 id="verdict" { "What is it?" } div id="said" data-live { (verdict(&visit, &whole, now)) } }
        }
        @for (kind, id, before) in &whole.habits {
            section.card aria-label=(format!("Habits of {kind} {id}")) {
                h2 { "What this " (kind) " usually does" }
                (habits(before, kind, id, now))
            }
        }
        section.card aria-labelledby="way" { h2 id="way" { "Its way" } div id="timeline" data-live { (timeline(&whole)) } }
        @if !whole.like.is_empty() {
            section.card aria-labelledby="like" {
                h2 id="like" { "Alerts of the same cause" }
                ul.rows { @for other in &whole.like { (told::alert_line(other, &[], now, html! {})) } }
            }
        }
        section.card aria-labelledby="record" { h2 id="record" { "The record" } (record(&whole)) }
    };
    Ok(frame::page(
        &visit,
        Here::Alerts,
        &title,
        Some("a trouble, f false alarm"),
        html! { div data-keys="one" { (content) } },
    ))
}

fn head(whole: &Whole, now: i64) -> Markup {
    let (alert, event) = (&whole.alert, &whole.told.event);
    html! {
        h1 id="sentence" { (whole.told.why()) }
        p {
            (words::severity(&alert.severity)) " "
            span.badge { (alert.status) } " "
            @if let Some(why) = &whole.told.suppressed { span.badge { "not sent: " (why) } " " }
            @if event.late { span.badge { "late" } " " }
            @if event.cold_start { span.badge { "before there was a history" } " " }
            (words::moment(alert.opened_ms, now)) " · " (span(now - alert.opened_ms)) " ago"
            @if alert.count > 1 { " · " (count(alert.count as u64)) " events" }
        }
        dl.figures {
            (frame::figure("Score", html! { span data-figure="score" { (number(event.score)) } },
                html! { @if let Some(line) = event.threshold_value { "alerts from " (number(line)) " on" } }))
            @if let Some(p) = event.p_value.filter(|p| *p > 0.0) {
                (frame::figure("As unusual", html! { "one in " (words::count((1.0 / p).min(1e12) as u64)) }, html! { "normal events" }))
            }
            @if let Some(confidence) = event.confidence {
                (frame::figure("Confidence", html! { (number((confidence * 100.0).round())) " %" }, html! { "such alerts were right" }))
            }
            @if let Some(model) = &event.model {
                (frame::figure("Judged by", html! { (event.channel.as_deref().unwrap_or("model")) }, html! { (model) }))
            }
        }
    }
}

fn reasons(whole: &Whole) -> Markup {
    let event = &whole.told.event;
    let arrow = |direction: &str| match direction {
        "high" => "above",
        "low" => "below",
        "new" => "new",
        "missing" => "missing",
        _ => "",
    };
    html! {
        @if event.reasons.is_empty() { (frame::empty("The event is rare only as a whole.")) }
        ol.reasons {
            @for reason in &event.reasons {
                li data-code=(reason.code) {
                    p { (reason.text) @if !reason.direction.is_empty() { " " span.badge { (arrow(&reason.direction)) } } }
                    @if let Some(value) = reason.value {
                        @let usual = reason.expected.map_or("nothing to compare with".to_owned(), |(low, high)| format!("usual {} to {}", number(low), number(high)));
                        @let label = format!("{} ({usual})", number(value));
                        (charts::range(value, reason.expected, &label))
                        p.dim.small { b { (number(value)) } ", " (usual) }
                    }
                    @if let Some(part) = reason.contribution {
                        (charts::share(part, &format!("{} % of the score", number((part * 100.0).round()))))
                        p.dim.small { (number((part * 100.0).round())) " % of the score" }
                    }
                }
            }
        }
        @if !event.rules.is_empty() { p.dim { "Rules: " (event.rules.join(", ")) } }
    }
}

fn verdict(visit: &Visit, whole: &Whole, now: i64) -> Markup {
    let alert = &whole.alert;
    let path = format!("/alerts/{}", escaped(&alert.alert_id));
    html! {
        @for one in &whole.verdicts {
            p { b { (words::verdict(&one.verdict)) } " – " (one.by) ", " (words::moment(one.time_ms, now))
                @if let Some(reason) = &one.reason { br; span.dim { (reason) } } }
        }
        @if whole.verdicts.is_empty() { p.dim { "Nobody has said so far." } }
        @if visit.may(Role::Analyst) {
            form id="judge" method="post" action="/alerts/verdict" {
                (frame::token(visit))
                input type="hidden" name="id" value=(alert.alert_id);
                input type="hidden" name="back" value=(path);
                label for="reason" { "Why (may be left out)" }
                input id="reason" name="reason" maxlength="1000" autocomplete="off";
                (lists::verdict_buttons())
            }
            @match &alert.acked_by {
                Some(by) => { p.dim { "Taken on by " (by) } }
                None => { (frame::button(visit, Role::Analyst, &format!("{path}/ack"), "Take on", &[])) }
            }
        } @else { p.dim { "Verdicts need the role 'analyst'." } }
    }
}

/// Values at 10, 50 and 90 of 100.
fn quantiles(mut values: Vec<i64>) -> Option<(i64, i64, i64)> {
    values.sort_unstable();
    let at = |share: usize| values.get((values.len().saturating_sub(1) * share + 50) / 100).copied();
    Some((at(10)?, at(50)?, at(90)?))
}

/// The most frequent first.
fn ranked<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(&'a str, u64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let mut all: Vec<(&str, u64)> = counts.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    all
}

fn habits(before: &[Brief], kind: &str, id: &str, now: i64) -> Markup {
    let oldest = before.last().map_or(now, |one| one.time_ms);
    let some = if before.len() >= HABITS - 1 { "the last " } else { "" };
    let currencies = ranked(before.iter().filter_map(|one| Some(one.amount.as_ref()?.1.as_str())));
    let amounts = currencies.first().and_then(|(currency, _)| {
        let of = before.iter().filter_map(|one| one.amount.as_ref());
        quantiles(of.filter(|(_, code)| code == currency).map(|(minor, _)| *minor).collect()).map(|q| (q, *currency))
    });
    let listed = |all: Vec<(&str, u64)>| {
        let words: Vec<String> = all.into_iter().take(5).map(|(name, n)| format!("{name} {}", count(n))).collect();
        words.join(", ")
    };
    let unusual = before.iter().filter(|one| one.anomaly).count() as u64;
    html! {
        dl.facts {
            dt { (kind) } dd { a href=(format!("/alerts?status=all&entity={}", escaped(&format!("{kind}:{id}")))) { (id) } }
            dt { "Events" } dd { (some) (count(before.len() as u64)) ", since " (words::moment(oldest, now)) }
            @if let Some(((low, middle, high), currency)) = amounts {
                dt { "Amounts" } dd { "mostly " (words::amount(low, currency)) " to " (words::amount(high, currency)) ", in the middle " (words::amount(middle, currency)) }
            }
            @let countries = listed(ranked(before.iter().filter_map(|one| one.country.as_deref())));
            @if !countries.is_empty() { dt { "Countries" } dd { (countries) } }
            dt { "Does" } dd { (listed(ranked(before.iter().map(|one| one.event_type.as_str())))) }
            dt { "Unusual" } dd { (count(unusual)) " of them" }
        }
        details {
            summary { "The latest events" }
            div.scroll tabindex="0" role="region" aria-label="Events" {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Amount" } th scope="col" { "Score" } } }
                    tbody {
                        @for one in before.iter().take(20) {
                            tr {
                                td { (words::moment(one.time_ms, now)) } td { (one.event_type) }
                                td { @if let Some((minor, currency)) = &one.amount { (words::amount(*minor, currency)) } }
                                td { (number(one.score)) @if one.anomaly { " " span.badge.warn { "unusual" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Steps with the time since receipt.
fn timeline(whole: &Whole) -> Markup {
    let received =
        whole.event.as_ref().map(|event| event.received_ms).or(whole.sent.iter().find_map(|sent| sent.received_ms));
    let since = |ms: i64| received.map(|from| format!("+{}", span(ms - from)));
    let mut steps: Vec<(i64, String)> = vec![];
    if let Some(event) = &whole.event {
        steps.push((event.time_ms, "the event happened".into()));
        steps.push((event.received_ms, "received".into()));
    }
    for sent in &whole.sent {
        steps.push((sent.appended_ms, format!("{}: in the log", sent.kind)));
        steps.push((sent.scored_ms, format!("{}: taken up for delivery", sent.kind)));
        if let (Some(to), Some(state)) = (&sent.endpoint, &sent.state) {
            let why = sent.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            let tries = words::many(sent.attempts.unwrap_or(0) as u64, "attempt", "attempts");
            let at = sent.first_sent_ms.unwrap_or(sent.scored_ms);
            steps.push((at, format!("{}: to {to}: {state}{why}, {tries}", sent.kind)));
        }
    }
    if whole.sent.is_empty() {
        steps.extend(whole.history.iter().map(|(ms, kind)| (*ms, kind.clone())));
    }
    if let (Some(ms), Some(by)) = (whole.alert.acked_ms, &whole.alert.acked_by) {
        steps.push((ms, format!("taken on by {by}")));
    }
    steps.extend(
        whole.verdicts.iter().map(|one| (one.time_ms, format!("{} said: {}", one.by, words::verdict(&one.verdict)))),
    );
    steps.sort();
    html! {
        ol.timeline {
            @for (ms, what) in &steps {
                li { (words::moment(*ms, *ms)) span { (what) } @if let Some(since) = since(*ms).filter(|_| received.is_some_and(|from| *ms >= from)) { span.dim { (since) } } }
            }
        }
        @if whole.event.is_none() { p.dim { "The event itself is no longer kept." } }
    }
}

/// JSON with line breaks; what is none is shown as it is.
pub fn pretty(json: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(json).ok();
    let text = value.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| json.to_owned());
    if text.len() <= RECORD { text } else { text.chars().take(RECORD).chain(['…']).collect() }
}

fn record(whole: &Whole) -> Markup {
    html! {
        details { summary { "The alert as JSON" } pre tabindex="0" { code id="alert-json" { (pretty(&whole.json)) } } }
        @if let Some(raw) = whole.event.as_ref().and_then(|event| event.raw.as_deref()) {
            details { summary { "The event as it came" } pre tabindex="0" { code { (pretty(raw)) } } }
        }
        p.dim { code { "pulse explain " (whole.alert.event_id) " --verify" } " computes the score again." }
    }
}

/// `POST /alerts/{id}/ack`
pub async fn ack(State(inner): Shared, Extension(visit): Seen, Id(id): Id) -> Page {
    let (at, by, to) = (Arc::clone(&inner), visit.name().to_owned(), format!("/alerts/{}", escaped(&id)));
    let known = inner
        .block(move || at.parts.store.write(|tx| alerts::ack(tx, &id, &by, now_ms())).map_err(|error| refused(&error)))
        .await?;
    if known { Ok(gate::see_other(&to)) } else { Err(Problem::not_found()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_are_read_from_what_came_before() {
        assert_eq!(quantiles((0..=100).rev().collect()), Some((10, 50, 90)));
        assert_eq!((quantiles(vec![]), quantiles(vec![7])), (None, Some((7, 7, 7))));
        assert_eq!(ranked(["b", "a", "b"].into_iter()), [("b", 2), ("a", 1)]);
    }
}
