//! `pulse worker`: one process of a cluster of workers, on Kafka.

use super::run::{orphaned, signal};
use super::{Code, Failure, Folder, process};
use crate::app::worker::{StopFlags, Worker, WorkerSettings};
use crate::cluster::secret::Secret;
use crate::cluster::{ClusterError, hosts};
use crate::config::Config;
use crate::http::listen;
use crate::sidecar::LISTEN;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One process of a cluster of workers: together they are one dataflow.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  pulse worker --process 0 --hosts hosts.txt --threads 2 --config pulse.toml
  PULSE__CLUSTER__SECRET_FILE=/run/secrets/pulse pulse worker --process 1 --hosts hosts.txt --config pulse.toml
All of them need the same hosts file (`host:port`, one a line), secret, configuration and object store. They start and end together.")]
pub struct WorkerArgs {
    /// Data folder and configuration
    #[command(flatten)]
    pub folder: Folder,
    /// Number of this process: its line in the hosts file, from 0
    #[arg(long, value_name = "I")]
    pub process: usize,
    /// File with `host:port` of all processes, one a line
    #[arg(long, value_name = "FILE")]
    pub hosts: PathBuf,
    /// Worker threads of each process [default: `workers.threads`]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Where metrics and health are [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Records that are gone (older than the topic's retention, or deleted) are passed over
    #[arg(long)]
    pub accept_gap: bool,
    /// When no checkpoint can be used: make the state again from the log, from its first record on
    #[arg(long)]
    pub from_beginning: bool,
    /// The secret is the first line of the standard input, whose end means to stop: for `pulse cluster`
    #[arg(long, hide = true)]
    pub supervised: bool,
}

impl From<ClusterError> for Failure {
    fn from(e: ClusterError) -> Failure {
        let code = match &e {
            ClusterError::Setting(..) | ClusterError::Refused(_) => Code::Config,
            ClusterError::Address(..) | ClusterError::Alone(_) => Code::Unavailable,
            ClusterError::Stopped => Code::Internal,
        };
        Failure::new(code, e)
    }
}

/// The secret of the configuration, which needs one.
fn secret(config: &Config) -> Result<Secret, Failure> {
    let of = &config.cluster;
    if !of.secret_file.as_os_str().is_empty() {
        return Ok(Secret::from_file(&of.secret_file)?);
    }
    if of.secret.is_empty() {
        let why = "set `cluster.secret_file` to a file with a secret that all processes share (`openssl rand -hex 32` makes one)";
        return Err(Failure::new(Code::Config, format!("cluster.secret: {why}")));
    }
    Ok(Secret::new(&of.secret)?)
}

impl WorkerArgs {
    fn settings(&self) -> Result<(WorkerSettings, Config), Failure> {
        let mut config = self.folder.load()?;
        config.workers.threads = self.threads.unwrap_or(config.workers.threads);
        config.check()?;
        let hosts = hosts::read(&self.hosts)?;
        if self.process >= hosts.len() {
            return Err(Failure::usage(format!(
                "--process {}: the hosts file has {} lines",
                self.process,
                hosts.len()
            )));
        }
        let secret = if self.supervised { first_line()? } else { secret(&config)? };
        let settings = WorkerSettings {
            process: self.process,
            hosts,
            threads: config.workers.threads,
            secret,
            heartbeat: Duration::from_millis(config.cluster.heartbeat_ms),
            public: config.cluster.public,
            data: config.data.dir.clone(),
            objects: config.objects.clone(),
            brokers: config.brokers().map(|b| crate::log::which::Brokers { accept_gap: self.accept_gap, ..b }),
            log: config.log.options(),
            detect: config.detect(),
            catalogue: config.catalogue(),
            checkpoint_every_ms: config.workers.checkpoint_every_ms,
            from_beginning: self.from_beginning,
        };
        Ok((settings, config))
    }

    /// Runs it, until a signal.
    pub fn run(&self) -> Result<(), Failure> {
        let (settings, config) = self.settings()?;
        process::start_logging(&config.telemetry)?;
        let stop = StopFlags::default();
        watch_signals(&stop, self.supervised)?;
        let worker = match Worker::start(&settings, &stop) {
            Err(crate::app::AppError::Cluster(ClusterError::Stopped)) => return Ok(()),
            started => started?,
        };
        let (process, all, generation) = (settings.process, settings.hosts.len(), worker.generation);
        // who would hear it may be gone, as a supervisor that was killed; that is noticed elsewhere
        let _ = writeln!(std::io::stdout(), "worker {process} of {all}: generation {generation}");
        if let Some(address) = self.listen {
            serve(address, worker.router())?;
        }
        worker.run(&stop)?;
        Ok(())
    }
}

/// Metrics and health, on a thread that ends with the process.
fn serve(address: SocketAddr, router: axum::Router) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind(address))
        .map_err(|e| Failure::unavailable(format!("--listen {address}: {e}")))?;
    std::thread::spawn(move || runtime.block_on(listen::serve(listener, router, LISTEN, CancellationToken::new())));
    Ok(())
}

fn first_line() -> Result<Secret, Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Failure::internal)?;
    Ok(Secret::new(&line)?)
}

/// A signal, or the end of a parent, asks to stop.
fn watch_signals(stop: &StopFlags, supervised: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let asked = stop.asked.clone();
    std::thread::spawn(move || {
        runtime.block_on(async {
            match supervised {
                true => tokio::select! { () = signal() => {}, () = orphaned() => {} },
                false => signal().await,
            }
        });
        asked.store(true, Ordering::Release);
    });
    Ok(())
}
