//! The dataflow `detect`: from the log to the log.
//!
//! ```text
//! source -> split(probes) -> dedup by id -> gather -> split(touches) -> entities by key-group -> gather -> score
//!   score -> counts ----> thresholds (worker 0, LAG epochs ahead) --+
//!   score -> points ----------------------------------------------- | --+
//!   score -> batch -> decide <---------------------------------------+   |
//!       decide -> events.scored, .rejected, .enriched                    |
//!              decide -> anomalies -> report (worker 0) <----------------+ -> alerts
//! ```
//! The timestamp is the epoch. Deliberately absent: threads, files, clocks, and when epochs are cut.

use crate::checkpoint::{Blob, Piece, Position, State};
use crate::control::Artifacts;
use crate::intake::{Intake, IntakeError, Share};
use crate::ports::{Acker, Cause, EventLog, LogError, Meta, Partition, Records, Topic, partition};
use crate::quarantine::{Extent, Quarantines};
use crate::tally::Mark;
pub use crate::tally::Tally;
use pulse_models::features::{GROUPS, Group};
use pulse_operators::alert::Message;
use pulse_operators::batch::Batch;
use pulse_operators::cause::working;
use pulse_operators::decide::{Outputs, Said, decide_batch, deciding};
use pulse_operators::dedup::{Ids, probes};
use pulse_operators::entity::{Entities, TABLES, answers_of, touches};
use pulse_operators::flow::{Checkpoints, Progress};
use pulse_operators::gather::gather;
use pulse_operators::keyed::keyed;
use pulse_operators::record::Answers;
use pulse_operators::report::{Reports, Seen, report};
use pulse_operators::score::Scorer;
use pulse_operators::series::{self, Preaggregate};
use pulse_operators::source::{Pull, source};
use pulse_operators::split::{split, split_together};
use pulse_operators::state::groups::{KEY_GROUPS, owner_of};
use pulse_operators::threshold::{Counts, Trackers, count, thresholds};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::SyncActivator;
use timely::worker::Worker;

/// The partition number in the cause of a message that time alone caused; its offset is the epoch.
pub const BY_TIME: u16 = u16::MAX;

/// Takes the outputs of (acker, all epochs up to): records by partition, in the order of epochs.
pub type Output = Box<dyn Fn(Acker, u64, Vec<(Partition, Records)>) + Send + Sync>;

/// Wakes the sources of a process.
#[derive(Default)]
pub struct Alarm {
    slots: Mutex<Vec<(SyncActivator, Arc<AtomicBool>)>>,
    stopped: AtomicBool,
}
impl Alarm {
    /// New entries are there.
    pub fn ring(&self) {
        let slots = self.slots.lock().unwrap_or_else(|e| e.into_inner());
        for (activator, _) in slots.iter().filter(|(_, pending)| !pending.swap(true, Ordering::AcqRel)) {
            let _ = activator.activate(); // fails when the worker is gone, and then there is nobody to wake
        }
    }
    /// Sources end, and with them the dataflow.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.ring();
    }
    /// Was it stopped?
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Outputs that are in the log already: what a restart leaves out.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// By partition: offset of the last event whose scored record is there.
    pub scored: BTreeMap<u16, u64>,
    /// The same for rejected records.
    pub rejected: BTreeMap<u16, u64>,
    /// The same for enriched ones.
    pub enriched: BTreeMap<u16, u64>,
    /// All alerts of epochs up to here are there.
    pub alerts: u64,
    /// Of the epoch behind it the first so many.
    pub alerts_more: usize,
}
impl Done {
    /// How many messages of an epoch are there.
    fn alerts_of(&self, epoch: u64) -> usize {
        match epoch.saturating_sub(self.alerts) {
            0 => usize::MAX,
            1 => self.alerts_more,
            _ => 0,
        }
    }
}

/// Why a dataflow cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// What is stored is damaged or gone: whoever tries again finds the same.
    #[error("{0}")]
    Damaged(String),
    /// Anything else: another try may help.
    #[error("{0}")]
    Failed(String),
}
impl From<IntakeError> for Fatal {
    fn from(error: IntakeError) -> Fatal {
        match &error {
            IntakeError::Log(LogError::Damaged(_) | LogError::Trimmed(_)) | IntakeError::Lost(_) => {
                Fatal::Damaged(error.to_string())
            }
            _ => Fatal::Failed(error.to_string()),
        }
    }
}

