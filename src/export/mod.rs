//! Export: scored events and alerts as Parquet files by day, in a folder or on S3, for tools that ask questions of history.
//!
//! In the order in which data flow: [`ledger`] says up to where everything is written, [`read`] takes the next part of a topic from
//! the log, [`rows`] makes columns of records, [`table`] makes files of columns. A file is named by the day and by the first offset of
//! its part, `events/date=2026-11-03/part-00000-00000000000000000000.parquet`, and is whole or not there. Promise: every record of the
//! topics is in exactly one row of one file, whatever is killed when and however many exporters run.
//!
//! The log does not wait for it: an export that stands still for longer than the log keeps its records has a gap, which is counted.
//! Deliberately absent: what is older than the log; deleting at the destination.

mod ledger;
mod metrics;
mod read;
mod rows;
mod table;
#[cfg(test)]
mod tests;

pub use ledger::{Part, Scope};
pub use metrics::ExportMetrics;
pub use read::Days;

use crate::config::properties;
use crate::engine::objects::{ObjectError, Objects, ObjectsConfig};
use ledger::Ledger;
use pulse_dataflows::ports::{EventLog, LogError, Topic, partition};
use read::Reading;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use tokio_util::sync::CancellationToken;

/// Records of a part at most: some tens of megabytes while it is made.
pub const PART: u64 = 25_000;
/// How often it is looked whether there is a part; after failures ever more seldom, up to ...
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// ... so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// `[export]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportConfig {
    /// A folder, or `s3://bucket/folder`; empty: nothing is exported.
    pub to: String,
    /// Settings of S3.
    #[serde(with = "properties")]
    pub options: BTreeMap<String, String>,
    /// A part is written when its first record is so old, or earlier when it is full, s.
    pub every_s: u64,
}
impl Default for ExportConfig {
    fn default() -> Self {
        ExportConfig { to: String::new(), options: BTreeMap::new(), every_s: 900 }
    }
}
impl ExportConfig {
    /// The first thing that cannot be.
    pub fn check(&self) -> Result<(), String> {
        if !(5..=86_400).contains(&self.every_s) {
            return Err("export.every_s must be 5 to 86400".into());
        }
        match self.to.is_empty() {
            true if self.options.is_empty() => Ok(()),
            true => Err("export.options are settings of S3: export.to must begin with s3://".into()),
            false => self.place().check().map_err(|e| ours(&e)),
        }
    }
    fn place(&self) -> ObjectsConfig {
        ObjectsConfig { url: self.to.clone(), options: self.options.clone() }
    }
    /// Opens the destination.
    pub fn open(&self) -> Result<Objects, ExportError> {
        self.place().open(Path::new("")).map_err(|e| match e {
            ObjectError::Setting(text) => ExportError::Setting(ours(&text)),
            ObjectError::Unavailable(..) => ExportError::Setting(ours(&e.to_string())),
            other => ExportError::Objects(other),
        })
    }
}

/// The words of the object store, under our names.
fn ours(text: &str) -> String {
    text.replace("objects.url", "export.to").replace("objects.options", "export.options")
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `events.scored`
    Events,
    /// `alerts`
    Alerts,
}
/// Both.
pub const STREAMS: [Stream; 2] = [Stream::Events, Stream::Alerts];

impl Stream {
    /// Its folder.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Events => "events",
            Stream::Alerts => "alerts",
        }
    }
    fn topic(self) -> Topic {
        match self {
            Stream::Events => Topic::Scored,
            Stream::Alerts => Topic::Alerts,
        }
    }
    fn table(self) -> Table {
        match self {
            Stream::Events => Table::new("events", rows::EVENTS),
            Stream::Alerts => Table::new("alerts", rows::ALERTS),
        }
    }
}

