//! The writer's thread: waiting requests -> one transaction -> tail, ends, wake-ups, answers.
//!
//! A transaction that finds no space is held and tried again as it is, because the sequencer has already counted on it;
//! meanwhile input is refused at the queue. After a failed sync nothing is tried again: the kernel may have dropped the
//! pages, and a second sync that succeeds would prove nothing. The process ends.

use super::super::batch::{Batch, newest_time_ms};
use super::super::{Fatal, locked, now_ms};
use super::queue::Work;
use super::reserve::Reserve;
use super::{Shared, file, trim};
use crate::wal::Copier;
use pulse_dataflows::ports::{Block, LogError, Request};
use rusqlite::{Connection, ErrorCode, TransactionBehavior::Immediate, ffi};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

/// Pause before a held transaction is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Pause before space is looked for again, which writes until there is none.
const LOOK: Duration = Duration::from_millis(500);

/// Why a transaction is not in.
enum Failure {
    /// No space.
    Full(String),
    /// Someone else holds the file's lock.
    Busy(String),
    Fatal(Fatal),
}
impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        if no_space(&error) {
            return Failure::Full(error.to_string());
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy(error.to_string()),
            _ => Failure::Fatal(Fatal::Failed(error.to_string())),
        }
    }
}
/// A write found no space (or a quota). That is not a sync that failed: the same pages are written again before they are
/// synced.
pub(crate) fn no_space(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|e| (e.code, e.extended_code));
    matches!(code, Some((ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_WRITE)))
}

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    db: Connection,
    /// `data_version` of this ownership.
    version: i64,
    copier: Copier,
    reserve: Reserve,
    /// When space was looked for in vain.
    looked: Option<Instant>,
    /// Running newest time by place.
    newest_ms: Vec<i64>,
    /// The last commit was not synced.
    unsynced: bool,
    /// What was in hand when it ended. Dropping it tells the callers that there is no answer, so that comes last.
    unanswered: Vec<Batch>,
    /// Is `PRAGMA synchronous` at FULL?
    full: bool,
}

