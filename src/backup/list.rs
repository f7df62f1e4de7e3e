//! What a backup holds: `backup.json` in it, with the length and a checksum of every file.

use super::{BackupError, of};
use crate::log::sqlite::Extent;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Name of the list.
pub const FILE: &str = "backup.json";
/// Form of the list and the folder.
pub const FORMAT: u32 = 1;
/// Bytes read at once.
const BUFFER: usize = 1 << 20;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Piece {
    /// Where it is in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// `xxh3_64` of it, hexadecimal: against damage, not against people.
    pub checksum: String,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct List {
    /// [`FORMAT`]
    pub format: u32,
    /// Version of the program that made it.
    pub version: String,
    /// When it was finished, ms since the epoch.
    pub made_ms: i64,
    /// The checkpoint in it; without one a start reads the log from its beginning.
    pub checkpoint: Option<String>,
    /// Records of the log by partition.
    pub log: Vec<Extent>,
    /// Every file.
    pub files: Vec<Piece>,
}

impl List {
    /// Of what lies in a folder.
    pub(super) fn of(folder: &Path, checkpoint: Option<String>, log: Vec<Extent>) -> Result<List, BackupError> {
        let mut files = Vec::new();
        walk(folder, folder, &mut files)?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(List { format: FORMAT, version, made_ms: crate::engine::now_ms(), checkpoint, log, files })
    }
    /// Reads it, and holds it against the files.
    pub(super) fn check(folder: &Path) -> Result<List, BackupError> {
        let path = folder.join(FILE);
        let bytes = std::fs::read(&path).map_err(of(&path))?;
        let list: List =
            serde_json::from_slice(&bytes).map_err(|e| BackupError::Damaged(path.clone(), e.to_string()))?;
        if list.format != FORMAT {
            return Err(BackupError::Damaged(path, format!("format {}, this is {FORMAT}", list.format)));
        }
        for piece in &list.files {
            let path = folder.join(&piece.name);
            let found = read(&path, &piece.name)?;
            if found != *piece {
                return Err(BackupError::Damaged(path, "its length or checksum differs".into()));
            }
        }
        Ok(list)
    }
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|piece| piece.bytes).sum()
    }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<Piece>) -> Result<(), BackupError> {
    let mut entries =
        std::fs::read_dir(folder).and_then(|all| all.collect::<std::io::Result<Vec<_>>>()).map_err(of(folder))?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, files)?;
            continue;
        }
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        files.push(read(&path, &name)?);
    }
    Ok(())
}

fn read(path: &Path, name: &str) -> Result<Piece, BackupError> {
    let mut file = File::open(path).map_err(of(path))?;
    let (mut hash, mut bytes, mut buffer) = (Xxh3::new(), 0, vec![0; BUFFER]);
    loop {
        let n = file.read(&mut buffer).map_err(of(path))?;
        if n == 0 {
            break;
        }
        hash.update(buffer.get(..n).unwrap_or_default());
        bytes += n as u64;
    }
    Ok(Piece { name: name.into(), bytes, checksum: format!("{:016x}", hash.digest()) })
}