/// Why nothing is exported at the moment.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The settings, or a destination that cannot be had.
    #[error("{0}")]
    Setting(String),
    /// The destination.
    #[error("export: {0}")]
    Objects(#[from] ObjectError),
    /// The log.
    #[error("log: {0}")]
    Log(#[from] LogError),
    /// A file cannot be made.
    #[error("Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// What the destination says about itself cannot be read.
    #[error("the export's own notes at the destination cannot be read: {0}")]
    Ledger(String),
    /// The destination was begun for other days.
    #[error("this destination was begun for other days ({0:?}): use another one")]
    OtherScope(Scope),
    /// The destination belongs to another log.
    #[error("{0}/{1} ends at {2}, and up to {3} is exported: this destination belongs to another log; use another one")]
    OtherLog(&'static str, u16, u64, u64),
}

/// What one round has written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows of events.
    pub events: u64,
    /// Rows of alerts.
    pub alerts: u64,
    /// Files.
    pub files: u64,
    /// Records that the log had forgotten before they were exported.
    pub lost: u64,
    /// Records that could not be read.
    pub unreadable: u64,
}

/// When a part that is not full is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Now.
    Now,
    /// When its first record is from before this time, ms.
    Before(i64),
}

/// Exports a log to one destination.
pub struct Exporter {
    log: Arc<dyn EventLog>,
    ledger: Ledger,
    objects: Objects,
    reading: Reading,
    metrics: ExportMetrics,
    /// The last part of each partition, once it is known to be done.
    last: BTreeMap<(&'static str, u16), Part>,
}

impl Exporter {
    /// Opens the destination's ledger.
    pub fn open(
        log: Arc<dyn EventLog>,
        objects: Objects,
        currency: &str,
        days: Days,
        metrics: ExportMetrics,
    ) -> Result<Exporter, ExportError> {
        let text = |day: Option<jiff::civil::Date>| day.map(|day| day.to_string());
        Ok(Exporter {
            ledger: Ledger::open(objects.clone(), text(days.from), text(days.to))?,
            reading: Reading::new(log.clone(), currency.to_owned(), days),
            metrics,
            last: BTreeMap::new(),
            objects,
            log,
        })
    }

    /// Writes all parts that are due, up to where the topics end now.
    pub fn round(&mut self, cut: Cut) -> Result<Report, ExportError> {
        let mut report = Report::default();
        for stream in STREAMS {
            for number in 0..self.log.partitions(stream.topic()) {
                let end = self.log.end(partition(stream.topic(), number));
                while let Some(part) = self.next(stream, number, end, cut, &mut report)? {
                    self.write(stream, number, part, &mut report)?;
                }
            }
        }
        self.metrics.lag(self.lag());
        Ok(report)
    }

    /// Records that are in the log and not exported.
    fn lag(&self) -> u64 {
        let places =
            STREAMS.into_iter().flat_map(|s| (0..self.log.partitions(s.topic())).map(move |number| (s, number)));
        let behind = |(stream, number): (Stream, u16)| {
            let place = partition(stream.topic(), number);
            let reached =
                self.last.get(&(stream.name(), number)).map_or_else(|| self.log.start(place), |part| part.end);
            self.log.end(place).saturating_sub(reached)
        };
        places.map(behind).sum()
    }

    /// The next part that is to be written: one that was begun, or one that is full or old enough.
    fn next(
        &mut self,
        stream: Stream,
        number: u16,
        end: u64,
        cut: Cut,
        report: &mut Report,
    ) -> Result<Option<Part>, ExportError> {
        let (key, place) = ((stream.name(), number), partition(stream.topic(), number));
        loop {
            let last = match self.last.get(&key) {
                Some(part) => Some(part.clone()),
                None => self.ledger.last(stream.name(), number)?,
            };
            let (start, after) = (self.log.start(place), last.as_ref().and_then(|part| part.last));
            let reached = match last {
                Some(part) if !part.done => return Ok(Some(part)),
                Some(part) => {
                    let (reached, ends) = (part.end, self.log.end(place));
                    if reached > ends {
                        return Err(ExportError::OtherLog(place.topic.name(), number, ends, reached));
                    }
                    self.last.insert(key, part);
                    reached
                }
                None => start,
            };
            let first = reached.max(start);
            if first >= end || !self.due(stream, number, first, end, cut)? {
                return Ok(None);
            }
            if first > reached {
                tracing::error!(
                    topic = place.topic.name(),
                    from = reached,
                    to = first,
                    "records were trimmed before they were exported"
                );
                report.lost += first - reached;
                self.metrics.lost(first - reached);
            }
            let end = end.min(first + PART);
            let planned = Part { first, end, after, done: false, last: None, rows: 0, files: vec![] };
            let part = self.ledger.plan(stream.name(), number, planned)?;
            if !part.done {
                return Ok(Some(part));
            }
            // somebody beside us was quicker: go on behind it
            self.last.insert(key, part);
        }
    }

