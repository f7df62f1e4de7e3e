//! The epoch log: its entries, the rule which of them count, and the sequencer that writes them.
//!
//! An entry says how far every input partition is taken up, and the wall clock. Embedded, it is appended in the transaction
//! of the events it names, so it is durable with them and nobody sees it earlier. An epoch is cut at once when none is in
//! flight; else when [`BUSY`] events wait and fewer than [`IN_FLIGHT`] are in flight; else when the last is acknowledged.
//! Deliberately absent: the log itself and the system's clock; both are handed in.

use crate::ports::{Acker, EventLog, HOLE, Hook, LogError, LogReader, Partition, Topic, partition};
use crate::quarantine::{Quarantine, Quarantines};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Records of an epoch at most: bounds the memory of a batch and the time to apply it.
pub const EPOCH_RECORDS: u64 = 4096;
/// Epochs in flight at most: enough to fill the pipeline, few enough to bound latency.
pub const IN_FLIGHT: u64 = 8;
/// Waiting events that are worth an epoch of their own while others are in flight.
pub const BUSY: u64 = 512;
/// Idle time moves in steps of at least this much; a checkpoint is asked for at most so often.
pub const IDLE_STEP_MS: i64 = 1000;
/// Longest step of idle time that counts as time passing; a longer one was a pause of the process.
const LONGEST_STEP_MS: i64 = 5 * IDLE_STEP_MS;

/// The input partitions in the order of an entry's ends: events, then labels, then control.
pub fn inputs(partitions: u16) -> Vec<Partition> {
    let events = (0..partitions).map(|p| partition(Topic::Raw, p));
    events.chain([partition(Topic::Labels, 0), partition(Topic::Control, 0)]).collect()
}

/// One epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Offset of the fence of the generation that wrote it.
    pub generation: u64,
    /// Number; dense, counts up from 1.
    pub epoch: u64,
    /// Wall clock, ms since the epoch; never goes back.
    pub clock_ms: i64,
    /// By how much event time moves though nothing came.
    pub idle_ms: i64,
    /// A checkpoint is taken after this epoch. In the log, so that all workers agree on it.
    pub checkpoint: bool,
    /// End offset of every input, in the order of [`inputs`].
    pub ends: Vec<u64>,
}

impl Entry {
    /// As it is appended: little-endian words.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = [self.generation, self.epoch, self.clock_ms as u64, self.idle_ms as u64, u64::from(self.checkpoint)];
        head.iter().chain(&self.ends).flat_map(|word| word.to_le_bytes()).collect()
    }
    /// The same entry for a log that has more partitions by now: new ones stand at their beginning.
    pub fn widen(&mut self, partitions: u16) {
        let (have, want) = (self.ends.len(), usize::from(partitions) + 2);
        if (2..want).contains(&have) {
            self.ends.splice(have - 2..have - 2, std::iter::repeat_n(0, want - have));
        }
    }
    /// `None` when the bytes are no entry.
    pub fn parse(bytes: &[u8]) -> Option<Entry> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|w| u64::from_le_bytes(*w)).collect();
        let [generation, epoch, clock, idle, checkpoint, ends @ ..] = &words[..] else { return None };
        rest.is_empty().then(|| Entry {
            generation: *generation,
            epoch: *epoch,
            clock_ms: *clock as i64,
            idle_ms: *idle as i64,
            checkpoint: *checkpoint == 1,
            ends: ends.to_vec(),
        })
    }
}

/// Reads the entries that count. An empty record is a fence: its offset is the generation from there on, and what another
/// generation wrote behind it is a zombie's.
pub struct EpochReader {
    reader: Box<dyn LogReader>,
    partitions: u16,
    next: u64,
    generation: u64,
    quarantines: Quarantines,
}

