//! The pieces of the page: state line, charts, alerts with their reasons, incidents, latency.
//!
//! Charts are pictures without a script: a band for what was expected, a line for what came, dots for what was unusual.

use super::KpiTargets;
use super::page::Now;
use crate::json::{Members, rfc3339};
use crate::store::query::{alerts::Alert, incidents::Incident, series::Point};
use crate::telemetry::latency::StageLatency;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

/// Data older than this are not called fresh, ms: the idle time of a source.
const FRESH_MS: i64 = 30_000;
/// Size of a chart.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 160.0;

/// A series to draw.
pub struct Chart {
    /// Its name for people.
    pub title: &'static str,
    /// In order of time.
    pub points: Vec<Point>,
    /// Left edge, ms.
    pub from_ms: i64,
    /// Right edge, ms.
    pub to_ms: i64,
}

fn frame(title: &str, reload: bool, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if reload { meta http-equiv="refresh" content="5"; }
                title { (title) }
                link rel="stylesheet" href="/style.css";
            }
            body { (body) }
        }
    }
}

/// The form that asks for a key.
pub fn sign_in(failed: bool) -> Markup {
    frame(
        "Sign in - PulseEcom",
        false,
        html! {
            main {
                h1 { "PulseEcom" }
                @if failed { p.bad role="alert" { "This key does not open the page." } }
                form method="post" action="/sign-in" {
                    label for="key" { "A key with the scope 'read'" }
                    p { input id="key" name="key" type="password" autocomplete="off" required; }
                    button { "Sign in" }
                }
            }
        },
    )
}

/// The whole page.
pub fn now(now: &Now, latency: &[StageLatency], targets: &KpiTargets) -> Markup {
    let open = now.day.open_alerts + now.day.open_incidents;
    let title = if open == 0 { "ok - PulseEcom".to_owned() } else { format!("({open}) PulseEcom") };
    frame(
        &title,
        true,
        html! {
            header {
                h1 { (state(now)) }
                p.dim { (fresh(now)) " · " (now.day.events) " events, " (now.day.alerts) " alerts in 24 hours (budget "
                    (targets.alerts_per_day) ")" }
            }
            main {
                section.charts aria-label="Series" { @for chart in &now.charts { (picture(chart)) } }
                section {
                    h2 { "Open alerts" }
                    @if now.alerts.is_empty() { p.dim { "None." } }
                    ul { @for alert in &now.alerts { (alert_item(alert)) } }
                }
                section {
                    h2 { "Open incidents" }
                    @if now.incidents.is_empty() { p.dim { "None." } }
                    ul { @for incident in &now.incidents { (incident_item(incident)) } }
                }
                section { h2 { "Latency of the last minutes" } (latency_table(latency)) }
            }
        },
    )
}

fn state(now: &Now) -> Markup {
    let silent = now.incidents.iter().filter(|one| one.kind == "silence").count();
    let (alerts, incidents) = (now.day.open_alerts, now.day.open_incidents);
    html! {
        @if alerts + incidents == 0 { span.ok { "All is well" } } @else {
            span.bad {
                (alerts) @if alerts == 1 { " alert" } @else { " alerts" } " and "
                (incidents) @if incidents == 1 { " incident" } @else { " incidents" } " open"
                @if silent > 0 { ", " (silent) " silent" }
            }
        }
    }
}

fn fresh(now: &Now) -> Markup {
    match now.newest_ms.map(|newest| now.now_ms - newest) {
        None => html! { "No events yet: learning begins with the first one" },
        Some(age) if age <= FRESH_MS => html! { "Data fresh " (format!("{:.1}", age.max(0) as f64 / 1e3)) " s ago" },
        Some(age) => html! { span.bad { "No event for " (age / 1_000) " s" } },
    }
}

