//! `/rejects`: what was refused and why.

use super::api::Shared;
use super::params::Params;
use super::{Answer, views};
use crate::store::query::rejects;
use axum::extract::State;
use axum::http::Uri;

/// A page of them.
pub async fn list(State(inner): Shared, uri: Uri) -> Answer {
    let mut params = Params::of(&uri)?;
    let code = params.text("code")?;
    let span = params.span()?;
    let page = inner.ask(move |db| rejects::list(db, code.as_deref(), &span)).await?;
    Ok(views::json(&page))
}
