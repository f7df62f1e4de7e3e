//! Takes alerts up: topic -> outbox rows and the reader's offset in one transaction, then wakes the senders.
//!
//! A thread of its own, because the log's readers and the store block. Repeated records fall away by offset and by the
//! message's name, which is made from the record's cause. Deliberately absent: sending.

use super::Shared;
use super::endpoint::{self, Endpoint};
use super::message::{Message, Skip};
use super::outbox::{self, Fate, Times};
use super::quiet;
use crate::store::Db;
use crate::store::dialect::Dialect;
use pulse_dataflows::ports::{EventLog, LogError, LogReader, Meta, Topic, partition};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Most records of one transaction: bounds how long the store's writer is held.
const BATCH: u64 = 256;
/// The thread looks by itself this often, should a wake-up be lost; housekeeping goes by it too.
const IDLE: Duration = Duration::from_secs(5);
/// Housekeeping runs once in so many idle rounds.
const ROUNDS_BETWEEN_HOUSEKEEPING: u32 = 60;
/// Most messages forgotten in one transaction.
const FORGET_BATCH: usize = 500;
/// Wait after the store or the log failed.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Wait after another delivery on the same store was quicker: it has the records, we look where it stands.
const AFTER_RACE: Duration = Duration::from_millis(20);

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The log.
    #[error("log: {0}")]
    Log(#[from] LogError),
    /// The store.
    #[error("store: {0}")]
    Store(#[from] crate::store::Error),
    /// Somebody else moved the offset.
    #[error("another reader took the same records up")]
    Raced,
}

/// Runs until `wake` is closed.
pub(super) fn run(shared: Arc<Shared>, log: Arc<dyn EventLog>, wake: Receiver<()>) {
    let mut intake = Intake { reader: log.reader(), log, endpoints: Vec::new(), version: None, position: None };
    let mut rounds = 0u32;
    loop {
        let pause = match intake.take_up(&shared) {
            Ok(0) => {
                if let Err(error) = shared.refresh_gauges() {
                    tracing::warn!(%error, "the gauges of delivery could not be brought up to date");
                }
                IDLE
            }
            Ok(_) => continue,
            Err(IntakeError::Raced) => AFTER_RACE,
            Err(error) => {
                tracing::error!(%error, "alerts cannot be taken up; trying again");
                AFTER_ERROR
            }
        };
        if rounds.is_multiple_of(ROUNDS_BETWEEN_HOUSEKEEPING) {
            housekeeping(&shared);
        }
        rounds = rounds.wrapping_add(1);
        match wake.recv_timeout(pause) {
            Ok(()) => while wake.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if shared.stop.is_cancelled() {
            return;
        }
    }
}

fn housekeeping(shared: &Shared) {
    let before_ms = shared.now_ms() - i64::from(shared.config.kept_days) * 86_400_000;
    loop {
        match shared.store.write(|tx| outbox::forget(tx, before_ms, FORGET_BATCH)) {
            Ok(n) if n == FORGET_BATCH => {}
            Ok(_) => break,
            Err(error) => return tracing::warn!(%error, "old messages could not be removed"),
        }
    }
    if let Err(error) = shared.store.write(|tx| endpoint::forget(tx, before_ms)) {
        tracing::warn!(%error, "deleted endpoints could not be removed");
    }
}

/// The reader's state.
pub(super) struct Intake {
    log: Arc<dyn EventLog>,
    reader: Box<dyn LogReader>,
    endpoints: Vec<Endpoint>,
    version: Option<u64>,
    /// The offset in the store, once it is known.
    position: Option<u64>,
}

/// A record that is a message.
struct Taken {
    offset: u64,
    message: Message,
    times: Times,
}

impl Intake {
    /// Takes up what is there, at most one batch. How many records.
    pub(super) fn take_up(&mut self, shared: &Shared) -> Result<u64, IntakeError> {
        let alerts = partition(Topic::Alerts, 0);
        let stored = match self.position {
            Some(position) => position,
            None => shared.store.read(outbox::offset)?,
        };
        let start = self.log.start(alerts);
        if 0 < stored && stored < start {
            tracing::error!(stored, start, "alerts were trimmed before they were taken up");
            shared.metrics.skipped("trimmed", start - stored);
        }
        let begin = stored.max(start);
        let last = self.log.end(alerts);
        shared.metrics.lag(last.saturating_sub(begin));
        let end = last.min(begin + BATCH);
        if end <= begin {
            return Ok(0);
        }
        let mut records: Vec<(u64, Meta, Vec<u8>)> = Vec::new();
        let reached = if end > begin {
            self.reader
                .each(alerts, begin, end, &mut |offset, meta, value| records.push((offset, meta, value.to_vec())))?
        } else {
            begin
        };
        let taken = self.messages(shared, &records);
        let woken = shared.store.write(|tx| {
            if !outbox::advance(tx, stored, reached)? {
                return Ok(None);
            }
            self.refresh(shared, tx)?;
            let mut woken = BTreeSet::new();
            for t in &taken {
                raise(shared, tx, &self.endpoints, t, &mut woken)?;
            }
            Ok(Some(woken))
        })?;
        self.position = woken.is_some().then_some(reached);
        shared.wake(woken.ok_or(IntakeError::Raced)?);
        Ok(records.len() as u64)
    }

    /// The endpoints as they are in this transaction: read again only when somebody changed them.
    fn refresh(&mut self, shared: &Shared, tx: &Db) -> crate::store::Result<()> {
        let version = shared.endpoints_version.load(Ordering::SeqCst);
        // on PostgreSQL other processes change them too
        if self.version != Some(version) || tx.dialect() == Dialect::Postgres {
            self.endpoints = endpoint::all(tx)?;
            self.version = Some(version);
        }
        Ok(())
    }

    fn messages(&mut self, shared: &Shared, records: &[(u64, Meta, Vec<u8>)]) -> Vec<Taken> {
        let mut taken = Vec::with_capacity(records.len());
        for (offset, meta, value) in records {
            match Message::read(value, meta.cause) {
                Ok(message) => {
                    let times = Times {
                        received_ms: self.received_ms(&message, *meta),
                        appended_ms: meta.time_ms,
                        scored_ms: shared.now_ms(),
                    };
                    taken.push(Taken { offset: *offset, message, times });
                }
                Err(Skip::Internal) => {}
                Err(skip) => {
                    tracing::error!(offset, %skip, "an alert record cannot be read");
                    shared.metrics.skipped("malformed", 1);
                }
            }
        }
        taken
    }

    /// Receipt of the event that caused the message: only openings and amendments are caused by one.
    fn received_ms(&mut self, message: &Message, meta: Meta) -> Option<i64> {
        if !matches!(message.kind.as_str(), "anomaly.opened" | "anomaly.amended") {
            return None;
        }
        let (raw, offset) = (partition(Topic::Raw, meta.cause.partition), meta.cause.offset);
        if raw.number >= self.log.partitions(Topic::Raw) || offset < self.log.start(raw) || offset >= self.log.end(raw)
        {
            return None;
        }
        let mut found = None;
        let read = self.reader.each(raw, offset, offset + 1, &mut |_, m, _| found = Some(m.time_ms));
        read.ok().and(found).filter(|ms| *ms <= meta.time_ms)
    }
}

/// Writes a message and its rows.
fn raise(
    shared: &Shared,
    tx: &Db,
    endpoints: &[Endpoint],
    taken: &Taken,
    woken: &mut BTreeSet<String>,
) -> crate::store::Result<()> {
    let m = &taken.message;
    let wants = |e: &&Endpoint| {
        e.deleted_ms.is_none() && e.covers(taken.offset) && e.filter.wants(&m.kind, m.severity, m.group)
    };
    let matching: Vec<&Endpoint> = endpoints.iter().filter(wants).collect();
    if matching.is_empty() {
        return Ok(());
    }
    let now_ms = shared.now_ms();
    if !outbox::insert_message(tx, m, Some(taken.offset), taken.times, now_ms)? {
        shared.metrics.skipped("repeat", 1);
        return Ok(());
    }
    // told already, and somebody is at it
    let again = matches!(m.kind.as_str(), "anomaly.amended" | "incident.updated");
    let taken_on = again && outbox::acknowledged(tx, &m.subject)?;
    let mut handed = Vec::new();
    for e in matching {
        let suppressed = |reason| Fate { state: "suppressed", reason: Some(reason), next_ms: now_ms };
        let fate = match &m.suppressed {
            Some(reason) => suppressed(reason.as_str()),
            // Kept, so that it can be replayed once the endpoint is well again.
            None if e.disabled.is_some() => suppressed("endpoint_disabled"),
            None if taken_on && e.kind.calls_people() => suppressed("acknowledged"),
            None if outbox::pending(tx, &e.id)? >= outbox::MAX_PENDING => {
                Fate { state: "dead", reason: Some("queue_full"), next_ms: now_ms }
            }
            None => quiet(shared, tx, e, m, now_ms)?,
        };
        outbox::insert_row(tx, &m.id, &e.id, fate, now_ms)?;
        woken.insert(e.id.clone());
        if m.suppressed.is_none() && matches!(fate.reason, Some("endpoint_disabled" | "queue_full")) {
            handed.extend(endpoint::stand_in(endpoints, e).map(|to| (e, &to.id)));
        }
    }
    // last, as who stands in may want the message for itself too
    for (from, to) in handed {
        outbox::hand_over(tx, from, to, Some(&m.id), now_ms)?;
        woken.insert(to.clone());
    }
    Ok(())
}

/// At once, or when the endpoint's quiet hours end.
fn quiet<'a>(shared: &Shared, tx: &Db, e: &Endpoint, m: &Message, now_ms: i64) -> crate::store::Result<Fate<'a>> {
    let Some(end_ms) = quiet::until(&e.options.quiet, &shared.zone, m.severity, now_ms) else {
        return Ok(Fate::due(now_ms));
    };
    // an end wakes nobody; but it must not come before its beginning
    if m.kind.ends_with(".resolved") && !outbox::held(tx, &e.id, &m.subject)? {
        return Ok(Fate::due(now_ms));
    }
    // what came first goes first: up to four days of waiting have their order in the first minute behind it
    let place_ms = 60_000 - (end_ms - now_ms).clamp(0, 345_600_000) / 5_760;
    Ok(Fate { state: "pending", reason: Some("quiet_hours"), next_ms: end_ms + place_ms })
}
