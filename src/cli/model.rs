//! `pulse model`: the registry.

use super::LOG_FILE;
use super::backtest::counter;
use super::{Failure, Folder, output, process};
use crate::app::bootstrap::bootstrap;
use crate::app::{active, learn};
use crate::engine::registry::{Registry, SHIPPED_VERSION};
use std::path::PathBuf;
use std::sync::Arc;

/// Models: list, show, train, promote.
#[derive(clap::Args, Clone, Debug)]
pub struct ModelArgs {
    /// Data folder and configuration
    #[command(flatten)]
    pub folder: Folder,
    /// What to do
    #[command(subcommand)]
    pub command: ModelCommand,
}

/// What to do with models.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum ModelCommand {
    /// All versions, and which one is in force
    List,
    /// What a version says of itself
    Show {
        /// Such as global_model@v0
        version: String,
    },
    /// Fit a new version from the scored events of the data folder
    Train {
        /// Everything random follows from it
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Fit the model of day one from simulated shops that start empty; the same seed gives the same bytes
    Bootstrap {
        /// Everything random follows from it
        #[arg(long, default_value_t = 2026)]
        seed: u64,
        /// Shops
        #[arg(long, default_value_t = 6)]
        shops: u64,
        /// Events of each shop
        #[arg(long, default_value_t = 120_000)]
        events: u64,
        /// Events of real shops to learn from as well, NDJSON or its zstd
        #[arg(long, value_name = "FILE")]
        real: Vec<PathBuf>,
        /// Where the bundle goes
        #[arg(long)]
        out: PathBuf,
    },
    /// Switch to a version, while events flow
    Promote {
        /// Such as global_model@v1
        version: String,
        /// Address of the running sidecar
        #[arg(long, default_value = "http://127.0.0.1:8081")]
        sidecar: String,
        /// Key with the scope admin
        #[arg(long, env = "PULSE_KEY", hide_env_values = true)]
        key: Option<String>,
    },
}

fn registry(folder: &Folder) -> Result<Arc<Registry>, Failure> {
    Ok(Registry::new(folder.objects()?))
}

impl ModelArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        match &self.command {
            ModelCommand::List => list(&self.folder, json),
            ModelCommand::Show { version } => {
                let card = registry(&self.folder)?.card(version).map_err(Failure::data)?;
                output::print(json, &card, || serde_json::to_string_pretty(&card).unwrap_or_default())
            }
            ModelCommand::Train { seed } => train(&self.folder, *seed, json),
            ModelCommand::Bootstrap { seed, shops, events, real, out } => {
                let bar = counter("shops");
                let bytes = bootstrap(*seed, *shops, *events, real, &mut || bar.inc(1)).map_err(Failure::internal)?;
                bar.finish_and_clear();
                std::fs::write(out, bytes).map_err(Failure::internal)
            }
            ModelCommand::Promote { version, sidecar, key } => promote(version, sidecar, key.as_deref()),
        }
    }
}

fn list(folder: &Folder, json: bool) -> Result<(), Failure> {
    let config = folder.load()?;
    let versions = registry(folder)?.versions().map_err(Failure::unavailable)?;
    let in_force = match config.data.dir.join(LOG_FILE).exists() || config.brokers().is_some() {
        true => active(&*folder.log()?)?.model.map(|(version, _)| version),
        false => None,
    };
    let in_force = in_force.unwrap_or_else(|| SHIPPED_VERSION.into());
    let value = serde_json::json!({"models": versions, "in_force": in_force});
    output::print(json, &value, || {
        let line = |v: &String| format!("{v}{}", if *v == in_force { "  (in force)" } else { "" });
        versions.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn train(folder: &Folder, seed: u64, json: bool) -> Result<(), Failure> {
    let (log, registry) = (folder.log()?, registry(folder)?);
    let version = registry.next_version().map_err(Failure::unavailable)?;
    let budget = f64::from(active(&*log)?.config.budget.alerts_per_day);
    let gathered = learn::gather(&*log).map_err(Failure::internal)?;
    let bundle = gathered.fit(&version, seed, budget).map_err(Failure::data)?;
    registry.add(&bundle).map_err(Failure::unavailable)?;
    output::print(json, &bundle.card(), || version)
}

/// Asks the running process: only it writes control records.
fn promote(version: &str, sidecar: &str, key: Option<&str>) -> Result<(), Failure> {
    let url = format!("{sidecar}/api/v1/models/{version}/promote");
    process::runtime()?.block_on(async {
        let mut request = reqwest::Client::new().post(&url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.map_err(Failure::unavailable)?;
        let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
        if status.is_success() {
            println!("{body}");
            return Ok(());
        }
        let message = format!("{status}: {body}");
        Err(if status.is_server_error() { Failure::unavailable(message) } else { Failure::usage(message) })
    })
}
