//! `pulse backtest`: replay through the very code that runs live.

use super::{Code, Failure, output};
use crate::backtest::judge::Evaluation;
use crate::backtest::reviews::Reviews;
use crate::backtest::{Backtest, BacktestError, Scratch};
use crate::config::Config;
use crate::log::which;
use crate::privacy::Privacy;
use crate::retrain::{Every, RetrainConfig};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// `7d`, `12h` or days, in milliseconds.
fn delay(text: &str) -> Result<i64, String> {
    let (number, unit) = match text.strip_suffix('h') {
        Some(hours) => (hours, 3_600_000),
        None => (text.strip_suffix('d').unwrap_or(text), 24 * 3_600_000),
    };
    let number: u16 = number.parse().map_err(|_| "days or hours, such as 7d or 12h")?;
    Ok(i64::from(number) * unit)
}

/// Replays history through the very code that runs live; the clock is the data's.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  pulse backtest --input events.ndjson.zst --output scored.ndjson --alerts alerts.ndjson
  pulse backtest --input events.ndjson --labels labels.ndjson --report report.json
  pulse backtest --log /var/lib/pulse --output scored.ndjson --alerts alerts.ndjson")]
pub struct BacktestArgs {
    /// Events, NDJSON or its zstd; several are merged by time, then file, then line
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "log", conflicts_with = "log")]
    pub input: Vec<PathBuf>,
    /// Repeat the recorded log of this data folder (of the brokers, if the configuration says so), its epochs too: the same scores
    /// and alerts byte for byte
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// Verdicts, NDJSON or its zstd; each counts from its `time` on. With --log they only serve the report
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Model to begin with [default: the one that comes with the program]
    #[arg(long, value_name = "VERSION")]
    pub from_model: Option<String>,
    /// When models are learnt anew; a recorded log repeats what happened
    #[arg(long, value_enum, default_value_t)]
    pub retrain: Every,
    /// Write scored events, NDJSON
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write the topic of alerts, NDJSON: alerts and incidents, and the closed minutes of series that the store reads
    #[arg(long, value_name = "FILE")]
    pub alerts: Option<PathBuf>,
    /// Write what was not taken up, NDJSON
    #[arg(long, value_name = "FILE")]
    pub rejected: Option<PathBuf>,
    /// Write events with what was looked up, NDJSON; needs `enrich.topic`
    #[arg(long, value_name = "FILE")]
    pub enriched: Option<PathBuf>,
    /// Write figures, JSON: alerts a day, realised rates, and with labels precision, recall and more
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Take the labels for the whole truth, of which only so many of each day's highest alerts are looked up
    #[arg(long, value_name = "N", requires = "labels", conflicts_with = "log")]
    pub reviews_per_day: Option<u32>,
    /// And so many random events of each day
    #[arg(long, value_name = "M", requires = "reviews_per_day", default_value_t = 0)]
    pub review_random: u32,
    /// What a review finds is known so long after the event, such as 7d or 12h
    #[arg(long, value_name = "TIME", requires = "reviews_per_day", default_value = "7d", value_parser = delay)]
    pub review_delay: i64,
    /// Data folder whose models `--from-model` may name
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Worker threads; the results do not depend on their number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
}

impl From<BacktestError> for Failure {
    fn from(e: BacktestError) -> Failure {
        let code = match &e {
            BacktestError::Input(..) | BacktestError::Output(..) => Code::Data,
            BacktestError::Config(_) => Code::Config,
            BacktestError::Engine(_) => Code::Internal,
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
    fn evaluation(&self) -> Evaluation {
        let reviews = |per_day: u32| Reviews {
            per_day: per_day as usize,
            random: self.review_random as usize,
            delay_ms: self.review_delay,
        };
        Evaluation {
            labels: self.labels.clone(),
            report: self.report.clone(),
            reviews: self.reviews_per_day.map(reviews),
        }
    }
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
            catalogue: config.catalogue(),
            model: self.from_model.clone(),
            retrain: Some((RetrainConfig { every: self.retrain, promote: true, ..config.retrain }, config.zone()?)),
            privacy: Privacy::open(&config.privacy, config.enrich.geo).map_err(BacktestError::Config)?,
            workers: usize::from(self.workers),
            output: self.output.clone(),
            alerts: self.alerts.clone(),
            rejected: self.rejected.clone(),
            enriched: self.enriched.clone(),
        };
        let bar = counter("events");
        let watched = self.labels.is_some() || self.report.is_some();
        let evaluation = watched.then(|| self.evaluation());
        let evaluation = evaluation.as_ref();
        let brokers = config.brokers().filter(|_| self.log.is_some());
        let mut tell = |events| bar.set_position(events);
        let summary = match &self.log {
            Some(dir) => {
                let log = which::open_reader(dir, brokers.as_ref()).map_err(Failure::unavailable)?;
                backtest.evaluate_over(Some(log), config.objects.open(dir)?, evaluation, &mut tell)?
            }
            None => backtest.evaluate(&objects, evaluation, &mut tell)?,
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
