//! Series, figures against their targets, insights, and the audit.

use super::api::Shared;
use super::params::{Params, bad};
use super::{Answer, views};
use crate::access::refusals::{self, Refusal};
use crate::audit::{self, AuditReport};
use crate::http::Problem;
use crate::insights::{HOUR_MS, Window, digest};
use crate::json::rfc3339;
use crate::store::now_ms;
use crate::store::query::{kpis, series, tracks};
use axum::extract::State;
use axum::http::Uri;
use serde_json::json;
use std::sync::Arc;

/// Time that is shown when none is named: of series three hours, of figures seven days.
const SERIES_MS: i64 = 3 * 3_600_000;
const KPIS_MS: i64 = 7 * 86_400_000;
/// Hours of a digest when none are named, and at most: the scan costs their square.
const DIGEST_HOURS: i64 = 24;
const MOST_HOURS: usize = 168;
/// Refusals that are shown: the latest.
const REFUSALS: i64 = 100;

/// `5m` and the like in milliseconds: whole minutes.
fn step(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let count: i64 = text.get(..text.len() - 1)?.parse().ok()?;
    (1..=10_000).contains(&count).then_some(count * unit)
}

/// `/series`
pub async fn series(State(inner): Shared, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let (metric, dimensions) = (params.text("metric")?, params.text("dimensions")?);
    let step_ms = match params.text("step")? {
        None => 60_000,
        Some(text) => step(&text).ok_or_else(|| bad("step", "a number and m, h or d, such as 5m"))?,
    };
    let (from, to) = params.times()?;
    let to_ms = to.unwrap_or_else(now_ms);
    let from_ms = from.unwrap_or(to_ms.saturating_sub(SERIES_MS));
    let Some(metric) = metric else {
        let names = inner.ask(move |db| series::names(db, from_ms)).await?;
        let items: Vec<_> =
            names.into_iter().map(|(metric, dims)| json!({"metric": metric, "dimensions": dims})).collect();
        return Ok(views::json(&json!({"items": items, "next": null})));
    };
    if to_ms.saturating_sub(from_ms) / step_ms > series::MAX_POINTS as i64 {
        return Err(bad("step", format!("more than {} points: take a wider step", series::MAX_POINTS as i64)));
    }
    let query = series::SeriesQuery { metric, dimensions: dimensions.unwrap_or_default(), from_ms, to_ms, step_ms };
    let asked = query.clone();
    let points = inner.ask(move |db| series::points(db, &asked)).await?;
    let items: Vec<_> = points
        .iter()
        .map(|point| {
            json!({"time": rfc3339(point.time_ms), "value": point.value, "expected": point.expected,
                "anomalous": point.anomalous, "last_week": point.last_week})
        })
        .collect();
    let (metric, dimensions) = (query.metric, query.dimensions);
    Ok(views::json(
        &json!({"metric": metric, "dimensions": dimensions, "step_ms": step_ms, "items": items, "next": null}),
    ))
}

/// `/kpis`
pub async fn kpis(State(inner): Shared, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let (from, to) = params.times()?;
    let to_ms = to.unwrap_or_else(now_ms);
    let from_ms = from.unwrap_or(to_ms.saturating_sub(KPIS_MS));
    let figures = inner.ask(move |db| kpis::compute(db, from_ms, to_ms)).await?;
    let latency = inner.parts.shared.latency.figures();
    Ok(views::json(&json!({"from": rfc3339(from_ms), "to": rfc3339(to_ms), "figures": figures,
        "targets": inner.parts.targets, "latency": latency})))
}

/// `/insights`
pub async fn insights(State(inner): Shared, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let (from, to) = params.times()?;
    let hour = |ms: i64| ms.div_euclid(HOUR_MS);
    let to = hour(to.unwrap_or_else(now_ms));
    let from = from.map_or(to - DIGEST_HOURS, hour);
    let hours = usize::try_from(to.saturating_sub(from)).ok().filter(|hours| (1..=MOST_HOURS).contains(hours));
    let hours = hours.ok_or_else(|| bad("from", "at least an hour and at most a week before to"))?;
    let window = Window { from_ms: from * HOUR_MS, hours };
    let asked = window.clone();
    let tracks = inner.ask(move |db| tracks::read(db, &asked)).await?;
    let weeks = tracks.iter().map(|track| track.before.len()).max().unwrap_or(0);
    let items: Vec<_> = digest(&window, &tracks, &inner.parts.style)
        .iter()
        .map(|insight| {
            let mut item = json!(insight);
            item["from"] = json!(rfc3339(insight.from_ms));
            item["to"] = json!(rfc3339(insight.to_ms));
            item
        })
        .collect();
    let (from, to) = (rfc3339(window.from_ms), rfc3339(to * HOUR_MS));
    Ok(views::json(&json!({"from": from, "to": to, "weeks": weeks, "items": items, "next": null})))
}

/// The sums, and who asked for what the key does not allow.
#[derive(serde::Serialize)]
struct Audit {
    #[serde(flatten)]
    report: AuditReport,
    refusals: Vec<Refusal>,
}

/// `/audit`
pub async fn audit(State(inner): Shared) -> Answer {
    let Ok(permit) = Arc::clone(&inner.audit).try_acquire_owned() else {
        return Err(Problem::unavailable("busy", "an audit is running", super::RETRY));
    };
    let at = Arc::clone(&inner);
    let report = inner
        .block(move || {
            let report = audit::audit(&*at.parts.log, &at.parts.store).map_err(|error| {
                tracing::warn!(%error, "the audit failed");
                Problem::unavailable("audit_failed", "log or store do not answer", super::RETRY)
            });
            drop(permit);
            report
        })
        .await?;
    let refusals = inner.ask(|db| refusals::latest(db, REFUSALS)).await?;
    Ok(views::json(&Audit { report, refusals }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn steps() {
        let steps =
            ["1m", "5m", "2h", "1d", "", "m", "0m", "-1m", "1s", "99999999999999999999d", "5µ"].map(super::step);
        assert_eq!(steps[..4], [Some(60_000), Some(300_000), Some(7_200_000), Some(86_400_000)]);
        assert!(steps[4..].iter().all(Option::is_none));
    }
}
