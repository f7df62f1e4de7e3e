//! Event files: NDJSON, plain or zstd, merged by time, then by file, then by line.
//!
//! A line that is no event goes on as it is, at the time it gives or, where none can be read, that of the line before: the
//! dataflow rejects it and says why. Events without an id get one from line and position. Deliberately absent: CSV and mappings (`pulse import` has them).

use super::BacktestError;
use crate::privacy::Privacy;
use pulse_operators::record::admit_line;
use pulse_operators::record::time::rfc3339;
use serde::Deserialize;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A line longer than this is cut off here and rejected by the dataflow: an event has at most 32 KiB.
const MAX_LINE: usize = 256 << 10;
/// Bytes read ahead of each file.
const BUFFER: usize = 1 << 20;

/// Room for sums with the largest time.
const DAY_MS: i64 = 24 * 3_600_000;

/// A `time` as it stands in JSON.
fn time_of(raw: &str) -> Option<i64> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(text) => rfc3339(text),
        None => raw.parse().ok(),
    }
}

/// One line with its time.
pub struct Line {
    /// Event time, or that of the line before.
    pub time_ms: i64,
    /// As it stands in the file, covered as configured, completed with an id where it had none.
    pub json: Vec<u8>,
}

/// The two fields that decide the order; the rest is skipped.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    time: Option<&'a serde_json::value::RawValue>,
}

/// Is there an id, and which time? The whole line is only read where its beginning does not tell.
fn head_of(json: &[u8]) -> (bool, Option<i64>) {
    if let Some(time_ms) = plain_head(json) {
        return (true, Some(time_ms));
    }
    let head = std::str::from_utf8(json).ok().and_then(|text| serde_json::from_str::<Head>(text).ok());
    let time_ms = head.as_ref().and_then(|h| h.time).and_then(|raw| time_of(raw.get()));
    (head.is_some_and(|h| h.id.is_some_and(|id| id.get() != "null")), time_ms)
}

/// The time of a line that names id and time before anything nested or escaped, as most do.
fn plain_head(json: &[u8]) -> Option<i64> {
    let mut rest = json.trim_ascii_start().strip_prefix(b"{")?;
    let (mut has_id, mut time_ms) = (false, None);
    loop {
        let (key, value) = text_of(rest.trim_ascii_start())?;
        let value = value.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let end = match text_of(value) {
            Some((_, behind)) => value.len() - behind.len(),
            None if value.starts_with(b"\"") => return None,
            None => memchr::memchr3(b',', b'{', b'[', value)?,
        };
        let (value, behind) = value.split_at(end);
        match key {
            b"id" => has_id = value != b"null",
            b"time" => time_ms = Some(time_of(std::str::from_utf8(value).ok()?.trim_ascii_end())?),
            _ => {}
        }
        match time_ms {
            Some(time_ms) if has_id => return Some(time_ms),
            _ => rest = behind.trim_ascii_start().strip_prefix(b",")?,
        }
    }
}

/// A text without escapes at the beginning, without its quotes, and what is behind it.
fn text_of(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = json.strip_prefix(b"\"")?;
    let end = memchr::memchr2(b'"', b'\\', text).filter(|end| text[*end] == b'"')?;
    Some((&text[..end], &text[end + 1..]))
}

struct Source {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: u64,
    time_ms: i64,
    head: Option<Line>,
    privacy: Privacy,
}

impl Source {
    fn new(path: PathBuf, reader: Box<dyn BufRead>, privacy: Privacy) -> Result<Source, BacktestError> {
        let mut source = Source { path, reader, line: 0, time_ms: i64::MIN, head: None, privacy };
        source.advance()?;
        Ok(source)
    }

    fn advance(&mut self) -> Result<(), BacktestError> {
        loop {
            let mut json = Vec::with_capacity(1024);
            let wrong = |e| BacktestError::Input(self.path.clone(), e);
            let n = read_line(&mut *self.reader, &mut json).map_err(wrong)?;
            self.head = None;
            if n == 0 {
                return Ok(());
            }
            self.line += 1;
            if json.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if let Cow::Owned(covered) = self.privacy.apply(&json) {
                json = covered;
            }
            let (has_id, time_ms) = head_of(&json);
            if let (false, Some(_)) = (has_id, time_ms)
                && let Ok(admitted) = admit_line(&json, self.line, i64::MAX - DAY_MS)
            {
                json = admitted.body;
            }
            self.time_ms = time_ms.unwrap_or(self.time_ms);
            self.head = Some(Line { time_ms: self.time_ms, json });
            return Ok(());
        }
    }
}

/// A file's bytes, unpacked when its name says that they are packed.
pub fn plain(path: &Path, file: impl Read + 'static) -> std::io::Result<Box<dyn BufRead>> {
    Ok(match path.extension().is_some_and(|e| e == "zst") {
        true => Box::new(BufReader::with_capacity(BUFFER, zstd::stream::Decoder::new(file)?)),
        false => Box::new(BufReader::with_capacity(BUFFER, file)),
    })
}

/// Reads up to a newline, keeps at most [`MAX_LINE`] bytes of it; the bytes consumed.
fn read_line(reader: &mut dyn BufRead, out: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut consumed = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(consumed);
        }
        let end = memchr::memchr(b'\n', buffer);
        let n = end.map_or(buffer.len(), |i| i + 1);
        let text = &buffer[..end.unwrap_or(n)];
        out.extend_from_slice(&text[..text.len().min(MAX_LINE.saturating_sub(out.len()))]);
        reader.consume(n);
        consumed += n;
        if end.is_some() {
            return Ok(consumed);
        }
    }
}

/// Several files as one stream.
pub struct Merged {
    sources: Vec<Source>,
}
impl Merged {
    /// Opens all.
    pub fn open(paths: &[PathBuf], privacy: &Privacy) -> Result<Merged, BacktestError> {
        let open = |path: &PathBuf| {
            let reader = File::open(path).and_then(|file| plain(path, file));
            Ok((path.clone(), reader.map_err(|e| BacktestError::Input(path.clone(), e))?))
        };
        Merged::over(paths.iter().map(open).collect::<Result<_, _>>()?, privacy)
    }
    /// Lines of what is open already, with the name to tell in an error.
    pub fn over(sources: Vec<(PathBuf, Box<dyn BufRead>)>, privacy: &Privacy) -> Result<Merged, BacktestError> {
        let sources = sources.into_iter().map(|(path, reader)| Source::new(path, reader, privacy.clone()));
        Ok(Merged { sources: sources.collect::<Result<_, _>>()? })
    }
    /// The next line of all.
    pub fn next_line(&mut self) -> Result<Option<Line>, BacktestError> {
        let times = self.sources.iter().enumerate().filter_map(|(i, s)| Some((s.head.as_ref()?.time_ms, i)));
        let Some(source) = times.min().and_then(|(_, i)| self.sources.get_mut(i)) else { return Ok(None) };
        let line = source.head.take();
        source.advance()?;
        Ok(line)
    }
}
