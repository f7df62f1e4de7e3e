//! `pulse move`.

use super::run::RunArgs;
use super::{Code, Failure, Folder, output};
use crate::app::AppError;
use crate::app::core::Core;
use crate::config::{Config, LogKind};
use crate::log::lock::DirLock;
use crate::store::moving::{MoveError, carry};
use crate::store::{OpenError, Store, Target};
use crate::telemetry::Metrics;
use crate::telemetry::shared::Shared;
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time that the last checkpoint gets.
const CHECKPOINT: Duration = Duration::from_secs(120);

/// Arguments of `pulse move`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Stop `pulse run` first. Everything in the log is taken up, a checkpoint is written, and all rows of the store
(history, alerts, verdicts, keys, destinations) are carried into the empty database that the new configuration names. Log,
checkpoints and models stay in the data folder, which must be the same in both; so does the old store, as it was.

Example:
  pulse move --config one-box.toml --to cluster.toml && pulse run --config cluster.toml"
)]
pub struct MoveArgs {
    /// The configuration to move to, with `[store] kind = \"postgres\"`
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

impl MoveArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let wrong = |why: &str| Failure::new(Code::Config, why);
        let run = RunArgs { folder: self.folder.clone(), ..RunArgs::default() };
        let (from, to) = (run.load()?, Config::load(Some(&self.to))?);
        let Target::File(file) = from.store.target(&from.data.dir) else {
            return Err(wrong("store.kind: the present store is no file in the data folder; there is nothing to move"));
        };
        if !file.exists() {
            return Err(Failure::unavailable(format!("there is no store at {}; see --data", file.display())));
        }
        let target = to.store.target(&to.data.dir);
        if !matches!(target, Target::Server(_)) {
            return Err(wrong("store.kind of the new configuration must be \"postgres\""));
        }
        let folder = |config: &Config| std::path::absolute(&config.data.dir).unwrap_or(config.data.dir.clone());
        if folder(&from) != folder(&to) {
            return Err(wrong("data.dir must be the same in both: the log stays there"));
        }
        if from.log.kind != to.log.kind || (from.log.kind == LogKind::Kafka && from.log.brokers != to.log.brokers) {
            return Err(wrong("log.kind must be the same in both: the log is not moved"));
        }
        if from.objects != to.objects {
            return Err(wrong("objects must be the same in both: checkpoints and models are not moved"));
        }
        // the new store first: what is wrong with it is told before anything happens
        let store = Store::at(&target).map_err(|error| match error {
            OpenError::Setting { .. } => Failure::new(Code::Config, error),
            error => Failure::unavailable(error),
        })?;
        drained(&run, &from)?;
        let _alone = DirLock::acquire(&from.data.dir).map_err(Failure::unavailable)?;
        let tables = carry(&file, &store).map_err(|error| match error {
            MoveError::NotEmpty(_) | MoveError::NoServer => Failure::new(Code::Config, format!("store.url: {error}")),
            error => Failure::unavailable(error),
        })?;
        let rows: u64 = tables.iter().map(|(_, rows)| rows).sum();
        let value =
            json!({"rows": rows, "tables": tables.iter().cloned().collect::<std::collections::BTreeMap<_, _>>()});
        output::print(json, &value, || {
            let line = |(table, rows): &(String, u64)| format!("{table:<24} {rows}");
            let lines: Vec<String> = tables.iter().filter(|(_, rows)| *rows > 0).map(line).collect();
            format!("{}\nmoved {rows} rows; go on with: pulse run --config {}", lines.join("\n"), self.to.display())
        })
    }
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
