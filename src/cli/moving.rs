//! `pulse move`.

use super::run::RunArgs;
use super::{Code, Failure, Folder, output};
use crate::app::AppError;
use crate::app::core::Core;
use crate::config::{Config, LogKind};
use crate::deliver::outbox;
use crate::engine::manifest::Manifest;
use crate::engine::moving;
use crate::engine::objects::Objects;
use crate::log::lock::DirLock;
use crate::log::which::{self, Brokers, Founded, Founding};
use crate::store::moving::{MoveError, carry};
use crate::store::{Store, Target};
use crate::telemetry::Metrics;
use crate::telemetry::shared::Shared;
use pulse_dataflows::ports::{Topic, partition};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time that the last checkpoint gets.
const CHECKPOINT: Duration = Duration::from_secs(120);

/// Arguments of `pulse move`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Stop `pulse run` first. Everything in the log is taken up and a checkpoint is written. Then, as far as the new
configuration names other places:
  store  all rows (history, alerts, verdicts, keys, destinations) are carried into the empty PostgreSQL database
  log    the topics on Kafka, which must be empty, begin where the file ends; control records and alerts that were not
         delivered yet are carried; the checkpoint goes on there, so the next event is scored as if nothing had been moved
  objects  models, tables and the checkpoint are copied
What ends half way can be done again when the database is empty; what it finds in the topics of itself, it takes.
Old files stay as they were, but must not be used any more.

Example:
  pulse move --config one-box.toml --to cluster.toml && pulse run --config cluster.toml"
)]
pub struct MoveArgs {
    /// The configuration to move to, with `[store] kind = \"postgres\"`, `[log] kind = \"kafka\"`, or both
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

impl MoveArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let run = RunArgs { folder: self.folder.clone(), ..RunArgs::default() };
        let (from, to) = (run.load()?, Config::load(Some(&self.to))?);
        let plan = Plan::of(&from, &to)?;
        // the new places first: what is wrong with them is told before anything happens
        let store = plan.store.as_ref().map(empty).transpose()?;
        let topics = plan.log.as_ref().map(|brokers| which::founding(brokers, run.settings(&from).partitions));
        let topics = topics.transpose().map_err(AppError::from)?;
        let objects = |config: &Config| config.objects.open(&config.data.dir).map_err(Failure::from);
        let (old, new) = (objects(&from)?, objects(&to)?);
        drained(&run, &from)?;
        let _alone = DirLock::acquire(&from.data.dir).map_err(Failure::unavailable)?;
        let checkpoint = topics.as_ref().map(|topics| carry_log(topics, &from, &old)).transpose()?;
        if let Some((manifest, _)) = &checkpoint
            && plan.objects
        {
            moving::copy(&old, &new, manifest).map_err(Failure::unavailable)?;
        }
        let tables =
            store.map_or(Ok(Vec::new()), |store| carry(&plan.file, &store).map_err(|error| refused(&error)))?;
        // last, so that nothing goes on there before everything is there
        let moved = checkpoint
            .map(|(manifest, at)| moving::commit(&new, manifest, (at.entry, at.next)).map_err(Failure::unavailable));
        let log = moved.transpose()?.is_some();
        let rows: u64 = tables.iter().map(|(_, rows)| rows).sum();
        let value = json!({"rows": rows, "log": log, "tables": tables.iter().cloned().collect::<BTreeMap<_, _>>()});
        output::print(json, &value, || {
            let line = |(table, rows): &(String, u64)| format!("{table:<24} {rows}\n");
            let lines: String = tables.iter().filter(|(_, rows)| *rows > 0).map(line).collect();
            let log = if log { " and the log's end" } else { "" };
            format!("{lines}moved {rows} rows{log}; go on with: pulse run --config {}", self.to.display())
        })
    }
}

/// What goes where.
struct Plan {
    /// The present store.
    file: PathBuf,
    /// The new one; `None`: it stays.
    store: Option<Target>,
    /// The new log; `None`: it stays.
    log: Option<Brokers>,
    /// Other objects?
    objects: bool,
}
impl Plan {
    /// Refuses what cannot be.
    fn of(from: &Config, to: &Config) -> Result<Plan, Failure> {
        let wrong = |why: &str| Err(Failure::new(Code::Config, why));
        let Target::File(file) = from.store.target(&from.data.dir) else {
            return wrong("store.kind: the present store is no file in the data folder; there is nothing to move");
        };
        if !file.exists() {
            return Err(Failure::unavailable(format!("there is no store at {}; see --data", file.display())));
        }
        let folder = |config: &Config| std::path::absolute(&config.data.dir).unwrap_or(config.data.dir.clone());
        let (same_folder, target) = (folder(from) == folder(to), to.store.target(&to.data.dir));
        let store = matches!(target, Target::Server(_)).then_some(target);
        let log = (from.log.kind == LogKind::Sqlite).then(|| to.brokers()).flatten();
        if store.is_none() && log.is_none() {
            return wrong("the new configuration must have store.kind = \"postgres\", log.kind = \"kafka\", or both");
        }
        if !same_folder && (store.is_none() || log.is_none()) {
            return wrong("data.dir must be the same in both: what is not moved stays there");
        }
        if log.is_none() && (from.log.kind != to.log.kind || from.log.brokers != to.log.brokers) {
            return wrong("log.kind: a log on brokers is not moved");
        }
        let objects = from.objects != to.objects || (!same_folder && to.objects.url.is_empty());
        if objects && log.is_none() {
            return wrong("objects must be the same in both: checkpoints and models move with the log only");
        }
        Ok(Plan { file, store, log, objects })
    }
}

/// The new store.
fn empty(target: &Target) -> Result<Store, Failure> {
    Ok(Store::at(target)?)
}

fn refused(error: &MoveError) -> Failure {
    match error {
        MoveError::NotEmpty(_) | MoveError::NoServer => Failure::new(Code::Config, format!("store.url: {error}")),
        error => Failure::unavailable(error),
    }
}

/// Lets the topics begin where the file ends; the checkpoint that stands there.
fn carry_log(topics: &Founding, from: &Config, objects: &Objects) -> Result<(Manifest, Founded), Failure> {
    let log = which::open_reader(&from.data.dir, None).map_err(Failure::unavailable)?;
    let manifest = moving::newest(objects, &*log).map_err(Failure::unavailable)?;
    let store = Store::at(&from.store.target(&from.data.dir)).map_err(Failure::unavailable)?;
    let delivered = store.read(outbox::offset).map_err(Failure::unavailable)?;
    let carried = BTreeMap::from([(partition(Topic::Control, 0), 0), (partition(Topic::Alerts, 0), delivered)]);
    let at = topics.write(&*log, &carried, manifest.position.entry.clone()).map_err(AppError::from)?;
    Ok((manifest, at))
}

/// Takes up all that is in the log, into state and store, and writes a checkpoint.
fn drained(run: &RunArgs, config: &Config) -> Result<(), Failure> {
    let metrics: Metrics = Arc::new(Mutex::new(prometheus_client::registry::Registry::default()));
    let core = Core::start(&run.settings(config), &metrics, &Shared::register(&metrics))?;
    let settled = core.settle().and_then(|()| match core.engine.checkpoint(CHECKPOINT) {
        true => Ok(()),
        false => Err(AppError::Part("dataflow", "no checkpoint could be written; nothing was moved".into())),
    });
    let stopped = core.stop();
    settled.and(stopped)?;
    Ok(())
}
