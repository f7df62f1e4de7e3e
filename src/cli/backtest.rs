//! `pulse backtest`: replay through the very code that runs live.

use super::{Code, Failure, output};
use crate::backtest::{Backtest, BacktestError, Scratch};
use crate::config::Config;
use crate::log::which;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// Replays history through the very code that runs live; the clock is the data's.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  pulse backtest --input events.ndjson.zst --output scored.ndjson --alerts alerts.ndjson
  pulse backtest --log /var/lib/pulse --output scored.ndjson --alerts alerts.ndjson")]
pub struct BacktestArgs {
    /// Events, NDJSON or its zstd; several are merged by time, then file, then line
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "log", conflicts_with = "log")]
    pub input: Vec<PathBuf>,
    /// Repeat the recorded log of this data folder (of the brokers, if the configuration says so), its epochs too: the same scores
    /// and alerts byte for byte
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Model to begin with [default: the one that comes with the program]
    #[arg(long, value_name = "VERSION")]
    pub from_model: Option<String>,
    /// Write scored events, NDJSON
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write alerts and incidents, NDJSON
    #[arg(long, value_name = "FILE")]
    pub alerts: Option<PathBuf>,
    /// Write what was not taken up, NDJSON
    #[arg(long, value_name = "FILE")]
    pub rejected: Option<PathBuf>,
    /// Data folder whose models `--from-model` may name
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Worker threads; the results do not depend on their number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,
}

impl From<BacktestError> for Failure {
    fn from(e: BacktestError) -> Failure {
        let code = match &e {
            BacktestError::Input(..) => Code::Data,
            BacktestError::Config(_) => Code::Config,
            BacktestError::Output(..) | BacktestError::Engine(_) => Code::Internal,
        };
        Failure::new(code, e)
    }
}

/// A counter on the standard error output, on a terminal only.
pub fn counter(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {per_sec}, {elapsed}");
    let bar = ProgressBar::new_spinner().with_message(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl BacktestArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let config = Config::load(self.config.as_deref())?;
        let scratch = Scratch::new();
        let data = self.log.as_ref().or(self.data.as_ref());
        let objects = data.map_or_else(|| scratch.path().to_path_buf(), |dir| dir.join("objects"));
        let backtest = Backtest {
            inputs: self.input.clone(),
            log: self.log.clone(),
            config: config.detect(),
            model: self.from_model.clone(),
            workers: self.workers.max(1),
            output: self.output.clone(),
            alerts: self.alerts.clone(),
            rejected: self.rejected.clone(),
        };
        let bar = counter("events");
        let brokers = config.brokers().filter(|_| self.log.is_some());
        let mut tell = |events| bar.set_position(events);
        let summary = match brokers {
            Some(brokers) => {
                let log = which::open_reader(&objects, Some(&brokers)).map_err(Failure::unavailable)?;
                backtest.run_over(Some(log), &objects, &mut tell)?
            }
            None => backtest.run(&objects, &mut tell)?,
        };
        bar.finish_and_clear();
        output::print(json, &summary, || {
            let s = &summary;
            format!(
                "{} events: {} scored, {} duplicates, {} rejected, {} late\n{} anomalies in {} alerts, {} incidents",
                s.events, s.scored, s.duplicates, s.rejected, s.late, s.anomalies, s.alerts, s.incidents
            )
        })
    }
}
