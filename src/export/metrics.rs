//! Metrics of export.

use super::Stream;
use crate::telemetry::{Metrics, names};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Which stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabel {
    stream: &'static str,
}

/// The metrics, registered.
#[derive(Clone, Default)]
pub struct ExportMetrics {
    rows: Family<StreamLabel, Counter>,
    files: Family<StreamLabel, Counter>,
    failures: Counter,
    lost: Counter,
    lag: Gauge,
}

impl ExportMetrics {
    /// Registers; once in a process.
    pub fn register(metrics: &Metrics) -> ExportMetrics {
        let this = ExportMetrics::default();
        let mut registry = metrics.lock().unwrap_or_else(|e| e.into_inner());
        registry.register(names::EXPORT_ROWS, "Rows written to Parquet files", this.rows.clone());
        registry.register(names::EXPORT_FILES, "Parquet files written", this.files.clone());
        registry.register(names::EXPORT_FAILURES, "Rounds of export that did not work", this.failures.clone());
        registry.register(names::EXPORT_LOST, "Records trimmed before they were exported", this.lost.clone());
        registry.register(names::EXPORT_LAG, "Records that are not exported yet", this.lag.clone());
        this
    }
    /// A part is written.
    pub fn written(&self, stream: Stream, rows: u64, files: u64, lost: u64) {
        let label = StreamLabel { stream: stream.name() };
        self.rows.get_or_create(&label).inc_by(rows);
        self.files.get_or_create(&label).inc_by(files);
        self.lost.inc_by(lost);
    }
    /// Records were gone in front of a part.
    pub fn lost(&self, records: u64) {
        self.lost.inc_by(records);
    }
    /// A round did not work.
    pub fn failed(&self) {
        self.failures.inc();
    }
    /// So many records wait.
    pub fn lag(&self, records: u64) {
        self.lag.set(records as i64);
    }
}
