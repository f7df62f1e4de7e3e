//! Files that grow, as a way in: NDJSON, or CSV with a mapping. Whole lines are taken up as they appear, through the same check and
//! intake as what comes over HTTP; how far each file is read stands in [`positions`], written when the log has the events.
//!
//! Nothing is lost: a position moves only when the log has what stands before it. Nothing is doubled: after a crash between the two
//! the same lines get the same ids ([`lines`]), and an id counts once. Files are known by what they are on the disk, not by their names:
//! who renames a file (as log rotation does) moves its position with it.
//!
//! Deliberately absent: files that are changed in the middle, compressed ones, and waking up by the kernel: looking costs less.

pub mod config;
pub mod lines;
pub mod positions;

pub use config::TailConfig;

use crate::gateway::intake::Intake;
use crate::gateway::metrics::Outcome;
use crate::gateway::sources::Way;
use crate::import::mapping::Mapping;
use lines::{Chunk, Format};
use positions::{Place, Positions};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Files that are followed at once; more are not looked at.
pub const FILES_MAX: usize = 10_000;
/// Pause after the log, or the disk of the positions, took nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// Ends of names of files that are taken from a folder.
const ENDS: [&str; 5] = ["ndjson", "jsonl", "json", "csv", "tsv"];

/// What follows the files.
pub struct Tail {
    config: TailConfig,
    mapping: Option<Mapping>,
    positions: Positions,
    intake: Arc<Intake>,
    stop: CancellationToken,
    /// Files that were complained about.
    told: BTreeSet<PathBuf>,
}

impl Tail {
    /// Ready to go on where it was; what is wrong with the mapping or the positions.
    pub fn open(
        config: TailConfig,
        positions: &Path,
        intake: Arc<Intake>,
        stop: CancellationToken,
    ) -> Result<Tail, String> {
        let mapping = config.mapping()?;
        let positions = Positions::open(positions).map_err(|e| format!("{}: {e}", positions.display()))?;
        Ok(Tail { config, mapping, positions, intake, stop, told: BTreeSet::new() })
    }
    /// Follows until the stop. Must run on a thread of its own that may wait.
    pub fn run(mut self) {
        while !self.stop.is_cancelled() {
            let mut more = false;
            let mut behind = 0;
            for path in self.files() {
                match self.read(&path) {
                    Ok((again, left)) => {
                        self.told.remove(&path);
                        more |= again;
                        behind += left;
                    }
                    Err(why) => self.complain(path, &why),
                }
                if self.stop.is_cancelled() {
                    return;
                }
            }
            self.intake.metrics().tail_behind.set(behind as i64);
            if !more {
                self.pause(Duration::from_millis(self.config.poll_ms));
            }
        }
    }
    fn pause(&self, time: Duration) {
        let stop = self.stop.clone();
        let wait = async move {
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(time) => {} }
        };
        tokio::runtime::Handle::current().block_on(wait);
    }
    fn complain(&mut self, path: PathBuf, why: &str) {
        self.intake.metrics().request(Way::Tail, "unreadable");
        if self.told.len() < FILES_MAX && !self.told.contains(&path) {
            tracing::warn!(path = %path.display(), "a file is not followed: {why}");
            self.told.insert(path);
        }
    }
    /// Files to look at: those that are named or stand in folders that are, and those of known positions that were renamed.
    fn files(&mut self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for path in &self.config.paths {
            match path.is_dir() {
                true => files.extend(below(path)),
                false => files.push(path.clone()),
            }
        }
        let there: BTreeSet<Place> = files.iter().filter_map(|path| Place::of(path).ok()).collect();
        files.extend(self.positions.moved(&there));
        files.truncate(FILES_MAX);
        files
    }
    /// Takes up what is new in a file, a piece at a time; whether there is more, and bytes that are left.
    fn read(&mut self, path: &Path) -> Result<(bool, u64), String> {
        let Some(mut file) = self.positions.file(path).map_err(|e| e.to_string())? else { return Ok((false, 0)) };
        let format = Format::of(path, self.mapping.as_ref(), &mut file)?;
        let chunk = Chunk::read(&mut file).map_err(|e| e.to_string())?;
        if chunk.is_empty() {
            return Ok((false, chunk.left));
        }
        let (left, more) = (chunk.left, chunk.more);
        if self.take(&chunk, format, &file) {
            self.positions.advance(&file, &chunk).map_err(|e| e.to_string())?;
            return Ok((more, left));
        }
        self.pause(PAUSE);
        Ok((true, left))
    }
    /// Appends the lines of a piece; whether the log has them.
    fn take(&self, chunk: &Chunk, mut format: Format, file: &positions::File) -> bool {
        let mut draft = self.intake.draft(None);
        chunk.each(&mut format, &mut |line, at| match line {
            Some(json) => self.intake.add_line(&mut draft, json, file.identity(at)),
            None => self.intake.refuse(&mut draft, b"", lines::too_long()),
        });
        let (results, outcome) = tokio::runtime::Handle::current().block_on(self.intake.commit(draft));
        self.intake.metrics().request(Way::Tail, if outcome.is_ok() { "ok" } else { "log_unavailable" });
        if outcome.is_ok() {
            let outcomes = [Outcome::Accepted, Outcome::Duplicate, Outcome::Rejected, Outcome::Ignored];
            let counts = crate::gateway::answer::counts(&results);
            outcomes.into_iter().zip(counts).for_each(|(o, n)| self.intake.metrics().way(Way::Tail, o, n as u64));
        }
        outcome.is_ok()
    }
}

/// Event files of a folder, by name.
fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let wanted = |path: &PathBuf| {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        ENDS.contains(&end) && path.is_file()
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(wanted).collect();
    files.sort();
    files
}
