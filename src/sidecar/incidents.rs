//! `/incidents`: lists, one, taking on.

use super::alerts::{Ack, state_filter};
use super::api::{Shared, Who};
use super::params::{Id, Params, Sent};
use super::{Answer, labels, refused, views};
use crate::deliver::outbox;
use crate::http::Problem;
use crate::store::query::{self, alerts, incidents};
use crate::store::{Db, now_ms};
use axum::extract::State;
use axum::http::Uri;
use std::sync::Arc;

/// A page of them.
pub async fn list(State(inner): Shared, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let filter = state_filter(&mut params)?;
    let span = params.span()?;
    let page = inner.ask(move |db| incidents::list(db, &filter, &span)).await?;
    Ok(views::json(&page.map(|row| views::incident(&row, vec![]))))
}

/// One with its time-line and verdicts.
pub async fn one(State(inner): Shared, Id(id): Id) -> Answer {
    let found = inner
        .ask(move |db| {
            let Some(row) = incidents::get(db, &id)? else { return Ok(None) };
            let verdicts = query::labels::in_force(db, &format!("incident:{id}"))?;
            let more =
                vec![("history", views::history(&alerts::history(db, &id)?)), ("verdicts", views::verdicts(&verdicts))];
            Ok(Some(views::incident(&row, more)))
        })
        .await?;
    found.map(|incident| views::json(&incident)).ok_or_else(Problem::not_found)
}

/// Somebody takes it on.
pub async fn ack(State(inner): Shared, Id(id): Id, who: Who, sent: Sent) -> Answer {
    let by = labels::author(sent.json::<Ack>()?.by, &who)?;
    let at = Arc::clone(&inner);
    let ack = move |tx: &Db| {
        outbox::acknowledge(tx, &id)?;
        incidents::ack(tx, &id, &by, now_ms())
    };
    let known = inner.block(move || at.parts.store.write(ack).map_err(|error| refused(&error))).await?;
    if known { Ok(views::json(&serde_json::json!({"status": "acked"}))) } else { Err(Problem::not_found()) }
}
