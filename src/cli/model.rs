//! `pulse model`: the registry.

use super::LOG_FILE;
use super::backtest::counter;
use super::{Failure, Folder, output, process};
use crate::app::bootstrap::bootstrap;
use crate::app::{active, learn};
use crate::engine::registry::{Registry, SHIPPED_VERSION};
use crate::retrain::RetrainConfig;
use crate::retrain::learn::{Learnt, Outcome, Training};
use crate::retrain::live::Live;
use pulse_models::gate::Figures;
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
    /// Learn from the data folder's history now and say how the result stands against the model in force; nothing is switched
    Evaluate,
    /// Write a version's bundle to a file
    Export {
        /// Such as global_model@v1
        version: String,
        /// The file
        #[arg(long)]
        out: PathBuf,
    },
    /// Switch to a version, while events flow
    Promote {
        /// Such as global_model@v1
        version: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// Switch back to the version that was in force before, while events flow
    Rollback {
        #[command(flatten)]
        admin: Admin,
    },
}

/// The process that is asked to switch.
#[derive(clap::Args, Clone, Debug)]
pub struct Admin {
    /// Address of the running sidecar
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    sidecar: String,
    /// Key with the scope admin
    #[arg(long, env = "PULSE_KEY", hide_env_values = true)]
    key: Option<String>,
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
                let registry = registry(&self.folder)?;
                let card = registry.card(version).map_err(Failure::data)?;
                let mut card = serde_json::to_value(card).map_err(Failure::internal)?;
                card["checksum"] = serde_json::json!(registry.get(version).map_err(Failure::data)?.0);
                if let Some(training) = registry.training(version).map_err(Failure::unavailable)? {
                    card["training"] = serde_json::json!(training);
                }
                output::print(json, &card, || serde_json::to_string_pretty(&card).unwrap_or_default())
            }
            ModelCommand::Train { seed } => train(&self.folder, *seed, json),
            ModelCommand::Bootstrap { seed, shops, events, real, out } => {
                let bar = counter("shops");
                let bytes = bootstrap(*seed, *shops, *events, real, &mut || bar.inc(1)).map_err(Failure::internal)?;
                bar.finish_and_clear();
                std::fs::write(out, bytes).map_err(Failure::internal)
            }
            ModelCommand::Evaluate => evaluate(&self.folder, json),
            ModelCommand::Export { version, out } => {
                let (_, bundle) = registry(&self.folder)?.get(version).map_err(Failure::data)?;
                std::fs::write(out, bundle.to_bytes()).map_err(|e| Failure::data(format!("{}: {e}", out.display())))
            }
            ModelCommand::Promote { version, admin } => admin.ask(&format!("{version}/promote")),
            ModelCommand::Rollback { admin } => admin.ask("rollback"),
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
    let least = folder.load()?.retrain.min_events;
    if gathered.rows() < least {
        return Err(Failure::data(format!(
            "{} events are too few to learn from; retrain.min_events = {least}",
            gathered.rows()
        )));
    }
    let bundle = gathered.fit(&version, seed, budget).map_err(Failure::data)?;
    registry.add(&bundle).map_err(Failure::unavailable)?;
    output::print(json, &bundle.card(), || version)
}

/// Learns as at the end of a week, and keeps what it learnt as the next version.
fn evaluate(folder: &Folder, json: bool) -> Result<(), Failure> {
    let (config, log) = (folder.load()?, folder.log()?);
    let settings = RetrainConfig { promote: false, ..config.retrain };
    let live = Live { log, registry: registry(folder)?, config: settings, zone: config.zone()? };
    let Some((_, now_ms)) = live.times().map_err(Failure::unavailable)? else {
        return Err(Failure::data("nothing is scored yet: there is nothing to learn from"));
    };
    let Some(learnt) = live.learn(now_ms).map_err(Failure::internal)? else {
        return Err(Failure::data(format!("fewer than retrain.min_events = {} scored events", settings.min_events)));
    };
    output::print(json, &learnt.training, || describe(&learnt))
}

/// A comparison in words.
fn describe(learnt: &Learnt) -> String {
    let Training { champion, outcome, rows, confirmed_left_out, others_left_out, comparison, .. } = &learnt.training;
    let line = |name: &str, of: &Figures| {
        let precision =
            of.precision.map_or(String::new(), |p| format!(", average precision on confirmed trouble {p:.3}"));
        format!(
            "  {name:<20} finds {:.0} % of planted trouble at 1 % false alarms, p-values off by {:.2} decades{precision}",
            of.found * 100.0,
            of.promise
        )
    };
    let outcome = match outcome {
        Outcome::Retrained => "learnt anew, and better",
        Outcome::Recalibrated => "the new one is not better: the one in force, calibrated again",
    };
    [
        format!("{}: {outcome}", learnt.version),
        format!("  {rows} rows; left out: {confirmed_left_out} confirmed, {others_left_out} others"),
        line(champion, &comparison.champion),
        line("challenger", &comparison.challenger),
    ]
    .join("\n")
}

impl Admin {
    /// Asks the running process: only it writes control records.
    fn ask(&self, what: &str) -> Result<(), Failure> {
        let url = format!("{}/api/v1/models/{what}", self.sidecar);
        process::runtime()?.block_on(async {
            let mut request = reqwest::Client::new().post(&url);
            if let Some(key) = &self.key {
                request = request.bearer_auth(key);
            }
            let nobody = |e: reqwest::Error| {
                Failure::unavailable(format!(
                    "nobody answers at {} (--sidecar): is `pulse run` or `pulse serve` running there? {e}",
                    self.sidecar
                ))
            };
            let answer = request.send().await.map_err(nobody)?;
            let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
            if status.is_success() {
                println!("{body}");
                return Ok(());
            }
            let message = format!("{status}: {body}");
            Err(if status.is_server_error() { Failure::unavailable(message) } else { Failure::usage(message) })
        })
    }
}
