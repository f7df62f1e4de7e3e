//! What a process counts of its dataflow, for telemetry: written by the workers, read by whoever asks.
//!
//! Nothing here is waited for or read by the dataflow, and no result depends on it.
//! Deliberately absent: names of metrics, and clocks: who watches the [`Mark`]s brings one.

use pulse_operators::batch::Batch;
use pulse_operators::entity::KINDS;
use pulse_operators::report::Figures;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where an epoch is on its way through one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The source looks for the next epoch.
    Looked,
    /// It has read and decoded it.
    Taken,
    /// Duplicates are found, entities have answered.
    Enriched,
    /// Scores and decisions are on their way to the log.
    Scored,
}

/// Is told each worker's marks with their epochs (of [`Mark::Looked`] 0), on the worker's thread: must be quick.
pub type Watch = Box<dyn Fn(usize, u64, Mark) + Send + Sync>;

/// Kept and evicted entries of a table, over all workers.
#[derive(Debug, Default)]
pub struct Size {
    /// Kept now.
    pub kept: AtomicU64,
    /// Evicted because their key-group was full.
    pub evicted: AtomicU64,
}
impl Size {
    /// Takes in what changed.
    pub fn add(&self, kept: i64, evicted: u64) {
        self.kept.fetch_add(kept as u64, Relaxed); // wraps around: a negative change is a subtraction
        self.evicted.fetch_add(evicted, Relaxed);
    }
}

/// Counters of a process.
#[derive(Default)]
pub struct Tally {
    /// Duplicates.
    pub duplicates: AtomicU64,
    /// Late events.
    pub late: AtomicU64,
    /// Scored events.
    pub scored: AtomicU64,
    /// Anomalies.
    pub anomalies: AtomicU64,
    /// Events that were left out because they are in quarantine.
    pub quarantined: AtomicU64,
    /// Evaluations of the user's own rules that failed.
    pub rule_failures: AtomicU64,
    /// Watermark, ms since the epoch.
    pub watermark_ms: AtomicU64,
    /// Entities by kind.
    pub entities: [Size; KINDS],
    /// Ids kept to notice duplicates.
    pub ids: Size,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
    reports: Mutex<Figures>,
    model: Mutex<Option<(String, i64)>>,
    watch: OnceLock<Watch>,
}

impl Tally {
    /// From now on marks are told to `watch`; the first to ask is the only one.
    pub fn watch(&self, watch: Watch) {
        let _ = self.watch.set(watch); // see above
    }
    /// A worker is so far with an epoch.
    pub fn mark(&self, worker: usize, epoch: u64, mark: Mark) {
        if let Some(watch) = self.watch.get() {
            watch(worker, epoch, mark);
        }
    }
    /// A batch is decided.
    pub fn decided(&self, batch: &Batch, anomalies: usize) {
        let duplicates = batch.duplicate.iter().filter(|d| **d).count() as u64;
        self.duplicates.fetch_add(duplicates, Relaxed);
        self.late.fetch_add(batch.events.iter().filter(|e| e.late).count() as u64, Relaxed);
        self.scored.fetch_add(batch.scores.iter().flatten().count() as u64, Relaxed);
        self.anomalies.fetch_add(anomalies as u64, Relaxed);
        if let Some(time) = batch.times.iter().map(|t| t.1).min() {
            self.watermark_ms.store(time.max(0) as u64, Relaxed);
        }
        let quarantined = batch.rejected.iter().filter(|r| r.reject.is_quarantined()).count() as u64;
        self.quarantined.fetch_add(quarantined, Relaxed);
        if !batch.rejected.is_empty() {
            let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
            batch.rejected.iter().for_each(|r| *rejected.entry(r.reject.code).or_default() += 1);
        }
        if batch.switched {
            let model = (batch.context.model_version().to_owned(), batch.context.trained_until_ms());
            *self.model.lock().unwrap_or_else(PoisonError::into_inner) = Some(model);
        }
    }
    /// Alerts, incidents and series as they are after an epoch.
    pub fn reported(&self, figures: Figures) {
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
    /// Events refused by the decoder, by code.
    pub fn rejected(&self) -> BTreeMap<&'static str, u64> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// As last reported.
    pub fn reports(&self) -> Figures {
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The model in force: version, and the time of the newest event it was fitted on, ms since the epoch.
    pub fn model(&self) -> Option<(String, i64)> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
