//! Persist: reads `events.scored`, `events.rejected`, `alerts` and `labels` and writes the store, on a thread of its own.
//!
//! [`gather`] takes the next batch from the log, [`decode`] makes rows of records, [`write`] puts rows and positions into one
//! transaction, [`counters`] counts them. Promise: every record is in the store exactly once, whatever is killed when, as the
//! positions move with the rows by compare-and-set; who finds them moved by somebody else is fenced and stands by
//! ([`standby`]). A store that is slow or locked delays only this thread: it tries again, ever more slowly, and counts it.
//!
//! Deliberately absent: scoring, sending, what people ask.

mod counters;
pub mod decode;
pub mod gather;
mod standby;
mod write;

use crate::store::{self, Store, positions::Position};
use crate::telemetry::Metrics;
use counters::Counters;
use gather::{Batch, Source};
use pulse_dataflows::ports::{EventLog, LogError, Partition, Topic};
use standby::Standby;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use write::Written;

/// Name of this reader in `reader_positions`.
pub const READER: &str = "persist";
/// Topics that are read, in the order in which a batch takes them: an alert comes behind its event.
pub const TOPICS: [Topic; 4] = [Topic::Scored, Topic::Rejected, Topic::Alerts, Topic::Labels];
/// After a batch that emptied the log: lets records gather, so that a trickle does not cost a transaction each.
const LINGER: Duration = Duration::from_millis(20);
/// Looks at the log even when nobody has called: a wake-up may come from another process, and then it does not come.
const IDLE: Duration = Duration::from_millis(500);
/// First and longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What may be set.
#[derive(Clone)]
pub struct Options {
    /// Currency of amounts that name none.
    pub currency: String,
    /// Called when the log cannot be read, now or ever: the product ends its process.
    pub damaged: fn(&str),
    /// Told how long a batch took, from the log to the store. Called on persist's thread.
    pub written: Arc<dyn Fn(Duration) + Send + Sync>,
}
impl Default for Options {
    fn default() -> Self {
        Options { currency: "EUR".into(), damaged: |_| {}, written: Arc::new(|_| {}) }
    }
}

