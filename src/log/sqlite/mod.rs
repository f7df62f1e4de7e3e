//! The embedded log: all partitions of all topics in ONE SQLite file (WAL), one writer thread, one owner at a time.
//!
//! * `queue`: waiting requests, bounded. `writer`: takes ALL that wait into one transaction (group commit: N callers pay
//!   for one sync), with the sequencer's entries. `file`: tables, connections, opening and the fence.
//! * Only transactions that promise durability are synced. Outputs lie in the same WAL in front of the next synced one,
//!   so a loss of power cuts off a tail and never makes a hole.
//! * After a commit, in this order: blocks go to the `tail` in memory, `end` moves, readers are woken, callers answered.
//! * An owner holds the directory's lock and has appended a fence. A writer that finds that another connection has
//!   committed since (`PRAGMA data_version`) is fenced and ends its process. Others may only read: `follow`.
//! * `reserve`: disk space kept for the day the disk is full: what was taken in is finished, what comes is refused.
//! * `copy`: a copy of the file beside its owner.
//! * `reader`, `search` (offset for a time), `trim`: short transactions only, or the WAL could not be copied back.
//!
//! Deliberately absent: shrinking the file (trimmed pages are used again), and any retry of a failed sync.

mod copy;
mod file;
mod follow;
mod options;
mod queue;
mod reader;
mod reserve;
mod search;
mod stats;

mod trim;
mod writer;

pub use copy::{Extent, copy};
pub use file::FORMAT;
pub use options::{MAX_QUEUE_BYTES, Options};
pub use stats::Stats;

use super::lock::DirLock;
use super::{Fatal, OpenError, Subscribers, locked};
use crate::wal::Copier;
use file::{Opened, Place};
use pulse_dataflows::ports::{Counters, EventLog, Hook, LogError, LogReader, Partition, Request, Topic};
use queue::Queue;
use reserve::Reserve;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use writer::Writer;

/// What the log, its writer and its readers share.
pub(crate) struct Shared {
    path: PathBuf,
    layout: super::layout::Layout,
    places: Vec<Place>,
    generation: u64,
    options: Options,
    queue: Queue,
    hook: Mutex<Option<Box<dyn Hook>>>,
    subscribers: Subscribers,
    stats: Stats,
    /// The owner's WAL, to sync it beside the writer. One handle for the whole time: an error of the device is told to
    /// every open handle once.
    wal: Option<File>,
}
impl Shared {
    fn place(&self, partition: Partition) -> Option<&Place> {
        self.layout.find(partition).and_then(|at| self.places.get(at))
    }
}

/// An embedded durable log in one file.
pub struct SqliteLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<DirLock>>,
}

impl SqliteLog {
    /// Opens the log as its owner; makes it when it is not there. The number of partitions must be the one it was made
    /// with. The directory of `path` is locked until [`SqliteLog::close`].
    pub fn open(path: &Path, partitions: u16, options: Options) -> Result<Arc<SqliteLog>, OpenError> {
        if partitions == 0 {
            return Err(OpenError::NoPartitions);
        }
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let lock = DirLock::acquire(dir)?;
        let opened = match file::open_owner(path, partitions) {
            Err(OpenError::Sqlite(e)) if writer::no_space(&e) && Reserve::release(path) => {
                file::open_owner(path, partitions)?
            }
            opened => opened?,
        };
        File::open(dir)?.sync_all()?; // the file's name must survive too
        let (mut db, version) = (opened.db, opened.version);
        let copier = Copier::start(path, &mut db, "log-copy")?;
        let (reserve, whole) = Reserve::open(path, options.reserve_bytes);
        let shared = Arc::new(Shared {
            path: path.into(),
            layout: opened.layout,
            places: opened.places,
            generation: opened.generation,
            queue: Queue::new(options.queue_bytes),
            options,
            hook: Mutex::default(),
            subscribers: Subscribers::default(),
            stats: Stats::default(),
            wal: Some(File::open(file::wal_path(path))?),
        });
        if !whole {
            shared.queue.refuse(Some("the disk is full".into()));
        }
        let writer = Writer::new(shared.clone(), db, version, copier, reserve, opened.newest_ms);
        let thread = thread::Builder::new().name("log-writer".into()).spawn(move || run(writer))?;
        Ok(Arc::new(SqliteLog { shared, writer: Mutex::new(Some(thread)), lock: Mutex::new(Some(lock)) }))
    }
    /// Opens the log to read, beside a running owner or without one. `end` and `start` follow the file every 20 ms.
    /// Appends, trims and syncs are refused; a hook never runs.
    pub fn open_reader(path: &Path) -> Result<Arc<SqliteLog>, OpenError> {
        let Opened { layout, places, db, .. } = file::open_reader(path)?;
        let shared = Arc::new(Shared {
            path: path.into(),
            layout,
            places,
            generation: 0,
            options: Options::default(),
            queue: Queue::new(0),
            hook: Mutex::default(),
            subscribers: Subscribers::default(),
            stats: Stats::default(),
            wal: None,
        });
        shared.queue.close("the log is opened to read");
        follow::start(db, &shared)?;
        Ok(Arc::new(SqliteLog { shared, writer: Mutex::default(), lock: Mutex::default() }))
    }
    /// Counters of the writer.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }
    /// Bytes of requests that wait for the writer.
    pub fn queue_bytes(&self) -> usize {
        self.shared.queue.bytes()
    }
    /// Is input refused at the moment (disk full), and why?
    pub fn refusing(&self) -> Option<String> {
        self.shared.queue.refusing()
    }
    /// Takes nothing more, finishes what waits, and gives the directory free. Must not be called from an acknowledgement.
    pub fn close(&self) {
        self.shared.queue.close("the log is closed");
        let writer = locked(&self.writer).take();
        if let Some(writer) = writer.filter(|w| w.thread().id() != thread::current().id()) {
            let _ = writer.join(); // it cannot panic: `run` catches
        }
        locked(&self.lock).take();
    }
}
impl Drop for SqliteLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// The writer's thread: whatever ends it before the log is closed is fatal.
fn run(mut writer: Writer) {
    let shared = writer.shared.clone();
    let outcome = catch_unwind(AssertUnwindSafe(|| writer.run()))
        .unwrap_or_else(|_| Err(Fatal::Failed("the writer panicked".into())));
    // First the process, then those who wait: none of them shall act on a log that has failed.
    if let Err(fatal) = outcome {
        (shared.options.fatal)(fatal);
    }
    shared.queue.close("the log is closed");
    shared.queue.clear();
}

