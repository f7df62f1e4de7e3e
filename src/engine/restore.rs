//! Finds the newest checkpoint that is whole and fits the log.
//!
//! A damaged one is passed over, loudly. When there are some and none can be used, a person decides: the log can be read from
//! its beginning, if that is still there, which may take long.
//! Deliberately absent: skipping. What cannot be derived again stops the start.

use crate::engine::manifest::{FOLDER, Manifest};
use crate::engine::objects::{ObjectError, Objects};
use pulse_dataflows::checkpoint::{CheckpointError, Plan, Position, State};
use pulse_dataflows::epochs::EpochReader;
use pulse_dataflows::ports::{EventLog, LogError, Topic, partition};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// Largest checkpoint object that is read: a bound against a damaged length.
const MAX_OBJECT_BYTES: usize = 8 << 30;

/// The entry of its epoch is another generation's.
const OF_ANOTHER: &str = "the epoch log says something else";

/// Why nothing can be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Another program's state.
    #[error(
        "the checkpoints were written with state schema {0:?}, this program has {1:?}: go on with the version that wrote them, or start with --from-beginning, which makes the state again from the log, from its first record on"
    )]
    Schema((u32, u32), (u32, u32)),
    /// What the first process of a cluster has read cannot be read here.
    #[error(
        "the first process starts from checkpoint {0}, which cannot be used here ({1}): all processes need the same object store"
    )]
    Chosen(String, String),
    /// There are checkpoints, and none can be used.
    #[error(
        "none of the checkpoints can be used ({0}). Put a copy of the folder of checkpoints back; or start with --from-beginning, which makes the state again from the log, from its first record on: the same results, after the time that takes"
    )]
    Unusable(String),
    /// Nothing to start from.
    #[error(
        "no checkpoint can be used ({0}) and the log no longer begins at its beginning: {1} records are trimmed. Put a copy of the folder of checkpoints back, or start on an empty data folder"
    )]
    Nothing(String, u64),
}

/// What a start goes on from.
#[derive(Default)]
pub struct Restored {
    /// The manifest; the default when there is none.
    pub manifest: Manifest,
    /// Where it stands.
    pub position: Position,
    /// State there.
    pub state: State,
    /// Name of the manifest, if there is one.
    pub name: Option<String>,
    /// Newer checkpoints that could not be used.
    pub passed_over: u64,
}

/// Names of manifests, oldest first.
pub fn manifests(objects: &Objects) -> Result<Vec<String>, ObjectError> {
    Ok(objects.list(FOLDER)?.into_iter().filter(|name| name.ends_with(".manifest")).collect())
}

/// Where the oldest kept checkpoint stands: the log behind it is needed.
pub fn oldest(objects: &Objects) -> Result<Option<Position>, ObjectError> {
    for name in manifests(objects)? {
        if let Some(manifest) = objects.get(&name)?.and_then(|bytes| Manifest::parse(&bytes)) {
            return Ok(Some(manifest.position));
        }
    }
    Ok(None)
}

/// The newest checkpoint that can be used. Where there are some and none can be, nothing is begun anew unless that was asked for
/// (`from_beginning`): whoever starts must know that it takes long, and may have a copy.
pub fn restore(objects: &Objects, log: &dyn EventLog, from_beginning: bool) -> Result<Restored, RestoreError> {
    let (mut problems, mut of_others) = (Vec::new(), 0);
    for name in manifests(objects)?.iter().rev() {
        let problem = match load(objects, log, name) {
            Ok(Ok(restored)) => return Ok(Restored { passed_over: problems.len() as u64, ..restored }),
            Ok(Err(problem)) => problem,
            Err(error @ RestoreError::Schema(..)) if from_beginning => error.to_string(),
            Err(error) => return Err(error),
        };
        tracing::warn!(checkpoint = %name, %problem, "checkpoint cannot be used; trying the one before");
        of_others += usize::from(problem == OF_ANOTHER);
        problems.push(format!("{name}: {problem}"));
    }
    let raw = (0..log.partitions(Topic::Raw)).map(|p| log.start(partition(Topic::Raw, p))).sum::<u64>();
    let entries = log.start(partition(Topic::Epochs, 0));
    let trimmed = raw + entries;
    // a person may accept that records are gone (`--accept-gap`), but without the entries nobody knows what was made of them
    if trimmed > 0 && (entries > 0 || !log.skips_gaps()) {
        return Err(RestoreError::Nothing(problems.join("; "), trimmed));
    }
    // what a frozen generation wrote behind its successor's fence is no loss
    if problems.len() > of_others && !from_beginning {
        return Err(RestoreError::Unusable(problems.join("; ")));
    }
    Ok(Restored { passed_over: problems.len() as u64, ..Restored::default() })
}

