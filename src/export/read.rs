//! One part read from the log: its rows by day.
//!
//! Deliberately absent: which part (`ledger`), writing.

use super::ledger::{Last, Part};
use super::rows::{self, Row};
use super::table::Table;
use super::{ExportError, Stream};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use pulse_dataflows::ports::{Block, Cause, EventLog, HOLE, LogError, LogReader, Meta, Topic, partition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Repeats of an alert lie within so many records behind the first: a restart repeats the outputs of a few epochs.
const LOOK_BACK: u64 = 4_096;

/// Which days are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Days {
    /// Not before.
    pub from: Option<Date>,
    /// Not behind.
    pub to: Option<Date>,
}

/// The day of a time, in UTC.
fn day(ms: i64) -> Option<Date> {
    Some(jiff::Timestamp::from_millisecond(ms).ok()?.to_zoned(TimeZone::UTC).date())
}

/// What stands in a part.
#[derive(Default)]
pub struct Found {
    /// Rows by day.
    pub days: BTreeMap<Date, Table>,
    /// The last cause.
    pub last: Last,
    /// Records that could not be read.
    pub unreadable: u64,
}

/// Reads parts of a log.
pub struct Reading {
    log: Arc<dyn EventLog>,
    reader: Box<dyn LogReader>,
    /// The last block of `events.raw` by partition: causes rise, so one is enough.
    raw: BTreeMap<u16, Arc<Block>>,
    currency: String,
    days: Days,
}

impl Reading {
    /// Of this log; amounts that name no currency are in this one.
    pub fn new(log: Arc<dyn EventLog>, currency: String, days: Days) -> Reading {
        Reading { reader: log.reader(), log, raw: BTreeMap::new(), currency, days }
    }

    /// Reads a part.
    pub fn part(&mut self, stream: Stream, number: u16, part: &Part) -> Result<Found, ExportError> {
        let mut found = Found { last: part.after, ..Found::default() };
        let mut seen = match stream {
            Stream::Events => BTreeSet::new(),
            Stream::Alerts => self.causes(part)?,
        };
        let (place, mut at) = (partition(stream.topic(), number), part.first);
        while at < part.end {
            let Some(block) = self.reader.block(place, at)? else {
                return Err(LogError::Unavailable(format!("{} ends before {}", place.topic.name(), part.end)).into());
            };
            while at < block.end().min(part.end) {
                let (meta, value) = block.record(at);
                let row = match stream {
                    _ if meta.cause.kind == HOLE => Ok(None),
                    Stream::Events => self.event(&mut found.last, meta, value)?,
                    Stream::Alerts if seen.insert(key(meta.cause)) => rows::alert(value, at, meta),
                    Stream::Alerts => Ok(None),
                };
                match row {
                    Ok(row) => row.into_iter().for_each(|row| self.keep(&mut found, stream, row)),
                    Err(error) => {
                        tracing::error!(topic = place.topic.name(), offset = at, %error, "a record cannot be exported");
                        found.unreadable += 1;
                    }
                }
                at += 1;
            }
        }
        Ok(found)
    }

    fn keep(&self, found: &mut Found, stream: Stream, (time_ms, cells): Row) {
        // a time that no calendar has was refused long before
        let Some(day) = day(time_ms) else { return };
        if self.days.from.is_none_or(|from| day >= from) && self.days.to.is_none_or(|to| day <= to) {
            found.days.entry(day).or_insert_with(|| stream.table()).push(cells);
        }
    }

    /// A scored event; none when it is a repeat.
    fn event(
        &mut self,
        last: &mut Last,
        meta: Meta,
        value: &[u8],
    ) -> Result<Result<Option<Row>, crate::persist::decode::DecodeError>, ExportError> {
        let cause = (meta.cause.offset, meta.cause.kind);
        if last.is_some_and(|last| cause <= last) {
            return Ok(Ok(None));
        }
        *last = Some(cause);
        let raw = self.raw(meta.cause)?;
        let raw = raw.as_ref().map(|block| block.record(meta.cause.offset));
        Ok(rows::event(value, meta, raw, &self.currency).map(Some))
    }

    /// Causes in front of a part of the alerts.
    fn causes(&mut self, part: &Part) -> Result<BTreeSet<(u16, u64, u32)>, ExportError> {
        let place = partition(Topic::Alerts, 0);
        let from = part.first.saturating_sub(LOOK_BACK).max(self.log.start(place)).min(part.first);
        let mut seen = BTreeSet::new();
        self.reader.each(place, from, part.first, &mut |_, meta, _| {
            seen.insert(key(meta.cause));
        })?;
        Ok(seen)
    }

    /// The block of `events.raw` that holds the cause; `None` when it is trimmed.
    fn raw(&mut self, cause: Cause) -> Result<Option<Arc<Block>>, LogError> {
        let holds = |block: &Arc<Block>| block.base <= cause.offset && cause.offset < block.end();
        if let Some(block) = self.raw.get(&cause.partition).filter(|block| holds(block)) {
            return Ok(Some(block.clone()));
        }
        match self.reader.block(partition(Topic::Raw, cause.partition), cause.offset) {
            Ok(Some(block)) => {
                self.raw.insert(cause.partition, block.clone());
                Ok(Some(block))
            }
            Ok(None) | Err(LogError::Trimmed(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn key(cause: Cause) -> (u16, u64, u32) {
    (cause.partition, cause.offset, cause.kind)
}
