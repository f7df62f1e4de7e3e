//! `pulse migrate`.

use super::{Failure, Folder, output};
use crate::store::migrate::Status;

/// Arguments of `pulse migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pulse migrate --data /var/lib/pulse\n  pulse migrate --status --json")]
pub struct MigrateArgs {
    /// Only say what is applied and what is not
    #[arg(long)]
    status: bool,
    #[command(flatten)]
    folder: Folder,
}

impl MigrateArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let store = self.folder.store(!self.status)?; // opening it applies what is missing
        let all = store.migrations().map_err(Failure::unavailable)?;
        let line = |s: &Status| format!("{:<24} {}", s.name, output::time(s.applied_ms));
        output::print(json, &all, || all.iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}
