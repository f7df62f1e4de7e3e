//! *Models*: what is in force, what was learnt and how it compared, switching and going back.

use super::frame::{self, Here, escaped};
use super::gate::{self, Visit};
use super::{Page, Seen, alert::pretty};
use crate::access::users::Role;
use crate::http::Problem;
use crate::sidecar::Inner;
use crate::sidecar::api::Shared;
use crate::sidecar::models as registry;
use crate::sidecar::params::Id;
use axum::extract::{Extension, State};
use maud::{Markup, html};
use serde_json::Value;
use std::sync::Arc;

/// Versions that are shown, the newest first.
const SHOWN: usize = 20;

/// `GET /models`
pub async fn page(State(inner): Shared, Extension(visit): Seen) -> Page {
    let items = listed(&inner).await?;
    let content = html! {
        h1 { "Models" }
        @if items.is_empty() { section.card { (frame::empty("This process has no registry of models.")) } }
        @for item in items.iter().take(SHOWN) { (card(&visit, item)) }
        (frame::button(&visit, Role::Admin, "/models/rollback", "Back to the one before", &[]))
        p.dim { "A switch takes effect with the next epoch, on all workers at once. " code { "pulse model list" } " says the same." }
    };
    Ok(frame::page(&visit, Here::Models, "Models", None, content))
}

async fn listed(inner: &Arc<Inner>) -> Result<Vec<Value>, Problem> {
    let Some(registry) = inner.parts.registry.clone() else { return Ok(vec![]) };
    inner
        .block(move || {
            registry.list().map_err(|error| {
                tracing::warn!(%error, "the model registry does not answer");
                Problem::unavailable("registry_unavailable", "the model registry does not answer", super::super::RETRY)
            })
        })
        .await
}

fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A value of a card in a line; what is long stands below as JSON.
fn short(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.len() <= 200 => Some(text.clone()),
        Value::Number(number) => Some(number.as_f64().map_or_else(|| number.to_string(), super::words::number)),
        Value::Bool(yes) => Some(if *yes { "yes".into() } else { "no".into() }),
        _ => None,
    }
}

fn card(visit: &Visit, item: &Value) -> Markup {
    let version = text(item, "version");
    let in_force = item.get("in_force").and_then(Value::as_bool).unwrap_or(false);
    let shown = |name: &str| !["version", "in_force", "aliases"].contains(&name);
    let lines: Vec<(String, String)> = item
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| shown(name))
        .filter_map(|(name, value)| Some((name.replace('_', " "), short(value)?)))
        .collect();
    html! {
        section.card data-version=(version) aria-label=(version) {
            h2 { (version) " "
                @for alias in item.get("aliases").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                    span.badge.ok[alias == "champion"] { (alias) } " "
                }
            }
            @if in_force { p { "In force: it scores what comes in now." } }
            dl.facts { @for (name, value) in &lines { dt { (name) } dd { (value) } } }
            details { summary { "The whole card" } pre tabindex="0" { code { (pretty(&item.to_string())) } } }
            @if !in_force && item.get("error").is_none() {
                (frame::button(visit, Role::Admin, &format!("/models/{}/promote", escaped(version)), "Put in force", &[]))
            }
        }
    }
}

/// `POST /models/{version}/promote`
pub async fn promote(State(inner): Shared, Extension(visit): Seen, Id(version): Id) -> Page {
    tracing::info!(by = visit.name(), version, "a model is promoted on the dashboard");
    registry::switch(&inner, move |registry| registry.promote(&version)).await?;
    Ok(gate::see_other("/models"))
}

/// `POST /models/rollback`
pub async fn rollback(State(inner): Shared, Extension(visit): Seen) -> Page {
    tracing::info!(by = visit.name(), "the model is rolled back on the dashboard");
    registry::switch(&inner, |registry| registry.rollback()).await?;
    Ok(gate::see_other("/models"))
}
