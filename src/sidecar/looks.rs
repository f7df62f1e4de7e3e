//! `/access-log`: who looked at what of persons.

use super::api::Shared;
use super::params::{Params, bad};
use super::{Answer, views};
use crate::access::looks;
use axum::extract::State;
use axum::http::Uri;

/// Rows of an answer, without and at most with `limit`.
const LIMIT: (i64, i64) = (100, 1_000);

/// The latest.
pub async fn list(State(inner): Shared, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let who = params.text("who")?;
    let entity = params.entity()?.map(|(name, id)| format!("{name}:{id}"));
    let limit = match params.text("limit")? {
        None => LIMIT.0,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=LIMIT.1).contains(limit));
            limit.ok_or_else(|| bad("limit", format!("a whole number from 1 to {}", LIMIT.1)))?
        }
    };
    let items = inner.ask(move |db| looks::latest(db, who.as_deref(), entity.as_deref(), limit)).await?;
    Ok(views::json(&serde_json::json!({"items": items, "next": null})))
}