/// Why persist stopped, or paused.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// Another persist has moved the positions.
    #[error("another process reads as `{READER}`: this one stands by")]
    Fenced,
    /// The positions are behind: the store came back from a crash, or on another server, without its last commits.
    #[error("the store has lost its last commits; their records are read again")]
    TakenBack,
    /// The store does not answer.
    #[error("store: {0}")]
    Store(#[from] crate::store::Error),
    /// The log does not answer.
    #[error("log: {0}")]
    Log(#[from] LogError),
}

/// One step of persist after another. [`Persist`] runs it on a thread; tests run it by hand.
pub struct Worker {
    log: Arc<dyn EventLog>,
    store: Arc<Store>,
    source: Source,
    counters: Counters,
    written: Arc<dyn Fn(Duration) + Send + Sync>,
    currency: String,
    /// A batch whose commit was sent and not answered.
    doubt: Option<(Batch, Written)>,
}

impl Worker {
    /// Starts where the store says.
    pub fn open(
        log: Arc<dyn EventLog>,
        store: Arc<Store>,
        options: &Options,
        metrics: &Metrics,
    ) -> Result<Worker, PersistError> {
        let positions = load(&*log, &store)?;
        let source = Source::new(log.reader(), positions, options.currency.clone());
        let counters = Counters::register(metrics, store.up());
        Ok(Worker {
            log,
            store,
            source,
            counters,
            written: options.written.clone(),
            currency: options.currency.clone(),
            doubt: None,
        })
    }

    /// Takes and writes one batch; the number of records it moved on by. An error leaves everything as it was.
    pub fn step(&mut self) -> Result<usize, PersistError> {
        let begun = Instant::now();
        if let Some(moved) = self.settle_doubt()? {
            return Ok(moved);
        }
        let batch: Batch = self.source.gather(&*self.log)?;
        if batch.moves.is_empty() {
            self.counters.lag.set(0);
            return Ok(0);
        }
        let mut written = Written::default();
        match write::write(&self.store, &batch, &mut written) {
            Ok(()) => {}
            Err(error @ PersistError::Store(store::Error::InDoubt(_))) => {
                self.doubt = Some((batch, written));
                return Err(error);
            }
            Err(PersistError::TakenBack) => {
                // rows and positions were lost together: going on from where the store stands writes each row once
                let positions = load(&*self.log, &self.store)?;
                self.source = Source::new(self.log.reader(), positions, self.currency.clone());
                return Err(PersistError::TakenBack);
            }
            Err(error) => return Err(error),
        }
        (self.written)(begun.elapsed());
        Ok(self.done(&batch, &written))
    }

    /// Looks whether the reader that was quicker still moves. If it does not, goes on from where it stands; `true`: so it is.
    fn stand_by(&mut self, standby: &mut Standby) -> Result<bool, PersistError> {
        let here: Result<Vec<_>, _> = self.store.read(|db| {
            let of = self.source.positions().iter();
            of.map(|(p, _)| Ok((*p, store::positions::get(db, READER, *p)?))).collect()
        });
        let here: Vec<(Partition, Position)> = here?;
        let lag: u64 = here.iter().map(|(p, at)| self.log.end(*p).saturating_sub(at.next)).sum();
        self.counters.lag.set(lag as i64);
        let replaced = standby.look(here.clone(), lag > 0);
        // always: retention goes by the positions
        self.source = Source::new(self.log.reader(), here, self.currency.clone());
        self.doubt = None;
        Ok(replaced)
    }

    /// The batch is in the store; the number of records it moved on by.
    fn done(&mut self, batch: &Batch, written: &Written) -> usize {
        self.source.moved(&batch.moves);
        self.counters.add(batch, written);
        self.counters.lag.set(self.lag() as i64);
        batch.taken + batch.lost as usize
    }

    /// Asks the positions whether a commit without an answer counts. If it does not, its batch is gathered again.
    fn settle_doubt(&mut self) -> Result<Option<usize>, PersistError> {
        let Some((batch, _)) = &self.doubt else { return Ok(None) };
        let Some((partition, _, new)) = batch.moves.first() else { return Ok(None) };
        let now = self.store.write(|tx| store::positions::settled(tx, READER, *partition))?;
        let committed = now == *new;
        tracing::info!(committed, "the store says what became of the commit without an answer");
        let doubt = self.doubt.take().filter(|_| committed);
        Ok(doubt.map(|(batch, written)| self.done(&batch, &written)))
    }

    /// Records that are in the log and not taken up.
    pub fn lag(&self) -> u64 {
        self.source.positions().iter().map(|(p, at)| self.log.end(*p).saturating_sub(at.next)).sum()
    }

    /// Retention must not pass these: the next offset of each topic, and in `events.raw` what scored events are joined with.
    pub fn positions(&self) -> Vec<(Partition, u64)> {
        needs(self.source.positions())
    }
}

/// Where the store says that this reader is.
fn load(log: &dyn EventLog, store: &Store) -> Result<Vec<(Partition, Position)>, PersistError> {
    let partitions = TOPICS.into_iter().flat_map(|topic| (0..log.partitions(topic)).map(move |n| (topic, n)));
    let partitions = partitions.map(|(topic, number)| Partition { topic, number });
    Ok(store.write_durable(|tx| partitions.map(|p| Ok((p, store::positions::load(tx, READER, p)?))).collect())?)
}

/// Positions, and those in `events.raw` that follow from them.
fn needs(positions: &[(Partition, Position)]) -> Vec<(Partition, u64)> {
    let mut all: Vec<(Partition, u64)> = positions.iter().map(|(p, at)| (*p, at.next)).collect();
    for (p, at) in positions.iter().filter(|(p, _)| p.topic == Topic::Scored) {
        all.push((Partition { topic: Topic::Raw, number: p.number }, at.cause.map_or(0, |(offset, _)| offset + 1)));
    }
    all
}

/// Wakes the thread.
#[derive(Default)]
struct Signal {
    called: Mutex<bool>,
    bell: Condvar,
}
impl Signal {
    fn call(&self) {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_one();
    }
    /// Waits until called, at most so long.
    fn wait(&self, longest: Duration) {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut called, _) =
            self.bell.wait_timeout_while(called, longest, |called| !*called).unwrap_or_else(PoisonError::into_inner);
        *called = false;
    }
}

/// What the thread tells the others.
#[derive(Default)]
struct Shared {
    signal: Signal,
    stop: AtomicBool,
    /// When it stops with records left; they are read again at the next start.
    until: Mutex<Option<Instant>>,
    positions: Mutex<Vec<(Partition, u64)>>,
    lag: std::sync::atomic::AtomicU64,
}

impl Shared {
    /// Is the time for a stop over?
    fn late(&self) -> bool {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() >= until)
    }
    /// Waits, whoever calls, but not when told to stop.
    fn pause(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while !self.stop.load(Ordering::Acquire) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.signal.wait(left);
        }
    }
}