impl EventLog for SqliteLog {
    fn partitions(&self, topic: Topic) -> u16 {
        self.shared.layout.count(topic)
    }
    fn generation(&self) -> u64 {
        self.shared.generation
    }
    fn append(&self, request: Request) {
        if let Err((ack, error)) = self.shared.queue.push(request) {
            self.shared.stats.refused.fetch_add(1, Relaxed);
            if let Some(ack) = ack {
                ack(Err(error));
            }
        }
    }
    fn start(&self, partition: Partition) -> u64 {
        self.shared.place(partition).map_or(0, |place| place.start.load(Acquire))
    }
    fn end(&self, partition: Partition) -> u64 {
        self.shared.place(partition).map_or(0, |place| place.end.load(Acquire))
    }
    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(reader::SqliteReader::new(self.shared.clone()))
    }
    fn offset_for_time(&self, partition: Partition, time_ms: i64) -> Result<u64, LogError> {
        let at = self.shared.layout.place(partition)?;
        search::offset_for_time(&self.shared.path, &self.shared.places[at], time_ms)
    }
    fn subscribe(&self, topics: &[Topic], wake: Box<dyn Fn() + Send + Sync>) {
        self.shared.subscribers.add(topics, wake);
    }
    fn trim(&self, partition: Partition, offset: u64) -> Result<(), LogError> {
        let at = self.shared.layout.place(partition)?;
        self.shared.queue.trim(at, offset)
    }
    fn sync(&self) -> Result<(), LogError> {
        let Some(wal) = &self.shared.wal else {
            return Err(LogError::Unavailable("the log is opened to read".into()));
        };
        // A sync holds for the file, whoever asks for it; the writer goes on meanwhile. What is no longer in the WAL was
        // synced with the database when it was copied there.
        wal.sync_data().map_err(|e| {
            (self.shared.options.fatal)(Fatal::Failed(format!("sync: {e}")));
            self.shared.queue.close("the log is closed");
            LogError::Unavailable(format!("sync: {e}"))
        })
    }
    fn install(&self, hook: Box<dyn Hook>) {
        *locked(&self.shared.hook) = Some(hook);
        self.nudge();
    }
    fn nudge(&self) {
        self.shared.queue.nudge();
    }
    fn close(&self) {
        SqliteLog::close(self);
    }
    fn counters(&self) -> Counters {
        let stats = &self.shared.stats;
        Counters {
            commits: stats.commits.load(Relaxed),
            syncs: stats.syncs.load(Relaxed),
            refused: stats.refused.load(Relaxed),
            retried: stats.retried.load(Relaxed),
            waiting_bytes: self.shared.queue.bytes() as u64,
            wal_pages: stats.wal_pages.load(Relaxed),
        }
    }
}