impl EpochReader {
    /// From offset `next`, where `generation` is in force.
    pub fn new(log: &dyn EventLog, next: u64, generation: u64) -> EpochReader {
        let partitions = log.partitions(Topic::Raw);
        EpochReader { reader: log.reader(), partitions, next, generation, quarantines: Quarantines::default() }
    }
    /// The next entry that counts, if it is there already.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LogError> {
        let epochs = partition(Topic::Epochs, 0);
        while let Some(block) = self.reader.block(epochs, self.next)? {
            let (at, (meta, record)) = (self.next, block.record(self.next));
            self.next += 1;
            if record.is_empty() {
                self.generation = if meta.cause.kind == HOLE { self.generation } else { at };
                continue;
            }
            if let Some((generation, quarantine)) = Quarantine::parse(record) {
                if generation == self.generation {
                    self.quarantines.add(quarantine);
                }
                continue;
            }
            let mut entry =
                Entry::parse(record).ok_or_else(|| LogError::Damaged(format!("entry {at} of pulse.epochs")))?;
            entry.widen(self.partitions);
            if entry.generation == self.generation {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
    /// Offset in `pulse.epochs` behind the last entry read.
    pub fn position(&self) -> u64 {
        self.next
    }
    /// What was put into quarantine in what was read.
    pub fn quarantines(&self) -> &Quarantines {
        &self.quarantines
    }
    /// The generation in force there.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// What the sequencer, the checkpointer and the telemetry of one process share.
#[derive(Default)]
pub struct Pace {
    acknowledged: AtomicU64,
    cut: AtomicU64,
    checkpointing: AtomicBool,
    wanted: AtomicBool,
    elsewhere: Mutex<BTreeMap<Acker, u64>>,
    ends_elsewhere: Mutex<BTreeMap<Partition, u64>>,
    halt: AtomicBool,
    halted: AtomicBool,
}
impl Pace {
    /// In another process the outputs of `acker` up to `epoch` are in the log: the sequencer hears of it when it looks next.
    pub fn acknowledge(&self, acker: Acker, epoch: u64) {
        let mut elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = elsewhere.entry(acker).or_default();
        *newest = epoch.max(*newest);
    }
    /// Another process has seen so many records of an input partition that is not followed here.
    pub fn reached(&self, partition: Partition, end: u64) {
        let mut ends = self.ends_elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = ends.entry(partition).or_default();
        *newest = end.max(*newest);
    }
    fn ends_elsewhere(&self) -> BTreeMap<Partition, u64> {
        self.ends_elsewhere.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn take_elsewhere(&self) -> BTreeMap<Acker, u64> {
        std::mem::take(&mut *self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner))
    }
    /// No further epoch is cut, from when [`Pace::halted`] says so.
    pub fn halt(&self) {
        self.halt.store(true, Ordering::Release);
    }
    /// The sequencer has heard of [`Pace::halt`]: [`Pace::newest`] is the last epoch.
    pub fn halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }
    /// All outputs of epochs up to here are committed.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }
    /// The newest epoch.
    pub fn newest(&self) -> u64 {
        self.cut.load(Ordering::Acquire)
    }
    /// The checkpoint that was asked for is finished, or given up: the next may be asked for.
    pub fn checkpoint_done(&self) {
        self.checkpointing.store(false, Ordering::Release);
    }
    /// Ask for a checkpoint as soon as everything is taken up, input or not: before a stop.
    pub fn want_checkpoint(&self) {
        self.wanted.store(true, Ordering::Release);
    }
    /// None is under way or asked for.
    pub fn no_checkpoint(&self) -> bool {
        !self.wanted.load(Ordering::Acquire) && !self.checkpointing.load(Ordering::Acquire)
    }
}

/// How the sequencer cuts.
#[derive(Clone, Copy, Debug)]
pub struct Cutting {
    /// Ask for a checkpoint so often, ms; 0 = never.
    pub checkpoint_every_ms: i64,
}

/// Decides the epochs. A hook in the log's writer.
pub struct Sequencer {
    pace: Arc<Pace>,
    clock_ms: Box<dyn Fn() -> i64 + Send>,
    inputs: Vec<Partition>,
    last: Entry,
    acked: Vec<u64>,
    cutting: Cutting,
    checkpoint_ms: i64,
    first: bool,
    waiting: bool,
}

impl Sequencer {
    /// `last`: the newest entry that counts; `applied`: the epoch after which the workers start; `ackers`: who acknowledges
    /// outputs, one for each worker and one for alerts.
    pub fn new(
        pace: Arc<Pace>,
        clock_ms: Box<dyn Fn() -> i64 + Send>,
        last: Entry,
        generation: u64,
        (applied, ackers, partitions): (u64, usize, u16),
        cutting: Cutting,
    ) -> Sequencer {
        let inputs = inputs(partitions);
        let mut last = Entry { generation, ..last };
        last.ends.resize(inputs.len(), 0);
        pace.acknowledged.store(applied, Ordering::Release);
        pace.cut.store(last.epoch, Ordering::Release);
        let checkpoint_ms = clock_ms();
        let acked = vec![applied; ackers];
        Sequencer { pace, clock_ms, inputs, last, acked, cutting, checkpoint_ms, first: true, waiting: false }
    }

    fn done(&self) -> u64 {
        self.acked.iter().min().copied().unwrap_or(self.last.epoch)
    }

    /// The next entry, if it is time for one.
    fn next(&mut self, ends: &dyn Fn(Partition) -> u64) -> Option<Entry> {
        let waiting: Vec<u64> =
            self.inputs.iter().zip(&self.last.ends).map(|(p, taken)| ends(*p).saturating_sub(*taken)).collect();
        let pending: u64 = waiting.iter().sum();
        let flight = self.last.epoch - self.done();
        self.waiting = pending > 0 && flight > 0 && !(flight < IN_FLIGHT && pending >= BUSY);
        if self.waiting {
            return None;
        }
        let clock_ms = (self.clock_ms)().max(self.last.clock_ms);
        let passed_ms = clock_ms - self.last.clock_ms;
        let idle = pending == 0 && flight == 0 && passed_ms >= IDLE_STEP_MS && self.last.epoch > 0;
        if pending == 0 && !idle && !(flight == 0 && self.wanted()) {
            return None;
        }
        // the time in which no process ran is nobody's silence
        let idle_ms = if idle && !self.first && passed_ms <= LONGEST_STEP_MS { passed_ms } else { 0 };
        let mut entry = Entry {
            epoch: self.last.epoch + 1,
            clock_ms,
            idle_ms,
            checkpoint: self.due(clock_ms),
            ..self.last.clone()
        };
        let mut room = EPOCH_RECORDS;
        // fair first: a partition with a backlog must not starve the others
        for share in [EPOCH_RECORDS / self.inputs.len() as u64, EPOCH_RECORDS] {
            for (end, (taken, waiting)) in entry.ends.iter_mut().zip(self.last.ends.iter().zip(&waiting)) {
                let take = (taken + waiting - *end).min(share).min(room);
                *end += take;
                room -= take;
            }
        }
        Some(entry)
    }

    /// Is a checkpoint asked for that can be begun now?
    fn wanted(&self) -> bool {
        self.pace.wanted.load(Ordering::Acquire) && !self.pace.checkpointing.load(Ordering::Acquire)
    }

    fn due(&mut self, clock_ms: i64) -> bool {
        let every = self.cutting.checkpoint_every_ms;
        let time = every > 0 && clock_ms - self.checkpoint_ms >= every;
        let due = (time || self.wanted()) && !self.pace.checkpointing.swap(true, Ordering::AcqRel);
        if due {
            self.checkpoint_ms = clock_ms;
            self.pace.wanted.store(false, Ordering::Release); // after the mark that it is under way
        }
        due
    }
}

impl Hook for Sequencer {
    fn outputs(&mut self, acker: Acker, epoch: u64) {
        if let Some(acked) = self.acked.get_mut(acker) {
            *acked = epoch.max(*acked);
        }
    }
    fn cut(&mut self, ends: &dyn Fn(Partition) -> u64) -> Vec<Vec<u8>> {
        for (acker, epoch) in self.pace.take_elsewhere() {
            self.outputs(acker, epoch);
        }
        let mut entries = Vec::new();
        if self.pace.halt.load(Ordering::Acquire) {
            self.pace.halted.store(true, Ordering::Release);
            self.waiting = false;
            return entries;
        }
        let elsewhere = self.pace.ends_elsewhere();
        let ends = |p: Partition| ends(p).max(elsewhere.get(&p).copied().unwrap_or(0));
        while let Some(entry) = self.next(&ends) {
            entries.push(entry.to_bytes());
            self.first = false;
            self.last = entry;
        }
        self.pace.cut.store(self.last.epoch, Ordering::Release);
        entries
    }
    fn committed(&mut self) {
        self.pace.acknowledged.store(self.done(), Ordering::Release);
    }
    fn waiting(&self) -> bool {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicI64;

    fn sequencer(clock: &Arc<AtomicI64>) -> Sequencer {
        let clock = clock.clone();
        let clock_ms = Box::new(move || clock.load(Ordering::SeqCst));
        let cutting = Cutting { checkpoint_every_ms: 1000 };
        Sequencer::new(Arc::default(), clock_ms, Entry::default(), 7, (0, 2, 2), cutting)
    }

    proptest! {
        #[test]
        fn entries_survive_their_bytes(generation: u64, epoch: u64, clock_ms: i64, idle_ms: i64, checkpoint: bool, ends: Vec<u64>) {
            let entry = Entry { generation, epoch, clock_ms, idle_ms, checkpoint, ends };
            prop_assert_eq!(Entry::parse(&entry.to_bytes()), Some(entry));
        }

        /// Whatever comes when: epochs are dense, ends never go back nor past what is there, no entry is too large, and in
        /// the end everything is taken up.
        #[test]
        fn every_record_is_in_exactly_one_epoch(steps in proptest::collection::vec((0usize..4, 0u64..9000, 0u64..4, 0i64..3000), 1..80)) {
            let clock = Arc::new(AtomicI64::new(0));
            let mut s = sequencer(&clock);
            let all = inputs(2);
            let (mut there, mut last) = (vec![0u64; 4], Entry { ends: vec![0; 4], ..Entry::default() });
            for (p, new, acks, ms) in steps.into_iter().chain((0..400).map(|_| (0, 0, 9, 1))) {
                there[p] += new;
                clock.fetch_add(ms, Ordering::SeqCst);
                for acker in 0..2 { s.outputs(acker, (s.acked[acker] + acks).min(last.epoch)); }
                for bytes in s.cut(&|q| there[all.iter().position(|x| *x == q).unwrap()]) {
                    let e = Entry::parse(&bytes).unwrap();
                    prop_assert_eq!(e.epoch, last.epoch + 1);
                    let taken: u64 = e.ends.iter().zip(&last.ends).map(|(a, b)| a - b).sum();
                    prop_assert!(taken <= EPOCH_RECORDS && (taken > 0 || e.idle_ms > 0 || e.clock_ms - last.clock_ms >= IDLE_STEP_MS));
                    prop_assert!(e.ends.iter().zip(&there).all(|(e, t)| e <= t) && e.clock_ms >= last.clock_ms);
                    prop_assert!(e.idle_ms == 0 || taken == 0);
                    prop_assert!(e.epoch - s.acked.iter().min().unwrap() <= IN_FLIGHT);
                    last = e;
                }
            }
            prop_assert_eq!(last.ends, there);
        }
    }

    #[test]
    fn an_entry_grows_with_the_log() {
        let of = |ends: &[u64]| Entry { ends: ends.to_vec(), ..Entry::default() };
        let mut entry = of(&[7, 8, 5, 6]);
        entry.widen(2);
        assert_eq!(entry, of(&[7, 8, 5, 6]));
        entry.widen(4);
        assert_eq!(entry, of(&[7, 8, 0, 0, 5, 6]), "labels and control stay behind the events");
    }

    #[test]
    fn a_checkpoint_that_is_asked_for_comes_when_nothing_is_in_flight_and_once() {
        let clock = Arc::new(AtomicI64::new(10));
        let mut s = sequencer(&clock);
        let marks = |entries: Vec<Vec<u8>>| {
            entries.iter().filter_map(|e| Entry::parse(e)).map(|e| e.checkpoint).collect::<Vec<_>>()
        };
        assert_eq!(marks(s.cut(&|_| 1)), [false]);
        s.pace.want_checkpoint();
        assert_eq!(marks(s.cut(&|_| 1)), [false; 0], "an epoch is in flight");
        (0..2).for_each(|acker| s.outputs(acker, 1));
        assert_eq!(marks(s.cut(&|_| 1)), [true]);
        assert!(!s.pace.no_checkpoint());
        (0..2).for_each(|acker| s.outputs(acker, 2));
        assert_eq!(marks(s.cut(&|_| 1)), [false; 0]);
        s.pace.checkpoint_done();
        assert!(s.pace.no_checkpoint());
    }

    #[test]
    fn a_pause_of_the_process_is_not_silence() {
        let clock = Arc::new(AtomicI64::new(1000));
        let mut s = sequencer(&clock);
        assert_eq!(s.cut(&|_| 1).len(), 1);
        (0..2).for_each(|acker| s.outputs(acker, 1));
        clock.store(3000, Ordering::SeqCst);
        let idle = |entries: Vec<Vec<u8>>| {
            entries.iter().filter_map(|e| Entry::parse(e)).map(|e| e.idle_ms).collect::<Vec<_>>()
        };
        assert_eq!(idle(s.cut(&|_| 1)), [2000]);
        (0..2).for_each(|acker| s.outputs(acker, 2));
        clock.store(3_000_000, Ordering::SeqCst);
        assert_eq!(idle(s.cut(&|_| 1)), [0]);
    }
}
