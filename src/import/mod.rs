//! Import: history from files into a data folder that nobody else owns, through the log and the dataflow like live events.
//!
//! Every record counts as received when its event happened (never earlier than the record before it), so that windows and
//! duplicates work as in a backtest of the same files. [`mapping`] reads CSV, [`labels`] takes up verdicts on what is there then.
//! Deliberately absent: sending to a running process (its gateway takes events), and judging the model that is learnt.

pub mod labels;
pub mod mapping;

use crate::app::core::Core;
use crate::app::{AppError, Settings, append_control, retrain};
use crate::backtest::BacktestError;
use crate::backtest::input::{Merged, plain};
use crate::engine::now_ms;
use crate::gateway::rejects::Kepts;
use crate::privacy::Privacy;
use crate::telemetry::Metrics;
use crate::telemetry::shared::Shared;
use mapping::{CsvLines, Mapping};
use pulse_dataflows::control::Control;
use pulse_dataflows::ports::{EventLog, LogError, Meta, Records, Request, Topic, partition};
use pulse_operators::record::admit_line;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Events appended at once.
const CHUNK: usize = 2048;
/// Refused lines of an import that are kept in `events.rejected`: enough to see what is wrong with a file; the rest is counted.
const REFUSED_KEPT: u64 = 1000;
/// How far ahead of the clock an admitted event can be: so long is the quiet while a warm start runs.
const AHEAD_MS: i64 = 5 * 60_000;

/// Why an import fails.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The data folder.
    #[error(transparent)]
    App(#[from] AppError),
    /// A file.
    #[error(transparent)]
    Input(#[from] BacktestError),
    /// A CSV file, or its mapping.
    #[error(transparent)]
    Mapping(#[from] mapping::MappingError),
    /// The log takes nothing.
    #[error("log: {0}")]
    Log(#[from] LogError),
}

/// Lines of one code that were not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// What was said of the first.
    pub first: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Lines or rows read.
    pub lines: u64,
    /// Appended to the log.
    pub accepted: u64,
    /// Of these: the same id and source came before.
    pub duplicates: u64,
    /// Scored.
    pub scored: u64,
    /// Card numbers masked.
    pub masked: u64,
    /// Not taken.
    pub rejected: u64,
    /// Why, by code.
    pub reasons: BTreeMap<&'static str, Refused>,
    /// First and last time of what was accepted, ms since the epoch.
    pub window_ms: Option<(i64, i64)>,
    /// Verdicts, where files of them were named.
    pub verdicts: Option<labels::Verdicts>,
    /// The model that was learnt and is in force, after a warm start.
    pub model: Option<String>,
}

/// How far a running import is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes read of the files.
    pub bytes: u64,
    /// Bytes of the files.
    pub of: u64,
    /// Lines read.
    pub lines: u64,
}

/// What to import.
pub struct Import {
    /// NDJSON or CSV, plain or zstd.
    pub files: Vec<PathBuf>,
    /// How CSV is read.
    pub mapping: Option<Mapping>,
    /// Verdicts: NDJSON or CSV.
    pub labels: Vec<PathBuf>,
    /// How CSV of verdicts is read.
    pub labels_mapping: Option<Mapping>,
    /// Learn from it, tell nobody.
    pub warm_start: bool,
    /// Everything random in what is learnt follows from it.
    pub seed: u64,
    /// The data folder and what scores.
    pub settings: Settings,
}

/// Counts what goes through.
struct Counted<R>(R, Arc<AtomicU64>);
impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(into)?;
        self.1.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Is it CSV, by its name?
pub fn is_csv(path: &Path) -> bool {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".zst").unwrap_or(&name);
    name.ends_with(".csv") || name.ends_with(".tsv")
}

impl Import {
    /// Opens the files as lines of NDJSON.
    fn open(&self, bytes: &Arc<AtomicU64>) -> Result<(Merged, u64), ImportError> {
        let (mut sources, mut of) = (Vec::new(), 0);
        for path in &self.files {
            let wrong = |e| BacktestError::Input(path.clone(), e);
            let file = File::open(path).map_err(wrong)?;
            of += file.metadata().map_err(wrong)?.len();
            let reader = plain(path, Counted(file, bytes.clone())).map_err(wrong)?;
            let reader: Box<dyn BufRead> = match &self.mapping {
                Some(mapping) if is_csv(path) => {
                    Box::new(BufReader::new(CsvLines::new(reader, mapping).map_err(|e| e.of(path))?))
                }
                None if is_csv(path) => return Err(mapping::MappingError::None(path.clone()).into()),
                _ => reader,
            };
            sources.push((path.clone(), reader));
        }
        let settings = &self.settings;
        let privacy = Privacy::open(&settings.privacy, settings.detect.decode.geo).map_err(AppError::Config)?;
        Ok((Merged::over(sources, &privacy)?, of))
    }

