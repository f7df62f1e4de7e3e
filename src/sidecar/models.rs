//! `/models`: what the registry says, and switching.
//!
//! Deliberately absent: how a switch is done.

use super::api::Shared;
use super::params::Id;
use super::{Answer, Inner, views};
use crate::http::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;
use std::sync::Arc;

/// A registry of models, as far as the sidecar asks it. Calls may block.
pub trait Registry: Send + Sync {
    /// All versions, the newest first, as `{"version","aliases",..}`.
    fn list(&self) -> Result<Vec<Value>, String>;
    /// The card of one version; `None`: there is none.
    fn show(&self, version: &str) -> Result<Option<Value>, String>;
    /// Puts a version in force with the next epoch, once its bundle was loaded.
    fn promote(&self, version: &str) -> Result<Value, RegistryRefusal>;
    /// Puts the version in force that was before the current one.
    fn rollback(&self) -> Result<Value, RegistryRefusal>;
}

/// Why a model is not switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryRefusal {
    /// No such version.
    Unknown(String),
    /// Its bundle does not load, or there is nothing to go back to.
    Conflict(String),
    /// Registry or log do not answer.
    Unavailable(String),
}

fn refused(refusal: RegistryRefusal) -> Problem {
    match refusal {
        RegistryRefusal::Unknown(message) => Problem::new(StatusCode::NOT_FOUND, "not_found", message),
        RegistryRefusal::Conflict(message) => Problem::new(StatusCode::CONFLICT, "model_refused", message),
        RegistryRefusal::Unavailable(error) => failed(error),
    }
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

/// Switches to one of them.
pub(super) async fn promote(State(inner): Shared, Id(version): Id) -> Answer {
    switch(&inner, move |registry| registry.promote(&version)).await
}

/// Switches back.
pub(super) async fn rollback(State(inner): Shared) -> Answer {
    switch(&inner, |registry| registry.rollback()).await
}

pub(super) async fn switch(
    inner: &Inner,
    how: impl FnOnce(&dyn Registry) -> Result<Value, RegistryRefusal> + Send + 'static,
) -> Answer {
    let registry = inner.parts.registry.clone().ok_or_else(Problem::not_found)?;
    let done = inner.block(move || how(&*registry).map_err(refused)).await?;
    Ok(views::json(&done))
}
