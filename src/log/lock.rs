//! One owner for each data directory: an advisory lock on the file `LOCK`, which the kernel drops with the process.
//!
//! Deliberately absent: fencing. A lock file can be deleted or lie on a file system without locks; then the log's fence
//! decides, at the first commit of the older owner.

use super::OpenError;
use std::fs::{File, OpenOptions, TryLockError, create_dir_all};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A killed owner holds the lock until its last thread is gone, which may still wait for the disk: who is started again at
/// once must not be refused for that.
const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(10);

/// Held as long as it lives.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}
impl DirLock {
    /// Makes the directory if need be and locks it, or says who holds it.
    pub fn acquire(dir: &Path) -> Result<DirLock, OpenError> {
        create_dir_all(dir)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("LOCK"))?;
        let since = Instant::now();
        let outcome = loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => std::thread::sleep(AGAIN),
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let known = file.read_to_string(&mut owner).is_ok() && !owner.trim().is_empty();
                let owner = if known { owner.trim().into() } else { "unknown".into() };
                return Err(OpenError::Locked { dir: dir.display().to_string(), owner });
            }
            Err(TryLockError::Error(e)) => return Err(e.into()),
        }
        // The id is there for the message above only: a full disk must not keep the owner from starting.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DirLock { _file: file })
    }
}
