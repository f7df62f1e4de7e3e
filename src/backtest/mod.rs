//! Backtest: files (or a recorded log) through the dataflow that runs live, to files.
//!
//! [`input`] reads and merges the files; [`crate::engine::replay`] runs the dataflow. [`judge`] watches where labels or a
//! report are asked for: [`labels`] are the truth, [`reviews`] what people find out of it, [`report`] the figures.
//! Models are learnt anew at the ends of weeks ([`crate::retrain`]). Deliberately absent: what makes them better.

pub mod input;
pub mod judge;
pub mod labels;
pub mod report;
pub mod reviews;

use crate::app::products;
use crate::engine::now_ms;
use crate::engine::objects::Objects;
use crate::engine::registry::{Registry, SHIPPED_VERSION};
use crate::engine::replay::{Cutter, Replay, Sink};
use crate::log::which;
use crate::privacy::Privacy;
use crate::retrain::beside::Beside;
use crate::retrain::learn::Learnt;
use crate::retrain::{Every, RetrainConfig, schedule};
use input::Merged;
use jiff::tz::TimeZone;
use judge::{Evaluation, Judge};
use pulse_dataflows::checkpoint::Position;
use pulse_dataflows::control::{Active, Control};
use pulse_dataflows::detect::Tally;
use pulse_dataflows::ports::{EventLog, FROM_GATEWAY, Meta, Partition, Records, Topic};
use pulse_operators::context::DetectConfig;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a backtest fails.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// An input.
    #[error("{0}: {1}")]
    Input(PathBuf, std::io::Error),
    /// An output.
    #[error("{0}: {1}")]
    Output(PathBuf, std::io::Error),
    /// The configuration.
    #[error("configuration: {0}")]
    Config(String),
    /// The dataflow or its log.
    #[error("{0}")]
    Engine(String),
}

/// What to run.
pub struct Backtest {
    /// Event files, NDJSON, plain or zstd; empty with `log`.
    pub inputs: Vec<PathBuf>,
    /// A data folder whose log is repeated in place of files.
    pub log: Option<PathBuf>,
    /// The configuration that scores.
    pub config: DetectConfig,
    /// File with the shop's products.
    pub catalogue: Option<PathBuf>,
    /// The model to begin with; the shipped one by default.
    pub model: Option<String>,
    /// When models are learnt anew, and in whose time zone; `None`: never.
    pub retrain: Option<(RetrainConfig, TimeZone)>,
    /// What is covered in files, as the gateway would.
    pub privacy: Privacy,
    /// Worker threads.
    pub workers: usize,
    /// Scored events.
    pub output: Option<PathBuf>,
    /// Alerts and incidents.
    pub alerts: Option<PathBuf>,
    /// What was not taken up.
    pub rejected: Option<PathBuf>,
    /// What was looked up; stays empty unless the configuration in force asks for it.
    pub enriched: Option<PathBuf>,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Lines read, or records of the log.
    pub events: u64,
    /// Scored.
    pub scored: u64,
    /// Duplicates.
    pub duplicates: u64,
    /// Not taken up.
    pub rejected: u64,
    /// Late.
    pub late: u64,
    /// Events decided to be anomalies.
    pub anomalies: u64,
    /// `anomaly.opened`
    pub alerts: u64,
    /// `incident.opened`
    pub incidents: u64,
}

/// Bytes gathered before they go to a file: more at once no longer fit into a core's cache, nor into pages that the kernel
/// has at hand.
const BUFFER: usize = 1 << 18;

struct Files {
    open: BTreeMap<Partition, BufWriter<File>>,
    paths: BTreeMap<Topic, PathBuf>,
    summary: Summary,
    failed: Option<BacktestError>,
    judge: Option<Judge>,
    beside: Option<Beside>,
}

