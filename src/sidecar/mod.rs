//! The sidecar: what people and their tools ask. [`api`] adds each route to the router and to its description at once,
//! [`params`] checks what comes in, [`views`] gives answers their form; then one file for each kind of thing.
//!
//! Reads the store only, writes verdicts to the log and acknowledgements to the store. Runs beside the data path and is never
//! waited for by it: questions are bounded in number and in time.
//! [`dashboard`] is the pages for people, beside the API. Deliberately absent: events in (the gateway's), what webhooks do (delivery's), tuning.

mod alerts;
pub mod api;
pub mod dashboard;
pub mod erase;
mod events;
mod figures;
mod health;
mod incidents;
mod labels;
mod looks;
pub(crate) use labels::{FromFile, from_file};
pub mod models;
mod params;
mod rejects;
mod take_on;
mod views;

pub use models::{Registry, RegistryRefusal};

use crate::access::Access;
use crate::deliver::Deliver;
use crate::http::Problem;
use crate::http::health::Check;
use crate::http::listen::{self, ListenLimits};
use crate::http::pace::Pace;
use crate::store::{self, Store};
use crate::telemetry::Metrics;
use crate::telemetry::shared::Shared;
use axum::Router;
use pulse_dataflows::ports::EventLog;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Questions asked of the store at a time: more would only wait for the two or so cores there are.
const QUESTIONS: usize = 8;
/// How long a question waits for its turn before the answer is 503.
const TURN: Duration = Duration::from_secs(5);
/// When a client that was refused may come back.
const RETRY: Duration = Duration::from_secs(1);

/// Targets by which the figures are judged, `[kpi]` in the configuration.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KpiTargets {
    /// Alerts a day that people can look at.
    pub alerts_per_day: f64,
    /// Share of alerts that should be right.
    pub precision: f64,
    /// Share of confirmed trouble that should have raised an alert.
    pub recall: f64,
    /// From receipt to the first attempt to send, 99 of 100, seconds.
    pub latency_p99_s: f64,
}
impl Default for KpiTargets {
    fn default() -> Self {
        KpiTargets { alerts_per_day: 20.0, precision: 0.5, recall: 0.8, latency_p99_s: 1.0 }
    }
}

/// Everything the sidecar needs from the process around it.
pub struct Parts {
    /// Where verdicts go, and what the audit reads.
    pub log: Arc<dyn EventLog>,
    /// What is asked.
    pub store: Arc<Store>,
    /// Who may ask.
    pub access: Arc<Access>,
    /// The process's metrics.
    pub metrics: Metrics,
    /// Its shared metrics and latencies.
    pub shared: Shared,
    /// Models, when there is a registry.
    pub registry: Option<Arc<dyn Registry>>,
    /// Delivery, when there is one: its routes are served and described with the others.
    pub webhooks: Option<Arc<Deliver>>,
    /// Targets of the figures.
    pub targets: KpiTargets,
    /// How the shop writes amounts and times.
    pub style: crate::insights::Style,
    /// Checks of `/readyz`.
    pub checks: Vec<Check>,
    /// What pages show of the process around them.
    pub dashboard: dashboard::Surroundings,
}

/// What the handlers share.
pub(crate) struct Inner {
    parts: Parts,
    questions: Arc<Semaphore>,
    /// One audit at a time: it reads the whole log.
    audit: Arc<Semaphore>,
    /// Who comes in to the pages.
    door: dashboard::Door,
    openapi: String,
}
type Answer = Result<axum::response::Response, Problem>;

impl Inner {
    /// Asks the store on a thread that may block.
    async fn ask<R: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&store::Db) -> store::Result<R> + Send + 'static,
    ) -> Result<R, Problem> {
        let inner = Arc::clone(self);
        self.block(move || inner.parts.store.read(question).map_err(|error| refused(&error))).await
    }

    /// Does something that blocks, in its turn.
    async fn block<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<R, Problem> + Send + 'static,
    ) -> Result<R, Problem> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.questions).acquire_owned()).await;
        let Ok(Ok(permit)) = turn else {
            return Err(Problem::unavailable("busy", "too many questions at once", RETRY));
        };
        let done = tokio::task::spawn_blocking(move || {
            let answer = work();
            drop(permit);
            answer
        });
        done.await.unwrap_or_else(|_| Err(Problem::unavailable("internal", "the question failed", RETRY)))
    }
}

/// What a client is told when the store does not answer; the reason goes to the process's own log.
fn refused(error: &store::Error) -> Problem {
    if store::too_slow(error) {
        return Problem::unavailable("query_too_slow", "this takes too long: narrow it with from and to", RETRY);
    }
    tracing::warn!(%error, "the store does not answer");
    Problem::unavailable("store_unavailable", "the store does not answer at the moment", RETRY)
}

/// The routes.
pub fn router(parts: Parts) -> Router {
    api::build(parts)
}

/// Bounds of the sidecar's connections: people and dashboards, not shops. A page that loads itself again every five seconds
/// keeps its connection.
pub const LISTEN: ListenLimits = ListenLimits {
    connections: 256,
    pace: Pace { header: Duration::from_secs(10), idle: Duration::from_secs(30), write: Duration::from_secs(30) },
    drain: Duration::from_secs(5),
};

/// Serves until `shutdown`.
pub async fn serve(parts: Parts, listener: TcpListener, shutdown: CancellationToken) {
    listen::serve(listener, router(parts), LISTEN, shutdown).await;
}
