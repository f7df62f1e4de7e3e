//! `pulse export`.

use super::run::RunArgs;
use super::single::SingleArgs;
use super::{Failure, Folder, output, process};
use crate::app::single::Single;
use crate::export::{Cut, Days, ExportError, ExportMetrics, Exporter, Report};
use std::net::SocketAddr;

/// Arguments of `pulse export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Scored events and alerts as Parquet files by day, for DuckDB, Spark, pandas and the like; see docs/export.md. What is
there already is not written again, so the command can be run every night. It reads beside a running process.

Examples:
  pulse export --to /srv/bi
  pulse export --config pulse.toml --to s3://shop-bi/pulse --from 2026-11-01 --to-day 2026-11-07
  pulse export --config pulse.toml --follow --listen 127.0.0.1:9004   (on Kafka: a process of its own)"
)]
pub struct ExportArgs {
    #[command(flatten)]
    folder: Folder,
    /// A folder, or s3://bucket/folder [default: `export.to`]
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// First day (UTC), as 2026-11-01; a destination keeps the days it was begun with
    #[arg(long, value_name = "DAY")]
    from: Option<jiff::civil::Date>,
    /// Last day
    #[arg(long, value_name = "DAY")]
    to_day: Option<jiff::civil::Date>,
    /// Go on until a signal, with metrics and health; needs Kafka (`pulse run` does it by `[export]`)
    #[arg(long, conflicts_with_all = ["from", "to_day"])]
    follow: bool,
    /// Where metrics and health are with --follow [default: 127.0.0.1 and any port]
    #[arg(long, value_name = "ADDR", requires = "follow")]
    listen: Option<SocketAddr>,
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Failure {
        match &error {
            ExportError::Ledger(_) => Failure::data(error),
            ExportError::OtherScope(_) | ExportError::OtherLog(..) => Failure::usage(error),
            _ => Failure::unavailable(error),
        }
    }
}

impl ExportArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let mut config = RunArgs { folder: self.folder.clone(), ..RunArgs::default() }.load()?;
        if let Some(to) = &self.to {
            config.export.to.clone_from(to);
        }
        config.export.check().map_err(Failure::usage)?;
        if config.export.to.is_empty() {
            return Err(Failure::usage("--to says where, or export.to in the configuration"));
        }
        if self.from.zip(self.to_day).is_some_and(|(from, to)| from > to) {
            return Err(Failure::usage("--from is behind --to-day"));
        }
        if self.follow {
            let single = SingleArgs { folder: self.folder.clone(), listen: self.listen, no_auth: false };
            return single.run_with(Single::Export, config);
        }
        process::start_logging(&config.telemetry)?;
        let (log, metrics) = (self.folder.log()?, ExportMetrics::default());
        let days = Days { from: self.from, to: self.to_day };
        let objects = config.export.open()?;
        let report = Exporter::open(log, objects, &config.shop.currency, days, metrics)?.round(Cut::Now)?;
        output::print(json, &report, || text(&report, &config.export.to))
    }
}

fn text(report: &Report, to: &str) -> String {
    let Report { events, alerts, files, lost, unreadable } = report;
    let mut text = format!("{events} events and {alerts} alerts in {files} files to {to}");
    if *lost > 0 {
        text.push_str(&format!("\n{lost} records were no longer in the log"));
    }
    if *unreadable > 0 {
        text.push_str(&format!("\n{unreadable} records could not be read"));
    }
    text
}
