//! Metrics that several parts observe into, registered once for each process: durations of stages and of HTTP requests.
//!
//! No caller's words become labels: routes are patterns, methods and stages are fixed sets.

use super::latency::Latency;
use super::{Metrics, names};
use axum::http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Steps of an event's way; the label `stage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the contract's
pub enum Stage {
    Accept,
    Append,
    Enrich,
    Score,
    Persist,
    Notify,
}
impl Stage {
    /// The label.
    pub fn name(self) -> &'static str {
        ["accept", "append", "enrich", "score", "persist", "notify"][self as usize]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    route: Cow<'static, str>,
    method: &'static str,
    status: u16,
}

/// 0.1 ms to 10 s: from a cached answer to every time-out there is.
const BUCKETS_S: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
fn histogram() -> Histogram {
    Histogram::new(BUCKETS_S)
}
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The shared metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shared {
    stages: Histograms<StageLabel>,
    http: Histograms<HttpLabels>,
    syncs: Histogram,
    /// The same stages as exact histograms.
    pub latency: Arc<Latency>,
}

impl Shared {
    /// Registers them; once for each process.
    pub fn register(metrics: &Metrics) -> Shared {
        let shared = Shared {
            stages: Family::new_with_constructor(histogram as fn() -> Histogram),
            http: Family::new_with_constructor(histogram as fn() -> Histogram),
            syncs: histogram(),
            latency: Arc::default(),
        };
        let mut registry = metrics.lock().unwrap_or_else(|e| e.into_inner());
        registry.register(names::STAGE_DURATION, "Time spent in a stage", shared.stages.clone());
        registry.register(names::LOG_SYNC_DURATION, "Time of a synced transaction of the log", shared.syncs.clone());
        registry.register(names::HTTP_REQUEST_DURATION, "Time to the head of the answer", shared.http.clone());
        shared
    }
    /// One passage of a stage.
    pub fn observe_stage(&self, stage: Stage, took: Duration) {
        self.stages.get_or_create(&StageLabel { stage: stage.name() }).observe(took.as_secs_f64());
        self.latency.record(stage.name(), took);
    }
    /// One synced transaction of the log.
    pub fn observe_sync(&self, took: Duration) {
        self.syncs.observe(took.as_secs_f64());
    }
    /// One answered request. `route` is the pattern, never the path.
    pub fn observe_http(&self, route: &str, method: &Method, status: u16, took: Duration) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::HEAD => "HEAD",
            _ => "other",
        };
        let labels = HttpLabels { route: Cow::Owned(route.to_owned()), method, status };
        self.http.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
