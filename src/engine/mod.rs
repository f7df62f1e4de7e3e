//! The engine: runs the dataflow `detect` on threads, from a log and a folder of checkpoints.
//!
//! [`objects`] keeps bundles, tables and checkpoints; [`manifest`] says which objects make a checkpoint, [`restore`] finds
//! the newest that is whole and fits the log, [`checkpointer`] writes the next; [`resume`] finds what is in the log already; `clock` is the time that epochs go by;
//! [`poison`] finds what ended the process again and again; [`moving`] carries a checkpoint to another log; [`registry`] gives the things that control records name; [`replay`] runs the same dataflow over a recorded log or files.
//!
//! Deliberately absent: the network, the store, and scoring.

pub mod checkpointer;
mod clock;
pub mod gap;
pub mod manifest;
pub mod moving;
pub mod objects;
pub mod poison;
pub mod registry;
pub mod replay;
pub mod restore;
pub mod resume;

use crate::engine::checkpointer::{Checkpointer, Checkpoints, Duty};
use crate::engine::objects::Objects;
use crate::engine::registry::Registry;
use crate::engine::restore::Restored;
use crate::engine::resume::Resume;
use pulse_dataflows::checkpoint::Position;
use pulse_dataflows::detect::{Alarm, Fatal, Job, Output, Tally, build};
use pulse_dataflows::epochs::{Cutting, Pace, Sequencer};
use pulse_dataflows::intake::Share;
use pulse_dataflows::ports::{Acker, EventLog, Hook, Partition, Request, Topic, partition};
use pulse_operators::state::groups::owner_of;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Hooks, WorkerGuards};
use timely::worker::Worker;

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
    crate::log::now_ms()
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

/// What a start goes on from: the newest checkpoint, and what the log says behind it.
pub struct Prepared {
    restored: Restored,
    resume: Resume,
}
impl Prepared {
    /// Chooses the checkpoint; `from_beginning`: when none can be used, the log is read from its beginning.
    pub fn choose(log: &dyn EventLog, objects: &Objects, from_beginning: bool) -> Result<Prepared, EngineError> {
        let restored = restore::restore(objects, log, from_beginning)?;
        let resume = resume::resume(log, &restored.position)?;
        if let Some(gap) = gap::missing(log, &restored.position, &resume.last) {
            return Err(EngineError::Gap(gap));
        }
        Ok(Prepared { restored, resume })
    }
    /// The same in another process of the cluster: the choice is the first process's.
    pub fn same(log: &dyn EventLog, objects: &Objects, chosen: &Chosen) -> Result<Prepared, EngineError> {
        let restored = restore::restore_named(objects, log, chosen.checkpoint.as_deref())?;
        let mut resume = resume::resume(log, &restored.position)?;
        resume.last.epoch = chosen.known; // there may be newer ones by now, but no worker has seen them
        Ok(Prepared { restored, resume })
    }
    /// What was chosen.
    pub fn chosen(&self) -> Chosen {
        Chosen { checkpoint: self.restored.name.clone(), known: self.resume.last.epoch }
    }
}

/// What all processes start from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chosen {
    /// Name of the checkpoint's manifest; `None`: from the beginning of the log.
    pub checkpoint: Option<String>,
    /// The newest epoch: up to here it is a replay.
    pub known: u64,
}

/// What a process tells the first one, so that its sequencer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The outputs of this acker are in the log up to this epoch.
    Acknowledged(Acker, u64),
    /// This partition of `events.raw` ends here.
    Reached(u16, u64),
}
/// Tells it.
pub type Forward = Box<dyn Fn(News) + Send>;

/// The place of a process in its cluster, and how it speaks to the others.
pub struct Team {
    /// Its number; the first has the sequencer.
    pub process: usize,
    /// Processes in all.
    pub processes: usize,
    /// A connection to each other process, authenticated; empty for one alone.
    pub sockets: Vec<Option<TcpStream>>,
    /// What it does of checkpoints.
    pub duty: Duty,
    /// How far its outputs are is told here; `None`: to the sequencer in this process.
    pub forward: Option<Forward>,
    /// Where acknowledgements of others arrive.
    pub pace: Arc<Pace>,
}
impl Team {
    /// One process alone.
    pub fn alone() -> Team {
        let duty = Duty::Manifest(0, mpsc::channel().1);
        Team { process: 0, processes: 1, sockets: Vec::new(), duty, forward: None, pace: Arc::default() }
    }
}

