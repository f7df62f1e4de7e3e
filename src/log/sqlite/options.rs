//! What can be chosen when the log is opened, and the bounds with their reasons.

use super::super::Fatal;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of requests that may wait: two of the largest decompressed bodies (20 MiB) and some; beyond it input is refused.
pub const MAX_QUEUE_BYTES: usize = 48 << 20;
/// Bytes of newest blocks kept in memory for readers, over all partitions: more than workers are ever behind while they
/// keep up (8 epochs of 4,096 events of 1 KiB).
const TAIL_BYTES: usize = 64 << 20;
/// Disk space kept back: the database can grow by what is in the WAL (32 MiB, then it is copied), which can then be cut
/// off; before that the transaction in hand and the outputs of the epochs in flight find room.
const RESERVE_BYTES: u64 = 48 << 20;

/// What is told how a fatal error ends.
type OnFatal = Arc<dyn Fn(Fatal) + Send + Sync>;
/// What is told how long a synced commit took.
type OnSync = Arc<dyn Fn(Duration) + Send + Sync>;

/// Choices when a log is opened; the default is meant for production.
#[derive(Clone)]
pub struct Options {
    /// Bytes of requests that may wait for the writer before input is refused.
    pub queue_bytes: usize,
    /// Bytes of blocks kept in memory for readers, over all partitions.
    pub tail_bytes: usize,
    /// Bytes of disk kept back for the time when the disk is full; 0 = none.
    pub reserve_bytes: u64,
    /// Called when the log cannot go on; by default [`Fatal::end_process`]. If it returns, the log is closed.
    pub fatal: OnFatal,
    /// Called on the writer's thread with the duration of every synced commit (write and sync).
    pub synced: OnSync,
}
impl Default for Options {
    fn default() -> Options {
        Options {
            queue_bytes: MAX_QUEUE_BYTES,
            tail_bytes: TAIL_BYTES,
            reserve_bytes: RESERVE_BYTES,
            fatal: Arc::new(Fatal::end_process),
            synced: Arc::new(|_| {}),
        }
    }
}
