//! A worker's intake: reads the entries of the epoch log and the ranges they name, decodes, and keeps event time.
//!
//! Live, restart and replay are this one piece of code: nothing is taken up that no entry names. Order within an epoch:
//! control, then tables (they are control records), then labels, then events by (partition, offset).
//! Deliberately absent: waiting. Whoever has a new entry wakes the source.

use crate::checkpoint::{PartitionTime, Position};
use crate::control::{Artifacts, Control};
use crate::epochs::{Entry, EpochReader};
use crate::ports::{EventLog, LogError, LogReader, Meta, Topic, partition};
use crate::quarantine::{Extent, Quarantines};
use pulse_operators::batch::{Batch, Rejected};
use pulse_operators::confirmed::{event_key, key_of_alert};
use pulse_operators::context::Context;
use pulse_operators::record::{Reject, decode};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Nothing counts as new while a partition, or a kind of entity of the event in it, has less history than this.
const COLD_MS: i64 = 7 * 24 * 3_600_000;
/// Bytes of a rejected event that are kept.
const KEPT_BYTES: usize = 2048;

/// Which partitions a worker takes up.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The worker.
    pub worker: usize,
    /// Workers in all.
    pub peers: usize,
    /// Partitions of `events.raw`.
    pub partitions: u16,
}
impl Share {
    /// The partitions that are this worker's.
    pub fn own(self) -> impl Iterator<Item = u16> {
        (0..self.partitions).filter(move |p| usize::from(*p) % self.peers == self.worker)
    }
    /// Event time is kept by who takes a partition up: that of another's would stand still here, and go into checkpoints so.
    fn keep(self, times: &mut BTreeMap<u16, PartitionTime>) {
        times.retain(|p, _| self.own().any(|own| own == *p));
    }
}

/// Reads epochs.
pub struct Intake {
    share: Share,
    entries: EpochReader,
    reader: Box<dyn LogReader>,
    position: Position,
    artifacts: Arc<dyn Artifacts>,
    context: Arc<Context>,
    quarantines: Quarantines,
    switched: bool,
}

/// Why an intake cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A control record.
    #[error("control record {0}: {1}")]
    Control(u64, String),
    /// An entry names records that are not there.
    #[error("the log lost records that epoch {0} names")]
    Lost(u64),
}

impl Intake {
    /// Goes on behind `position`, without what is in quarantine there.
    pub fn new(
        log: &dyn EventLog,
        share: Share,
        position: Position,
        artifacts: Arc<dyn Artifacts>,
        quarantines: Quarantines,
    ) -> Result<Intake, IntakeError> {
        let context = position.active.context(&*artifacts).map_err(|e| IntakeError::Control(0, e.to_string()))?;
        let mut position = position;
        position.entry.ends.resize(usize::from(share.partitions) + 2, 0);
        share.keep(&mut position.times);
        let entries = EpochReader::new(log, position.next, position.entry.generation);
        Ok(Intake {
            share,
            entries,
            reader: log.reader(),
            position,
            artifacts,
            context: Arc::new(context),
            quarantines,
            switched: true,
        })
    }

    /// Where it is: after the last epoch that it handed out.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The next epoch, and whether a checkpoint follows it; `None` when no entry is there yet.
    pub fn next_batch(&mut self) -> Result<Option<(Batch, bool)>, IntakeError> {
        let Some(entry) = self.entries.next_entry()? else { return Ok(None) };
        let checkpoint = entry.checkpoint;
        let forget = self.control(&entry)?;
        let home = self.share.worker as u16;
        let mut batch = Batch::new(entry.epoch, entry.clock_ms, home, self.context.clone());
        batch.switched = std::mem::replace(&mut self.switched, false);
        if home == 0 {
            batch.forget = forget;
            self.verdicts(&entry, &mut batch)?;
        }
        for p in self.share.own() {
            self.events(&entry, p, &mut batch)?;
        }
        self.position.entry = entry;
        self.position.next = self.entries.position();
        Ok(Some((batch, checkpoint)))
    }

    /// Switches what is in force; entities that are to be forgotten.
    fn control(&mut self, entry: &Entry) -> Result<Vec<(u8, u64)>, IntakeError> {
        let at = usize::from(self.share.partitions) + 1;
        let (from, to) = (self.position.entry.ends[at], entry.ends.get(at).copied().unwrap_or(0));
        let mut forget = Vec::new();
        if from >= to {
            return Ok(forget);
        }
        let (mut active, mut wrong) = (self.position.active.clone(), None);
        let end = self.reader.each(partition(Topic::Control, 0), from, to, &mut |offset, _, value| {
            match serde_json::from_slice::<Control>(value) {
                Ok(Control::Forget { entity, key }) => forget.push((entity, key)),
                Ok(control) => active.apply(control),
                Err(e) => wrong = wrong.take().or(Some(IntakeError::Control(offset, e.to_string()))),
            }
        })?;
        if let Some(error) = wrong {
            return Err(error);
        }
        if end != to {
            return Err(IntakeError::Lost(entry.epoch));
        }
        let context = active.context(&*self.artifacts).map_err(|e| IntakeError::Control(from, e.to_string()))?;
        (self.context, self.position.active, self.switched) = (Arc::new(context), active, true);
        Ok(forget)
    }

