//! The disturbed disk (`disk.c`): built here, put in front of a child, and the loss of power played afterwards.
//!
//! A loss of power may keep any of the writes that no sync covered: all are taken back, or a random part of them.
//! Deliberately absent: torn sectors inside one write, and disks that lose what they have synced.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The library to preload.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/log/disk.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}.so", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library).args([source, "-ldl"]);
        assert!(cc.status().expect("a C compiler, as for SQLite").success());
        library
    })
}
/// Puts the disturbed disk in front of a command.
pub fn in_front(command: &mut Command, dir: &Path) {
    command.env("LD_PRELOAD", library()).env("PULSE_DISK", dir);
}
/// Switches a disturbance on.
pub fn disturb(dir: &Path, what: &str) {
    File::create(dir.join(what)).unwrap();
}
/// Switches a disturbance off.
pub fn heal(dir: &Path, what: &str) {
    fs::remove_file(dir.join(what)).unwrap();
}

struct Undone {
    at: usize,
    file: u32,
    offset: u64,
    old: Vec<u8>,
}

/// Plays a loss of power on the log in `dir` whose process has ended. How many writes were lost.
pub fn lose_power(dir: &Path, below: &mut dyn FnMut(u64) -> u64) -> usize {
    let undo = fs::read(dir.join("undo")).unwrap();
    let (mut writes, mut covered, mut at) = (Vec::new(), [0; 3], 0);
    while let Some(note) = undo.get(at..at + 24) {
        let word = |i: usize| u64::from_le_bytes(note[i..i + 8].try_into().unwrap());
        let (sync, file) = (word(0) & 1 == 1, (word(0) >> 32) as u32);
        if sync {
            covered[file as usize] = covered[file as usize].max(word(8) as usize);
            at += 24;
            continue;
        }
        let Some(old) = undo.get(at + 24..at + 24 + word(16) as usize) else { break }; // the kill tore the note
        writes.push(Undone { at, file, offset: word(8), old: old.to_vec() });
        at += 24 + old.len();
    }
    writes.retain(|write| write.at >= covered[write.file as usize]);
    let every = below(2) == 0;
    writes.retain(|_| every || below(2) == 0);
    for write in writes.iter().rev() {
        let name = if write.file == 1 { "log.db" } else { "log.db-wal" };
        let Ok(mut file) = OpenOptions::new().write(true).open(dir.join(name)) else { continue };
        file.seek(SeekFrom::Start(write.offset)).unwrap();
        file.write_all(&write.old).unwrap();
    }
    fs::remove_file(dir.join("undo")).unwrap();
    let _ = fs::remove_file(dir.join("log.db-shm")); // memory: gone with the power
    writes.len()
}
