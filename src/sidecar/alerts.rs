//! `/alerts`: lists, one, taking on.

use super::api::{Shared, Who};
use super::params::{Id, Params, Sent};
use super::{Answer, labels, refused, views};
use crate::deliver::outbox;
use crate::http::Problem;
use crate::store::query::alerts::{self, StateFilter};
use crate::store::{Db, now_ms, query};
use axum::extract::State;
use axum::http::Uri;
use serde::Deserialize;
use std::sync::Arc;

/// Status and severity of a list, also of incidents.
pub fn state_filter(params: &mut Params) -> Result<StateFilter, Problem> {
    Ok(StateFilter {
        status: params.one_of("status", &["open", "resolved"])?,
        severity: params.one_of("severity", &["info", "warning", "critical"])?,
    })
}

/// A page of them.
pub async fn list(State(inner): Shared, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let filter = state_filter(&mut params)?;
    let span = params.span()?;
    let page = inner.ask(move |db| alerts::list(db, &filter, &span)).await?;
    Ok(views::json(&page.map(|row| views::alert(&row, vec![]))))
}

/// One with its time-line and verdicts.
pub async fn one(State(inner): Shared, Id(id): Id) -> Answer {
    let found = inner
        .ask(move |db| {
            let Some(row) = alerts::get(db, &id)? else { return Ok(None) };
            let verdicts = query::labels::in_force(db, &format!("alert:{id}"))?;
            let more =
                vec![("history", views::history(&alerts::history(db, &id)?)), ("verdicts", views::verdicts(&verdicts))];
            Ok(Some(views::alert(&row, more)))
        })
        .await?;
    found.map(|alert| views::json(&alert)).ok_or_else(Problem::not_found)
}

/// Who takes it on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// A name; the key's prefix when absent.
    pub by: Option<String>,
}

/// Somebody takes it on.
pub async fn ack(State(inner): Shared, Id(id): Id, who: Who, sent: Sent) -> Answer {
    let by = labels::author(sent.json::<Ack>()?.by, &who)?;
    let at = Arc::clone(&inner);
    let ack = move |tx: &Db| {
        outbox::acknowledge(tx, &id)?;
        alerts::ack(tx, &id, &by, now_ms())
    };
    let known = inner.block(move || at.parts.store.write(ack).map_err(|error| refused(&error))).await?;
    if known { Ok(views::json(&serde_json::json!({"status": "acked"}))) } else { Err(Problem::not_found()) }
}
