//! Carries a checkpoint to another log, and to another object store if that changes too.
//!
//! Its objects stay as they are: they hold what is known of customers, cards and devices, and no offset. Only the manifest says where in
//! the log it stands, so another manifest is all it takes; its put is the end of the move. Deliberately absent: the log.

use super::manifest::Manifest;
use super::objects::{ObjectError, Objects};
use super::registry::{MODELS, TABLES};
use super::restore::{RestoreError, manifests, restore};
use pulse_dataflows::checkpoint::Position;
use pulse_dataflows::epochs::{Entry, inputs};
use pulse_dataflows::ports::{EventLog, Topic};

/// Why nothing is carried.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The checkpoint.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// It does not stand at the end.
    #[error("the newest checkpoint does not stand at the end of the log: stop what writes to it")]
    Behind,
    /// An object went away.
    #[error("{0} is missing")]
    Missing(String),
    /// The manifest cannot be written.
    #[error("manifest: {0}")]
    Manifest(#[from] serde_json::Error),
}

/// The newest checkpoint, which must hold all that is in the log.
pub fn newest(objects: &Objects, log: &dyn EventLog) -> Result<Manifest, CarryError> {
    let manifest = restore(objects, log, false)?.manifest;
    let places = inputs(log.partitions(Topic::Raw));
    let all = places.len() == manifest.position.entry.ends.len()
        && places.into_iter().zip(&manifest.position.entry.ends).all(|(p, end)| log.end(p) == *end);
    if all { Ok(manifest) } else { Err(CarryError::Behind) }
}

/// Copies models, tables and the objects of a checkpoint; how many.
pub fn copy(from: &Objects, to: &Objects, manifest: &Manifest) -> Result<usize, CarryError> {
    let mut names = from.list(MODELS)?;
    names.extend(from.list(TABLES)?);
    names.extend(manifest.objects.iter().map(|(name, _)| name.clone()));
    for name in &names {
        to.put(name, from.get(name)?.ok_or_else(|| CarryError::Missing(name.clone()))?)?;
    }
    Ok(names.len())
}

/// Lets the checkpoint stand in the new log. Partitions that are added have come as far as the furthest, or what is late would be in time
/// there. Manifests of the old one, which name offsets that mean something else there, go.
pub fn commit(to: &Objects, manifest: Manifest, (entry, next): (Entry, u64)) -> Result<(), CarryError> {
    let name = Manifest::name(entry.epoch, entry.generation);
    let mut times = manifest.position.times;
    if let Some(furthest) = times.values().max_by_key(|time| time.max_ms).copied() {
        let partitions = entry.ends.len().saturating_sub(2) as u16; // behind them labels and control
        (0..partitions).for_each(|p| _ = times.entry(p).or_insert(furthest));
    }
    let position = Position { entry, next, times, ..manifest.position };
    let manifest = Manifest { position, ..manifest };
    to.put(&name, manifest.to_bytes()?)?;
    let old = manifests(to)?.into_iter().filter(|other| *other != name);
    for name in old {
        to.delete(&name)?;
    }
    Ok(())
}
