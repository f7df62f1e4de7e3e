//! Copies the store's write-ahead file back into the database beside the writer, so that no transaction waits for it.
//!
//! Left alone, SQLite does that inside whichever commit makes the file too long: that commit, and all that wait for the writer,
//! an alert's way out among them, would wait for two syncs and thousands of pages. Here a connection of its own copies while
//! others write; now and then the writer is held for the short rest, or the file would never be begun anew.
//! Deliberately absent: shrinking the file; `journal_size_limit` does.

use super::{Db, Place, Store, lock};
use rusqlite::Connection;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often the length is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// Pages (of 4 KiB) that are worth a copy.
const COPY_PAGES: u64 = 1_000;
/// Pages at which the writer is held, so that the file begins anew: 64 MiB.
const BEGIN_PAGES: u64 = 16_000;

impl Store {
    /// From now on commits leave copying to a thread, which ends with the store.
    pub fn copy_beside(store: &Arc<Store>) -> super::Result<()> {
        let Place::Sqlite { path, writer, .. } = &store.place else { return Ok(()) };
        let (own, mut writer) = (Connection::open(path)?, lock(writer));
        own.execute_batch("PRAGMA busy_timeout=0")?;
        let Db::Sqlite(writer) = &mut *writer else { return Ok(()) };
        let pages = Arc::new(AtomicU64::new(0));
        let counted = pages.clone();
        writer.execute_batch("PRAGMA wal_autocheckpoint=0")?; // this first: it takes the hook away
        writer.wal_hook(Some(move |_: &mut _, n: i32| {
            counted.store(n.unsigned_abs().into(), Relaxed);
            Ok(())
        }))?;
        let weak = Arc::downgrade(store);
        std::thread::Builder::new()
            .name("store-copy".into())
            .spawn(move || run(&own, &weak, &pages))
            .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        Ok(())
    }
}

fn run(own: &Connection, store: &Weak<Store>, pages: &AtomicU64) {
    let mut copied = 0;
    loop {
        std::thread::sleep(EVERY);
        let Some(store) = store.upgrade() else { return };
        let long = pages.load(Relaxed);
        // a file that was begun anew counts from nothing again
        copied = if long < copied { 0 } else { copied };
        if long < copied + COPY_PAGES {
            continue;
        }
        copied = long;
        let outcome = copy(own).and_then(|()| match long >= BEGIN_PAGES {
            true => store.maintain(copy),
            false => Ok(()),
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, "the store's write-ahead file is not copied back; trying again");
        }
    }
}

/// As far as no reader is in the way.
fn copy(db: &Connection) -> super::Result<()> {
    Ok(db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_copied_while_others_write_and_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let store = Arc::new(Store::open(&path).unwrap());
        Store::copy_beside(&store).unwrap();
        store.write(|tx| tx.execute_batch("CREATE TABLE bulk (n INTEGER PRIMARY KEY, text TEXT)")).unwrap();
        let size = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len();
        let (text, until) = ("x".repeat(4_000), std::time::Instant::now() + Duration::from_secs(30));
        let mut rows = 0i64;
        while size("store.db") < 4 << 20 {
            assert!(std::time::Instant::now() < until, "nothing was copied: {} bytes", size("store.db"));
            for _ in 0..200 {
                let insert = "INSERT INTO bulk (text) VALUES ($1)";
                store.write(|tx| tx.execute(insert, [&text])).unwrap();
                rows += 1;
            }
        }
        assert!(size("store.db-wal") < 160 << 20);
        let kept: i64 = store.read(|db| db.query_row("SELECT count(*) FROM bulk", [], |r| r.get(0))).unwrap();
        assert_eq!(kept, rows);
    }
}
