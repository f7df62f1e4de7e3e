//! The engine: runs the dataflow `detect` on threads, from a log and a folder of checkpoints.
//!
//! [`objects`] keeps bundles, tables and checkpoints; [`manifest`] says which objects make a checkpoint, [`restore`] finds
//! the newest that is whole and fits the log, [`checkpointer`] writes the next; [`resume`] finds what is in the log already;
//! [`poison`] finds what ended the process again and again; [`registry`] gives the things that control records name; [`replay`] runs the same dataflow over a recorded log or files.
//!
//! Deliberately absent: the network, the store, and scoring.

pub mod checkpointer;
pub mod gap;
pub mod manifest;
pub mod objects;
pub mod poison;
pub mod registry;
pub mod replay;
pub mod restore;
pub mod resume;

use crate::engine::checkpointer::{Checkpointer, Checkpoints};
use crate::engine::objects::Objects;
use crate::engine::registry::Registry;
use pulse_dataflows::checkpoint::Position;
use pulse_dataflows::detect::{Alarm, Fatal, Job, Output, Tally, build};
use pulse_dataflows::epochs::{Cutting, Pace, Sequencer};
use pulse_dataflows::ports::{EventLog, Request, Topic};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use timely::communication::WorkerGuards;

/// How often the sequencer is asked whether idle time has passed: well below its step of a second.
const TICK: Duration = Duration::from_millis(200);

