//! Writes checkpoints: one object with what the operators copied, the manifest last.
//!
//! The manifest of epoch C is written only when its object is durable and all outputs of epochs up to C are committed and
//! synced: outputs have no sync of their own, and a manifest that overtook them would lose them, because a replay starts
//! behind it. Three manifests are kept, with the objects they name.
//! In a cluster every process writes an object of its own and reports it to the first, which writes the manifest.
//! Deliberately absent: stopping the workers; they only hand over copies.

use crate::engine::manifest::{FOLDER, Manifest};
use crate::engine::objects::{ObjectError, Objects};
use crate::engine::restore::manifests;
use prometheus_client::metrics::histogram::Histogram;
use pulse_dataflows::checkpoint::{PartitionTime, Piece, ROTATE, encode, pieces};
use pulse_dataflows::detect::Fatal;
use pulse_dataflows::epochs::Pace;
use pulse_dataflows::ports::EventLog;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// Manifests kept.
const KEPT: usize = 3;
/// How often a wait for the other processes looks whether the engine ends.
const LOOK: Duration = Duration::from_millis(50);
/// zstd level: the cheapest that still finds columns of equal bytes.
const LEVEL: i32 = 1;

/// What is told of checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    /// With a manifest.
    pub written: AtomicU64,
    /// Given up: the one before stays in force.
    pub failed: AtomicU64,
    /// Could not be used at the start, and an older one was.
    pub passed_over: AtomicU64,
    /// Bytes of the newest object.
    pub bytes: AtomicU64,
    /// When the newest manifest was written, ms since the epoch.
    pub newest_ms: AtomicU64,
    /// From the first copy to the manifest.
    pub seconds: Histogram,
}
impl Default for Checkpoints {
    fn default() -> Checkpoints {
        // from an empty shop to a large one on a slow disk
        let seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
        let zero = AtomicU64::default;
        let seconds = Histogram::new(seconds);
        Checkpoints { written: zero(), failed: zero(), passed_over: zero(), bytes: zero(), newest_ms: zero(), seconds }
    }
}

/// What a process tells of its part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The epoch.
    pub epoch: u64,
    /// Event time of the partitions of its workers.
    pub times: BTreeMap<u16, PartitionTime>,
    /// Name and checksum of its object; `None` when it could not be written.
    pub object: Option<(String, u64)>,
}

/// A process's part in a checkpoint.
pub enum Duty {
    /// Writes the manifest, when so many other processes have reported.
    Manifest(usize, Receiver<Report>),
    /// Reports, as process with this number.
    Report(usize, Box<dyn Fn(Report) + Send>),
}

/// Writes checkpoints on a thread of its own.
pub struct Checkpointer {
    /// Where to.
    pub objects: Objects,
    /// The log whose outputs are waited for.
    pub log: Arc<dyn EventLog>,
    /// How far the outputs are.
    pub pace: Arc<Pace>,
    /// Worker threads of this process: they hand over pieces.
    pub workers: usize,
    /// What this process does of it.
    pub duty: Duty,
    /// The newest manifest.
    pub manifest: Manifest,
    /// The engine ends: a checkpoint under way is given up.
    pub stopping: Arc<AtomicBool>,
    /// Wait for the outputs? `false` only in the tests that show why.
    pub gated: bool,
    /// Checkpoints until everything is whole again after an object was lost.
    pub unwhole: u64,
    /// Told what became of each.
    pub told: Arc<Checkpoints>,
    /// Ends the process.
    pub fatal: fn(&Fatal),
}

/// A checkpoint's object, compressed piece by piece: as it is it may be as large as the state.
struct Object(zstd::stream::Encoder<'static, Vec<u8>>);
impl Object {
    fn new() -> std::io::Result<Object> {
        zstd::stream::Encoder::new(Vec::new(), LEVEL).map(Object)
    }
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::Write::write_all(&mut self.0, bytes)
    }
    fn finish(self) -> std::io::Result<Vec<u8>> {
        self.0.finish()
    }
}

impl Checkpointer {
    /// Ends when all workers have.
    pub fn run(mut self, from: &Receiver<Piece>) -> Result<(), ObjectError> {
        let (mut object, mut bytes, mut positions, mut done, mut begun) = (Object::new()?, Vec::new(), 0, 0, None);
        let first = matches!(self.duty, Duty::Manifest(..));
        let (mut epoch, mut times) = (0, BTreeMap::new());
        for piece in from {
            let since = *begun.get_or_insert_with(Instant::now);
            encode(&piece, &mut bytes);
            object.write_all(&bytes)?;
            bytes.clear();
            match piece {
                Piece::Position(position) => {
                    epoch = position.entry.epoch;
                    times.extend(position.times.iter().map(|(p, t)| (*p, *t)));
                    if first {
                        let known = std::mem::take(&mut self.manifest.position.times);
                        self.manifest.position = *position;
                        self.manifest.position.times = known;
                    }
                    positions += 1;
                }
                Piece::Done => done += 1,
                _ => {}
            }
            if positions == self.workers && done == pieces(self.workers, first) {
                let (whole, times) = (std::mem::replace(&mut object, Object::new()?), std::mem::take(&mut times));
                (positions, done, begun) = (0, 0, None);
                // a disk that is full costs checkpoints, not events: the old ones stay
                let own = self.put(epoch, whole);
                if let Err(error) = &own {
                    tracing::error!(%error, "a checkpoint's object cannot be written");
                    self.end_on_disk_failure(error);
                }
                let report = Report { epoch, times, object: own.ok() };
                match &self.duty {
                    Duty::Report(_, tell) => tell(report),
                    Duty::Manifest(..) => self.finish(report, since),
                }
            }
        }
        Ok(())
    }