    fn due(&mut self, stream: Stream, number: u16, first: u64, end: u64, cut: Cut) -> Result<bool, ExportError> {
        let Cut::Before(time_ms) = cut else { return Ok(true) };
        if end - first >= PART {
            return Ok(true);
        }
        let mut oldest = i64::MAX;
        let place = partition(stream.topic(), number);
        self.log.reader().each(place, first, first + 1, &mut |_, meta, _| oldest = meta.time_ms)?;
        Ok(oldest <= time_ms)
    }

    /// Writes the files of a part, and says so in the ledger.
    fn write(&mut self, stream: Stream, number: u16, mut part: Part, report: &mut Report) -> Result<(), ExportError> {
        let start = self.log.start(partition(stream.topic(), number));
        let lost = start.min(part.end).saturating_sub(part.first);
        let readable = Part { first: part.first + lost, ..part.clone() };
        let found = self.reading.part(stream, number, &readable)?;
        (part.rows, part.files) = (0, Vec::new());
        for (day, table) in &found.days {
            let name = format!("{}/date={day}/part-{number:05}-{:020}.parquet", stream.name(), part.first);
            self.objects.put(&name, table.bytes()?)?;
            part.rows += table.rows() as u64;
            part.files.push(name);
        }
        (part.done, part.last) = (true, found.last);
        self.ledger.done(stream.name(), number, &part)?;
        match stream {
            Stream::Events => report.events += part.rows,
            Stream::Alerts => report.alerts += part.rows,
        }
        report.files += part.files.len() as u64;
        report.unreadable += found.unreadable;
        report.lost += lost;
        self.metrics.written(stream, part.rows, part.files.len() as u64, lost);
        self.last.insert((stream.name(), number), part);
        Ok(())
    }
}

/// Exports beside a running shop, on threads that may block.
#[derive(Clone)]
pub struct Live {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Where to and how often.
    pub config: ExportConfig,
    /// Currency of amounts that name none.
    pub currency: String,
    /// Where it is counted.
    pub metrics: ExportMetrics,
}

impl Live {
    /// Exports until the token says stop. What goes wrong is told, counted and tried again; nobody waits for it.
    pub async fn run(self, stop: CancellationToken) {
        let mut exporter = None;
        let mut pause = Duration::ZERO;
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let (live, had) = (self.clone(), exporter.take());
            match tokio::task::spawn_blocking(move || live.step(had)).await {
                Ok(Ok(left)) => {
                    exporter = Some(left);
                    pause = LOOK_EVERY;
                }
                Ok(Err(error)) => {
                    self.metrics.failed();
                    tracing::error!(%error, to = self.config.to, "export did not work and is tried again");
                    pause = (pause * 2).clamp(LOOK_EVERY, LONGEST_PAUSE);
                }
                Err(error) => {
                    tracing::error!(%error, "export broke off");
                    pause = LONGEST_PAUSE;
                }
            }
        }
    }

    fn step(&self, had: Option<Exporter>) -> Result<Exporter, ExportError> {
        let mut exporter = match had {
            Some(exporter) => exporter,
            None => {
                let (log, objects) = (self.log.clone(), self.config.open()?);
                Exporter::open(log, objects, &self.currency, Days::default(), self.metrics.clone())?
            }
        };
        let before = crate::engine::now_ms() - self.config.every_s as i64 * 1000;
        exporter.round(Cut::Before(before))?;
        Ok(exporter)
    }
}