/// What all workers of a process start from.
pub struct Job {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Things that control records name.
    pub artifacts: Arc<dyn Artifacts>,
    /// Partitions of `events.raw`.
    pub partitions: u16,
    /// Where to go on.
    pub position: Position,
    /// State there; each worker takes its part.
    pub state: Mutex<State>,
    /// Checkpoints made before.
    pub checkpoints: u64,
    /// Newest epoch found at the start: replay goes to here, and takes no checkpoints.
    pub known: u64,
    /// What is in the log already.
    pub done: Done,
    /// What is left out.
    pub quarantines: Quarantines,
    /// Where outputs go.
    pub output: Output,
    /// Where copies for checkpoints go; `None`: none are taken.
    pub pieces: Option<Sender<Piece>>,
    /// Wakes the sources.
    pub alarm: Arc<Alarm>,
    /// Counters.
    pub tally: Arc<Tally>,
    /// What to do when the log or a control record cannot be read: must not return.
    pub fatal: Box<dyn Fn(&Fatal) + Send + Sync>,
}

type Boxed = Box<Batch>;

/// Builds the dataflow on one worker. Every worker builds the same.
pub fn build(worker: &mut Worker, job: &Arc<Job>) {
    worker.dataflow::<u64, _, _>(|scope| {
        let progress = Progress::starting_after(job.position.entry.epoch);
        let checkpoints = Checkpoints::default();
        let batches = intake(scope, job, progress.clone(), checkpoints.clone());
        let (asked, batches) = split(scope, batches, "Probes", |b: &mut Boxed, out| probes(b, out));
        let verdicts = keyed(scope, asked, "Dedup", checkpoints.subscribe(), ids(scope, job));
        let batches = gather(batches, verdicts, "Deduplicated");
        let (touched, batches) = split(scope, batches, "Touches", |b: &mut Boxed, out| touches(b, out));
        let answers = keyed(scope, touched, "Entities", checkpoints.subscribe(), entities(scope, job));
        let batches = gather(batches, answers, "Gathered");
        let (mut scorer, at, me) = (Scorer::default(), job.tally.clone(), scope.index());
        let score = move |all: &mut [&mut Boxed]| {
            all.iter().for_each(|b| at.mark(me, b.epoch, Mark::Enriched));
            scorer.score(all);
            at.rule_failures.fetch_add(scorer.take_failures(), Ordering::Relaxed);
        };
        let counts = |b: &mut Boxed, out: &mut Vec<Counts>| out.push(count(b));
        let (counts, batches) = split_together(scope, batches, "Score", score, counts);
        let mut merged = Preaggregate::default();
        let (seen, batches) =
            split(scope, batches, "Points", move |b: &mut Boxed, out| out.push(points(b, &mut merged)));
        decisions(scope, job, progress, &checkpoints, batches, counts, seen);
    });
}

fn intake<'s>(
    scope: Scope<'s, u64>,
    job: &Arc<Job>,
    progress: Rc<Progress>,
    checkpoints: Checkpoints,
) -> StreamVec<'s, u64, Boxed> {
    let share = Share { worker: scope.index(), peers: scope.peers(), partitions: job.partitions };
    let mut intake = match new_intake(job, share) {
        Ok(intake) => Some(intake),
        Err(e) => {
            (job.fatal)(&e.into());
            None
        }
    };
    let pending = Arc::new(AtomicBool::new(false));
    let (job, mine) = (job.clone(), pending.clone());
    let alarm = job.alarm.clone();
    let register = move |activator| {
        alarm.slots.lock().unwrap_or_else(|e| e.into_inner()).push((activator, pending));
    };
    source(scope, progress, register, move |_epoch| {
        mine.store(false, Ordering::Release); // before looking: what comes later wakes us again
        if job.alarm.stopped() {
            return Pull::End;
        }
        let Some(intake) = intake.as_mut() else { return Pull::End };
        job.tally.mark(share.worker, 0, Mark::Looked);
        match intake.next_batch() {
            Ok(Some((batch, checkpoint))) => {
                job.tally.mark(share.worker, batch.epoch, Mark::Taken);
                if let Some(pieces) = job.pieces.as_ref().filter(|_| checkpoint && batch.epoch > job.known) {
                    checkpoints.announce(batch.epoch);
                    // the checkpointer ends last
                    let _ = pieces.send(Piece::Position(Box::new(intake.position().clone())));
                }
                let events = batch.events.len();
                Pull::Epoch(Box::new(batch), events)
            }
            Ok(None) => Pull::Wait,
            Err(e) => {
                (job.fatal)(&e.into());
                Pull::End
            }
        }
    })
}

