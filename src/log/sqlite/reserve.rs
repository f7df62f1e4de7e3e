//! Disk space kept back, so that what the log has taken in can be finished when the disk is full.
//!
//! The file holds no data. It is cut to nothing when a write finds no space, and made whole again when there is some:
//! that it can be is the sign that input can be taken again.

use super::file::beside;
use std::fs::{File, OpenOptions, metadata};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Written, not zero: a file system may keep zeros without taking space for them.
static FILL: [u8; 1 << 16] = [0x5a; 1 << 16];

pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}
impl Reserve {
    /// The reserve beside `path`, and whether it is whole.
    pub fn open(path: &Path, bytes: u64) -> (Reserve, bool) {
        let reserve = Reserve { path: reserve_path(path), bytes };
        let whole = reserve.restore();
        (reserve, whole)
    }
    /// Gives the space beside `path` free; false when there was none to give.
    pub fn release(path: &Path) -> bool {
        let reserve = reserve_path(path);
        let held = metadata(&reserve).map_or(0, |m| m.len());
        held > 0 && OpenOptions::new().write(true).truncate(true).open(&reserve).is_ok()
    }
    /// Takes the space; false (and nothing taken) when it is not there.
    pub fn restore(&self) -> bool {
        if metadata(&self.path).map_or(0, |m| m.len()) == self.bytes {
            return true;
        }
        let filled = File::create(&self.path).and_then(|mut file| {
            let mut left = self.bytes;
            while left > 0 {
                let n = left.min(FILL.len() as u64);
                file.write_all(FILL.get(..n as usize).unwrap_or(&FILL))?;
                left -= n;
            }
            file.sync_data() // some file systems find out only now
        });
        if filled.is_err() {
            let _ = File::create(&self.path); // cuts off what was written; if even that fails, the next try does it
        }
        filled.is_ok()
    }
}

fn reserve_path(path: &Path) -> PathBuf {
    beside(path, "-reserve")
}
