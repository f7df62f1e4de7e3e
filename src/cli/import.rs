//! `pulse import`.

use super::run::RunArgs;
use super::{Code, Failure, Folder, output};
use crate::app::AppError;
use crate::import::mapping::{Mapping, MappingError};
use crate::import::{Import, ImportError, Progress, Summary};
use crate::log::OpenError;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

/// Brings history in: NDJSON, or CSV with a mapping, plain or zstd. The process that runs on the folder must be stopped.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  pulse import 2026-*.ndjson.zst --warm-start --data /var/lib/pulse
  pulse import orders.csv --mapping orders.toml --data /var/lib/pulse
  pulse import --labels chargebacks.csv --labels-mapping chargebacks.toml --data /var/lib/pulse

A mapping:
  [columns]
  \"Order ID\" = \"id\"
  \"Paid at\" = \"time\"
  \"Total\" = \"amount\"
  \"Card\" = \"payment.card\"
  [constants]
  type = \"order.completed\"
  [time]
  format = \"%Y-%m-%d %H:%M\"
  zone = \"Europe/Berlin\"

A mapping for verdicts:
  [columns]
  \"Order ID\" = \"order_id\"
  \"Date\" = \"time\"
  [constants]
  verdict = \"true_positive\"
  origin = \"chargeback\"
  by = \"bank\"")]
pub struct ImportArgs {
    /// Event files; several are merged by time, then file, then line
    #[arg(value_name = "FILE", required_unless_present = "labels")]
    pub files: Vec<PathBuf>,
    /// Which column of CSV files is which member of an event, TOML
    #[arg(long, value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// Verdicts on events that are there then, chargebacks too: NDJSON or CSV; may be repeated
    #[arg(long, value_name = "FILE")]
    pub labels: Vec<PathBuf>,
    /// Which column of CSV files of verdicts is which member of a verdict, TOML
    #[arg(long, value_name = "FILE", requires = "labels")]
    pub labels_mapping: Option<PathBuf>,
    /// Learn a model from it and put it in force; raise no alerts
    #[arg(long)]
    pub warm_start: bool,
    /// Everything random in what is learnt follows from it
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Data folder and configuration
    #[command(flatten)]
    pub folder: Folder,
}

impl From<ImportError> for Failure {
    fn from(e: ImportError) -> Failure {
        match e {
            ImportError::App(AppError::Log(locked @ OpenError::Locked { .. })) => Failure::unavailable(format!(
                "{locked}. While `pulse run` has it, send events to its gateway: POST /api/v1/events:batch"
            )),
            ImportError::App(e) => e.into(),
            ImportError::Input(e) => e.into(),
            ImportError::Mapping(e) => Failure::data(e),
            ImportError::Log(e) => Failure::new(Code::Unavailable, e),
        }
    }
}

impl ImportArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let mapping = read(self.mapping.as_deref(), Mapping::parse)?;
        let labels_mapping = read(self.labels_mapping.as_deref(), Mapping::of_labels)?;
        let run = RunArgs { folder: self.folder.clone(), ..RunArgs::default() };
        let settings = run.settings(&run.load()?);
        let (files, warm_start) = (self.files.clone(), self.warm_start);
        let labels = self.labels.clone();
        let import = Import { files, mapping, labels, labels_mapping, warm_start, seed: self.seed, settings };
        // draws on a terminal only
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {binary_bytes}/{binary_total_bytes} {msg} {eta}") {
            bar.set_style(style);
        }
        let summary = import.run(&mut |Progress { bytes, of, lines }| {
            bar.set_length(of);
            bar.set_position(bytes);
            bar.set_message(format!("{lines} events"));
        })?;
        bar.finish_and_clear();
        output::print(json, &summary, || text(&summary))?;
        let recorded = summary.verdicts.as_ref().map_or(0, |v| v.recorded + v.unchanged);
        match (summary.accepted, recorded) {
            (0, _) if !self.files.is_empty() => Err(Failure::data("no event was accepted")),
            (_, 0) if !self.labels.is_empty() => Err(Failure::data("no verdict was accepted")),
            _ => Ok(()),
        }
    }
}

/// A mapping from a file, if one is named.
fn read(
    path: Option<&Path>,
    parse: impl Fn(&str) -> Result<Mapping, MappingError>,
) -> Result<Option<Mapping>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let wrong = |e: &dyn std::fmt::Display| Failure::data(format!("{}: {e}", path.display()));
    let toml = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
    parse(&toml).map(Some).map_err(|e| wrong(&e))
}

fn text(s: &Summary) -> String {
    let mut lines = vec![format!(
        "{} lines: {} accepted ({} scored, {} duplicates, {} card numbers masked), {} rejected",
        s.lines, s.accepted, s.scored, s.duplicates, s.masked, s.rejected
    )];
    lines.extend(s.reasons.iter().map(|(code, r)| format!("  {code}: {} (the first: {})", r.count, r.first)));
    if let Some((first_ms, last_ms)) = s.window_ms {
        lines.push(format!("from {} to {}", output::time(Some(first_ms)), output::time(Some(last_ms))));
    }
    if let Some(v) = &s.verdicts {
        let (known, no) = (v.unchanged, v.rejected);
        lines.push(format!("{} verdicts: {} recorded, {known} in force already, {no} rejected", v.lines, v.recorded));
        lines.extend(v.reasons.iter().map(|(code, r)| format!("  {code}: {} (the first: {})", r.count, r.first)));
    }
    lines.extend(s.model.iter().map(|model| format!("learnt {model}, in force from now on; no alerts were raised")));
    lines.join("\n")
}