impl Writer {
    pub fn new(
        shared: Arc<Shared>,
        db: Connection,
        version: i64,
        copier: Copier,
        reserve: Reserve,
        newest_ms: Vec<i64>,
    ) -> Writer {
        Writer {
            shared,
            db,
            version,
            copier,
            reserve,
            looked: None,
            newest_ms,
            unsynced: false,
            unanswered: Vec::new(),
            full: true,
        }
    }
    /// Works until the log is closed.
    pub fn run(&mut self) -> Result<(), Fatal> {
        let shared = self.shared.clone();
        loop {
            let refusing = shared.queue.refusing().is_some();
            if refusing && self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
                self.look_for_room()?;
                continue;
            }
            match shared.queue.take(refusing.then_some(LOOK)) {
                Work::Closed => return Ok(()),
                Work::Idle => {}
                Work::Do(requests, step) => {
                    if !self.transact(requests)? {
                        return Ok(());
                    }
                    if let Some(step) = step {
                        let mut outcome = self.trim(step.place, step.offset);
                        if matches!(&outcome, Err(Failure::Full(why)) if self.make_room(why)) {
                            outcome = self.trim(step.place, step.offset);
                        }
                        let answer = match outcome {
                            Ok(more) => Ok(more),
                            Err(Failure::Fatal(fatal)) => return Err(fatal),
                            Err(Failure::Full(why) | Failure::Busy(why)) => Err(LogError::Unavailable(why)),
                        };
                        let _ = step.done.send(answer); // who asked may have gone
                    }
                    self.copy_back()?;
                }
            }
        }
    }
    /// Writes requests and what the hook adds, publishes and answers; false when the log was closed while they waited
    /// for space.
    fn transact(&mut self, requests: Vec<Request>) -> Result<bool, Fatal> {
        let shared = self.shared.clone();
        let ends = |at: usize| shared.places.get(at).map_or(0, |place| place.end.load(Acquire));
        let mut hook = locked(&shared.hook);
        let batch = Batch::gather(&shared.layout, &ends, requests, hook.as_deref_mut(), now_ms());
        shared.queue.set_stalled(batch.waiting);
        let blocks = batch.blocks(&ends).ok_or_else(|| Fatal::Failed("records that make no block".into()))?;
        let committed = match blocks.is_empty() {
            true => self.sync_outputs(batch.sync).map(|()| true),
            false => self.commit_at_last(&blocks, batch.sync),
        };
        if committed != Ok(true) {
            self.unanswered.push(batch);
            return committed;
        }
        if let Some(hook) = hook.as_mut() {
            hook.committed();
        }
        drop(hook);
        self.publish(blocks);
        shared.subscribers.wake(&batch.topics(&shared.layout));
        batch.answer();
        Ok(true)
    }
    /// Commits, waiting for space if need be; false when the log was closed meanwhile.
    fn commit_at_last(&mut self, blocks: &[(usize, Arc<Block>)], sync: bool) -> Result<bool, Fatal> {
        loop {
            let why = match self.commit(blocks, sync) {
                Ok(()) => return Ok(true),
                Err(Failure::Fatal(fatal)) => return Err(fatal),
                Err(Failure::Full(why)) => {
                    if self.make_room(&why) {
                        continue;
                    }
                    why
                }
                Err(Failure::Busy(why)) => why,
            };
            self.shared.stats.retried.fetch_add(1, Relaxed);
            self.shared.queue.refuse(Some(why));
            if !self.shared.queue.pause(RETRY) {
                return Ok(false);
            }
        }
    }
    /// From now on input is refused; the reserve is given free. False when there was none.
    fn make_room(&mut self, why: &str) -> bool {
        self.shared.queue.refuse(Some(why.into()));
        self.looked = Some(Instant::now());
        Reserve::release(&self.shared.path)
    }
    /// Takes input again if the reserve can be made whole, after the WAL has given back what it can.
    fn look_for_room(&mut self) -> Result<(), Fatal> {
        self.truncate_wal()?;
        let room = self.reserve.restore();
        self.looked = (!room).then(Instant::now);
        if room {
            self.shared.queue.refuse(None);
        }
        Ok(())
    }
    fn commit(&mut self, blocks: &[(usize, Arc<Block>)], sync: bool) -> Result<(), Failure> {
        self.set_sync(sync)?;
        let begun = Instant::now();
        let mut newest_ms = self.newest_ms.clone();
        let tx = self.db.transaction_with_behavior(Immediate)?;
        if file::data_version(&tx)? != self.version {
            return Err(Failure::Fatal(Fatal::Fenced));
        }
        for (at, block) in blocks {
            if let (Some(place), Some(newest)) = (self.shared.places.get(*at), newest_ms.get_mut(*at)) {
                *newest = newest_time_ms(block).max(*newest);
                file::insert(&tx, &place.table, block, *newest)?;
            }
        }
        tx.commit()?;
        self.newest_ms = newest_ms;
        self.unsynced = !sync;
        let stats = &self.shared.stats;
        stats.commits.fetch_add(1, Relaxed);
        stats.wal_pages.store(self.copier.pages(), Relaxed);
        if sync {
            stats.syncs.fetch_add(1, Relaxed);
            (self.shared.options.synced)(begun.elapsed());
        }
        Ok(())
    }
    /// An acknowledged input without records still promises the outputs in front of it.
    fn sync_outputs(&mut self, promised: bool) -> Result<(), Fatal> {
        if promised && self.unsynced {
            let synced = self.shared.wal.as_ref().map_or(Ok(()), File::sync_data);
            synced.map_err(|e| Fatal::Failed(format!("sync: {e}")))?;
            self.unsynced = false;
            self.shared.stats.syncs.fetch_add(1, Relaxed);
        }
        Ok(())
    }
    /// Switches whether commits are synced.
    fn set_sync(&mut self, sync: bool) -> Result<(), Failure> {
        if sync != self.full {
            self.db.execute_batch(if sync { "PRAGMA synchronous=FULL" } else { "PRAGMA synchronous=NORMAL" })?;
            self.full = sync;
        }
        Ok(())
    }
    /// Shows blocks to readers, in the order of places: see `layout` why.
    fn publish(&self, blocks: Vec<(usize, Arc<Block>)>) {
        let share = self.shared.options.tail_bytes / self.shared.places.len().max(1);
        for (at, block) in blocks {
            if let Some(place) = self.shared.places.get(at) {
                let end = block.end();
                locked(&place.tail).push(block, share);
                place.end.store(end, Release);
            }
        }
    }
    /// One step of a trim, in a transaction of its own that needs no sync: what comes back is trimmed again.
    fn trim(&mut self, at: usize, offset: u64) -> Result<bool, Failure> {
        self.set_sync(false)?;
        let shared = self.shared.clone();
        let Some(place) = shared.places.get(at) else { return Ok(false) };
        let tx = self.db.transaction_with_behavior(Immediate)?;
        if file::data_version(&tx)? != self.version {
            return Err(Failure::Fatal(Fatal::Fenced));
        }
        let (deleted, start) = trim::delete(&tx, &place.table, offset)?;
        tx.commit()?;
        shared.stats.trimmed_blocks.fetch_add(deleted as u64, Relaxed);
        place.start.store(start.max(place.start.load(Acquire)), Release);
        locked(&place.tail).trim(start);
        Ok(deleted == trim::STEP_BLOCKS)
    }
    /// Gives the end of a long WAL back to the database. A lock in the way or no space: later.
    fn copy_back(&mut self) -> Result<(), Fatal> {
        match self.copier.committed(&self.db).map_err(Failure::from) {
            Err(Failure::Fatal(fatal)) => Err(fatal),
            _ => Ok(()),
        }
    }
    /// Copies the whole WAL, so that the file gives its space back.
    fn truncate_wal(&self) -> Result<(), Fatal> {
        match self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(Failure::from) {
            Err(Failure::Fatal(fatal)) => Err(fatal),
            // No space or a lock in the way: the WAL stays as it is, and the next try comes later.
            _ => Ok(()),
        }
    }
}
