//! `pulse run`: everything in one process on a data folder, under a tiny parent that starts it again when it dies.

use super::{Code, Failure, Folder, process};
use crate::app::supervise::{CHILD, supervise};
use crate::app::{App, AppError, Settings};
use crate::config::Config;
use crate::engine::EngineError;
use crate::engine::objects::ObjectError;
use crate::engine::restore::RestoreError;
use crate::log::which::Brokers;
use pulse_dataflows::ports::LogError;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Everything in one process on a data folder: gateway, workers, store, delivery, query API and dashboard.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  pulse run --no-auth
  pulse run --data /var/lib/pulse --config /etc/pulse.toml --gateway 0.0.0.0:8080 --workers 4")]
pub struct RunArgs {
    /// Data folder and configuration
    #[command(flatten)]
    pub folder: Folder,
    /// Address that events come in at [default: `gateway.addr`]
    #[arg(long, value_name = "ADDR")]
    pub gateway: Option<SocketAddr>,
    /// Address of query API, dashboard and metrics [default: `sidecar.addr`]
    #[arg(long, value_name = "ADDR")]
    pub sidecar: Option<SocketAddr>,
    /// Worker threads [default: `workers.threads`]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Let everybody in without a key; only while every address is a loopback address
    #[arg(long)]
    pub no_auth: bool,
    /// Kafka: records that are gone (older than the topic's retention, or deleted) are passed over
    #[arg(long)]
    pub accept_gap: bool,
    /// When no checkpoint can be used: make the state again from the log, from its first record on
    #[arg(long)]
    pub from_beginning: bool,
    /// No parent that starts the process again when it dies: for service managers
    #[arg(long)]
    pub once: bool,
}

impl RunArgs {
    /// The configuration with these arguments in it, checked.
    pub fn load(&self) -> Result<Config, Failure> {
        let mut config = self.folder.load()?;
        config.gateway.addr = self.gateway.unwrap_or(config.gateway.addr);
        config.sidecar.addr = self.sidecar.unwrap_or(config.sidecar.addr);
        config.workers.threads = self.workers.unwrap_or(config.workers.threads);
        config.check()?;
        let loopback = config.gateway.addr.ip().is_loopback() && config.sidecar.addr.ip().is_loopback();
        if self.no_auth && !loopback {
            let reason = "--no-auth would open gateway and data to the network: make keys, or listen on 127.0.0.1 only";
            return Err(Failure::usage(reason));
        }
        Ok(config)
    }
}

impl From<AppError> for Failure {
    fn from(e: AppError) -> Failure {
        let e = match e {
            AppError::Cluster(error) => return error.into(),
            AppError::Log(error) => return error.into(),
            AppError::Store(error) => return error.into(),
            other => other,
        };
        let code = match &e {
            AppError::Public(_) => Code::Usage,
            AppError::Objects(ObjectError::Setting(_)) => Code::Config,
            AppError::Objects(_) => Code::Unavailable,
            AppError::Config(_) => Code::Config,
            AppError::Folder(..) | AppError::Log(_) | AppError::Store(_) | AppError::Address(..) => Code::Unavailable,
            AppError::Engine(EngineError::Gap(_)) => Code::Unavailable,
            // trying again would find the same
            AppError::Engine(EngineError::Log(LogError::Damaged(_))) => Code::Data,
            AppError::Engine(EngineError::Restore(
                RestoreError::Nothing(..) | RestoreError::Unusable(_) | RestoreError::Schema(..),
            )) => Code::Data,
            AppError::Engine(_) | AppError::Part(..) | AppError::Cluster(_) => Code::Internal,
        };
        Failure::new(code, e)
    }
}

impl RunArgs {
    pub(super) fn settings(&self, config: &Config) -> Settings {
        Settings {
            gateway_addr: config.gateway.addr,
            sidecar_addr: config.sidecar.addr,
            workers: config.workers.threads.max(1),
            partitions: config.log.partitions,
            no_auth: self.no_auth,
            checkpoint_every_ms: config.workers.checkpoint_every_ms,
            from_beginning: self.from_beginning,
            log_days: config.retention.raw_days.max(config.retention.scored_days),
            store_days: config.retention.store_days,
            detect: config.detect(),
            catalogue: config.catalogue(),
            log: config.log.options(),
            store: config.store.target(&config.data.dir),
            brokers: config.brokers().map(|b| Brokers { accept_gap: self.accept_gap, ..b }),
            objects: config.objects.clone(),
            gateway: config.gateway.limits.clone(),
            sources: config.sources.clone(),
            retrain: config.retrain,
            webhooks: config.webhooks.clone(),
            export: config.export.clone(),
            kpi: config.kpi.clone(),
            dashboard: config.sidecar.dashboard.clone(),
            shown: config.to_toml().unwrap_or_default(),
            ..Settings::new(config.data.dir.clone())
        }
    }

    /// Runs it, until a signal.
    pub fn run(&self) -> Result<(), Failure> {
        // wrong settings are told once, not by every restart
        let config = self.load()?;
        let supervised = std::env::var_os(CHILD).is_some();
        if !supervised && !self.once {
            let stop = stop_flag()?;
            let code = supervise(|| stop.load(Ordering::Acquire)).map_err(Failure::internal)?;
            std::process::exit(code);
        }
        process::start_logging(&config.telemetry)?;
        let runtime = tokio::runtime::Runtime::new().map_err(Failure::internal)?;
        runtime.block_on(async {
            let settings = self.settings(&config);
            let app = App::start(&settings).await?;
            announce(&app, &settings);
            wait(supervised).await;
            eprintln!("pulse: stopping");
            app.stop().await?;
            Ok(())
        })
    }
}

fn announce(app: &App, settings: &Settings) {
    println!("gateway  http://{}", app.gateway_addr);
    println!("sidecar  http://{}", app.sidecar_addr);
    println!("data     {}", settings.data.display());
    if settings.no_auth {
        println!("--no-auth: everybody on this machine may send, read and change");
    }
}

/// A flag that a signal sets.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    std::thread::spawn(move || {
        runtime.block_on(signal());
        set.store(true, Ordering::Release);
    });
    Ok(flag)
}

/// Until SIGINT or SIGTERM.
pub async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
}

/// Until a signal, or the end of the parent.
async fn wait(supervised: bool) {
    if !supervised {
        return signal().await;
    }
    tokio::select! { () = signal() => {}, () = orphaned() => {} }
}

/// Until the end of the standard input: the parent is gone, or wants a stop.
pub(super) async fn orphaned() {
    let (tx, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // the parent says nothing any more: its end is what ends the read
        while matches!(std::io::stdin().read(&mut [0]), Ok(n) if n > 0) {}
        let _ = tx.send(()); // nobody waits when a signal came first
    });
    let _ = ended.await; // the sender ends with its thread
}
