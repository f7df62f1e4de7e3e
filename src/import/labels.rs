//! Verdicts from files: NDJSON, or CSV with a mapping for verdicts (chargebacks of a bank, say). Each is checked and completed as one that
//! is sent to the API, against the events that are in the store.
//!
//! Deliberately absent: verdicts on events that are not there; they are counted with a reason.

use super::mapping::{CsvLines, Mapping, MappingError};
use super::{ImportError, Refused, is_csv};
use crate::app::core::Core;
use crate::backtest::BacktestError;
use crate::backtest::input::plain;
use crate::engine::now_ms;
use crate::sidecar::{FromFile, from_file};
use pulse_dataflows::ports::{Meta, Records, Request, Topic, partition};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Verdicts appended at once.
const CHUNK: usize = 512;
/// Longest line: a window with its dimensions fits ten times.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What came of verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verdicts {
    /// Lines or rows read.
    pub lines: u64,
    /// Appended.
    pub recorded: u64,
    /// In force already, by the same author with the same words.
    pub unchanged: u64,
    /// Not taken.
    pub rejected: u64,
    /// Why, by code.
    pub reasons: BTreeMap<&'static str, Refused>,
}

/// A file as lines of NDJSON.
pub type Lines = (PathBuf, Box<dyn BufRead>);

/// Opens the files.
pub fn open(files: &[PathBuf], mapping: Option<&Mapping>) -> Result<Vec<Lines>, ImportError> {
    let one = |path: &PathBuf| -> Result<Lines, ImportError> {
        let wrong = |e| BacktestError::Input(path.clone(), e);
        let reader = plain(path, File::open(path).map_err(wrong)?).map_err(wrong)?;
        let reader: Box<dyn BufRead> = match mapping {
            Some(mapping) if is_csv(path) => {
                Box::new(BufReader::new(CsvLines::new(reader, mapping).map_err(|e| e.of(path))?))
            }
            None if is_csv(path) => return Err(MappingError::None(path.clone()).into()),
            _ => reader,
        };
        Ok((path.clone(), reader))
    };
    files.iter().map(one).collect()
}

/// Takes them up, and waits for nothing.
pub fn take(core: &Core, files: Vec<Lines>) -> Result<Verdicts, ImportError> {
    let (mut verdicts, mut records) = (Verdicts::default(), Records::default());
    for (path, mut lines) in files {
        let mut line = Vec::new();
        while next(&mut *lines, &mut line, &path)? {
            if line.trim_ascii().is_empty() {
                continue;
            }
            verdicts.lines += 1;
            let (at, about) = (now_ms(), line.clone());
            match core.store.read(move |db| from_file(db, &about)).map_err(|e| crate::app::AppError::Store(e.into()))? {
                FromFile::Record(record) => {
                    records.push(Meta { time_ms: at, ..Meta::default() }, &record);
                    verdicts.recorded += 1;
                }
                FromFile::Unchanged => verdicts.unchanged += 1,
                FromFile::Refused(code, message) => verdicts.refuse(code, message),
            }
            if records.len() == CHUNK {
                append(core, std::mem::take(&mut records))?;
            }
        }
    }
    append(core, records)?;
    Ok(verdicts)
}

impl Verdicts {
    fn refuse(&mut self, code: &'static str, message: String) {
        self.rejected += 1;
        let refused = self.reasons.entry(code).or_default();
        refused.count += 1;
        if refused.count == 1 {
            refused.first = message;
        }
    }
}

/// The next line, of which no more than [`LINE_BYTES_MAX`] bytes are kept; what is longer is no verdict.
fn next(lines: &mut dyn BufRead, line: &mut Vec<u8>, path: &Path) -> Result<bool, ImportError> {
    line.clear();
    let wrong = |e| BacktestError::Input(path.to_owned(), e);
    loop {
        let buffer = lines.fill_buf().map_err(wrong)?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
        let used = piece.len() + usize::from(end.is_some());
        lines.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn append(core: &Core, records: Records) -> Result<(), ImportError> {
    if !records.is_empty() {
        core.log.append_wait(Request { parts: vec![(partition(Topic::Labels, 0), records)], ..Request::default() })?;
    }
    Ok(())
}