fn new_intake(job: &Job, share: Share) -> Result<Intake, IntakeError> {
    Intake::new(&*job.log, share, job.position.clone(), job.artifacts.clone(), job.quarantines.clone())
}

fn own_groups(scope: Scope<'_, u64>) -> impl Iterator<Item = usize> {
    let (me, peers) = (scope.index() as u64, scope.peers());
    (0..KEY_GROUPS).filter(move |group| owner_of(*group as u64, peers) == me)
}

/// Sends copies to the checkpointer, and `Done` with the last.
fn keeper<T: 'static>(job: &Arc<Job>, wrap: fn(Vec<T>) -> Piece) -> Box<dyn FnMut(Vec<T>, bool)> {
    let pieces = job.pieces.clone();
    Box::new(move |sections, all| {
        if let Some(pieces) = &pieces {
            let done = all.then_some(Piece::Done);
            for piece in [Some(wrap(sections)), done].into_iter().flatten() {
                let _ = pieces.send(piece); // the checkpointer ends last
            }
        }
    })
}
fn blob_keeper(job: &Arc<Job>, blob: Blob) -> Box<dyn FnMut(Vec<u8>)> {
    let pieces = job.pieces.clone();
    Box::new(move |bytes| {
        if let Some(pieces) = &pieces {
            for piece in [Piece::Blob(blob, bytes), Piece::Done] {
                let _ = pieces.send(piece); // the checkpointer ends last
            }
        }
    })
}

fn ids(scope: Scope<'_, u64>, job: &Arc<Job>) -> Ids {
    let mut state = job.state.lock().unwrap_or_else(|e| e.into_inner());
    let restored: Vec<_> = own_groups(scope).filter_map(|g| Some((g, std::mem::take(state.ids.get_mut(g)?)))).collect();
    let tally = job.tally.clone();
    let sizes = Box::new(move |kept, evicted| tally.ids.add(kept, evicted));
    Ids::new(restored.into_iter(), job.checkpoints, keeper(job, Piece::Ids)).telling(sizes)
}

fn entities(scope: Scope<'_, u64>, job: &Arc<Job>) -> Entities {
    let tally = job.tally.clone();
    let sizes = Box::new(move |kind: usize, kept, evicted| {
        if let Some(size) = tally.entities.get(kind) {
            size.add(kept, evicted);
        }
    });
    let mut entities = Entities::new(job.checkpoints, keeper(job, Piece::Entities)).telling(sizes);
    let mut state = job.state.lock().unwrap_or_else(|e| e.into_inner());
    for group in own_groups(scope) {
        for (kind, table) in TABLES.iter().zip(&mut state.entities) {
            if let Some(rows) = table.get_mut(group) {
                entities.load(*kind, group, std::mem::take(rows));
            }
        }
        if let Some(rows) = state.samples.get_mut(group) {
            entities.load_samples(group, std::mem::take(rows));
        }
    }
    entities
}

fn blob(job: &Job, blob: Blob) -> Option<Vec<u8>> {
    let state = job.state.lock().unwrap_or_else(|e| e.into_inner());
    state.blobs.get(&(blob as u16)).cloned()
}

/// The points of a batch's series and where its partitions are in time.
pub fn points(batch: &Batch, merged: &mut Preaggregate) -> Seen {
    let money = batch.context.money();
    let work = working("Points");
    let (mut naming, mut answers) = (series::Naming::default(), Answers::default());
    for (slot, event) in batch.events.iter().enumerate().filter(|(slot, _)| batch.is_scored(*slot)) {
        work.at(event.order());
        let pays = event.event_type.group() == Group::Payment;
        if pays {
            answers_of(batch, slot, &mut answers);
        }
        let again = pays && series::tried_again(&answers);
        series::points(event, &batch.arena, &money, again, merged);
        naming.take(event, &batch.arena);
    }
    Seen {
        clock_ms: batch.clock_ms,
        times: batch.times.clone(),
        points: merged.drain(),
        members: naming.members(),
        tuning: batch.switched.then(|| batch.context.tuning()),
    }
}

