//! The dataflow's metrics: read from its counters at every scrape, so that nothing is counted twice and nothing is kept in step.
//!
//! Deliberately absent: the metrics of gateway, persist and delivery; those parts register their own.

use super::{Metrics, names};
use crate::engine::checkpointer::Checkpoints;
use crate::engine::{Engine, now_ms};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use pulse_dataflows::epochs::Pace;
use pulse_dataflows::ports::EventLog;
use pulse_dataflows::tally::Tally;
use pulse_operators::decide::kind_name;
use pulse_operators::entity::TABLES;
use pulse_operators::record::EntityKind;
use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is read.
struct EngineMetrics {
    tally: Arc<Tally>,
    pace: Arc<Pace>,
    checkpoints: Arc<Checkpoints>,
    log: Arc<dyn EventLog>,
}

impl std::fmt::Debug for EngineMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> Result<(), Error> {
        f.write_str("EngineMetrics")
    }
}

/// Registers the metrics of a running dataflow and its log.
pub fn register(metrics: &Metrics, engine: &Engine, log: Arc<dyn EventLog>) {
    let (tally, pace) = (engine.tally().clone(), engine.pace().clone());
    let checkpoints = engine.checkpoints().clone();
    let mut registry = metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seconds = checkpoints.seconds.clone();
    registry.register(names::CHECKPOINT_DURATION, "From the first copy of a checkpoint to its manifest", seconds);
    registry.register_collector(Box::new(EngineMetrics { tally, pace, checkpoints, log }));
}

fn read(n: &AtomicU64) -> u64 {
    n.load(Ordering::Relaxed)
}
fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    let counter = ConstCounter::new(value);
    counter.encode(out.encode_descriptor(name, help, None, counter.metric_type())?)
}
fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> Result<(), Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(out.encode_descriptor(name, help, None, gauge.metric_type())?)
}
/// Counters that differ by one label.
fn counters<'a>(
    out: &mut DescriptorEncoder<'_>,
    (name, label): (&str, &'static str),
    help: &str,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> Result<(), Error> {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (of, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&[(label, of)])?)?;
    }
    Ok(())
}

impl EngineMetrics {
    fn events(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let (tally, scored, anomalies) = (&self.tally, read(&self.tally.scored), read(&self.tally.anomalies));
        let decisions = [("anomaly", anomalies), ("normal", scored.saturating_sub(anomalies))];
        counters(out, (names::EVENTS_SCORED, "decision"), "Events scored", decisions.into_iter())?;
        let rejected = tally.rejected();
        let help = "Events in the log that the dataflow could not take up";
        counters(out, (names::EVENTS_UNREADABLE, "code"), help, rejected.iter().map(|(code, n)| (*code, *n)))?;
        let help = "Events that the dataflow found to be duplicates";
        counter(out, names::EVENTS_REPEATED, help, read(&tally.duplicates))?;
        counter(out, names::EVENTS_LATE, "Events older than the allowed lateness", read(&tally.late))?;
        let help = "Events left out because they are in quarantine";
        counter(out, names::EVENTS_QUARANTINED, help, read(&tally.quarantined))?;
        let help = "Evaluations of custom rules that failed: they have not fired";
        counter(out, names::RULE_FAILURES, help, read(&tally.rule_failures))?;
        let watermark_ms = read(&tally.watermark_ms) as i64;
        let lag_s = if watermark_ms == 0 { 0.0 } else { (now_ms() - watermark_ms) as f64 / 1000.0 };
        gauge(out, names::WATERMARK_LAG, "Wall clock less event time, of the slowest partition", lag_s)
    }

