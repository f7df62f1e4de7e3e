//! Replay: the dataflow `detect` over what is given, as it runs live, with its outputs in place of the log.
//!
//! [`Replay::log`] repeats a recorded log, epoch cuts and all. [`Replay::feed`] takes events from files: the clock is the
//! data's, and epochs are cut by the events alone (see [`Cutter`]), so the number of workers and the speed of the machine
//! do not show in the outputs.
//! Deliberately absent: reading files and writing reports.

use crate::engine::registry::Registry;
use crate::engine::run;
use crate::log::MemoryLog;
use pulse_dataflows::checkpoint::{Position, State};
use pulse_dataflows::detect::{Alarm, Done, Job, Tally};
use pulse_dataflows::epochs::{Entry, EpochReader, inputs};
use pulse_dataflows::ports::{Acker, EventLog, LogError, Meta, Partition, Records, Request, Topic, partition};
use pulse_dataflows::quarantine::Quarantines;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use timely::communication::WorkerGuards;

/// Events of an epoch at most.
const CUT_EVENTS: usize = 1024;
/// An epoch of at least so many ends with its minute of event time. Four times as many would cost a sixth less CPU an event where
/// some twenty come in a minute; but decisions rest on it, and with them the rows that the shipped model is made from.
const CUT_MINUTE_EVENTS: usize = 64;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Idle time at the end, so that the last buckets are judged and amended: close-after and lateness, with room.
const END_IDLE_MS: i64 = 4 * HOUR_MS;
/// Epochs fed ahead of their outputs, and events in them; then the feeder waits until half of these epochs are there. More than live,
/// where each epoch waits for the one before it to be synced: here waiting costs wake-ups, and small epochs cost less together.
const AHEAD: usize = 128;
/// Epochs that leave before what they took is forgotten.
const TRIM: usize = 8;
const EVENTS_AHEAD: u64 = 32 * CUT_EVENTS as u64;
/// Memory of the log in flight: far more than the epochs in flight can hold.
const LOG_BYTES: usize = 1 << 30;

/// Decides from event times alone where epochs end: after [`CUT_EVENTS`] events, at every hour, and at every minute once
/// [`CUT_MINUTE_EVENTS`] wait.
#[derive(Default)]
pub struct Cutter {
    events: usize,
    last_ms: i64,
}
impl Cutter {
    /// Does an epoch end before the event of this time?
    pub fn before(&mut self, time_ms: i64) -> bool {
        let passed = |length_ms: i64| time_ms.div_euclid(length_ms) > self.last_ms.div_euclid(length_ms);
        let full = self.events >= CUT_EVENTS || (self.events >= CUT_MINUTE_EVENTS && passed(MINUTE_MS));
        let cut = self.events > 0 && (full || passed(HOUR_MS));
        self.events = if cut { 1 } else { self.events + 1 };
        self.last_ms = self.last_ms.max(time_ms);
        cut
    }
}

/// Where outputs go: partition and records, those of one partition in order.
pub type Sink = Box<dyn FnMut(Partition, &Records) + Send>;

struct Outputs {
    acked: Vec<u64>,
    /// Whoever waits wants this epoch: waking it for each one before would cost more than the epoch.
    wanted: u64,
    sink: Sink,
    failed: Option<String>,
}
struct Shared {
    outputs: Mutex<Outputs>,
    moved: Condvar,
}
impl Shared {
    fn take(&self, acker: Acker, epoch: u64, parts: &[(Partition, Records)]) {
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().for_each(|(p, records)| (outputs.sink)(*p, records));
        if let Some(acked) = outputs.acked.get_mut(acker) {
            *acked = epoch;
        }
        if outputs.wanted > 0 && outputs.acked.iter().all(|acked| *acked >= outputs.wanted) {
            outputs.wanted = 0;
            self.moved.notify_all();
        }
    }
    /// One thread waits at a time: the one that feeds.
    fn wait_for(&self, epoch: u64) {
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.wanted = epoch;
        let behind = |o: &mut Outputs| o.acked.iter().any(|acked| *acked < epoch);
        drop(self.moved.wait_while(outputs, behind).unwrap_or_else(PoisonError::into_inner));
    }
    fn done(&self) -> u64 {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.acked.iter().min().copied().unwrap_or(0)
    }
}

/// A dataflow that is fed by hand.
pub struct Replay {
    log: Arc<dyn EventLog>,
    shared: Arc<Shared>,
    alarm: Arc<Alarm>,
    tally: Arc<Tally>,
    guards: Option<WorkerGuards<()>>,
    entry: Entry,
    /// Epochs whose outputs are not there, as far as is known, and where each ends in `events.raw`.
    fed: VecDeque<(u64, u64)>,
    /// Epochs that are there since the log was trimmed, and where the last of them ends.
    left: (usize, u64),
    labels: Records,
}

fn start(
    log: Arc<dyn EventLog>,
    registry: Arc<Registry>,
    position: Position,
    (known, quarantines): (u64, Quarantines),
    workers: usize,
    sink: Sink,
) -> Result<Replay, String> {
    let outputs = Outputs { acked: vec![0; workers + 1], wanted: 0, sink, failed: None };
    let shared = Arc::new(Shared { outputs: Mutex::new(outputs), moved: Condvar::new() });
    let (alarm, tally) = (Arc::<Alarm>::default(), Arc::<Tally>::default());
    let takes = shared.clone();
    let partitions = log.partitions(Topic::Raw);
    let job = Job {
        log: log.clone(),
        artifacts: registry,
        partitions,
        position,
        state: Mutex::new(State::default()),
        checkpoints: 0,
        known,
        done: Done::default(),
        quarantines,
        output: Box::new(move |acker, epoch, parts| takes.take(acker, epoch, &parts)),
        pieces: None,
        alarm: alarm.clone(),
        tally: tally.clone(),
        fatal: Box::new(|why| {
            eprintln!("pulse: {why}");
            std::process::exit(70);
        }),
    };
    let bell = alarm.clone();
    log.subscribe(&[Topic::Epochs], Box::new(move || bell.ring()));
    let guards = run(Arc::new(job), workers)?;
    let ends = vec![0; inputs(partitions).len()];
    Ok(Replay {
        log,
        shared,
        alarm,
        tally,
        guards: Some(guards),
        entry: Entry { ends, ..Entry::default() },
        fed: VecDeque::new(),
        left: (0, 0),
        labels: Records::default(),
    })
}

