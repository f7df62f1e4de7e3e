//! How far each file is read: one small file, replaced as a whole and synced before it counts.
//!
//! A file is its device and inode, and the first bytes that were seen of it: an inode that is used again, or a file that was cut, begins
//! anew, under another birth. Deliberately absent: reading lines.

use super::lines::Chunk;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// First bytes by which a file is known again.
const HEAD_BYTES: u64 = 256;
/// How long a file that is nowhere any more is remembered: rotation takes seconds, people take a day.
const REMEMBERED_MS: i64 = 24 * 3_600_000;

/// What a file is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    device: u64,
    inode: u64,
}
impl Place {
    /// Of the file that is at a path now.
    pub fn of(path: &Path) -> io::Result<Place> {
        fs::metadata(path).map(|data| Place { device: data.dev(), inode: data.ino() })
    }
}

/// How far one file is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    place: Place,
    /// Where it was seen last.
    path: PathBuf,
    /// When it was seen first: goes into the ids of its lines.
    born_ms: i64,
    /// When it was seen last.
    seen_ms: i64,
    /// Everything before is taken up.
    offset: u64,
    /// The offset is inside a line that is too long.
    skipping: bool,
    head_bytes: u64,
    head: u64,
}

/// The positions.
pub struct Positions {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// A file, open where it is to be read on.
pub struct File {
    /// The file itself.
    pub file: fs::File,
    /// Where to read on.
    pub offset: u64,
    /// Its size.
    pub size: u64,
    /// Inside a line that is too long.
    pub skipping: bool,
    place: Place,
    born_ms: i64,
}
impl File {
    /// What makes the line at `offset` another than an equal line elsewhere.
    pub fn identity(&self, offset: u64) -> u64 {
        let mut hash = Xxh3::new();
        [self.place.device, self.place.inode, self.born_ms as u64, offset]
            .iter()
            .for_each(|part| hash.update(&part.to_le_bytes()));
        hash.digest()
    }
}

impl Positions {
    /// Those that stand at `path`; none where there is no such file.
    pub fn open(path: &Path) -> io::Result<Positions> {
        let entries = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Positions { path: path.into(), entries })
    }
    /// Opens a file at its position; one that is new gets one, which is durable before anything is read. `None`: there is no such
    /// file, or nothing in it yet.
    pub fn file(&mut self, path: &Path) -> io::Result<Option<File>> {
        let mut file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let data = file.metadata()?;
        if data.len() == 0 || !data.is_file() {
            return Ok(None);
        }
        let place = Place { device: data.dev(), inode: data.ino() };
        let now_ms = crate::engine::now_ms();
        let known = self.entries.iter_mut().find(|entry| entry.place == place);
        let same = match &known {
            Some(entry) => data.len() >= entry.offset && head(&mut file, entry.head_bytes)? == entry.head,
            None => false,
        };
        if let Some(entry) = known.filter(|_| same) {
            (entry.path, entry.seen_ms) = (path.to_owned(), now_ms);
            let (offset, skipping, born_ms) = (entry.offset, entry.skipping, entry.born_ms);
            return Ok(Some(File { file, offset, size: data.len(), skipping, place, born_ms }));
        }
        self.entries.retain(|entry| entry.place != place && now_ms - entry.seen_ms < REMEMBERED_MS);
        let head_bytes = data.len().min(HEAD_BYTES);
        let head = head(&mut file, head_bytes)?;
        let (path, born_ms) = (path.to_owned(), now_ms);
        let entry = Entry { place, path, born_ms, seen_ms: now_ms, offset: 0, skipping: false, head_bytes, head };
        self.entries.push(entry);
        self.save()?;
        Ok(Some(File { file, offset: 0, size: data.len(), skipping: false, place, born_ms }))
    }
    /// A piece of a file is taken up.
    pub fn advance(&mut self, file: &File, chunk: &Chunk) -> io::Result<()> {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.place == file.place) {
            (entry.offset, entry.skipping) = (chunk.end, chunk.skipping);
        }
        self.save()
    }
    /// Where files are now that are known and not among those that are `there`: beside where they were.
    pub fn moved(&self, there: &BTreeSet<Place>) -> Vec<PathBuf> {
        let lost: Vec<&Entry> = self.entries.iter().filter(|entry| !there.contains(&entry.place)).collect();
        let folders: BTreeSet<&Path> = lost.iter().filter_map(|entry| entry.path.parent()).collect();
        let beside = folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let is_lost = |path: &PathBuf| Place::of(path).is_ok_and(|place| lost.iter().any(|entry| entry.place == place));
        beside.map(|entry| entry.path()).filter(is_lost).collect()
    }
    fn save(&self) -> io::Result<()> {
        let next = self.path.with_extension("next");
        let mut file = fs::File::create(&next)?;
        file.write_all(&serde_json::to_vec(&self.entries).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        match self.path.parent() {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// The hash of the first bytes.
fn head(file: &mut fs::File, bytes: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    file.take(bytes).read_to_end(&mut head)?;
    Ok(xxh3_64(&head))
}
