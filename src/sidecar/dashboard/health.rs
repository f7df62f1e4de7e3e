//! *Health*: can the program do its work, how far behind is what, how fast is each stage.

use super::frame::{self, Here};
use super::words;
use super::{Page, Seen, now};
use crate::sidecar::api::Shared;
use crate::telemetry::exposition::exposition;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Metrics that are shown: name, what it is, unit. `s ago`: a time, shown as how long it is past.
const SHOWN: [(&str, &str, &str); 14] = [
    ("pulse_store_up", "Store answers", "yes"),
    ("pulse_persist_lag_records", "Scored, not in the store yet", "records"),
    ("pulse_persist_retries_total", "Writes to the store that were tried again", ""),
    ("pulse_epochs_in_flight", "Epochs in flight", ""),
    ("pulse_events_scored_total", "Scored since the start", "events"),
    ("pulse_events_duplicate_total", "Duplicates since the start", "events"),
    ("pulse_log_queue_bytes", "Waiting for the disk", "bytes"),
    ("pulse_checkpoint_last_success_timestamp_seconds", "Last checkpoint", "s ago"),
    ("pulse_webhook_queue_depth", "Messages that wait", ""),
    ("pulse_webhook_lag_records", "Alerts that delivery has not read", "records"),
    ("pulse_webhook_dead_letters_total", "Messages given up", ""),
    ("pulse_entities", "Entities with a state", ""),
    ("pulse_process_resident_memory_bytes", "Memory", "bytes"),
    ("pulse_process_open_fds", "Files and sockets", ""),
];

/// Sums by name of a metric's samples.
fn sums(text: &str) -> BTreeMap<&str, f64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let name = name.split('{').next().unwrap_or(name);
        *sums.entry(name).or_insert(0.0) += value.parse::<f64>().unwrap_or(0.0);
    }
    sums
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "yes" if value >= 1.0 => "yes".into(),
        "yes" => "no".into(),
        "bytes" if value >= 1e6 => format!("{} MB", words::number((value / 1e6).round())),
        "s ago" if value <= 0.0 => "none yet".into(),
        "s ago" => format!("{} ago", words::span(crate::store::now_ms() - (value * 1e3) as i64)),
        "" => words::number(value),
        unit => format!("{} {unit}", words::number(value)),
    }
}

/// `GET /health`. Asks nothing of the store, so that it answers when that does not.
pub async fn page(State(inner): Shared, Extension(visit): Seen) -> Page {
    let (_, text) = exposition(&inner.parts.metrics, &HeaderMap::new());
    let sums = sums(&text);
    let lag = inner.parts.dashboard.lag.as_ref().map_or(0, |lag| lag());
    let latency = inner.parts.shared.latency.figures();
    let content = html! {
        h1 { "Health" }
        div id="behind-note" data-live { (now::behind(lag)) }
        section.card aria-labelledby="checks" { h2 id="checks" { "Checks" } div id="check-list" data-live { (checks(&inner.parts.checks)) } }
        section.card aria-labelledby="figures" {
            h2 id="figures" { "Figures of this process" }
            dl.figures id="figure-list" data-live {
                @for (name, what, unit) in SHOWN {
                    @if let Some(value) = sums.get(name) { (frame::figure(what, html! { span data-metric=(name) { (shown(*value, unit)) } }, html! {})) }
                }
            }
        }
        section.card aria-labelledby="latency" { h2 id="latency" { "Latency of the last minutes" } div id="latency-table" data-live { (now::latency_table(&latency)) } }
        p.dim { "All of it: " a href="/metrics" { "/metrics" } ", " a href="/metrics/latency" { "/metrics/latency" } ", " a href="/readyz" { "/readyz" } ", " a href="/openapi.json" { "/openapi.json" } "." }
    };
    Ok(frame::page(&visit, Here::Health, "Health", None, content))
}

fn checks(checks: &[crate::http::health::Check]) -> Markup {
    html! {
        @if checks.is_empty() { (frame::empty("This process answers; it has nothing else to check.")) }
        ul.plain-list {
            @for check in checks {
                @match ((check.ask)(), check.warns) {
                    (Ok(()), _) => { li { span.badge.ok { "ok" } " " (check.name) } }
                    (Err(why), true) => { li { span.badge.warn { "warning" } " " (check.name) ": " (why) } }
                    (Err(why), false) => { li { span.badge.bad { "failing" } " " (check.name) ": " (why) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn samples_of_a_metric_are_added_up() {
        let sums = super::sums("# HELP a b\na{x=\"1 2\"} 3\na{x=\"2\"} 4\nb 0.5\n");
        assert_eq!(sums.into_iter().collect::<Vec<_>>(), [("a", 7.0), ("b", 0.5)]);
        assert_eq!([super::shown(1.0, "yes"), super::shown(2e6, "bytes")], ["yes", "2 MB"]);
    }
}