    fn state(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let kinds = || TABLES.into_iter().chain([EntityKind::Series]).map(kind_name);
        let sizes = || kinds().zip(&self.tally.entities);
        let mut family = out.encode_descriptor(names::ENTITIES, "Entities that keep state", None, MetricType::Gauge)?;
        for (kind, size) in sizes() {
            let kept = ConstGauge::new(read(&size.kept) as f64);
            kept.encode(family.encode_family(&[("kind", kind)])?)?;
        }
        let evicted = sizes().map(|(kind, size)| (kind, read(&size.evicted)));
        let help = "Entities forgotten because their key-group was full";
        counters(out, (names::ENTITIES_EVICTED, "kind"), help, evicted)?;
        let (kept, evicted) = (read(&self.tally.ids.kept), read(&self.tally.ids.evicted));
        gauge(out, names::DUPLICATE_IDS, "Ids kept to notice duplicates", kept as f64)?;
        let help = "Ids forgotten before their time because their key-group was full";
        counter(out, names::DUPLICATE_IDS_EVICTED, help, evicted)?;
        let reports = self.tally.reports();
        gauge(out, names::ALERTS_OPEN, "Alerts that are open", reports.open_alerts as f64)?;
        gauge(out, names::INCIDENTS_OPEN, "Incidents that are open", reports.open_incidents as f64)?;
        let help = "Findings that the budget of incidents held back";
        counter(out, names::INCIDENTS_HELD_BACK, help, reports.incidents_held_back)?;
        gauge(out, names::SERIES_SEGMENTS, "Segments with series of their own", reports.segments as f64)?;
        let series = reports.series;
        let left_out = [("no_place", series.folded), ("too_late", series.too_late), ("too_many", series.too_many)];
        let help = "Points that no series took, by reason";
        counters(out, (names::SERIES_OVERFLOW, "reason"), help, left_out.into_iter())
    }

    fn model(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some((version, trained_until_ms)) = self.tally.model() else { return Ok(()) };
        let info = ConstGauge::new(1.0);
        let mut family = out.encode_descriptor(names::MODEL_INFO, "The model in force", None, info.metric_type())?;
        info.encode(family.encode_family(&[("version", version.as_str()), ("alias", "champion")])?)?;
        let help = "Newest event that the model in force was fitted on";
        gauge(out, names::MODEL_TRAINED, help, trained_until_ms as f64 / 1000.0)
    }

    fn checkpoints(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let of = &self.checkpoints;
        let outcomes =
            [("written", read(&of.written)), ("failed", read(&of.failed)), ("passed_over", read(&of.passed_over))];
        counters(out, (names::CHECKPOINTS, "outcome"), "Checkpoints", outcomes.into_iter())?;
        gauge(out, names::CHECKPOINT_BYTES, "Bytes of the newest checkpoint's object", read(&of.bytes) as f64)?;
        let newest_s = read(&of.newest_ms) as f64 / 1000.0;
        gauge(out, names::CHECKPOINT_NEWEST, "When the newest checkpoint was complete; 0: none yet", newest_s)
    }

    fn log(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let stats = self.log.counters();
        counter(out, names::LOG_COMMITS, "Transactions of the log", stats.commits)?;
        counter(out, names::LOG_SYNCS, "Transactions of the log that were synced", stats.syncs)?;
        counter(out, names::LOG_REFUSED, "Appends refused because queue or disk is full", stats.refused)?;
        let help = "Troubles of the log that were tried again: full disk, brokers that do not answer";
        counter(out, names::LOG_RETRIED, help, stats.retried)?;
        gauge(out, names::LOG_QUEUE_BYTES, "Bytes that wait for the log's writer", stats.waiting_bytes as f64)?;
        gauge(out, names::LOG_WAL_PAGES, "Pages in the log's write-ahead file", stats.wal_pages as f64)?;
        counter(out, names::EPOCHS, "Epochs cut since the log was made", self.pace.newest())?;
        let in_flight = self.pace.newest().saturating_sub(self.pace.acknowledged());
        gauge(out, names::EPOCHS_IN_FLIGHT, "Epochs whose outputs are not all in the log", in_flight as f64)?;
        self.lags(out)
    }

    fn lags(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let lags = self.log.lags();
        if lags.is_empty() {
            return Ok(());
        }
        let help = "Records of an input partition that no epoch names yet";
        let mut family = out.encode_descriptor(names::KAFKA_LAG, help, None, MetricType::Gauge)?;
        for (p, lag) in lags {
            let labels = [("topic", p.topic.name().to_owned()), ("partition", p.number.to_string())];
            ConstGauge::new(lag as i64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for EngineMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        self.events(&mut encoder)?;
        self.state(&mut encoder)?;
        self.model(&mut encoder)?;
        self.checkpoints(&mut encoder)?;
        self.log(&mut encoder)
    }
}
