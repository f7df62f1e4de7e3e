//! `pulse migrate`.

use super::{Failure, Folder, output};
use crate::store::migrate::{Status, status};
use rusqlite::Connection;

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
        let path = self.folder.store_path()?;
        let failed = |error: &dyn std::fmt::Display| Failure::unavailable(format!("{}: {error}", path.display()));
        if !self.status {
            self.folder.store(true)?; // opening it applies what is missing
        } else if !path.exists() {
            return Err(failed(&"there is no store; see --data"));
        }
        let db = Connection::open(&path).map_err(|e| failed(&e))?;
        let all = status(&db).map_err(|e| failed(&e))?;
        let line = |s: &Status| format!("{:<24} {}", s.name, output::time(s.applied_ms));
        output::print(json, &all, || all.iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}
