//! The page at `/`: how things stand, drawn on the server. Works without a script, loads itself again every five seconds.
//!
//! [`gather`] asks the store, [`super::page_parts`] draws. Every text of an event is escaped by the template; the policy allows
//! no script at all, from nowhere.

use super::api::Shared;
use super::page_parts::{self, Chart};
use super::{Answer, session};
use crate::store::Db;
use crate::store::query::{Span, alerts, events, incidents, kpis, series};
use crate::store::{self, now_ms};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::Markup;

/// Rows of each list.
const ROWS: usize = 20;
/// Time that the charts show.
const CHART_MS: i64 = 3 * 3_600_000;
/// Series that are drawn: title and metric.
const CHARTS: [(&str, &str); 2] = [("Orders", "orders"), ("Payments failed", "payments_failed")];
/// No script, no frame, nothing from elsewhere.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the page shows.
pub struct Now {
    /// When it was asked, ms.
    pub now_ms: i64,
    /// Figures of the last day.
    pub day: kpis::Kpis,
    /// Open alerts, the newest first.
    pub alerts: Vec<alerts::Alert>,
    /// Open incidents.
    pub incidents: Vec<incidents::Incident>,
    /// Charts.
    pub charts: Vec<Chart>,
    /// When the newest event was received, ms.
    pub newest_ms: Option<i64>,
}

/// Asks for everything.
fn gather(db: &Db) -> store::Result<Now> {
    let now_ms = now_ms();
    let open = alerts::StateFilter { status: Some("open".into()), severity: None };
    let rows = Span { limit: ROWS, ..Span::default() };
    let mut charts = vec![];
    for (title, metric) in CHARTS {
        let to_ms = now_ms - now_ms.rem_euclid(60_000) + 60_000;
        let metric = metric.to_owned();
        let query = series::SeriesQuery {
            metric,
            dimensions: String::new(),
            from_ms: to_ms - CHART_MS,
            to_ms,
            step_ms: 60_000,
        };
        charts.push(Chart { title, points: series::points(db, &query)?, from_ms: query.from_ms, to_ms });
    }
    let newest = events::list(db, &events::EventFilter::default(), &Span { limit: 1, ..Span::default() })?;
    Ok(Now {
        now_ms,
        day: kpis::compute(db, now_ms - 86_400_000, now_ms)?,
        alerts: alerts::list(db, &open, &rows)?.items,
        incidents: incidents::list(db, &open, &rows)?.items,
        charts,
        newest_ms: newest.items.first().map(|event| event.received_ms),
    })
}

/// A page with its protecting headers.
fn html(status: StatusCode, markup: Markup) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, markup.into_string()).into_response()
}

/// The form that asks for a key.
pub fn sign_in_page(failed: bool) -> Response {
    html(StatusCode::UNAUTHORIZED, page_parts::sign_in(failed))
}

/// `/`
pub async fn page(State(inner): Shared, headers: HeaderMap) -> Answer {
    if !session::allowed(&inner.parts.access, &headers) {
        return Ok(sign_in_page(false));
    }
    let now = inner.ask(gather).await?;
    let latency = inner.parts.shared.latency.figures();
    Ok(html(StatusCode::OK, page_parts::now(&now, &latency, &inner.parts.targets)))
}

/// `/style.css`
pub async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, include_str!("style.css")).into_response()
}
