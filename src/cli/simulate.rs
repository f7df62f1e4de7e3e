//! `pulse simulate`.

use super::{Code, Failure, output};
use crate::simulate::{self, SimulateArgs};

/// For `--help`.
pub const EXAMPLES: &str = "Examples:
  pulse simulate --seed 7 --events 100000 --truth labels.ndjson > events.ndjson
  pulse simulate --rate 50 --to http://127.0.0.1:8080 --key pk_...";

/// Runs it; the summary of what was sent goes to the standard output.
pub fn run(args: &SimulateArgs, json: bool) -> Result<(), Failure> {
    let summary = simulate::run(args).map_err(|error| {
        let code = match error.exit_code() {
            64 => Code::Usage,
            69 => Code::Unavailable,
            _ => Code::Internal,
        };
        Failure::new(code, error)
    })?;
    match summary {
        Some(summary) => output::print(json, &summary, || summary.to_string()),
        None => Ok(()),
    }
}
