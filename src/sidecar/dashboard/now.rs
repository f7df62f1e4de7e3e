//! *Now*: one line for how things stand, the worst that is open, four series, freshness by source, latency.

use super::charts::{self, Chart};
use super::frame::{self, Here};
use super::gate::Visit;
use super::words::{self, count, many, span};
use super::{LAG_TOLD, Page, Seen, start, told};
use crate::sidecar::api::Shared;
use crate::store::query::overview::{self, Overview, SourceActivity};
use crate::store::query::{Span, alerts, incidents, labels, series};
use crate::store::{self, Db, now_ms};
use crate::telemetry::latency::StageLatency;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Open alerts that are ranked: the newest; shown are the first of them.
const RANKED: usize = 200;
const SHOWN: usize = 8;
/// Sources that are shown.
const SOURCES: usize = 6;
/// Time that the charts show, and width of a point.
const CHART_MS: i64 = 3 * 3_600_000;
const STEP_MS: i64 = 120_000;
/// A minute is judged ten seconds after its end, and written a little later.
const CLOSED_MS: i64 = 15_000;
/// Data older than this are not called fresh, ms: the idle time of a source.
pub const FRESH_MS: i64 = 30_000;
/// Series that are drawn: title and metric.
const CHARTS: [(&str, &str); 4] = [
    ("Orders a minute", "orders"),
    ("Revenue a minute", "revenue"),
    ("Failed payments a minute", "payments_failed"),
    ("Refunds a minute", "refunds"),
];

/// What the page shows.
struct Now {
    now_ms: i64,
    overview: Overview,
    alerts: Vec<alerts::Alert>,
    verdicts: BTreeMap<String, Vec<labels::Verdict>>,
    incidents: Vec<incidents::Incident>,
    charts: Vec<Chart>,
    sources: Vec<SourceActivity>,
}

/// The points of a series up to now.
pub fn chart(db: &Db, (title, metric, dimensions): (&str, &str, &str), now_ms: i64) -> store::Result<Chart> {
    let to_ms = (now_ms - CLOSED_MS).div_euclid(STEP_MS) * STEP_MS;
    let (metric, dimensions) = (metric.to_owned(), dimensions.to_owned());
    let query = series::SeriesQuery { metric, dimensions, from_ms: to_ms - CHART_MS, to_ms, step_ms: STEP_MS };
    let points = series::points(db, &query)?;
    let series::SeriesQuery { metric, dimensions, from_ms, .. } = query;
    Ok(Chart { title: title.into(), metric, dimensions, points, from_ms, to_ms, step_ms: STEP_MS })
}

fn gather(db: &Db) -> store::Result<Now> {
    let now_ms = now_ms();
    let open = alerts::StateFilter { status: Some("open".into()), severity: None };
    let rows = Span { limit: RANKED, ..Span::default() };
    let mut alerts = alerts::list(db, &open, &rows)?.items;
    told::by_impact(&mut alerts);
    alerts.truncate(SHOWN);
    let ids: Vec<&str> = alerts.iter().map(|alert| alert.alert_id.as_str()).collect();
    let verdicts = labels::on_alerts(db, &ids)?;
    let mut incidents = incidents::list(db, &open, &rows)?.items;
    incidents.truncate(SHOWN);
    let charts = CHARTS.iter().map(|&(title, metric)| chart(db, (title, metric, ""), now_ms));
    Ok(Now {
        now_ms,
        overview: overview::overview(db, now_ms)?,
        alerts,
        verdicts,
        incidents,
        charts: charts.collect::<store::Result<_>>()?,
        sources: overview::sources(db, now_ms)?,
    })
}

/// `GET /`
pub async fn page(State(inner): Shared, Extension(visit): Seen, headers: HeaderMap) -> Page {
    let now = inner.ask(gather).await?;
    if !now.overview.any {
        return Ok(start::respond(&inner, &visit, &headers, None));
    }
    let lag = inner.parts.dashboard.lag.as_ref().map_or(0, |lag| lag());
    let budget = inner.parts.targets.alerts_per_day;
    let latency = inner.parts.shared.latency.figures();
    let open = now.overview.open_alerts + now.overview.open_incidents;
    let title = if open == 0 { "All is well".to_owned() } else { format!("({open}) Now") };
    let content = html! {
        div id="state" data-live { (state(&now)) (behind(lag)) (figures(&now, budget, &latency)) }
        @if !now.charts.iter().any(Chart::learnt) {
            p.note { "Learning what is usual: bands appear in the charts when there is enough history. Rules and the model of day one judge every event already." }
        }
        div.split {
            section.card aria-labelledby="open" {
                h2 id="open" { "Open, the worst first" }
                div id="open-list" data-live { (open_list(&now)) }
            }
            section.card aria-labelledby="fresh" {
                h2 id="fresh" { "Sources" }
                div id="sources" data-live { (fresh(&now.sources, now.now_ms)) }
            }
        }
        section.card aria-labelledby="series" {
            h2 id="series" { "The last three hours" }
            div.charts id="charts" data-live { @for chart in &now.charts { (charts::line(chart)) } }
            p.legend.dim { span.key-band {} " usual " span.key-before {} " a week before " span.key-mark {} " unusual" }
        }
        section.card aria-labelledby="latency" {
            h2 id="latency" { "Latency of the last minutes" }
            div id="latency-table" data-live { (latency_table(&latency)) }
        }
    };
    Ok(frame::page(&visit, Here::Now, &title, Some("j k to move, Enter to open"), keyed(&visit, content)))
}

