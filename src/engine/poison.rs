//! Events that end the process: crashes are written down with their cause, and an event that caused [`CRASHES`] of them goes
//! into quarantine before the log is replayed, so that it cannot end the process for ever.
//!
//! The file of crashes is a line of JSON for each panic. In a cluster each process has one, perhaps on a machine of its own: it tells the
//! first process of them when it joins, and the first judges. Deliberately absent: deaths that run no code of ours (a kill, no
//! memory left); nobody knows their cause.

use crate::engine::objects::Objects;
use crate::engine::restore::oldest;
use crate::engine::resume::last_cause;
use pulse_dataflows::epochs::EpochReader;
use pulse_dataflows::ports::{EventLog, LogError, Meta, Records, Request, Topic, partition};
use pulse_dataflows::quarantine::{Extent, Quarantine, Quarantines};
use pulse_operators::cause;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Crashes on one cause before it goes into quarantine: one may be the machine's fault.
pub const CRASHES: usize = 3;
/// Name of the file in the data folder.
pub const FILE: &str = "crashes.ndjson";
/// Crashes that are remembered: far more than the events in flight, so far fewer than would hide three of one cause.
const KEPT: usize = 200;
/// Crashes that a process tells when it joins; fewer than are kept, so that none that was judged is taken for a new one.
const TOLD: usize = 20;

/// The folder of this process; unset where no dataflow runs on one.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// One crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// When, ms since the epoch.
    time_ms: i64,
    /// The step it happened in.
    step: String,
    /// Where in the program.
    place: String,
    /// Partition of `events.raw`.
    partition: u16,
    /// Offset there.
    offset: u64,
    /// Counted already, and its cause put into quarantine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    judged: bool,
}
impl Crash {
    fn is(&self, other: &Crash) -> bool {
        Crash { judged: other.judged, ..self.clone() } == *other
    }
}

/// Why nothing can be put into quarantine.
#[derive(Debug, thiserror::Error)]
pub enum PoisonError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The checkpoints.
    #[error(transparent)]
    Objects(#[from] super::objects::ObjectError),
    /// The file of crashes.
    #[error("{FILE}: {0}")]
    File(#[from] std::io::Error),
}

/// From now on [`remember`] writes to the file in this folder.
pub fn watch(folder: &Path) {
    let _ = FOLDER.set(folder.to_owned()); // one process, one folder
    #[cfg(debug_assertions)]
    plant();
}

/// Tests plant faults: `PULSE_FAULT=step:partition/offset,...`.
#[cfg(debug_assertions)]
fn plant() {
    let fault = |text: &str| -> Option<(String, u64)> {
        let (step, place) = text.split_once(':')?;
        let (partition, offset) = place.split_once('/')?;
        Some((step.to_owned(), partition.parse::<u64>().ok()? << 48 | offset.parse::<u64>().ok()?))
    };
    if let Ok(faults) = std::env::var("PULSE_FAULT") {
        cause::armed::arm(faults.split(',').filter_map(fault).collect());
    }
}

/// Called while a thread panics: writes its cause down, if it has one, and says so.
pub fn remember(place: Option<&Location>) {
    let Some(at) = cause::current() else { return };
    eprintln!("pulse: it was at record {}/{} of events.raw, step {}", at.partition, at.offset, at.step);
    let crash = Crash {
        time_ms: super::now_ms(),
        step: at.step.into(),
        place: place.map(ToString::to_string).unwrap_or_default(),
        partition: at.partition,
        offset: at.offset,
        judged: false,
    };
    if let Some(Err(error)) = FOLDER.get().map(|folder| append(&folder.join(FILE), &crash)) {
        eprintln!("pulse: the crash cannot be written down: {error}");
    }
}

fn append(path: &Path, crash: &Crash) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(crash)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(&line)?; // one write: two threads that panic do not tear each other's line
    file.sync_all()
}

/// What the file holds; a torn line is passed over.
fn read(path: &Path) -> std::io::Result<Vec<Crash>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn write(path: &Path, crashes: &[Crash]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    for crash in crashes {
        serde_json::to_writer(&mut file, crash)?;
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// What a process that joins tells the first of its crashes: the newest.
pub fn told(folder: &Path) -> std::io::Result<Vec<Crash>> {
    let mut crashes = read(&folder.join(FILE))?;
    crashes.retain(|crash| !crash.judged);
    Ok(crashes.split_off(crashes.len().saturating_sub(TOLD)))
}

/// The first process writes down what others told it, but for what it knows: they tell it at every start.
pub fn hear(folder: &Path, told: &[Crash]) -> std::io::Result<()> {
    let path = folder.join(FILE);
    let known = read(&path)?;
    let new = told.iter().filter(|crash| !known.iter().any(|known| crash.is(known)));
    new.into_iter().try_for_each(|crash| append(&path, crash))
}

/// Puts every event that has ended the process [`CRASHES`] times into quarantine; before the engine starts. Those it put.
pub fn judge(log: &dyn EventLog, objects: &Objects, folder: &Path) -> Result<Vec<Quarantine>, PoisonError> {
    let path = folder.join(FILE);
    let crashes = read(&path)?;
    let mut counts = BTreeMap::<(u16, u64), usize>::new();
    for crash in crashes.iter().filter(|crash| !crash.judged) {
        *counts.entry((crash.partition, crash.offset)).or_default() += 1;
    }
    counts.retain(|_, n| *n >= CRASHES);
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let known = known(log, objects)?;
    // first the file: should the process die in between, three more crashes are needed, and nothing is done twice
    let mut rest = crashes;
    rest.iter_mut().for_each(|c| c.judged |= counts.contains_key(&(c.partition, c.offset)));
    write(&path, rest.get(rest.len().saturating_sub(KEPT)..).unwrap_or_default())?;
    let (mut reader, mut put) = (log.reader(), Vec::new());
    for (p, offset) in counts.into_keys() {
        let mut left = false;
        for topic in [Topic::Scored, Topic::Rejected, Topic::Enriched] {
            left |= last_cause(log, &mut *reader, topic, p)?.is_some_and(|cause| cause.offset >= offset);
        }
        // what has left stands: only what is told of it can still be left out; should that not help, all of it
        let extent = if left && !known.holds(p, offset, Extent::Alert) { Extent::Alert } else { Extent::Event };
        let quarantine = Quarantine { partition: p, offset, extent };
        let meta = Meta { time_ms: super::now_ms(), ..Meta::default() };
        let records = Records::of(meta, &quarantine.to_bytes(log.generation()));
        log.append_wait(Request { parts: vec![(partition(Topic::Epochs, 0), records)], ..Request::default() })?;
        tracing::error!(
            partition = p,
            offset,
            ?extent,
            "a record of events.raw ended the process again and again: it is in quarantine"
        );
        put.push(quarantine);
    }
    Ok(put)
}

/// What is in quarantine already, as far as a start may read.
fn known(log: &dyn EventLog, objects: &Objects) -> Result<Quarantines, PoisonError> {
    let from = oldest(objects)?.unwrap_or_default();
    let mut entries = EpochReader::new(log, from.next, from.entry.generation);
    while entries.next_entry()?.is_some() {}
    Ok(entries.quarantines().clone())
}