/// A series as SVG.
fn picture(chart: &Chart) -> Markup {
    let highest = chart.points.iter().flat_map(|point| [point.value, point.expected.map_or(0.0, |(_, high)| high)]);
    let top = highest.fold(1.0f64, f64::max) * 1.1;
    let x = |ms: i64| (ms - chart.from_ms) as f64 / (chart.to_ms - chart.from_ms).max(1) as f64 * WIDTH;
    let y = |value: f64| (HEIGHT - value.clamp(0.0, top) / top * HEIGHT).clamp(0.0, HEIGHT);
    let place = |ms: i64, value: f64| format!("{:.1},{:.1}", x(ms), y(value));
    let line: Vec<String> = chart.points.iter().map(|point| place(point.time_ms, point.value)).collect();
    let bounds: Vec<(i64, f64, f64)> =
        chart.points.iter().filter_map(|point| point.expected.map(|(low, high)| (point.time_ms, low, high))).collect();
    let above = bounds.iter().map(|(ms, _, high)| place(*ms, *high));
    let band: Vec<String> = above.chain(bounds.iter().rev().map(|(ms, low, _)| place(*ms, *low))).collect();
    let last = chart.points.last();
    html! {
        figure {
            figcaption {
                (chart.title) " a minute: "
                @match last { Some(point) => b { (number(point.value)) }, None => span.dim { "no data yet" } }
                @if let Some((low, high)) = last.and_then(|point| point.expected) {
                    span.dim { " (usual " (number(low)) " to " (number(high)) ")" }
                }
            }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(chart.title) {
                polygon.band points=(band.join(" ")) {}
                polyline.curve points=(line.join(" ")) {}
                @for point in chart.points.iter().filter(|point| point.anomalous) {
                    circle.mark cx=(format!("{:.1}", x(point.time_ms))) cy=(format!("{:.1}", y(point.value))) r="4" {}
                }
            }
        }
    }
}

/// A number for people: no more digits than they read.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e9 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    id: String,
    #[serde(default, rename = "type")]
    event_type: String,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    reasons: Vec<ShownReason>,
}
#[derive(Deserialize)]
struct ShownReason {
    #[serde(default)]
    text: String,
}

fn alert_item(alert: &Alert) -> Markup {
    let event = Members::parse(&alert.json).ok().and_then(|data| data.get("event"));
    let event: Option<Shown> = event.and_then(|event| serde_json::from_str(event.get()).ok());
    html! {
        li {
            b { (alert.severity) } " · " time datetime=(rfc3339(alert.opened_ms)) { (rfc3339(alert.opened_ms)) }
            @if let Some(entity) = &alert.entity { " · " (entity) }
            @if alert.count > 1 { " · " (alert.count) " events" }
            @if let Some(by) = &alert.acked_by { " · taken on by " (by) }
            @if let Some(event) = &event {
                p { (event.event_type) " " (event.id) ", score " (format!("{:.3}", event.score)) }
                @for reason in &event.reasons { p.dim { (reason.text) } }
            }
        }
    }
}

fn incident_item(incident: &Incident) -> Markup {
    html! {
        li {
            b { (incident.severity) } " · " time datetime=(rfc3339(incident.opened_ms)) { (rfc3339(incident.opened_ms)) }
            p {
                @if incident.kind == "silence" { "Silence: " }
                (incident.metric) @if !incident.dimensions.is_empty() { " (" (incident.dimensions) ")" }
                @if let Some(value) = incident.value { ": " (number(value)) }
                @if let Some((low, high)) = incident.expected { span.dim { ", usual " (number(low)) " to " (number(high)) } }
            }
            @if let Some(by) = &incident.acked_by { p.dim { "Taken on by " (by) } }
        }
    }
}

fn latency_table(stages: &[StageLatency]) -> Markup {
    let ms = |seconds: f64| format!("{:.1}", seconds * 1e3);
    html! {
        table {
            thead { tr { th { "Stage" } th { "p50 ms" } th { "p95 ms" } th { "p99 ms" } th { "Count" } } }
            tbody {
                @for stage in stages.iter().filter(|stage| stage.recent.count > 0) {
                    tr {
                        td { (stage.stage) }
                        td { (ms(stage.recent.p50_s)) } td { (ms(stage.recent.p95_s)) } td { (ms(stage.recent.p99_s)) }
                        td { (stage.recent.count) }
                    }
                }
            }
        }
        @if stages.iter().all(|stage| stage.recent.count == 0) { p.dim { "Nothing measured yet." } }
    }
}