    /// Verdicts go to the worker that keeps the thresholds. One that cannot be read says nothing.
    fn verdicts(&mut self, entry: &Entry, batch: &mut Batch) -> Result<(), IntakeError> {
        let at = usize::from(self.share.partitions);
        let (from, to) = (self.position.entry.ends[at], entry.ends.get(at).copied().unwrap_or(0));
        if from >= to {
            return Ok(());
        }
        let end = self.reader.each(partition(Topic::Labels, 0), from, to, &mut |_, _, value| {
            batch.verdicts.extend(serde_json::from_slice(value).ok().and_then(|label: Label| label.verdict()));
        })?;
        if end == to { Ok(()) } else { Err(IntakeError::Lost(entry.epoch)) }
    }

    fn events(&mut self, entry: &Entry, p: u16, batch: &mut Batch) -> Result<(), IntakeError> {
        let at = usize::from(p);
        let (from, to) = (self.position.entry.ends[at], entry.ends.get(at).copied().unwrap_or(0));
        let time = self.position.times.entry(p).or_default();
        let (context, quarantines) = (&self.context, &self.quarantines);
        let mut take = |offset, meta, value: &[u8]| match quarantines.holds(p, offset, Extent::Event) {
            true => batch.rejected.push(rejected((p, offset), meta, value, Reject::quarantined())),
            false => take_event(batch, time, context, (p, offset), meta, value),
        };
        if self.reader.each(partition(Topic::Raw, p), from, to, &mut take)? != to {
            return Err(IntakeError::Lost(entry.epoch));
        }
        if time.first_ms.is_some() {
            if entry.idle_ms > 0 {
                // never past the clock: an idle source is not a fast one
                time.clock_ms = (time.clock_ms + entry.idle_ms).min(entry.clock_ms).max(time.clock_ms);
            }
            batch.times.push((p, time.clock_ms));
        }
        Ok(())
    }
}

/// What of a label (contract 2) thresholds look at.
#[derive(serde::Deserialize)]
struct Label<'a> {
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    alert_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    verdict: Cow<'a, str>,
}
impl Label<'_> {
    /// Event, and whether it is confirmed to be trouble; any other verdict undoes that.
    fn verdict(&self) -> Option<(u64, bool)> {
        let of_event = |id: &Cow<str>| event_key(self.source.as_deref().unwrap_or("default"), id);
        let of_alert = || self.alert_id.as_deref().and_then(key_of_alert);
        let key = self.event_id.as_ref().map(of_event).or_else(of_alert)?;
        Some((key, self.verdict == "true_positive"))
    }
}

fn take_event(
    batch: &mut Batch,
    time: &mut PartitionTime,
    context: &Context,
    (p, offset): (u16, u64),
    meta: Meta,
    value: &[u8],
) {
    match decode(value, p, offset, meta.time_ms, context.settings(), &mut batch.arena) {
        Ok(mut event) => {
            let seen_ms = event.time_ms.min(meta.time_ms);
            let first_ms = *time.first_ms.get_or_insert(seen_ms);
            time.max_ms = if first_ms == seen_ms && time.max_ms == 0 { seen_ms } else { time.max_ms.max(seen_ms) };
            time.clock_ms = time.clock_ms.max(time.max_ms);
            event.late = event.time_ms < time.max_ms - context.config().time.allowed_lateness_ms;
            let mut young = time.max_ms - first_ms < COLD_MS;
            for (first_ms, _) in time.kinds_ms.iter_mut().zip(event.keys).filter(|(_, key)| *key != 0) {
                young |= time.max_ms - *first_ms.get_or_insert(seen_ms) < COLD_MS;
            }
            event.cold_start = young;
            batch.events.push(event);
            if context.config().decode.enriched {
                batch.native_text.extend_from_slice(value);
                batch.native.push(batch.native_text.len());
            }
        }
        Err(reject) => batch.rejected.push(rejected((p, offset), meta, value, reject)),
    }
}

fn rejected((partition, offset): (u16, u64), meta: Meta, value: &[u8], reject: Reject) -> Rejected {
    let kept = &value[..value.len().min(KEPT_BYTES)];
    Rejected {
        partition,
        offset,
        received_ms: meta.time_ms,
        reject,
        payload_hash: xxh3_64(value),
        payload: String::from_utf8_lossy(kept).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint puts the event times of all workers together: each must bring its own only, the others' are from the start.
    #[test]
    fn a_worker_keeps_the_event_time_of_its_own_partitions_only() {
        let at = |max_ms| PartitionTime { max_ms, ..PartitionTime::default() };
        let restored: BTreeMap<u16, PartitionTime> = (0..5).map(|p| (p, at(1))).collect();
        let mut together = restored.clone();
        for worker in [1, 0, 2] {
            let share = Share { worker, peers: 3, partitions: 5 };
            let mut times = restored.clone();
            share.keep(&mut times);
            times.values_mut().for_each(|time| time.max_ms = 2);
            together.extend(times);
        }
        assert!(together.values().all(|time| time.max_ms == 2), "{together:?}");
    }
}
