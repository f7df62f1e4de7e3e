//! `pulse backtest`: replay through the very code that runs live.

use super::{Failure, code, print_json};
use crate::backtest::{Backtest, BacktestError, Scratch};
use crate::config::Config;
use std::path::PathBuf;

/// Replay events, or a recorded log, through the code that runs live.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:\n  pulse simulate --events 100000 > events.ndjson\n  \
    pulse backtest --input events.ndjson --output scored.ndjson --alerts alerts.ndjson\n  \
    pulse backtest --log data --output scored.ndjson")]
pub struct BacktestArgs {
    /// Event files, NDJSON, plain or .zst; several are merged by time, then by file, then by line
    #[arg(long, required_unless_present = "log", num_args = 1..)]
    pub input: Vec<PathBuf>,
    /// Repeat the log of this data folder, epoch cuts and all, in place of files
    #[arg(long, conflicts_with = "input")]
    pub log: Option<PathBuf>,
    /// Configuration
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Model to begin with [default: the shipped one]
    #[arg(long)]
    pub from_model: Option<String>,
    /// Folder with models [default: none but the shipped one; with --log that data folder's]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Write scored events to this file
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Write alerts and incidents to this file
    #[arg(long)]
    pub alerts: Option<PathBuf>,
    /// Write what was not taken up to this file
    #[arg(long)]
    pub rejected: Option<PathBuf>,
    /// Worker threads; does not show in the outputs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub workers: u8,
}

impl From<BacktestError> for Failure {
    fn from(e: BacktestError) -> Failure {
        let code = match &e {
            BacktestError::Input(..) => code::DATA,
            BacktestError::Config(_) => code::CONFIG,
            BacktestError::Output(..) | BacktestError::Engine(_) => code::INTERNAL,
        };
        Failure { code, message: e.to_string() }
    }
}

/// Runs the command.
pub fn run(args: &BacktestArgs, json: bool) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref())?;
    let scratch = Scratch::new();
    let data = args.log.as_ref().or(args.data.as_ref());
    let objects = data.map_or_else(|| scratch.path().to_path_buf(), |dir| dir.join("objects"));
    let backtest = Backtest {
        inputs: args.input.clone(),
        log: args.log.clone(),
        config: config.detect(),
        model: args.from_model.clone(),
        workers: usize::from(args.workers),
        output: args.output.clone(),
        alerts: args.alerts.clone(),
        rejected: args.rejected.clone(),
    };
    let bar = super::spinner("events");
    let summary = backtest.run(&objects, &mut |events| bar.set_position(events))?;
    bar.finish_and_clear();
    if json {
        return print_json(&summary);
    }
    println!(
        "{} events: {} scored, {} duplicates, {} rejected, {} late; {} anomalies in {} alerts, {} incidents",
        summary.events,
        summary.scored,
        summary.duplicates,
        summary.rejected,
        summary.late,
        summary.anomalies,
        summary.alerts,
        summary.incidents
    );
    Ok(())
}