/// Who gives up in the middle lets the workers end; their guards wait for them.
impl Drop for Replay {
    fn drop(&mut self) {
        self.alarm.stop();
    }
}

impl Replay {
    /// An empty log of one partition, to be fed.
    pub fn feed(registry: Arc<Registry>, active: Position, workers: usize, sink: Sink) -> Result<Replay, String> {
        start(MemoryLog::new(1, LOG_BYTES), registry, active, Default::default(), workers, sink)
    }

    /// Repeats a recorded log from its beginning to its newest epoch.
    pub fn log(
        log: Arc<dyn EventLog>,
        registry: Arc<Registry>,
        workers: usize,
        sink: Sink,
    ) -> Result<Arc<Tally>, String> {
        let first = partition(Topic::Epochs, 0);
        if log.start(first) > 0 {
            return Err(format!(
                "the log begins at entry {} of pulse.epochs: its beginning is trimmed",
                log.start(first)
            ));
        }
        let mut entries = EpochReader::new(&*log, 0, 0);
        let mut newest = 0;
        while let Some(entry) = entries.next_entry().map_err(|e| e.to_string())? {
            newest = entry.epoch;
        }
        let known = (newest, entries.quarantines().clone());
        let replay = start(log, registry, Position::default(), known, workers, sink)?;
        replay.shared.wait_for(newest);
        replay.finish()
    }

    /// Verdicts that the next epoch takes up, before its events.
    pub fn label(&mut self, labels: Records) {
        self.labels = labels;
    }

    /// Appends events and the epoch that takes them up. `records` are those of `events.raw`, `control` of `pulse.control`.
    pub fn epoch(&mut self, records: Records, control: Records, clock_ms: i64, idle_ms: i64) -> Result<(), LogError> {
        self.entry.epoch += 1;
        self.entry.idle_ms = idle_ms;
        self.entry.clock_ms = self.entry.clock_ms.max(clock_ms);
        let labels = std::mem::take(&mut self.labels);
        for (end, n) in self.entry.ends.iter_mut().zip([records.len(), labels.len(), control.len()]) {
            *end += n as u64;
        }
        let meta = Meta { time_ms: self.entry.clock_ms, ..Meta::default() };
        let entry = Records::of(meta, &self.entry.to_bytes());
        let mut parts = vec![(partition(Topic::Epochs, 0), entry)];
        for (topic, records) in [(Topic::Raw, records), (Topic::Labels, labels), (Topic::Control, control)] {
            if !records.is_empty() {
                parts.push((partition(topic, 0), records));
            }
        }
        self.log.append_wait(Request { parts, ..Request::default() })?;
        self.fed.push_back((self.entry.epoch, self.entry.ends[0]));
        let ahead = |fed: &VecDeque<(u64, u64)>, from: u64| fed.back().map_or(0, |(_, end)| end - from);
        if self.fed.len() > AHEAD || ahead(&self.fed, self.left.1) > EVENTS_AHEAD {
            let half = self.fed.get(self.fed.len() / 2).map_or(0, |(epoch, _)| *epoch);
            self.shared.wait_for(half);
        }
        let done = self.shared.done();
        while let Some((_, end)) = self.fed.pop_front_if(|(epoch, _)| *epoch <= done) {
            self.left = (self.left.0 + 1, end);
        }
        if self.left.0 >= TRIM {
            // what has left was read. Seldom and much at once would cost memory, and the kernel's time to give it and take it back
            self.log.trim(partition(Topic::Raw, 0), self.left.1)?;
            // an entry is read again when the next one is: some are left
            self.log.trim(partition(Topic::Epochs, 0), done.saturating_sub(2 * AHEAD as u64))?;
            self.left.0 = 0;
        }
        Ok(())
    }

    /// Waits until everything fed so far has left.
    pub fn drain(&self) {
        self.shared.wait_for(self.entry.epoch);
    }

    /// Lets time pass until the last buckets are closed, waits for all outputs and ends.
    pub fn end(mut self) -> Result<Arc<Tally>, String> {
        let clock_ms = self.entry.clock_ms + END_IDLE_MS;
        self.epoch(Records::default(), Records::default(), clock_ms, END_IDLE_MS).map_err(|e| e.to_string())?;
        self.drain();
        self.finish()
    }

    fn finish(mut self) -> Result<Arc<Tally>, String> {
        self.alarm.stop();
        for worker in self.guards.take().into_iter().flat_map(WorkerGuards::join) {
            worker?;
        }
        let mut outputs = self.shared.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        match outputs.failed.take() {
            Some(why) => Err(why),
            None => Ok(self.tally.clone()),
        }
    }

    /// Counters.
    pub fn tally(&self) -> BTreeMap<&'static str, u64> {
        use std::sync::atomic::Ordering::Relaxed;
        let t = &self.tally;
        BTreeMap::from([
            ("scored", t.scored.load(Relaxed)),
            ("duplicates", t.duplicates.load(Relaxed)),
            ("late", t.late.load(Relaxed)),
            ("anomalies", t.anomalies.load(Relaxed)),
        ])
    }
}