impl Files {
    fn new(b: &Backtest) -> Files {
        let named = [
            (Topic::Scored, &b.output),
            (Topic::Alerts, &b.alerts),
            (Topic::Rejected, &b.rejected),
            (Topic::Enriched, &b.enriched),
        ];
        let paths = named.into_iter().filter_map(|(topic, path)| Some((topic, path.clone()?))).collect();
        Files { open: BTreeMap::new(), paths, summary: Summary::default(), failed: None, judge: None, beside: None }
    }
    /// One file a topic; those of further partitions have their number behind the name.
    fn path(&self, p: Partition) -> Option<PathBuf> {
        let path = self.paths.get(&p.topic)?;
        if p.number == 0 {
            return Some(path.clone());
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", p.number));
        Some(name.into())
    }
    /// Makes the files, also those that stay empty.
    fn create(&mut self, partitions: u16) -> Result<(), BacktestError> {
        for topic in [Topic::Scored, Topic::Alerts, Topic::Rejected, Topic::Enriched] {
            for number in 0..if topic.partitioned() { partitions } else { 1 } {
                let p = Partition { topic, number };
                if let Some(path) = self.path(p) {
                    let file = File::create(&path).map_err(|e| BacktestError::Output(path, e))?;
                    self.open.insert(p, BufWriter::with_capacity(BUFFER, file));
                }
            }
        }
        Ok(())
    }
    fn take(&mut self, p: Partition, records: &Records) {
        if let Some(judge) = &mut self.judge {
            judge.take(p, records);
        }
        if let Some(beside) = &self.beside {
            beside.tell(p.topic, records);
        }
        if let Err(e) = self.write(p, records) {
            let path = self.path(p).unwrap_or_default();
            self.failed.get_or_insert(BacktestError::Output(path, e));
        }
    }
    fn write(&mut self, p: Partition, records: &Records) -> std::io::Result<()> {
        for (meta, value) in records.iter() {
            match p.topic {
                Topic::Rejected => self.summary.rejected += 1,
                Topic::Alerts if value.starts_with(b"{\"type\":\"anomaly.opened\"") => self.summary.alerts += 1,
                // written by serde, whose members are sorted: the type is last
                Topic::Alerts if value.ends_with(b"\"type\":\"incident.opened\"}") => self.summary.incidents += 1,
                _ => {}
            }
            if meta.cause.kind == FROM_GATEWAY {
                continue;
            }
            if let Some(file) = self.open.get_mut(&p) {
                file.write_all(value)?;
                file.write_all(b"\n")?;
            }
        }
        Ok(())
    }
    fn finish(&mut self) -> Result<(), BacktestError> {
        for (p, mut file) in std::mem::take(&mut self.open) {
            file.flush().map_err(|e| BacktestError::Output(self.path(p).unwrap_or_default(), e))?;
        }
        self.failed.take().map_or(Ok(()), Err)
    }
}

/// Where a backtest of files begins: configuration and model in force before the first event.
fn begin(registry: &Registry, of: &Backtest) -> Result<Position, BacktestError> {
    let mut active = Active::default();
    active.apply(Control::Config { config: Box::new(of.config.clone()) });
    if let Some(path) = &of.catalogue {
        let hash = products(registry, &of.config, path).map_err(BacktestError::Config)?;
        active.apply(Control::Table { name: "catalogue".into(), hash });
    }
    if let Some(version) = &of.model {
        let (checksum, _) = registry.get(version).map_err(|e| BacktestError::Config(e.to_string()))?;
        active.apply(Control::Model { version: version.into(), checksum });
    }
    active.context(registry).map_err(|e| BacktestError::Config(e.to_string()))?;
    Ok(Position { active, ..Position::default() })
}

fn folder(objects: &Path) -> Result<Objects, BacktestError> {
    Objects::folder(objects).map_err(|e| BacktestError::Engine(e.to_string()))
}

impl Backtest {
    /// Runs it. `progress` is told how many events were read, now and then.
    pub fn run(&self, objects: &Path, progress: &mut dyn FnMut(u64)) -> Result<Summary, BacktestError> {
        self.evaluate(objects, None, progress)
    }

