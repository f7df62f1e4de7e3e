//! Writes checkpoints: one object with what the operators copied, the manifest last.
//!
//! The manifest of epoch C is written only when its object is durable and all outputs of epochs up to C are committed and
//! synced: outputs have no sync of their own, and a manifest that overtook them would lose them, because a replay starts
//! behind it. Three manifests are kept, with the objects they name.
//! Deliberately absent: stopping the workers; they only hand over copies.

use crate::engine::manifest::{FOLDER, Manifest};
use crate::engine::objects::{ObjectError, Objects};
use crate::engine::restore::manifests;
use pulse_dataflows::checkpoint::{Piece, ROTATE, encode, pieces};
use pulse_dataflows::epochs::Pace;
use pulse_dataflows::ports::EventLog;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Manifests kept.
const KEPT: usize = 3;
/// zstd level: the cheapest that still finds columns of equal bytes.
const LEVEL: i32 = 1;

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
}

impl Checkpointer {
    /// Ends when all workers have.
    pub fn run(mut self, from: &Receiver<Piece>) -> Result<(), ObjectError> {
        let (mut object, mut positions, mut done) = (Vec::new(), 0, 0);
        for piece in from {
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
                (positions, done) = (0, 0);
                // a disk that is full or broken costs checkpoints, not events: the old ones stay
                if let Err(e) = self.write(&bytes) {
                    tracing::error!(error = %e, "checkpoint failed; the one before stays in force");
                }
                self.pace.checkpoint_done();
            }
        }
        Ok(())
    }

    fn write(&mut self, object: &[u8]) -> Result<(), ObjectError> {
        let epoch = self.manifest.position.entry.epoch;
        // a replay may come to the same epoch in another generation, with other copies
        let name = format!("{FOLDER}/{epoch:012}.{:x}.state", self.log.generation());
        let bytes = zstd::stream::encode_all(object, LEVEL)?;
        let sum = xxh3_64(&bytes);
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
            return Ok(());
        }
        while self.gated && self.pace.acknowledged() < epoch {
            if self.stopping.load(Ordering::Acquire) {
                return Ok(());
            }
            self.log.nudge(); // an acknowledgement without records wakes nobody by itself
            std::thread::sleep(Duration::from_micros(500));
        }
        if self.gated && self.log.sync().is_err() {
            return Ok(());
        }
        self.manifest.schema = Manifest::schema_now();
        let bytes = self.manifest.to_bytes().map_err(std::io::Error::other)?;
        self.objects.put(&Manifest::name(epoch), bytes)?;
        self.forget()
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