    /// The first process: gathers the reports of the others and writes the manifest.
    fn finish(&mut self, own: Report, since: Instant) {
        let written = self.gather(own).and_then(|whole| if whole { self.write() } else { Ok(false) });
        match written {
            Ok(false) => {}
            Ok(true) => {
                self.told.written.fetch_add(1, Ordering::Relaxed);
                self.told.newest_ms.store(super::now_ms().max(0) as u64, Ordering::Relaxed);
                self.told.seconds.observe(since.elapsed().as_secs_f64());
            }
            Err(e) => {
                self.told.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(error = %e, "checkpoint failed; the one before stays in force");
                self.end_on_disk_failure(&e);
            }
        }
        self.pace.checkpoint_done();
    }

    /// After an error of the disk nobody knows what is on it, and asking once more may be answered wrongly: the next start looks.
    fn end_on_disk_failure(&self, error: &ObjectError) {
        if error.is_disk_failure() {
            (self.fatal)(&Fatal::Failed(format!("the disk of the checkpoints fails: {error}")));
        }
    }

    /// Takes in the parts of all processes; whether a manifest may name them.
    fn gather(&mut self, own: Report) -> Result<bool, ObjectError> {
        let Duty::Manifest(others, reports) = &self.duty else { return Ok(false) };
        let (epoch, mut parts) = (own.epoch, vec![own]);
        while parts.len() <= *others {
            match reports.recv_timeout(LOOK) {
                Ok(report) if report.epoch == epoch => parts.push(report),
                Ok(_) => {}
                Err(_) if self.stopping.load(Ordering::Acquire) => return Ok(false),
                Err(_) => {}
            }
        }
        self.manifest.number += 1;
        let whole = parts.iter().all(|part| part.object.is_some());
        for part in parts {
            self.manifest.position.times.extend(part.times);
            self.manifest.objects.extend(part.object);
        }
        self.manifest.forget(ROTATE as usize);
        if !whole {
            // copies are gone: until every group was written whole again, no manifest may replace the old ones
            self.unwhole = ROTATE;
            return Err(std::io::Error::other("the object of a process is missing").into());
        }
        if self.unwhole > 0 {
            self.unwhole -= 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// Writes this process's object; its name and checksum.
    fn put(&self, epoch: u64, object: Object) -> Result<(String, u64), ObjectError> {
        // a replay may come to the same epoch in another generation, with other copies
        let name = match &self.duty {
            Duty::Manifest(..) => format!("{FOLDER}/{epoch:012}.{:x}.state", self.log.generation()),
            Duty::Report(process, _) => format!("{FOLDER}/{epoch:012}.{:x}.{process}.state", self.log.generation()),
        };
        let bytes = object.finish()?;
        let sum = xxh3_64(&bytes);
        self.told.bytes.store(bytes.len() as u64, Ordering::Relaxed);
        self.objects.put(&name, bytes)?;
        Ok((name, sum))
    }

    /// Writes the manifest when the outputs are in; whether there is a new one.
    fn write(&mut self) -> Result<bool, ObjectError> {
        let epoch = self.manifest.position.entry.epoch;
        while self.gated && self.pace.acknowledged() < epoch {
            if self.stopping.load(Ordering::Acquire) {
                return Ok(false);
            }
            self.log.nudge(); // an acknowledgement without records wakes nobody by itself
            std::thread::sleep(Duration::from_micros(500));
        }
        if self.gated && self.log.sync().is_err() {
            return Ok(false);
        }
        self.check_objects()?;
        self.manifest.schema = Manifest::schema_now();
        let bytes = self.manifest.to_bytes().map_err(std::io::Error::other)?;
        self.objects.put(&Manifest::name(epoch, self.log.generation()), bytes)?;
        self.forget()?;
        Ok(true)
    }

    /// A store that came back without what it held: no manifest may name it, until every group was written whole again.
    fn check_objects(&mut self) -> Result<(), ObjectError> {
        let (there, named) = (self.objects.list(FOLDER)?, self.manifest.objects.len());
        self.manifest.objects.retain(|(name, _)| there.contains(name));
        let gone = named - self.manifest.objects.len();
        if gone == 0 {
            return Ok(());
        }
        self.unwhole = ROTATE;
        let text =
            format!("{gone} objects of earlier checkpoints are gone; the next with a manifest comes in {ROTATE} turns");
        Err(std::io::Error::other(text).into())
    }

    /// Removes manifests beyond the last three and objects that none of those names.
    fn forget(&self) -> Result<(), ObjectError> {
        let (mut named, mut kept) = (Vec::new(), 0);
        for name in manifests(&self.objects)?.iter().rev() {
            // a damaged one is none: it must not push one out that can be used
            match Manifest::parse(&self.objects.get(name)?.unwrap_or_default()).filter(|_| kept < KEPT) {
                Some(manifest) => {
                    kept += 1;
                    named.extend(manifest.objects.into_iter().map(|object| object.0));
                }
                None => self.objects.delete(name)?,
            }
        }
        let states = self.objects.list(FOLDER)?.into_iter().filter(|name| name.ends_with(".state"));
        // what a newer generation writes is not ours to judge: this one may have been frozen, and be replaced
        let ours = |name: &String| generation(name).is_none_or(|of| of <= self.log.generation());
        let old = states.filter(|name| !named.contains(name)).filter(ours);
        old.into_iter().try_for_each(|name| self.objects.delete(&name))
    }
}

/// The generation that wrote an object, by its name.
fn generation(name: &str) -> Option<u64> {
    u64::from_str_radix(name.split('.').nth(1)?, 16).ok()
}