/// The list can be walked with keys.
fn keyed(visit: &Visit, content: Markup) -> Markup {
    html! { div data-keys="walk" data-token=(visit.token) { (content) } }
}

fn state(now: &Now) -> Markup {
    let Overview { open_alerts, open_incidents, silent, .. } = now.overview;
    let worst = now.alerts.iter().any(|alert| alert.severity == "critical")
        || now.incidents.iter().any(|one| one.severity == "critical");
    let class = match open_alerts + open_incidents {
        0 => "state ok",
        _ if worst => "state bad",
        _ => "state warn",
    };
    html! {
        h1 class=(class) {
            @match (open_alerts, open_incidents) {
                (0, 0) => { "All is well" }
                (alerts, 0) => { (many(alerts, "alert", "alerts")) " open" }
                (0, incidents) => { (many(incidents, "incident", "incidents")) " open" }
                (alerts, incidents) => { (many(alerts, "alert", "alerts")) " and " (many(incidents, "incident", "incidents")) " open" }
            }
            @if silent > 0 { ", " (count(silent)) " silent" }
        }
    }
}

/// Says so when the store is behind the log.
pub fn behind(lag: u64) -> Markup {
    html! {
        @if lag > LAG_TOLD {
            p.note.warn id="behind" data-lag=(lag) {
                "The store is behind: " (many(lag, "record is", "records are")) " scored and not written yet. What stands here is older by that; alerts are sent without delay."
            }
        }
    }
}

fn figures(now: &Now, budget: f64, latency: &[StageLatency]) -> Markup {
    let newest = now.sources.iter().map(|source| source.last_ms).max();
    let whole = latency.iter().find(|stage| stage.stage == crate::telemetry::latency::INGEST_TO_ALERT);
    html! {
        dl.figures {
            (frame::figure("Newest event", html! { @match newest {
                Some(ms) => { span.bad[now.now_ms - ms > FRESH_MS] { (span(now.now_ms - ms)) " ago" } }
                None => { "a week ago" }
            } }, html! {}))
            (frame::figure("Events in 24 h", html! { span data-figure="events" { (count(now.overview.events_day)) } }, html! {}))
            (frame::figure("Alerts in 24 h", html! { span data-figure="alerts" { (count(now.overview.alerts_day)) } },
                html! { "target " (words::number(budget)) }))
            @if let Some(stage) = whole.filter(|stage| stage.recent.count > 0) {
                (frame::figure("Receipt to alert", html! { (words::milliseconds(stage.recent.p50_s)) " ms" },
                    html! { "99 of 100 in " (words::milliseconds(stage.recent.p99_s)) " ms" }))
            }
        }
    }
}

fn open_list(now: &Now) -> Markup {
    html! {
        @if now.alerts.is_empty() && now.incidents.is_empty() { (frame::empty("Nothing is open.")) }
        ul.rows {
            @for one in &now.incidents { (told::incident_line(one, now.now_ms)) }
            @for alert in &now.alerts {
                @let said = now.verdicts.get(&alert.alert_id).map_or(&[][..], Vec::as_slice);
                (told::alert_line(alert, said, now.now_ms, html! {}))
            }
        }
        @if now.overview.open_alerts as usize > now.alerts.len() {
            p { a href="/alerts?status=open" { "All " (count(now.overview.open_alerts)) " open alerts" } }
        }
    }
}

/// When each source was heard last.
pub fn fresh(sources: &[SourceActivity], now_ms: i64) -> Markup {
    html! {
        @if sources.is_empty() { (frame::empty("No events in the last week.")) }
        ul.sources {
            @for source in sources.iter().take(SOURCES) {
                li {
                    span.name { (source.source) }
                    (charts::hours(&source.source, &source.hours, now_ms))
                    span.dim { (span(now_ms - source.last_ms)) " ago" }
                }
            }
        }
        @if sources.len() > SOURCES { p { a href="/sources" { "All " (count(sources.len() as u64)) } } }
    }
}

/// Percentiles by stage.
pub fn latency_table(stages: &[StageLatency]) -> Markup {
    let measured: Vec<&StageLatency> = stages.iter().filter(|stage| stage.recent.count > 0).collect();
    html! {
        @if measured.is_empty() { (frame::empty("Nothing was measured in this process in the last minutes.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Latency" {
                table {
                    thead { tr { th scope="col" { "Stage" } th scope="col" { "p50 ms" } th scope="col" { "p95 ms" } th scope="col" { "p99 ms" } th scope="col" { "Count" } } }
                    tbody {
                        @for stage in measured {
                            tr {
                                th scope="row" { (stage.stage.replace('_', " ")) }
                                td { (words::milliseconds(stage.recent.p50_s)) } td { (words::milliseconds(stage.recent.p95_s)) }
                                td { (words::milliseconds(stage.recent.p99_s)) } td { (count(stage.recent.count)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