    /// Runs it with labels, reviews and a report.
    pub fn evaluate(
        &self,
        objects: &Path,
        evaluation: Option<&Evaluation>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Summary, BacktestError> {
        let log = self.log.as_deref().map(|dir| which::open_reader(dir, None)).transpose();
        let log = log.map_err(|e| BacktestError::Engine(e.to_string()))?;
        self.evaluate_over(log, folder(objects)?, evaluation, progress)
    }

    /// [`Backtest::run`] over an opened log.
    pub fn run_over(
        &self,
        log: Option<Arc<dyn EventLog>>,
        objects: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Summary, BacktestError> {
        self.evaluate_over(log, folder(objects)?, None, progress)
    }

    /// [`Backtest::evaluate`] over an opened log.
    pub fn evaluate_over(
        &self,
        log: Option<Arc<dyn EventLog>>,
        objects: Objects,
        evaluation: Option<&Evaluation>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Summary, BacktestError> {
        let engine = |e: String| BacktestError::Engine(e);
        let registry = Registry::new(objects);
        let files = Arc::new(Mutex::new(Files::new(self)));
        let sink: Sink = {
            let files = files.clone();
            Box::new(move |p, records| lock(&files).take(p, records))
        };
        let (events, tally) = match log {
            Some(log) => {
                let partitions = log.partitions(Topic::Raw);
                lock(&files).create(partitions)?;
                lock(&files).judge = evaluation.map(|e| Judge::new(e, Some(&*log))).transpose()?;
                let events = (0..partitions).map(|number| log.end(Partition { topic: Topic::Raw, number })).sum();
                (events, Replay::log(log, registry, self.workers, sink).map_err(engine)?)
            }
            None => {
                lock(&files).create(1)?;
                lock(&files).judge = evaluation.map(|e| Judge::new(e, None)).transpose()?;
                let position = begin(&registry, self)?;
                let merged = Merged::open(&self.inputs, &self.privacy)?;
                let mut weeks = self.weeks(&registry)?;
                lock(&files).beside = weeks.as_ref().map(|weeks| weeks.beside.clone());
                let replay = Replay::feed(registry, position, self.workers, sink).map_err(engine)?;
                self.feed((replay, merged), &files, weeks.as_mut(), progress)?
            }
        };
        let mut files = lock(&files);
        files.finish()?;
        let summary = summary(events, &files.summary, &tally);
        if let (Some(judge), Some(path)) = (&mut files.judge, evaluation.and_then(|e| e.report.as_ref())) {
            let counted = serde_json::to_value(&summary).unwrap_or_default(); // numbers: cannot fail
            let report = judge.finish(counted, self.config.budget.alerts_per_day).unwrap_or_default();
            std::fs::write(path, format!("{report:#}\n")).map_err(|e| BacktestError::Output(path.clone(), e))?;
        }
        Ok(summary)
    }

    fn weeks(&self, registry: &Arc<Registry>) -> Result<Option<Weeks>, BacktestError> {
        let Some((config, zone)) = self.retrain.clone().filter(|(config, _)| config.every == Every::Weekly) else {
            return Ok(None);
        };
        let budget = f64::from(self.config.budget.alerts_per_day);
        let beside =
            Beside::start(config, registry.clone(), budget).map_err(|e| BacktestError::Engine(e.to_string()))?;
        let champion = self.model.clone().unwrap_or_else(|| SHIPPED_VERSION.into());
        Ok(Some(Weeks { beside, config, zone, champion, due_ms: None }))
    }

    fn feed(
        &self,
        (mut replay, mut merged): (Replay, Merged),
        files: &Mutex<Files>,
        mut weeks: Option<&mut Weeks>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(u64, Arc<Tally>), BacktestError> {
        let engine = |e: pulse_dataflows::ports::LogError| BacktestError::Engine(e.to_string());
        let mut cutter = Cutter::default();
        let (mut records, mut control, mut clock_ms, mut events) =
            (Records::default(), Records::default(), i64::MIN, 0u64);
        let (mut most, mut most_bytes) = (0, 0);
        let judged = lock(files).judge.is_some();
        while let Some(line) = merged.next_line()? {
            if cutter.before(line.time_ms) {
                // growing would copy them; what was needed once is forgotten after some epochs
                most = records.len().max(most - most / 16);
                most_bytes = records.bytes().max(most_bytes - most_bytes / 16);
                let next = Records::with_room(most, most_bytes);
                let (records, control_now) = (std::mem::replace(&mut records, next), std::mem::take(&mut control));
                replay.epoch(records, control_now, clock_ms, 0).map_err(engine)?;
                progress(events);
                // an epoch ends with its hour, and so with its day
                let day_over = line.time_ms.div_euclid(DAY_MS) > clock_ms.div_euclid(DAY_MS);
                if judged && day_over && lock(files).judge.as_ref().is_some_and(Judge::reviews) {
                    replay.drain();
                    lock(files).judge.as_mut().into_iter().for_each(|judge| judge.close_day(line.time_ms));
                }
            }
            if records.is_empty()
                && let Some(weeks) = weeks.as_deref_mut()
                && weeks.over(line.time_ms)
            {
                replay.drain();
                control = weeks.learn(line.time_ms)?;
            }
            clock_ms = clock_ms.max(line.time_ms);
            if let (true, Some(judge)) = (judged, &mut lock(files).judge) {
                if records.is_empty() {
                    let due = judge.due(clock_ms);
                    if let Some(weeks) = weeks.as_deref() {
                        weeks.beside.tell(Topic::Labels, &due);
                    }
                    replay.label(due);
                }
                judge.feed(&line.json);
            }
            records.push(Meta { time_ms: clock_ms, ..Meta::default() }, &line.json);
            events += 1;
        }
        if !records.is_empty() {
            replay.epoch(records, control, clock_ms, 0).map_err(engine)?;
        }
        progress(events);
        let tally = replay.end().map_err(BacktestError::Engine)?;
        Ok((events, tally))
    }
}

/// Ends of weeks, and what is in force.
struct Weeks {
    beside: Beside,
    config: RetrainConfig,
    zone: TimeZone,
    champion: String,
    due_ms: Option<i64>,
}

impl Weeks {
    /// Is a week over at this time of the data? The first one begins with the first event.
    fn over(&mut self, time_ms: i64) -> bool {
        let due = self.due_ms.unwrap_or_else(|| self.next(time_ms));
        self.due_ms = Some(due);
        due <= time_ms
    }
    fn next(&self, after_ms: i64) -> i64 {
        schedule::next(&self.config, &self.zone, after_ms).unwrap_or(i64::MAX)
    }
    /// Learns; the control record that switches to what was learnt.
    fn learn(&mut self, time_ms: i64) -> Result<Records, BacktestError> {
        self.due_ms = Some(self.next(time_ms));
        let learnt = self.beside.close(time_ms, &self.champion).map_err(BacktestError::Engine)?;
        let Some(learnt) = learnt.filter(|_| self.config.promote) else { return Ok(Records::default()) };
        tracing::info!(version = learnt.version, outcome = ?learnt.training.outcome, rows = learnt.training.rows, "a week is over");
        let Learnt { version, checksum, .. } = learnt;
        self.champion.clone_from(&version);
        let meta = Meta { time_ms, ..Meta::default() };
        Ok(Records::of(meta, &Control::Model { version, checksum }.to_bytes()))
    }
}

const DAY_MS: i64 = 24 * 3_600_000;

fn lock(files: &Mutex<Files>) -> MutexGuard<'_, Files> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

fn summary(events: u64, files: &Summary, tally: &Tally) -> Summary {
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    Summary {
        events,
        scored: count(&tally.scored),
        duplicates: count(&tally.duplicates),
        late: count(&tally.late),
        anomalies: count(&tally.anomalies),
        ..files.clone()
    }
}

/// A folder of its own for objects that nobody asked to keep; removed at the end.
pub struct Scratch(PathBuf);
impl Scratch {
    /// Below the system's folder for temporary files.
    pub fn new() -> Scratch {
        Scratch(std::env::temp_dir().join(format!("pulse-{}-{}", std::process::id(), now_ms())))
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}
impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        // nothing of value is in it, and the system clears what stays
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
