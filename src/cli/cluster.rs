//! `pulse cluster`: a whole generation of workers on one host, started again when one of them dies.

use super::run::stop_flag;
use super::{Failure, Folder};
use crate::cluster::supervise::{Plan, supervise};
use std::sync::atomic::Ordering;

/// Several worker processes on this host as one dataflow, started again together when one of them dies or freezes.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  pulse cluster --processes 2 --threads 2 --config pulse.toml
Another number of processes or threads is a stop and a start with that number: results do not depend on it.")]
pub struct ClusterArgs {
    /// Data folder and configuration
    #[command(flatten)]
    pub folder: Folder,
    /// Processes
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub processes: usize,
    /// Worker threads of each process [default: `workers.threads`]
    #[arg(long, value_name = "T")]
    pub threads: Option<usize>,
    /// Records that are gone (older than the topic's retention, or deleted) are passed over, once
    #[arg(long)]
    pub accept_gap: bool,
    /// When no checkpoint can be used: make the state again from the log, from its first record on
    #[arg(long)]
    pub from_beginning: bool,
}

impl ClusterArgs {
    /// Runs it, until a signal.
    pub fn run(&self) -> Result<(), Failure> {
        let mut config = self.folder.load()?;
        config.workers.threads = self.threads.unwrap_or(config.workers.threads);
        config.check()?;
        if !(1..=crate::cluster::hosts::MAX).contains(&self.processes) {
            return Err(Failure::usage(format!("--processes must be 1 to {}", crate::cluster::hosts::MAX)));
        }
        let mut arguments = vec!["--threads".into(), config.workers.threads.to_string().into()];
        arguments.extend(["--data".into(), config.data.dir.clone().into_os_string()]);
        if let Some(file) = &self.folder.config {
            arguments.extend(["--config".into(), file.clone().into_os_string()]);
        }
        if self.accept_gap {
            arguments.push("--accept-gap".into());
        }
        if self.from_beginning {
            arguments.push("--from-beginning".into());
        }
        let stop = stop_flag()?;
        let plan = Plan { processes: self.processes, data: config.data.dir.clone(), arguments };
        let code = supervise(&plan, || stop.load(Ordering::Acquire))?;
        std::process::exit(code);
    }
}
