//! The dataflow's metrics: read from its counters at every scrape, so that nothing is counted twice and nothing is kept in step.
//!
//! Deliberately absent: the metrics of gateway, persist and delivery; those parts register their own.

use super::{Metrics, names};
use crate::engine::now_ms;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use pulse_dataflows::detect::Tally;
use pulse_dataflows::epochs::Pace;
use pulse_dataflows::ports::EventLog;
use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is read.
pub struct EngineMetrics {
    tally: Arc<Tally>,
    pace: Arc<Pace>,
    log: Arc<dyn EventLog>,
}

impl std::fmt::Debug for EngineMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> Result<(), Error> {
        f.write_str("EngineMetrics")
    }
}

/// Registers the metrics of a running dataflow.
pub fn register(metrics: &Metrics, tally: Arc<Tally>, pace: Arc<Pace>, log: Arc<dyn EventLog>) {
    let mut registry = metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    registry.register_collector(Box::new(EngineMetrics { tally, pace, log }));
}

impl Collector for EngineMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let (tally, stats) = (&self.tally, self.log.counters());
        let counters = [
            (names::EVENTS_SCORED, "Events scored", read(&tally.scored)),
            (names::EVENTS_LATE, "Events older than the allowed lateness", read(&tally.late)),
            (names::EVENTS_REPEATED, "Events that the dataflow found to be duplicates", read(&tally.duplicates)),
            (
                names::ANOMALIES,
                "Events decided to be anomalies, before they are grouped into alerts",
                read(&tally.anomalies),
            ),
            (names::EVENTS_QUARANTINED, "Events left out because they are in quarantine", read(&tally.quarantined)),
            (names::LOG_COMMITS, "Transactions of the log", stats.commits),
            (names::LOG_SYNCS, "Transactions of the log that were synced", stats.syncs),
            (names::LOG_REFUSED, "Appends refused because queue or disk is full", stats.refused),
            (
                names::LOG_RETRIED,
                "Troubles of the log that were tried again: full disk, brokers that do not answer",
                stats.retried,
            ),
            (names::EPOCHS, "Epochs cut since the log was made", self.pace.newest()),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let watermark_ms = read(&tally.watermark_ms) as i64;
        let lag_s = if watermark_ms == 0 { 0.0 } else { (now_ms() - watermark_ms) as f64 / 1000.0 };
        let in_flight = self.pace.newest().saturating_sub(self.pace.acknowledged());
        let gauges = [
            (names::WATERMARK_LAG, "Wall clock less event time, of the slowest partition", lag_s),
            (names::EPOCHS_IN_FLIGHT, "Epochs whose outputs are not all in the log", in_flight as f64),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let lags = self.log.lags();
        if !lags.is_empty() {
            let help = "Records of an input partition that no epoch names yet";
            let mut family = encoder.encode_descriptor(names::KAFKA_LAG, help, None, MetricType::Gauge)?;
            for (p, lag) in lags {
                let labels = [("topic", p.topic.name().to_owned()), ("partition", p.number.to_string())];
                ConstGauge::new(lag as i64).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
