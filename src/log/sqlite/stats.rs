//! What the writer counts. Deliberately absent: metric names and the registry; durations go to `Options::synced`.

use std::sync::atomic::AtomicU64;

/// Counters since the log was opened; gauges where it says so.
#[derive(Debug, Default)]
pub struct Stats {
    /// Transactions committed, trims not counted.
    pub commits: AtomicU64,
    /// Syncs by the writer: synced transactions, and promises of outputs without one.
    pub syncs: AtomicU64,
    /// Requests refused before they reached the writer (queue or disk full, closed).
    pub refused: AtomicU64,
    /// Transactions that had to be tried again (disk full, file locked by someone else).
    pub retried: AtomicU64,
    /// Blocks deleted by trims.
    pub trimmed_blocks: AtomicU64,
    /// Gauge: pages in the WAL after the last commit.
    pub wal_pages: AtomicU64,
}
