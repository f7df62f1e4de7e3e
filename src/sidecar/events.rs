//! `/events`: scored events.

use super::api::Shared;
use super::params::{Id, Params};
use super::{Answer, views};
use crate::http::Problem;
use crate::store::query::{alerts, events, labels};
use axum::extract::State;
use axum::http::{StatusCode, Uri};

/// A page of them.
pub async fn list(State(inner): Shared, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let filter = events::EventFilter {
        decision: params.one_of("decision", &["normal", "anomaly"])?,
        event_type: params.text("type")?,
        min_score: params.share("min_score")?,
        entity: params.entity()?,
    };
    let span = params.span()?;
    let page = inner.ask(move |db| events::list(db, &filter, &span)).await?;
    Ok(views::json(&page.map(|row| views::event(&row))))
}

/// One of them, whole. Several sources may use one id: then the source has to be named.
pub async fn one(State(inner): Shared, Id(id): Id, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let source = params.text("source")?;
    let found = inner
        .ask(move |db| {
            let rows = events::by_id(db, &id, source.as_deref())?;
            let [row] = rows.as_slice() else { return Ok(Err(rows)) };
            let names = events::entities(db, row)?;
            let shown_by = alerts::of_event(db, &row.event_id, &row.source)?;
            let verdicts = labels::in_force(db, &labels::event_target(&row.source, &row.event_id))?;
            Ok(Ok(views::whole_event(row, &names, &shown_by, &verdicts)))
        })
        .await?;
    match found {
        Ok(event) => Ok(views::json(&event)),
        Err(rows) => Err(ambiguous(&rows)),
    }
}

/// None, or more than one.
pub fn ambiguous(rows: &[events::EventRow]) -> Problem {
    if rows.is_empty() {
        return Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such event");
    }
    let sources: Vec<&str> = rows.iter().map(|row| row.source.as_str()).collect();
    let message = format!("several sources have this id, name one as `source`: {}", sources.join(", "));
    Problem::new(StatusCode::CONFLICT, "several_sources", message)
}
