//! Metrics of delivery.

use super::schedule::Outcome;
use crate::telemetry::{Metrics, names};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// Labels of an endpoint; their number is bounded by [`super::endpoint::MAX_ENDPOINTS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndpointLabel {
    endpoint: String,
}
/// Labels of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabel {
    endpoint: String,
    outcome: &'static str,
}
/// Why a record was left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SkipLabel {
    reason: &'static str,
}

/// The metrics, registered.
#[derive(Clone)]
pub struct DeliverMetrics {
    attempts: Family<AttemptLabel, Counter>,
    queue_depth: Family<EndpointLabel, Gauge>,
    dead: Family<EndpointLabel, Gauge>,
    enabled: Family<EndpointLabel, Gauge>,
    skipped: Family<SkipLabel, Counter>,
    lag: Gauge,
    ingest_to_alert: Histogram,
}

impl DeliverMetrics {
    /// Registers.
    pub fn register(metrics: &Metrics) -> DeliverMetrics {
        // 1 ms to 2 minutes: the target is 100 ms at the 95th percentile, a restart shows in the upper buckets.
        let buckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 120.0];
        let this = DeliverMetrics {
            attempts: Family::default(),
            queue_depth: Family::default(),
            dead: Family::default(),
            enabled: Family::default(),
            skipped: Family::default(),
            lag: Gauge::default(),
            ingest_to_alert: Histogram::new(buckets),
        };
        let mut registry = metrics.lock().unwrap_or_else(|e| e.into_inner());
        registry.register(names::WEBHOOK_ATTEMPTS, "Attempts by endpoint and outcome", this.attempts.clone());
        registry.register(
            names::WEBHOOK_QUEUE_DEPTH,
            "Messages that wait or are on their way",
            this.queue_depth.clone(),
        );
        registry.register(names::WEBHOOK_DEAD_LETTERS, "Messages given up, kept for replay", this.dead.clone());
        registry.register(names::WEBHOOK_ENDPOINT_ENABLED, "1: sent to, 0: disabled", this.enabled.clone());
        registry.register(names::WEBHOOK_RECORDS_SKIPPED, "Alert records that were not sent", this.skipped.clone());
        registry.register(names::WEBHOOK_LAG, "Alert records that delivery has not looked at", this.lag.clone());
        registry.register(
            names::INGEST_TO_ALERT_DURATION,
            "From receipt of the event to its first webhook request written",
            this.ingest_to_alert.clone(),
        );
        this
    }
    /// An attempt ended.
    pub fn attempt(&self, endpoint: &str, outcome: Outcome) {
        self.attempts.get_or_create(&AttemptLabel { endpoint: endpoint.into(), outcome: outcome.name() }).inc();
    }
    /// What an endpoint's outbox looks like.
    pub fn endpoint(&self, endpoint: &str, pending: u64, dead: u64, enabled: bool) {
        let label = EndpointLabel { endpoint: endpoint.into() };
        self.queue_depth.get_or_create(&label).set(pending as i64);
        self.dead.get_or_create(&label).set(dead as i64);
        self.enabled.get_or_create(&label).set(i64::from(enabled));
    }
    /// Forgets a deleted endpoint.
    pub fn remove(&self, endpoint: &str) {
        let label = EndpointLabel { endpoint: endpoint.into() };
        self.queue_depth.remove(&label);
        self.dead.remove(&label);
        self.enabled.remove(&label);
    }
    /// A record was left out (`malformed`, `repeat`, `trimmed`).
    pub fn skipped(&self, reason: &'static str, count: u64) {
        self.skipped.get_or_create(&SkipLabel { reason }).inc_by(count);
    }
    /// So many records wait to be looked at.
    pub fn lag(&self, records: u64) {
        self.lag.set(records as i64);
    }
    /// A first request was written so many seconds after the receipt of its event.
    pub fn ingest_to_alert(&self, seconds: f64) {
        self.ingest_to_alert.observe(seconds);
    }
}