/// The checkpoint that another process has chosen, or none.
pub fn restore_named(objects: &Objects, log: &dyn EventLog, name: Option<&str>) -> Result<Restored, RestoreError> {
    let Some(name) = name else { return Ok(Restored::default()) };
    load(objects, log, name)?.map_err(|problem| RestoreError::Chosen(name.into(), problem))
}

type Loaded = Result<Restored, String>;

fn load(objects: &Objects, log: &dyn EventLog, name: &str) -> Result<Loaded, RestoreError> {
    let Some(bytes) = objects.get(name)? else { return Ok(Err("not there".into())) };
    let Some(manifest) = Manifest::parse(&bytes) else { return Ok(Err("the manifest is damaged".into())) };
    if manifest.schema != Manifest::schema_now() {
        return Err(RestoreError::Schema(manifest.schema, Manifest::schema_now()));
    }
    let mut manifest = manifest;
    manifest.position.entry.widen(log.partitions(Topic::Raw));
    let position = &manifest.position;
    let before = position.next.saturating_sub(1);
    if position.next > log.end(partition(Topic::Epochs, 0)) {
        return Ok(Err("it is newer than the epoch log".into()));
    }
    let mut entries = EpochReader::new(log, before, position.entry.generation);
    if entries.next_entry()?.as_ref() != Some(&position.entry) {
        return Ok(Err(OF_ANOTHER.into()));
    }
    let began = Instant::now();
    let read = in_threads(manifest.objects.len(), |at| {
        // newest first
        let Some((object, sum)) = manifest.objects.iter().rev().nth(at) else { return Ok(Err(String::new())) };
        read(objects, object, *sum)
    });
    let mut raw = Vec::with_capacity(manifest.objects.len());
    for object in read {
        match object? {
            Ok(bytes) => raw.push(bytes),
            Err(problem) => return Ok(Err(problem)),
        }
    }
    let (bytes, read_ms) = (raw.iter().map(Vec::len).sum::<usize>(), began.elapsed().as_millis() as u64);
    match decode(&raw) {
        Ok(state) => {
            let all_ms = began.elapsed().as_millis() as u64;
            tracing::info!(
                checkpoint = name,
                bytes,
                read_ms,
                decode_ms = all_ms - read_ms,
                "going on from a checkpoint"
            );
            Ok(Ok(Restored { position: position.clone(), state, manifest, name: Some(name.into()), passed_over: 0 }))
        }
        Err(CheckpointError::Damaged(what)) => Ok(Err(what.into())),
    }
}

/// An object of a checkpoint, decompressed; what is wrong with it.
fn read(objects: &Objects, name: &str, sum: u64) -> Result<Result<Vec<u8>, String>, ObjectError> {
    let Some(bytes) = objects.get(name)?.filter(|bytes| xxh3_64(bytes) == sum) else {
        return Ok(Err(format!("{name} is missing or damaged")));
    };
    Ok(match zstd::stream::decode_all(&bytes[..]) {
        Ok(bytes) if bytes.len() <= MAX_OBJECT_BYTES => Ok(bytes),
        Ok(_) => Err(format!("{name} is too large")),
        Err(_) => Err(format!("{name} cannot be decompressed")),
    })
}

fn decode(raw: &[Vec<u8>]) -> Result<State, CheckpointError> {
    let plan = Plan::of(raw)?;
    let groups = in_threads(plan.len(), |at| plan.decode(at).map(|group| (at, group)));
    Ok(plan.finish(groups.into_iter().collect::<Result<_, _>>()?))
}

/// `work` for each of so many, on as many threads as there are processors; results in order.
fn in_threads<R: Send>(many: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(many.max(1));
    let (next, work) = (AtomicUsize::new(0), &work);
    let mine = || std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < many));
    let some = || mine().map(|at| (at, work(at))).collect::<Vec<_>>();
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(some)).collect();
        let mut all = some();
        // a panic is a fault of ours, and goes on here
        all.extend(others.into_iter().flat_map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e))));
        all
    });
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}
