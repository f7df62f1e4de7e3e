//! `pulse audit`: compares sets of ids, not counters.

use super::{Failure, code, print_json};
use crate::log::SqliteLog;
use crate::store::Store;
use std::path::PathBuf;

/// Compare the ids in the log, scored, and in the store; exit 70 when they do not agree.
#[derive(clap::Args, Clone, Debug)]
pub struct AuditArgs {
    /// Data folder; a running `pulse run` may be using it
    #[arg(long, default_value = "data")]
    pub data: PathBuf,
}

/// Runs the command.
pub fn run(args: &AuditArgs, json: bool) -> Result<(), Failure> {
    let log = SqliteLog::open_reader(&args.data.join("log.db")).map_err(|e| Failure::unavailable(&e))?;
    let store = Store::open(&args.data.join("pulse.db")).map_err(|e| Failure::unavailable(&e))?;
    let report = crate::audit::audit(&*log, &store).map_err(|e| Failure::internal(&e))?;
    let sums = crate::deliver::delivery_sums(&store).map_err(|e| Failure::internal(&e))?;
    let agree = report.agree() && sums.agree();
    if json {
        print_json(&serde_json::json!({"agree": agree, "events": report, "deliveries": sums}))?;
    } else {
        println!("{report:#?}\n{sums:#?}");
        println!("{}", if agree { "the sums agree" } else { "THE SUMS DO NOT AGREE" });
    }
    if agree { Ok(()) } else { Err(Failure { code: code::INTERNAL, message: "the sums do not agree".into() }) }
}