fn decisions<'s>(
    scope: Scope<'s, u64>,
    job: &Arc<Job>,
    progress: Rc<Progress>,
    checkpoints: &Checkpoints,
    batches: StreamVec<'s, u64, Boxed>,
    counts: StreamVec<'s, u64, Counts>,
    seen: StreamVec<'s, u64, Seen>,
) {
    let me = scope.index();
    // worker 0 keeps these for all; only there are checkpoints of them due
    let due = || if me == 0 { checkpoints.subscribe() } else { Default::default() };
    let context = job.position.active.context(&*job.artifacts);
    let (initial, tuning) = match &context {
        Ok(context) => (GROUPS.map(|g| context.initial_threshold(g)), context.tuning()),
        Err(e) => return (job.fatal)(&Fatal::Failed(e.to_string())),
    };
    let trackers = match blob(job, Blob::Thresholds) {
        Some(bytes) => bitcode::decode(&bytes).map_err(|e| e.to_string()),
        None => Ok(Trackers::new(initial)),
    };
    let reports = match blob(job, Blob::Reports) {
        Some(bytes) => Reports::from_bytes(tuning, &bytes),
        None => Reports::new(tuning),
    };
    let (trackers, reports) = match (trackers, reports) {
        (Ok(trackers), Ok(reports)) => (trackers, reports),
        (Err(e), _) => return (job.fatal)(&Fatal::Failed(e)),
        (_, Err(e)) => return (job.fatal)(&Fatal::Failed(e.to_string())),
    };
    let start = trackers.recent().to_vec();
    let new = thresholds(scope, counts, due(), trackers, blob_keeper(job, Blob::Thresholds));
    let sink = job.clone();
    let mut each = 0;
    let anomalies = deciding(scope, batches, new, &start, move |batch: Boxed, thresholds, found| {
        let mut parts = BTreeMap::<Partition, Records>::new();
        decide_batch(&batch, thresholds, &mut |o| write(&sink.done, &batch, o, each, &mut parts), found);
        let largest = parts.values().max_by_key(|records| records.len());
        each = largest.map_or(0, |records| records.bytes() / records.len().max(1));
        found.retain(|a| !sink.quarantines.holds(a.partition, a.offset, Extent::Alert));
        sink.tally.decided(&batch, found.len());
        (sink.output)(me, batch.epoch, parts.into_iter().collect());
        sink.tally.mark(me, batch.epoch, Mark::Scored);
        progress.finish(batch.epoch);
    });
    let (sink, peers) = (job.clone(), scope.peers());
    let keep = blob_keeper(job, Blob::Reports);
    report(scope, seen, anomalies, due(), reports, keep, move |epoch, clock_ms, messages, figures| {
        sink.tally.reported(figures);
        let mut records = Records::default();
        alerts(epoch, clock_ms, &messages, sink.done.alerts_of(epoch), &mut records);
        let parts = if records.is_empty() { vec![] } else { vec![(partition(Topic::Alerts, 0), records)] };
        (sink.output)(peers, epoch, parts);
    });
}

/// `each`: bytes that an event of the last batch took; this one's are likely to take about as many, and growing would copy
/// them.
fn write(done: &Done, batch: &Batch, output: Outputs, each: usize, parts: &mut BTreeMap<Partition, Records>) {
    let (topic, done) = match output.said {
        Said::Scored => (Topic::Scored, &done.scored),
        Said::Rejected => (Topic::Rejected, &done.rejected),
        Said::Enriched => (Topic::Enriched, &done.enriched),
    };
    if done.get(&output.partition).is_some_and(|last| output.offset <= *last) {
        return;
    }
    let cause = Cause { partition: output.partition, offset: output.offset, kind: 0 };
    let meta = Meta { time_ms: batch.clock_ms, cause };
    let room = if output.said == Said::Rejected { 0 } else { batch.events.len() * (each + each / 8) };
    let records = parts.entry(partition(topic, output.partition));
    records.or_insert_with(|| Records::with_room(batch.events.len(), room)).push(meta, output.value);
}

fn alerts(epoch: u64, clock_ms: i64, messages: &[Message], there: usize, records: &mut Records) {
    for (kind, message) in messages.iter().enumerate().skip(there) {
        let (partition, offset) = message.cause.unwrap_or((BY_TIME, epoch));
        let cause = Cause { partition, offset, kind: kind as u32 };
        records.push(Meta { time_ms: clock_ms, cause }, &message.json);
    }
}
