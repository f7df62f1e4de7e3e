//! `/models`: what the registry says.

use super::api::Shared;
use super::params::Id;
use super::{Answer, views};
use crate::http::Problem;
use axum::extract::State;
use serde_json::Value;
use std::sync::Arc;

/// A registry of models, as far as the sidecar asks it. Calls may block.
pub trait Registry: Send + Sync {
    /// All versions, the newest first, as `{"version","aliases",..}`.
    fn list(&self) -> Result<Vec<Value>, String>;
    /// The card of one version; `None`: there is none.
    fn show(&self, version: &str) -> Result<Option<Value>, String>;
}

fn failed(error: String) -> Problem {
    tracing::warn!(%error, "the model registry does not answer");
    Problem::unavailable("registry_unavailable", "the model registry does not answer", super::RETRY)
}

/// All of them.
pub(super) async fn list(State(inner): Shared) -> Answer {
    let registry = inner.parts.registry.clone();
    let items = inner.block(move || registry.map_or(Ok(vec![]), |registry| registry.list()).map_err(failed)).await?;
    Ok(views::json(&serde_json::json!({"items": items, "next": null})))
}

/// One of them.
pub(super) async fn one(State(inner): Shared, Id(version): Id) -> Answer {
    let registry: Option<Arc<dyn Registry>> = inner.parts.registry.clone();
    let found =
        inner.block(move || registry.map_or(Ok(None), |registry| registry.show(&version)).map_err(failed)).await?;
    found.map(|card| views::json(&card)).ok_or_else(Problem::not_found)
}
