//! Copies SQLite's write-ahead files back into their databases beside the writer, so that no transaction waits for it.
//!
//! Left alone, SQLite does that inside whichever commit makes the file too long: that commit, and all that wait for the writer,
//! an alert's way out among them, would wait for two syncs and thousands of pages. Here a connection of its own copies while
//! others write; now and then the writer copies the short rest, or the file would never be begun anew. A disk that is slower
//! than the writer meets a bound: there the writer waits.
//! Deliberately absent: shrinking the file; `journal_size_limit` does.

use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often the length is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// Bytes that are worth a copy: rarely enough to copy a page once that was changed often.
const COPY_BYTES: u64 = 16 << 20;
/// Bytes from which on the writer copies the rest, so that the file begins anew.
const BEGIN_BYTES: u64 = 64 << 20;
/// Bytes at which the writer waits for the copy: a restart reads no more than this.
const MAX_BYTES: u64 = 128 << 20;

/// Copies for one writer; ends when it is dropped.
pub struct Copier(Arc<State>);

struct State {
    /// Bytes of a page.
    page: u64,
    /// Pages in the file, kept by a hook.
    pages: Arc<AtomicU64>,
    /// The file is long and nearly all of it is copied.
    rest: AtomicBool,
    /// Held while someone copies: SQLite would refuse a second one.
    copying: Mutex<()>,
}

impl Copier {
    /// From now on commits of `writer`, which has the database at `path` open, leave copying to a thread of this name.
    pub fn start(path: &Path, writer: &mut Connection, name: &str) -> rusqlite::Result<Copier> {
        let pages = Arc::new(AtomicU64::new(0));
        let counted = pages.clone();
        writer.execute_batch("PRAGMA wal_autocheckpoint=0")?; // this first: it takes the hook away
        writer.wal_hook(Some(move |_: &mut _, n: i32| {
            counted.store(n.unsigned_abs().into(), SeqCst);
            Ok(())
        }))?;
        let page: i64 = writer.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let own = Connection::open(path)?;
        own.execute_batch("PRAGMA busy_timeout=0")?;
        let state = State { page: page.unsigned_abs(), pages, rest: AtomicBool::default(), copying: Mutex::default() };
        let state = Arc::new(state);
        let weak = Arc::downgrade(&state);
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(&own, &weak))
            .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        Ok(Copier(state))
    }
    /// Pages in the write-ahead file.
    pub fn pages(&self) -> u64 {
        self.0.pages.load(SeqCst)
    }
    /// To be called behind a commit, with the writer still held.
    pub fn committed(&self, writer: &Connection) -> rusqlite::Result<()> {
        let state = &self.0;
        if state.bytes() >= MAX_BYTES {
            let _held = state.hold();
            copy(writer)
        } else if state.rest.swap(false, SeqCst) && state.bytes() >= BEGIN_BYTES {
            match state.copying.try_lock() {
                Ok(_held) => copy(writer),
                Err(_) => Ok(()), // someone is at it
            }
        } else {
            Ok(())
        }
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.pages.load(SeqCst) * self.page
    }
    fn hold(&self) -> MutexGuard<'_, ()> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(own: &Connection, state: &Weak<State>) {
    let mut copied = 0;
    loop {
        std::thread::sleep(EVERY);
        let Some(state) = state.upgrade() else { return };
        let long = state.bytes();
        // a file that was begun anew counts from nothing again
        copied = if long < copied { 0 } else { copied };
        if long < copied + COPY_BYTES {
            continue;
        }
        copied = long;
        let held = state.hold();
        // no space, or someone in the way: the file stays as it is, and the next try comes later
        if let Err(error) = copy(own) {
            tracing::warn!(%error, "a write-ahead file is not copied back; trying again");
        }
        drop(held);
        state.rest.store(long >= BEGIN_BYTES, SeqCst);
    }
}

/// As far as no reader is in the way.
fn copy(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: usize = 4_000;

    fn open(dir: &Path) -> (Connection, Copier) {
        let path = dir.join("some.db");
        let mut db = Connection::open(&path).unwrap();
        let pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL";
        db.execute_batch(&format!("{pragmas}; CREATE TABLE bulk (n INTEGER PRIMARY KEY, text TEXT)")).unwrap();
        let copier = Copier::start(&path, &mut db, "copy").unwrap();
        (db, copier)
    }
    /// Commits so many bytes in small transactions.
    fn write(db: &Connection, copier: &Copier, bytes: usize) {
        let text = "x".repeat(TEXT);
        for _ in 0..bytes / TEXT / 10 {
            let tx = db.unchecked_transaction().unwrap();
            (0..10).for_each(|_| assert_eq!(tx.execute("INSERT INTO bulk (text) VALUES ($1)", [&text]), Ok(1)));
            tx.commit().unwrap();
            copier.committed(db).unwrap();
        }
    }
    fn size(dir: &Path, name: &str) -> u64 {
        std::fs::metadata(dir.join(name)).unwrap().len()
    }

    #[test]
    fn the_file_is_copied_while_others_write_and_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (db, copier) = open(dir.path());
        write(&db, &copier, 300 << 20);
        // 300 MB went through it: it was begun anew, at the latest at its bound
        assert!(size(dir.path(), "some.db") > 150 << 20, "{} bytes", size(dir.path(), "some.db"));
        assert!(size(dir.path(), "some.db-wal") < MAX_BYTES + (1 << 20), "{}", size(dir.path(), "some.db-wal"));
        let kept: i64 = db.query_row("SELECT count(*) FROM bulk", [], |row| row.get(0)).unwrap();
        assert_eq!(kept as usize, (300 << 20) / TEXT / 10 * 10);
    }

    #[test]
    fn who_writes_faster_than_the_disk_copies_waits_at_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let (db, copier) = open(dir.path());
        let state = copier.0.clone();
        let held = state.hold(); // as if one copy took very long
        let writer = std::thread::spawn(move || write(&db, &copier, 200 << 20));
        while state.bytes() < MAX_BYTES {
            assert!(!writer.is_finished(), "it never waited");
            std::thread::sleep(Duration::from_millis(5));
        }
        let there = state.bytes();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(state.bytes(), there, "it goes on beyond the bound");
        drop(held);
        writer.join().unwrap();
        assert!(size(dir.path(), "some.db") > 100 << 20);
    }
}
