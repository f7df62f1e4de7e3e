//! A piece of a file as whole lines. A line without its end is left for later: it may still be written.
//!
//! Deliberately absent: rows of CSV with line breaks within quotes (they are refused, as two lines), positions, what lines mean.

use super::positions::File;
use crate::gateway::lines::LINE_BYTES_MAX;
use crate::import::is_csv;
use crate::import::mapping::{CsvLines, Mapping};
use pulse_operators::record::Reject;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes read and appended at once: some 700 events, one sync.
const CHUNK_BYTES: u64 = 256 * 1024;
const _: () = assert!(CHUNK_BYTES as usize > LINE_BYTES_MAX);

/// How lines become events.
pub enum Format {
    /// They are events.
    Json,
    /// Rows, by a mapping.
    Csv(Box<CsvLines<io::Empty>>),
}
impl Format {
    /// By the name of the file; CSV needs a mapping that fits its header.
    pub fn of(path: &Path, mapping: Option<&Mapping>, file: &mut File) -> Result<Format, String> {
        if !is_csv(path) {
            return Ok(Format::Json);
        }
        let mapping = mapping.ok_or("it is CSV, and sources.tail.mapping is not set")?;
        let mut head = vec![0; LINE_BYTES_MAX.min(file.size as usize)];
        let read = file.file.seek(SeekFrom::Start(0)).and_then(|_| file.file.read_exact(&mut head));
        read.map_err(|e| e.to_string())?;
        let end = ends(&head).next().ok_or("its header has no end")?;
        let header = head.get(..end).unwrap_or_default();
        let rows = CsvLines::of_header(header, mapping).map_err(|e| e.of(path).to_string())?;
        file.offset = file.offset.max(end as u64);
        Ok(Format::Csv(Box::new(rows)))
    }
}

/// A piece that is ready to be taken up.
pub struct Chunk {
    bytes: Vec<u8>,
    start: u64,
    /// Behind its last whole line.
    pub end: u64,
    /// It ends inside a line that is too long.
    pub skipping: bool,
    /// It begins inside one.
    skipped: bool,
    /// There may be more lines behind it.
    pub more: bool,
    /// Bytes behind it.
    pub left: u64,
}

impl Chunk {
    /// Reads on in a file.
    pub fn read(file: &mut File) -> io::Result<Chunk> {
        file.file.seek(SeekFrom::Start(file.offset))?;
        let mut bytes = Vec::new();
        (&mut file.file).take(CHUNK_BYTES).read_to_end(&mut bytes)?;
        let (start, skipped, full) = (file.offset, file.skipping, bytes.len() as u64 == CHUNK_BYTES);
        let mut skipping = false;
        match ends(&bytes).last() {
            Some(end) => bytes.truncate(end),
            // longer than any line may be: told once, and passed over up to its end
            None if full => skipping = true,
            None => bytes.clear(),
        }
        let end = start + bytes.len() as u64;
        Ok(Chunk { bytes, start, end, skipping, skipped, more: full, left: file.size.saturating_sub(end) })
    }
    /// Nothing to be taken up?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
    /// Hands out the lines with their places, blank ones left out; `None` for one that is too long.
    pub fn each(&self, format: &mut Format, f: &mut dyn FnMut(Option<&[u8]>, u64)) {
        if self.skipping {
            if !self.skipped {
                f(None, self.start);
            }
            return;
        }
        let (mut from, mut skipped) = (0, self.skipped);
        for end in ends(&self.bytes) {
            let line = self.bytes.get(from..end).unwrap_or_default();
            let at = self.start + from as u64;
            from = end;
            if std::mem::take(&mut skipped) || line.trim_ascii().is_empty() {
                continue;
            }
            if line.len() > LINE_BYTES_MAX {
                f(None, at);
                continue;
            }
            match format {
                Format::Json => f(Some(line.trim_ascii()), at),
                Format::Csv(rows) => f(Some(rows.convert(line)), at),
            }
        }
    }
}

/// Why a line is not taken.
pub fn too_long() -> Reject {
    Reject { code: "too_large", message: "the line is longer than an event may be".into() }
}

/// Places behind line breaks.
fn ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1)
}
