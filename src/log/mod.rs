//! The event log behind the port `EventLog`: [`sqlite`] (one file, embedded default), [`kafka`] (brokers) and [`memory`] (tests,
//! backtest).
//!
//! Shared: [`tail`] (newest blocks in memory), [`batch`] (waiting requests and the sequencer's entries become one transaction), [`layout`] (topics and
//! partitions numbered through), [`lock`] (one owner for each data directory) and [`retention`] (how far to trim).
//! Deliberately absent: what the records mean, who decides the epochs, networking, and retries of refused requests.

pub(crate) mod batch;
pub mod kafka;
pub(crate) mod layout;
pub mod lock;
pub mod memory;
pub mod retention;
pub mod sqlite;
pub(crate) mod tail;
pub mod which;

#[cfg(feature = "kafka")]
pub use kafka::KafkaLog;
pub use memory::MemoryLog;
pub use sqlite::{Options, SqliteLog};

use pulse_dataflows::ports::Topic;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns the data directory. The caller chooses the exit code.
    #[error("the data directory {dir} is in use by process {owner}: stop it first, or use another directory")]
    Locked {
        /// The directory.
        dir: String,
        /// Its owner's process id, or "unknown".
        owner: String,
    },
    /// The number of partitions is fixed when the log is made: keys would move, and with them the order.
    #[error("the log has {stored} partitions, asked for {asked}: the number cannot change")]
    Partitions {
        /// In the file.
        stored: u16,
        /// Asked for.
        asked: u16,
    },
    /// Asked for none.
    #[error("a log needs at least one partition")]
    NoPartitions,
    /// Written by another version, or not a log.
    #[error("not a log this version can read: format {0}, this is {current}", current = sqlite::FORMAT)]
    Format(i64),
    /// There is no log to read.
    #[error("there is no log at {0}")]
    Missing(String),
    /// What is stored cannot be read.
    #[error("damaged: {0}")]
    Damaged(String),
    /// A setting cannot be, or a service refuses it.
    #[error("{setting}: {why}")]
    Setting {
        /// As `section.key`.
        setting: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The brokers do not answer, or not as needed.
    #[error("{setting}: {why}")]
    Broker {
        /// The setting to look at.
        setting: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A topic is not as it must be.
    #[error("topic {topic}: {setting} {why}")]
    Topic {
        /// Its name.
        topic: String,
        /// Its setting.
        setting: String,
        /// What it is, must be, and why.
        why: String,
    },
    /// Records are gone that were there.
    #[error("{0}")]
    Gap(String),
    /// The file system refuses.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// SQLite refuses.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Why a log ends its process. Going on would break a promise; the supervisor starts again, and the log says where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// Another owner has written: this one is a zombie.
    #[error("fenced: there is a newer owner")]
    Fenced,
    /// A sync or another step failed after which the state of the disk is not known (a second sync may lie).
    #[error("cannot go on: {0}")]
    Failed(String),
    /// Trying again would not help: somebody must decide.
    #[error("stopped: {0}")]
    Stopped(String),
}
impl Fatal {
    /// The process's exit code: 75 when fenced (`EX_TEMPFAIL`), 74 when it failed (`EX_IOERR`), 69 when somebody must decide.
    pub fn exit_code(&self) -> i32 {
        match self {
            Fatal::Fenced => 75,
            Fatal::Failed(_) => 74,
            Fatal::Stopped(_) => 69,
        }
    }
    /// Says why and ends the process: what [`sqlite::Options`] does by default.
    pub fn end_process(self) {
        eprintln!("log: {self}");
        std::process::exit(self.exit_code())
    }
}

/// A lock whose holder panicked is still the lock: everything under it is changed in one step.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock, ms since the epoch.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64) + wrong_by_ms()
}

/// Tests make a process's clock wrong, and let it step: `PULSE_CLOCK` names a file with what is added, ms.
#[cfg(debug_assertions)]
fn wrong_by_ms() -> i64 {
    static FILE: std::sync::LazyLock<Option<std::ffi::OsString>> =
        std::sync::LazyLock::new(|| std::env::var_os("PULSE_CLOCK"));
    let text = FILE.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
#[cfg(not(debug_assertions))]
const fn wrong_by_ms() -> i64 {
    0
}

type Subscriber = (Vec<Topic>, Box<dyn Fn() + Send + Sync>);

/// Who is called after a commit.
#[derive(Default)]
pub(crate) struct Subscribers(RwLock<Vec<Subscriber>>);
impl Subscribers {
    pub fn add(&self, topics: &[Topic], wake: Box<dyn Fn() + Send + Sync>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push((topics.to_vec(), wake));
    }
    /// Calls everyone who asked for one of `touched`, once.
    pub fn wake(&self, touched: &[Topic]) {
        for (topics, wake) in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if topics.iter().any(|t| touched.contains(t)) {
                wake();
            }
        }
    }
}
