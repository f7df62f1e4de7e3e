//! Keeps `start` and `end` of a log that was opened to read in step with its file, and wakes its subscribers.

use super::{Shared, file};
use pulse_dataflows::ports::Topic;
use rusqlite::Connection;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// How often the file is looked at: an unchanged one costs a look into shared memory.
const POLL: Duration = Duration::from_millis(20);

/// Starts the thread. It ends when the log is dropped.
pub(crate) fn start(mut db: Connection, shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::downgrade(shared);
    let run = move || {
        let mut version = None;
        while let Some(touched) = poll(&mut db, &shared, &mut version) {
            if let (false, Some(shared)) = (touched.is_empty(), shared.upgrade()) {
                shared.subscribers.wake(&touched);
            }
            thread::sleep(POLL);
        }
    };
    thread::Builder::new().name("log-follower".into()).spawn(run).map(drop)
}

/// The topics that have more records than before; `None` when the log is gone.
fn poll(db: &mut Connection, shared: &Weak<Shared>, version: &mut Option<i64>) -> Option<Vec<Topic>> {
    let shared = shared.upgrade()?;
    // A failed look (the owner is just opening the file) is made up for by the next.
    Some(look(db, &shared, version).unwrap_or_default())
}

fn look(db: &mut Connection, shared: &Shared, version: &mut Option<i64>) -> rusqlite::Result<Vec<Topic>> {
    let now = file::data_version(db)?;
    if *version == Some(now) {
        return Ok(Vec::new());
    }
    // All partitions from one state of the file, shown in the order of places: see `layout` why.
    let tx = db.transaction()?;
    let bounds = shared.places.iter().map(|place| file::bounds(&tx, &place.table)).collect::<Result<Vec<_>, _>>()?;
    tx.commit()?;
    let mut touched = Vec::new();
    for (place, (start, end, _)) in shared.places.iter().zip(bounds) {
        place.start.store(start, Release);
        if end > place.end.load(Acquire) {
            place.end.store(end, Release);
            touched.push(place.partition.topic);
        }
    }
    touched.dedup();
    *version = Some(now);
    Ok(touched)
}
