//! Backup of a data folder while it works, and the way back.
//!
//! The order makes the copies fit: first what points into the log, then the log, then what the log names.
//! 1. the newest checkpoint that is whole, and how far followed files are read: the log goes on behind them;
//! 2. the store, as of one moment: its readers' positions are in the log by then;
//! 3. the log, as of one moment;
//! 4. models and tables: those that the log names were there before it named them.
//!
//! A start on the copy does what a start after a loss of power does: from the checkpoint it reads the log on, and the store takes up
//! what it lacks. Nothing that works is held up: of the log only short pieces are read in one go.
//! Deliberately absent: Kafka and PostgreSQL, which have tools of their own (`docs/operations.md`).

mod list;
mod restore;

pub use list::{List, Piece};
pub use restore::restore;

use crate::engine::manifest::{FOLDER, Manifest};
use crate::engine::objects::{ObjectError, Objects, ObjectsConfig};
use crate::engine::restore::manifests;
use crate::log::OpenError;
use crate::log::sqlite::{Extent, copy};
use crate::log::which::LOG_FILE;
use crate::store;
use std::fs::{DirBuilder, File};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Folder of objects in a backup.
const OBJECTS: &str = "objects";
/// How far followed files are read.
const POSITIONS: &str = "tail.json";
/// How often a newer checkpoint is tried when the one that was begun is gone meanwhile.
const TRIES: usize = 5;

/// Why there is no backup, or why it cannot be put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file.
    #[error("{0}: {1}")]
    File(PathBuf, Error),
    /// There is something already.
    #[error("{0} is there already: name a folder that is not")]
    Exists(PathBuf),
    /// No data folder.
    #[error("there is no log at {0}: is this the data folder (--data)?")]
    NoLog(PathBuf),
    /// The log.
    #[error("log: {0}")]
    Log(#[from] OpenError),
    /// The store.
    #[error("store: {0}")]
    Store(#[from] store::Error),
    /// Checkpoints and models.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// What was copied does not fit together.
    #[error("the copies do not fit together: {0}; do it again")]
    Apart(String),
    /// The backup is not what it was.
    #[error("{0} is not as it was when the backup was made: {1}")]
    Damaged(PathBuf, String),
}

fn of(path: &Path) -> impl Fn(Error) -> BackupError {
    move |e| BackupError::File(path.to_owned(), e)
}

/// A folder for its owner alone.
fn make(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(of(path))
}

/// A folder beside `to` in which everything is made first.
fn beside(to: &Path) -> Result<PathBuf, BackupError> {
    // an empty folder may have been made by who has more rights
    if to.exists() && !std::fs::read_dir(to).is_ok_and(|mut all| all.next().is_none()) {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    if part.exists() {
        std::fs::remove_dir_all(&part).map_err(of(&part))?; // of an attempt that ended half way
    }
    make(&part)?;
    Ok(part)
}

/// The finished folder takes its name.
fn finish(part: &Path, to: &Path) -> Result<(), BackupError> {
    std::fs::rename(part, to).map_err(of(to))?;
    let parent = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(of(parent))
}

/// Copies the data folder, its objects and its store into the new folder `to`.
pub fn backup(data: &Path, objects: &ObjectsConfig, to: &Path) -> Result<List, BackupError> {
    let log = data.join(LOG_FILE);
    if !log.is_file() {
        return Err(BackupError::NoLog(log));
    }
    let objects = objects.open(data)?;
    let part = beside(to)?;
    let list = fill(data, &objects, &part).inspect_err(|_| {
        // what is left of it is removed by the next attempt otherwise
        let _ = std::fs::remove_dir_all(&part);
    })?;
    finish(&part, to)?;
    Ok(list)
}

fn fill(data: &Path, objects: &Objects, part: &Path) -> Result<List, BackupError> {
    let kept = part.join(OBJECTS);
    let checkpoint = checkpoint(objects, &kept)?;
    let positions = data.join(POSITIONS);
    match std::fs::read(&positions) {
        Ok(bytes) => put(&part.join(POSITIONS), &bytes)?,
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(BackupError::File(positions, e)),
    }
    let file = data.join(store::FILE);
    if file.is_file() {
        store::copy_file(&file, &part.join(store::FILE))?;
    }
    let extents = copy(&data.join(LOG_FILE), &part.join(LOG_FILE))?;
    fits(checkpoint.as_ref().map(|(_, manifest)| manifest), &extents)?;
    for name in objects.list("")?.iter().filter(|name| !name.starts_with(FOLDER)) {
        if let Some(bytes) = objects.get(name)? {
            put(&kept.join(name), &bytes)?;
        }
    }
    let list = List::of(part, checkpoint.map(|(name, _)| name), extents)?;
    put(&part.join(list::FILE), &serde_json::to_vec_pretty(&list).unwrap_or_default())?; // plain data: cannot fail
    Ok(list)
}

/// Writes a file that only its owner reads, durable on return.
fn put(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(of(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(of(path))
}

/// The newest checkpoint that is whole. Old ones are removed while newer ones are written, so another may have to be tried.
fn checkpoint(objects: &Objects, kept: &Path) -> Result<Option<(String, Manifest)>, BackupError> {
    for _ in 0..TRIES {
        let names = manifests(objects)?;
        if names.is_empty() {
            return Ok(None);
        }
        for name in names.iter().rev() {
            if let Some((bytes, manifest, pieces)) = whole(objects, name)? {
                for (object, bytes) in &pieces {
                    put(&kept.join(object), bytes)?;
                }
                put(&kept.join(name), &bytes)?;
                return Ok(Some((name.clone(), manifest)));
            }
        }
    }
    Err(BackupError::Apart("no checkpoint is whole".into()))
}

type Pieces = Vec<(String, Vec<u8>)>;

fn whole(objects: &Objects, name: &str) -> Result<Option<(Vec<u8>, Manifest, Pieces)>, BackupError> {
    let Some(bytes) = objects.get(name)? else { return Ok(None) };
    let Some(manifest) = Manifest::parse(&bytes) else { return Ok(None) };
    let mut pieces = Vec::new();
    for (object, sum) in &manifest.objects {
        let Some(bytes) = objects.get(object)?.filter(|bytes| xxh3_64(bytes) == *sum) else { return Ok(None) };
        pieces.push((object.clone(), bytes));
    }
    Ok(Some((bytes, manifest, pieces)))
}

/// Does the log go on where the checkpoint stands?
fn fits(checkpoint: Option<&Manifest>, extents: &[Extent]) -> Result<(), BackupError> {
    let epochs = extents.iter().find(|extent| extent.partition.starts_with("pulse.epochs"));
    let (Some(manifest), Some(epochs)) = (checkpoint, epochs) else { return Ok(()) };
    let next = manifest.position.next;
    if next > epochs.end || next.saturating_sub(1) < epochs.start {
        let (start, end) = (epochs.start, epochs.end);
        return Err(BackupError::Apart(format!("the checkpoint stands at {next}, the log has {start} to {end}")));
    }
    Ok(())
}