/// The running reader. Dropping it stops the thread after the batch in hand.
pub struct Persist {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), PersistError>>>,
}

impl Persist {
    /// Starts the thread.
    pub fn start(
        log: Arc<dyn EventLog>,
        store: Arc<Store>,
        options: &Options,
        metrics: &Metrics,
    ) -> Result<Persist, PersistError> {
        let (shared, damaged) = (Arc::new(Shared::default()), options.damaged);
        let mut worker = Worker::open(log.clone(), store, options, metrics)?;
        *shared.positions.lock().unwrap_or_else(PoisonError::into_inner) = worker.positions();
        let caller = shared.clone();
        log.subscribe(&TOPICS, Box::new(move || caller.signal.call()));
        let own = shared.clone();
        let thread = std::thread::Builder::new()
            .name("persist".into())
            .spawn(move || run(&mut worker, &own, damaged))
            .map_err(|error| LogError::Unavailable(format!("no thread: {error}")))?;
        Ok(Persist { shared, thread: Some(thread) })
    }

    /// Records behind the end of the topics, as of the last batch.
    pub fn lag(&self) -> u64 {
        self.shared.lag.load(Ordering::Relaxed)
    }

    /// What retention must not pass: (partition, first offset still needed).
    pub fn positions(&self) -> Vec<(Partition, u64)> {
        self.shared.positions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first offset of `partition` that is still needed; `None`: it is not read here.
    pub fn position(&self, partition: Partition) -> Option<u64> {
        self.positions().into_iter().find(|(p, _)| *p == partition).map(|(_, next)| next)
    }

    /// Has the thread ended?
    pub fn stopped(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops after everything that is in the log now was taken up or the store refused; why it had stopped, if it had.
    pub fn stop(mut self) -> Result<(), PersistError> {
        self.halt().unwrap_or(Ok(()))
    }

    /// The same, with records left if it takes longer: the next start reads them.
    pub fn stop_within(self, patience: Duration) -> Result<(), PersistError> {
        *self.shared.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + patience);
        self.stop()
    }

    fn halt(&mut self) -> Option<Result<(), PersistError>> {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.signal.call();
        let ended = self.thread.take()?.join();
        Some(ended.unwrap_or_else(|_| Err(LogError::Unavailable("persist panicked".into()).into())))
    }
}
impl Drop for Persist {
    fn drop(&mut self) {
        let _ = self.halt(); // whoever wants the reason calls `stop`
    }
}

/// The thread: batch after batch until told to stop, or in front of what cannot be read.
fn run(worker: &mut Worker, shared: &Shared, damaged: fn(&str)) -> Result<(), PersistError> {
    let mut pause = BACKOFF.0;
    loop {
        let stopping = shared.stop.load(Ordering::Acquire);
        match worker.step() {
            Ok(moved) => {
                pause = BACKOFF.0;
                *shared.positions.lock().unwrap_or_else(PoisonError::into_inner) = worker.positions();
                shared.lag.store(worker.lag(), Ordering::Relaxed);
                if stopping && (moved == 0 || shared.late()) {
                    return Ok(());
                }
                if moved == 0 {
                    shared.signal.wait(IDLE);
                } else if moved < gather::BATCH && !stopping {
                    std::thread::sleep(LINGER);
                }
            }
            Err(PersistError::Fenced) if stopping => return Ok(()), // the records are the other's to write
            Err(PersistError::Fenced) => {
                tracing::warn!("another process reads as `{READER}`: this one stands by");
                await_turn(worker, shared);
            }
            Err(PersistError::Log(error @ LogError::Damaged(_))) => {
                tracing::error!(%error, "the log cannot be read: persist stops");
                damaged(&error.to_string());
                return Err(error.into());
            }
            Err(error) if stopping => return Err(error),
            Err(error) => {
                worker.counters.retries.inc();
                worker.counters.lag.set(worker.lag() as i64);
                shared.lag.store(worker.lag(), Ordering::Relaxed);
                tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "persist tries again");
                shared.pause(pause);
                pause = (pause * 2).min(BACKOFF.1);
            }
        }
    }
}

/// Waits until the other reader stands still, or this one is to stop.
fn await_turn(worker: &mut Worker, shared: &Shared) {
    let mut standby = Standby::default();
    loop {
        shared.pause(standby::LOOK);
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        match worker.stand_by(&mut standby) {
            Ok(true) => return tracing::warn!("the other process stands still: this one reads as `{READER}` now"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "standing by, and the store does not answer"),
        }
        *shared.positions.lock().unwrap_or_else(PoisonError::into_inner) = worker.positions();
    }
}
