//! `pulse backup`, `pulse restore`.

use super::{Code, Failure, Folder, output};
use crate::backup::{BackupError, List, backup, restore};
use crate::config::{Config, StoreKind};
use std::path::PathBuf;

/// Copy the data folder while it works: log, store, keys, newest checkpoint, models, fitting each other.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:
  pulse backup --data /var/lib/pulse --to /backup/pulse-$(date +%F)

The copy holds personal data and the secrets of destinations: only its owner can read it. Of Kafka and PostgreSQL copies are made
with their own tools.")]
pub struct BackupArgs {
    /// The folder to make
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

/// Put a backup into a new data folder; `pulse run` goes on from there.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:
  pulse restore --from /backup/pulse-2026-11-23 --data /var/lib/pulse

Every file is held against the list in the backup first. What was sent to destinations after the backup is sent again, under the
same ids.")]
pub struct RestoreArgs {
    /// The folder that `pulse backup` made
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

impl From<BackupError> for Failure {
    fn from(e: BackupError) -> Failure {
        let code = match &e {
            BackupError::Exists(_) => Code::Usage,
            BackupError::Damaged(..) => Code::Data,
            _ => Code::Unavailable,
        };
        match e {
            BackupError::Log(error) => error.into(),
            BackupError::Objects(error) => error.into(),
            other => Failure::new(code, other),
        }
    }
}

/// Only what lies in files.
fn files(config: &Config) -> Result<(), Failure> {
    if config.brokers().is_some() || config.store.kind == StoreKind::Postgres {
        let reason = "backup and restore are for log and store in files; Kafka and PostgreSQL have tools of their own \
                      (docs/operations.md)";
        return Err(Failure::usage(reason));
    }
    Ok(())
}

fn text(list: &List, what: &str) -> String {
    let records: u64 = list.log.iter().map(|extent| extent.end - extent.start).sum();
    let checkpoint = list.checkpoint.as_deref().unwrap_or("none");
    let (files, mb) = (list.files.len(), list.bytes() as f64 / 1e6);
    format!("{what}: {files} files, {mb:.1} MB, {records} records of the log, checkpoint {checkpoint}")
}

impl BackupArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let config = self.folder.load()?;
        files(&config)?;
        let list = backup(&config.data.dir, &config.objects, &self.to)?;
        output::print(json, &list, || text(&list, "backed up"))
    }
}

impl RestoreArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let config = self.folder.load()?;
        files(&config)?;
        let list = restore(&self.from, &config.data.dir, &config.objects)?;
        output::print(json, &list, || text(&list, "restored"))
    }
}
