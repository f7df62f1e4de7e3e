//! `pulse receiver`.

use super::{Failure, process};
use crate::receiver::{self, ReceiverArgs, ReceiverError};

/// For `--help`.
pub const EXAMPLES: &str = "Examples:
  pulse receiver --secret whsec_...
  pulse receiver --fail-rate 0.3 --seed 7 --delay-ms 200 --out messages.ndjson";

/// Runs it until it is interrupted.
pub fn run(args: &ReceiverArgs, json: bool) -> Result<(), Failure> {
    let args = ReceiverArgs { json: args.json || json, ..args.clone() };
    process::runtime()?.block_on(receiver::run(args)).map_err(|error| match error {
        ReceiverError::Io(_) => Failure::unavailable(error),
        ReceiverError::Secret(_) | ReceiverError::Range => Failure::usage(error),
    })
}