    /// Imports; `tell` hears how far it is now and then.
    pub fn run(&self, tell: &mut dyn FnMut(Progress)) -> Result<Summary, ImportError> {
        let bytes = Arc::<AtomicU64>::default();
        // the files first: a wrong one must not make a data folder
        let (mut merged, of) = self.open(&bytes)?;
        let verdicts = labels::open(&self.labels, self.labels_mapping.as_ref())?;
        let metrics: Metrics = Arc::new(Mutex::new(prometheus_client::registry::Registry::default()));
        let core = Core::start(&self.settings, &metrics, &Shared::register(&metrics))?;
        let taken = self.take(&core, &mut merged, verdicts, &mut |lines| {
            tell(Progress { bytes: bytes.load(Ordering::Relaxed), of, lines });
        });
        let stopped = core.stop();
        let summary = taken?;
        stopped?;
        Ok(summary)
    }

    fn take(
        &self,
        core: &Core,
        merged: &mut Merged,
        verdicts: Vec<labels::Lines>,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Summary, ImportError> {
        core.settle()?; // what was there before counts for nothing here
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let tally = core.engine.tally().clone();
        let before = (count(&tally.duplicates), count(&tally.scored));
        let started_ms = now_ms();
        if self.warm_start {
            // bounded: an import that dies half way must not silence the future
            append_control(&*core.log, &Control::Quiet { until_ms: started_ms + AHEAD_MS })?;
        }
        let mut summary = Summary::default();
        self.append(core, merged, started_ms, &mut summary, tell)?;
        core.settle()?;
        (summary.duplicates, summary.scored) = (count(&tally.duplicates) - before.0, count(&tally.scored) - before.1);
        if !verdicts.is_empty() {
            summary.verdicts = Some(labels::take(core, verdicts)?);
            core.settle()?;
        }
        if self.warm_start {
            let until_ms = summary.window_ms.map_or(i64::MIN, |(_, last_ms)| last_ms + 1);
            append_control(&*core.log, &Control::Quiet { until_ms })?;
            summary.model = Some(retrain(&*core.log, &core.registry, self.seed)?);
            core.settle()?;
        }
        Ok(summary)
    }

    fn append(
        &self,
        core: &Core,
        merged: &mut Merged,
        started_ms: i64,
        summary: &mut Summary,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), ImportError> {
        let partitions = usize::from(core.log.partitions(Topic::Raw).max(1));
        let mut kept = Kepts::default();
        let (mut parts, mut waiting, mut clock_ms) = (vec![Records::default(); partitions], 0, i64::MIN);
        loop {
            let line = merged.next_line()?;
            if waiting == CHUNK || (line.is_none() && (waiting > 0 || !kept.is_empty())) {
                append(&*core.log, &mut parts, std::mem::take(&mut kept), started_ms)?;
                waiting = 0;
                tell(summary.lines);
            }
            let Some(line) = line else { return Ok(()) };
            summary.lines += 1;
            match admit_line(&line.json, summary.lines, started_ms) {
                Ok(event) => {
                    clock_ms = clock_ms.max(line.time_ms);
                    let meta = Meta { time_ms: clock_ms, ..Meta::default() };
                    if let Some(records) = parts.get_mut((event.key % partitions as u64) as usize) {
                        records.push(meta, &event.body);
                    }
                    let (first_ms, last_ms) = summary.window_ms.unwrap_or((line.time_ms, line.time_ms));
                    summary.window_ms = Some((first_ms.min(line.time_ms), last_ms.max(line.time_ms)));
                    summary.accepted += 1;
                    summary.masked += u64::from(event.masked);
                    waiting += 1;
                }
                Err(reject) => {
                    summary.rejected += 1;
                    if summary.rejected <= REFUSED_KEPT {
                        // what could not be read could not be covered either
                        let shown: &[u8] = if self.settings.privacy.on() { b"" } else { &line.json };
                        kept.add("import", shown, (None, None), &reject, started_ms);
                    }
                    let refused = summary.reasons.entry(reject.code).or_default();
                    refused.count += 1;
                    if refused.count == 1 {
                        refused.first = reject.message;
                    }
                }
            }
        }
    }
}

/// Appends what is gathered, and leaves room for more.
fn append(log: &dyn EventLog, parts: &mut [Records], refused: Kepts, now_ms: i64) -> Result<(), LogError> {
    let numbered = (0u16..).zip(parts.iter_mut().map(std::mem::take));
    let raw = numbered.filter(|(_, r)| !r.is_empty()).map(|(p, r)| (partition(Topic::Raw, p), r));
    let parts = raw.chain(refused.into_parts(log.partitions(Topic::Rejected), now_ms)).collect();
    log.append_wait(Request { parts, ..Request::default() })?;
    Ok(())
}
