//! Writes checkpoints: one object with what the operators copied, the manifest last.
//!
//! The manifest of epoch C is written only when its object is durable and all outputs of epochs up to C are committed and
//! synced: outputs have no sync of their own, and a manifest that overtook them would lose them, because a replay starts
//! behind it. Three manifests are kept, with the objects they name.
//! Deliberately absent: stopping the workers; they only hand over copies.

use crate::engine::manifest::{FOLDER, Manifest};
use crate::engine::objects::{ObjectError, Objects};
use crate::engine::restore::manifests;
use prometheus_client::metrics::histogram::Histogram;
use pulse_dataflows::checkpoint::{Piece, ROTATE, encode, pieces};
use pulse_dataflows::epochs::Pace;
use pulse_dataflows::ports::EventLog;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// Manifests kept.
const KEPT: usize = 3;
/// zstd level: the cheapest that still finds columns of equal bytes.
const LEVEL: i32 = 1;

/// What is told of checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    /// With a manifest.
    pub written: AtomicU64,
    /// Given up: the one before stays in force.
    pub failed: AtomicU64,
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
        Checkpoints { written: zero(), failed: zero(), bytes: zero(), newest_ms: zero(), seconds }
    }
}

/// Writes checkpoints on a thread of its own.
pub struct Checkpointer {
    /// Where to.
    pub objects: Objects,
    /// The log whose outputs are waited for.
    pub log: Arc<dyn EventLog>,
    /// How far the outputs are.
    pub pace: Arc<Pace>,
    /// Worker threads that hand over pieces.
    pub workers: usize,
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
}

impl Checkpointer {
    /// Ends when all workers have.
    pub fn run(mut self, from: &Receiver<Piece>) -> Result<(), ObjectError> {
        let (mut object, mut positions, mut done, mut begun) = (Vec::new(), 0, 0, None);
        for piece in from {
            let since = *begun.get_or_insert_with(Instant::now);
            encode(&piece, &mut object);
            match piece {
                Piece::Position(position) => {
                    let mut times = std::mem::take(&mut self.manifest.position.times);
                    times.extend(position.times.iter().map(|(p, t)| (*p, *t)));
                    self.manifest.position = *position;
                    self.manifest.position.times = times;
                    positions += 1;
                }
                Piece::Done => done += 1,
                _ => {}
            }
            if positions == self.workers && done == pieces(self.workers) {
                let bytes = std::mem::take(&mut object);
                (positions, done, begun) = (0, 0, None);
                // a disk that is full or broken costs checkpoints, not events: the old ones stay
                match self.write(&bytes) {
                    Ok(false) => {}
                    Ok(true) => {
                        self.told.written.fetch_add(1, Ordering::Relaxed);
                        self.told.newest_ms.store(super::now_ms().max(0) as u64, Ordering::Relaxed);
                        self.told.seconds.observe(since.elapsed().as_secs_f64());
                    }
                    Err(e) => {
                        self.told.failed.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(error = %e, "checkpoint failed; the one before stays in force");
                    }
                }
                self.pace.checkpoint_done();
            }
        }
        Ok(())
    }

    /// Whether there is a new manifest.
    fn write(&mut self, object: &[u8]) -> Result<bool, ObjectError> {
        let epoch = self.manifest.position.entry.epoch;
        // a replay may come to the same epoch in another generation, with other copies
        let name = format!("{FOLDER}/{epoch:012}.{:x}.state", self.log.generation());
        let bytes = zstd::stream::encode_all(object, LEVEL)?;
        let sum = xxh3_64(&bytes);
        self.told.bytes.store(bytes.len() as u64, Ordering::Relaxed);
        self.manifest.number += 1;
        let written = self.objects.put(&name, bytes);
        self.manifest.objects.push((name, sum));
        let old = self.manifest.objects.len().saturating_sub(ROTATE as usize);
        self.manifest.objects.drain(..old);
        if written.is_err() {
            // its copies are gone: until every group was written whole again, no manifest may replace the old ones
            self.unwhole = ROTATE;
        }
        written?;
        if self.unwhole > 0 {
            self.unwhole -= 1;
            return Ok(false);
        }
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
        self.manifest.schema = Manifest::schema_now();
        let bytes = self.manifest.to_bytes().map_err(std::io::Error::other)?;
        self.objects.put(&Manifest::name(epoch), bytes)?;
        self.forget()?;
        Ok(true)
    }

    /// Removes manifests beyond the last three and objects that none of those names.
    fn forget(&self) -> Result<(), ObjectError> {
        let all = manifests(&self.objects)?;
        let (old, kept) = all.split_at(all.len().saturating_sub(KEPT));
        old.iter().try_for_each(|name| self.objects.delete(name))?;
        let mut named = Vec::new();
        for name in kept {
            let bytes = self.objects.get(name)?.unwrap_or_default();
            named.extend(Manifest::parse(&bytes).into_iter().flat_map(|m| m.objects).map(|o| o.0));
        }
        let states = self.objects.list(FOLDER)?.into_iter().filter(|name| name.ends_with(".state"));
        states.filter(|name| !named.contains(name)).try_for_each(|name| self.objects.delete(&name))
    }
}
