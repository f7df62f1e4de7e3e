//! What persist counts: records, and the alerts and incidents among them, each once, whatever was read again after a crash.
//!
//! Labels are from fixed sets: what is not in them is `other`.

use super::decode::Notice;
use super::gather::Batch;
use super::write::Written;
use crate::telemetry::{Metrics, names};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use std::sync::PoisonError;

const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];
/// Reasons why an alert is not sent (`alert::suppress` in the operators gives the first two).
const REASONS: [&str; 6] = ["budget", "old", "incident", "snooze", "calendar", "canary"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
    severity: &'static str,
}
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

fn one_of(known: &[&'static str], text: &str) -> &'static str {
    known.iter().find(|name| **name == text).copied().unwrap_or("other")
}

/// Counters of persist.
#[derive(Clone, Default)]
pub struct Counters {
    /// Records behind the end of the topics.
    pub lag: Gauge,
    /// Batches tried again.
    pub retries: Counter,
    records: Counter,
    repeats: Counter,
    lost: Counter,
    alerts: Family<Kind, Counter>,
    suppressed: Family<Reason, Counter>,
}

impl Counters {
    /// Registers them.
    pub fn register(metrics: &Metrics, store_up: Gauge) -> Counters {
        let counters = Counters::default();
        let mut registry = metrics.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(names::PERSIST_LAG, "Records behind the end of the topics", counters.lag.clone());
        registry.register(names::STORE_UP, "1 while the store answers", store_up);
        registry.register(names::PERSIST_RECORDS, "Records written to the store", counters.records.clone());
        registry.register(names::PERSIST_REPEATS, "Records left out as repeats", counters.repeats.clone());
        registry.register(names::PERSIST_RETRIES, "Batches tried again", counters.retries.clone());
        registry.register(names::PERSIST_LOST, "Records trimmed before they were read", counters.lost.clone());
        registry.register(names::ALERTS, "Alerts and incidents opened", counters.alerts.clone());
        registry.register(
            names::ALERTS_SUPPRESSED,
            "Alerts opened that nobody is told of, by reason",
            counters.suppressed.clone(),
        );
        counters
    }

    /// A batch is in the store.
    pub fn add(&self, batch: &Batch, written: &Written) {
        self.records.inc_by((batch.taken - batch.repeats) as u64 - written.repeats);
        self.repeats.inc_by(batch.repeats as u64 + written.repeats);
        self.lost.inc_by(batch.lost);
        for (history, notice) in written.notices.iter().filter_map(|place| batch.alerts.get(*place)) {
            let (kind, severity) = match (history.kind.as_str(), notice) {
                ("anomaly.opened", Notice::Alert(row)) => ("anomaly", row.severity.as_str()),
                ("incident.opened", Notice::Incident(row)) => ("incident", row.severity.as_str()),
                ("silence.detected", Notice::Incident(row)) => ("silence", row.severity.as_str()),
                _ => continue,
            };
            self.alerts.get_or_create(&Kind { kind, severity: one_of(&SEVERITIES, severity) }).inc();
            if let Notice::Alert(row) = notice
                && let Some(reason) = &row.suppressed
            {
                self.suppressed.get_or_create(&Reason { reason: one_of(&REASONS, reason) }).inc();
            }
        }
    }
}