/// The hook of a process that has no sequencer: tells the first process of outputs, and how far its partitions are.
struct Elsewhere {
    forward: Forward,
    /// Own partitions, and how far they were said to be.
    ends: Vec<(u16, u64)>,
}
impl Hook for Elsewhere {
    fn outputs(&mut self, acker: Acker, epoch: u64) {
        (self.forward)(News::Acknowledged(acker, epoch));
    }
    fn cut(&mut self, ends: &dyn Fn(Partition) -> u64) -> Vec<Vec<u8>> {
        for (number, said) in &mut self.ends {
            let end = ends(partition(Topic::Raw, *number));
            if end > *said {
                *said = end;
                (self.forward)(News::Reached(*number, end));
            }
        }
        Vec::new()
    }
    fn committed(&mut self) {}
    fn waiting(&self) -> bool {
        false
    }
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
        let prepared = Prepared::choose(&*log, &objects, false)?;
        Engine::go_on((log, objects, registry), prepared, options, Team::alone(), fatal)
    }

    /// Goes on from what was prepared, as one process of a team.
    pub fn go_on(
        (log, objects, registry): (Arc<dyn EventLog>, Objects, Arc<Registry>),
        Prepared { restored, resume }: Prepared,
        options: Options,
        team: Team,
        fatal: fn(&Fatal),
    ) -> Result<Engine, EngineError> {
        let Team { process, processes, sockets, duty, forward, pace } = team;
        let (tally, alarm) = (Arc::<Tally>::default(), Arc::<Alarm>::default());
        let partitions = log.partitions(Topic::Raw);
        let known = resume.last.epoch;
        let peers = options.workers * processes;
        let workers = process * options.workers..(process + 1) * options.workers;
        let own: Vec<u16> = workers.clone().flat_map(|worker| Share { worker, peers, partitions }.own()).collect();
        if processes > 1 {
            log.follow_only(&own);
        }
        log.install(match forward {
            Some(forward) => Box::new(Elsewhere { forward, ends: own.iter().map(|p| (*p, 0)).collect() }),
            None => {
                let shape = (restored.position.entry.epoch, peers + 1, partitions);
                let cutting = Cutting { checkpoint_every_ms: options.checkpoint_every_ms };
                let clock = clock::steady(resume.last.clock_ms);
                Box::new(Sequencer::new(pace.clone(), clock, resume.last, log.generation(), shape, cutting))
            }
        });
        let (tx, rx) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let told = Arc::<Checkpoints>::default();
        told.passed_over.store(restored.passed_over, Ordering::Relaxed);
        let checkpointer = Checkpointer {
            objects,
            log: log.clone(),
            pace: pace.clone(),
            workers: options.workers,
            duty,
            manifest: restored.manifest.clone(),
            stopping: stopping.clone(),
            gated: !options.ungated,
            unwhole: 0,
            told: told.clone(),
            fatal,
        };
        let thread = std::thread::Builder::new().name("checkpointer".into()).spawn(move || checkpointer.run(&rx));
        let checkpointer = thread.map_err(|e| EngineError::Workers(e.to_string()))?;
        let mut state = restored.state;
        state.keep(|group| workers.contains(&(owner_of(group as u64, peers) as usize)));
        let job = Job {
            log: log.clone(),
            artifacts: registry,
            partitions,
            position: restored.position.clone(),
            state: Mutex::new(state),
            checkpoints: restored.manifest.number,
            known,
            done: resume.done,
            quarantines: resume.quarantines,
            output: to_log(&log, &stopping),
            pieces: Some(tx),
            alarm: alarm.clone(),
            tally: tally.clone(),
            fatal: Box::new(fatal),
        };
        let bell = alarm.clone();
        log.subscribe(&[Topic::Epochs], Box::new(move || bell.ring()));
        let guards = run_in(Arc::new(job), options.workers, (process, sockets)).map_err(EngineError::Workers)?;
        let ticker = tick(log.clone(), stopping.clone());
        let (position, alarm, checkpoints) = (restored.position, StopOnDrop(alarm), options.checkpoint_every_ms > 0);
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
    /// Cuts no further epoch, and waits until all that were cut have left, at most so long; whether they have. Only then do all
    /// workers stand at the same epoch.
    pub fn halt(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        self.pace.halt();
        while !self.pace.halted() && Instant::now() < until {
            self.log.nudge();
            std::thread::sleep(Duration::from_millis(1));
        }
        self.pace.halted() && self.drain(until.saturating_duration_since(Instant::now()))
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

/// Starts the workers of a job, in this process alone.
pub fn run(job: Arc<Job>, workers: usize) -> Result<WorkerGuards<()>, String> {
    run_in(job, workers, (0, Vec::new()))
}

/// The same as process `process` of a cluster, with a connection to each other one.
fn run_in(
    job: Arc<Job>,
    workers: usize,
    (process, sockets): (usize, Vec<Option<TcpStream>>),
) -> Result<WorkerGuards<()>, String> {
    let body = move |worker: &mut Worker| {
        build(worker, &job);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    };
    if sockets.len() <= 1 {
        let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
        return timely::execute(config, body);
    }
    let hooks = Hooks::default();
    let here = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
    let (builders, guard) = initialize_networking_from_sockets(here, sockets, process, workers, hooks)
        .map_err(|e| format!("connections to the other processes: {e}"))?;
    let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
    timely::execute::execute_from(builders, Box::new(guard), timely::WorkerConfig::default(), body)
}

/// Outputs go to the log, until the engine ends: workers end one after the other, and what one makes of an epoch that another
/// has not taken up is worth nothing.
fn to_log(log: &Arc<dyn EventLog>, stopping: &Arc<AtomicBool>) -> Output {
    let (log, stopping) = (log.clone(), stopping.clone());
    Box::new(move |acker, epoch, parts| {
        if !stopping.load(Ordering::Acquire) {
            log.append(Request { parts, outputs: Some((acker, epoch)), ..Request::default() })
        }
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
