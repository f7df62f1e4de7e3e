//! Arguments of `pulse backtest`.

use std::path::PathBuf;

/// When models are refitted in a backtest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Retrain {
    /// When the watermark passes the end of a week, as live.
    #[default]
    Weekly,
    /// Never: the first model scores everything.
    Never,
}

/// Replays history through the very code that runs live; the clock is the data's.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  pulse backtest --input events.ndjson.zst --labels labels.ndjson --report report.json
  pulse backtest --log /var/lib/pulse --output scored.ndjson --alerts alerts.ndjson")]
pub struct BacktestArgs {
    /// Events, NDJSON or its zstd; several are merged by time, then file, then line
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "log", conflicts_with = "log")]
    pub input: Vec<PathBuf>,
    /// Repeat the recorded log of this data folder, its epochs too: the same scores and alerts byte for byte
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// Verdicts, NDJSON; each counts from its `time` on
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Model to begin with [default: the one that comes with the program]
    #[arg(long, value_name = "VERSION")]
    pub from_model: Option<String>,
    /// When models are refitted
    #[arg(long, value_enum, default_value_t)]
    pub retrain: Retrain,
    /// Write scored events, NDJSON
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write alerts and incidents, NDJSON
    #[arg(long, value_name = "FILE")]
    pub alerts: Option<PathBuf>,
    /// Write figures, JSON: alerts a day, realised rates, and with labels precision and recall
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Worker threads; the results do not depend on their number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,
    /// Take the labels for the whole truth, of which only so many of each day's highest alerts are looked up
    #[arg(long, value_name = "N", requires = "labels")]
    pub reviews_per_day: Option<u32>,
    /// And so many random events of each day
    #[arg(long, value_name = "M", requires = "reviews_per_day", default_value_t = 0)]
    pub review_random: u32,
    /// A review is known after so many days, such as 7d
    #[arg(long, value_name = "DAYS", requires = "reviews_per_day", default_value = "7d", value_parser = days)]
    pub review_delay: u32,
}

/// `7d` or `7`
fn days(text: &str) -> Result<u32, String> {
    text.strip_suffix('d').unwrap_or(text).parse().map_err(|_| "days, such as 7d".into())
}