/// Why the engine cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The log.
    #[error(transparent)]
    Log(#[from] pulse_dataflows::ports::LogError),
    /// The object store.
    #[error(transparent)]
    Objects(#[from] objects::ObjectError),
    /// No checkpoint fits.
    #[error(transparent)]
    Restore(#[from] restore::RestoreError),
    /// The log lacks what is needed.
    #[error("{0}")]
    Gap(String),
    /// timely would not start.
    #[error("workers cannot start: {0}")]
    Workers(String),
}

/// Choices for a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Worker threads.
    pub workers: usize,
    /// Ask for a checkpoint so often, ms; 0 = never.
    pub checkpoint_every_ms: i64,
    /// Negative control for the tests: manifests are written without waiting for the outputs they count on.
    pub ungated: bool,
}

/// The wall clock, ms since the epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// Ends the sources when an engine is dropped: the workers' guards wait for them. Declared, and so dropped, before those.
struct StopOnDrop(Arc<Alarm>);
impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A running dataflow. Dropping it ends the workers where they are; [`Engine::stop`] tells how it went.
pub struct Engine {
    alarm: StopOnDrop,
    log: Arc<dyn EventLog>,
    pace: Arc<Pace>,
    tally: Arc<Tally>,
    told: Arc<Checkpoints>,
    position: Position,
    stopping: Arc<AtomicBool>,
    guards: WorkerGuards<()>,
    checkpointer: JoinHandle<Result<(), objects::ObjectError>>,
    checkpoints: bool,
    ticker: JoinHandle<()>,
}

impl Engine {
    /// Restores, replays what is recorded, and goes on. `fatal` must end the process.
    pub fn start(
        log: Arc<dyn EventLog>,
        objects: Objects,
        registry: Arc<Registry>,
        options: Options,
        fatal: fn(&Fatal),
    ) -> Result<Engine, EngineError> {
        let restored = restore::restore(&objects, &*log)?;
        let resume = resume::resume(&*log, &restored.position)?;
        if let Some(gap) = gap::missing(&*log, &restored.position, &resume.last) {
            return Err(EngineError::Gap(gap));
        }
        let (pace, tally, alarm) = (Arc::<Pace>::default(), Arc::<Tally>::default(), Arc::<Alarm>::default());
        let applied = restored.position.entry.epoch;
        let partitions = log.partitions(Topic::Raw);
        let known = resume.last.epoch;
        let shape = (applied, options.workers + 1, partitions);
        let cutting = Cutting { checkpoint_every_ms: options.checkpoint_every_ms };
        let sequencer = Sequencer::new(pace.clone(), Box::new(now_ms), resume.last, log.generation(), shape, cutting);
        log.install(Box::new(sequencer));
        let (tx, rx) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let told = Arc::<Checkpoints>::default();
        let checkpointer = Checkpointer {
            objects,
            log: log.clone(),
            pace: pace.clone(),
            workers: options.workers,
            manifest: restored.manifest.clone(),
            stopping: stopping.clone(),
            gated: !options.ungated,
            unwhole: 0,
            told: told.clone(),
        };
        let checkpointer = std::thread::Builder::new()
            .name("checkpointer".into())
            .spawn(move || checkpointer.run(&rx))
            .map_err(|e| EngineError::Workers(e.to_string()))?;
        let job = Job {
            log: log.clone(),
            artifacts: registry,
            partitions,
            position: restored.position.clone(),
            state: Mutex::new(restored.state),
            checkpoints: restored.manifest.number,
            known,
            done: resume.done,
            quarantines: resume.quarantines,
            output: to_log(&log),
            pieces: Some(tx),
            alarm: alarm.clone(),
            tally: tally.clone(),
            fatal: Box::new(fatal),
        };
        let bell = alarm.clone();
        log.subscribe(&[Topic::Epochs], Box::new(move || bell.ring()));
        let guards = run(Arc::new(job), options.workers).map_err(EngineError::Workers)?;
        let ticker = tick(log.clone(), stopping.clone());
        let position = restored.position;
        let alarm = StopOnDrop(alarm);
        let checkpoints = options.checkpoint_every_ms > 0;
        Ok(Engine { alarm, log, pace, tally, told, position, stopping, guards, checkpointer, checkpoints, ticker })
    }
    /// How far sequencer and outputs are.
    pub fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }
    /// Counters.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }
    /// What became of checkpoints.
    pub fn checkpoints(&self) -> &Arc<Checkpoints> {
        &self.told
    }
    /// Where it started.
    pub fn started_at(&self) -> &Position {
        &self.position
    }
    /// Waits until everything appended so far has left the dataflow, at most so long; whether it has.
    pub fn drain(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.pace.acknowledged() < self.pace.newest() && Instant::now() < until {
            self.log.nudge();
            std::thread::sleep(Duration::from_millis(1));
        }
        self.pace.acknowledged() >= self.pace.newest()
    }
    /// Takes a checkpoint of all that was taken up, so that the next start has nothing to replay; whether it is there in
    /// time. None where none are to be taken.
    pub fn checkpoint(&self, patience: Duration) -> bool {
        if !self.checkpoints {
            return true;
        }
        let until = Instant::now() + patience;
        self.pace.want_checkpoint();
        while !self.pace.no_checkpoint() && Instant::now() < until {
            self.log.nudge();
            std::thread::sleep(Duration::from_millis(1));
        }
        self.pace.no_checkpoint()
    }
    /// Ends the workers and the checkpointer. What was not taken up stays in the log.
    pub fn stop(self) -> Result<(), EngineError> {
        self.stopping.store(true, Ordering::Release);
        self.alarm.0.stop();
        for worker in self.guards.join() {
            worker.map_err(EngineError::Workers)?;
        }
        let _ = self.ticker.join(); // it has nothing to say
        match self.checkpointer.join() {
            Ok(result) => Ok(result?),
            Err(_) => Err(EngineError::Workers("the checkpointer panicked".into())),
        }
    }
}

/// Starts the workers of a job.
pub fn run(job: Arc<Job>, workers: usize) -> Result<WorkerGuards<()>, String> {
    let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    timely::execute(config, move |worker| {
        build(worker, &job);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    })
}

fn to_log(log: &Arc<dyn EventLog>) -> Output {
    let log = log.clone();
    Box::new(move |acker, epoch, parts| {
        log.append(Request { parts, outputs: Some((acker, epoch)), ..Request::default() })
    })
}

/// Lets the sequencer look at the clock.
fn tick(log: Arc<dyn EventLog>, stopping: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !stopping.load(Ordering::Acquire) {
            log.nudge();
            std::thread::sleep(TICK);
        }
    })
}
