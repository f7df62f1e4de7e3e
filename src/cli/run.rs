//! `pulse run`: everything in one process on a data folder, under a tiny parent that starts it again when it dies.

use super::output::print;
use super::{Code, Failure, Folder, process, reload};
use crate::app::supervise::{CHILD, RELOAD, supervise};
use crate::app::{App, AppError, Settings};
use crate::config::Config;
use crate::engine::EngineError;
use crate::engine::objects::ObjectError;
use crate::engine::restore::RestoreError;
use crate::log::which::Brokers;
use pulse_dataflows::ports::LogError;
use std::io::{IsTerminal, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{Signal, SignalKind, signal as signal_stream};
use tokio::sync::mpsc::Receiver;

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
            gateway_tls: config.gateway.tls.clone(),
            sidecar_tls: config.sidecar.tls.clone(),
            sources: config.sources.clone(),
            privacy: config.privacy.clone(),
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
            let hung_up = hang_ups()?;
            let code = supervise(|| stop.load(Ordering::Acquire), || hung_up.swap(false, Ordering::AcqRel));
            let code = code.map_err(Failure::internal)?;
            std::process::exit(code);
        }
        process::start_logging(&config.telemetry)?;
        let runtime = tokio::runtime::Runtime::new().map_err(Failure::internal)?;
        runtime.block_on(async {
            let settings = self.settings(&config);
            let app = App::start(&settings).await?;
            let mut orders = Orders::new(supervised);
            announce(&app, &settings)?;
            reload::serve(&mut orders, self, &config, app.live(), true).await?;
            eprintln!("pulse: stopping");
            app.stop().await?;
            Ok(())
        })
    }
}

/// Who started us may stop reading at any line.
fn announce(app: &App, settings: &Settings) -> Result<(), Failure> {
    let open = if settings.no_auth { "\n--no-auth: everybody on this machine may send, read and change" } else { "" };
    print(false, &(), || {
        format!(
            "gateway  {}://{}\nsidecar  {}://{}\ndata     {}{open}",
            settings.gateway_tls.scheme(),
            app.gateway_addr,
            settings.sidecar_tls.scheme(),
            app.sidecar_addr,
            settings.data.display()
        )
    })
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
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal_stream(SignalKind::interrupt()), signal_stream(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
}

/// A flag that is set at each SIGHUP.
fn hang_ups() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    if std::io::stdin().is_terminal() {
        return Ok(flag); // its end is ours
    }
    let set = flag.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(mut hang_up) = signal_stream(SignalKind::hangup()) else { return };
            while hang_up.recv().await.is_some() {
                set.store(true, Ordering::Release);
            }
        });
    });
    Ok(flag)
}

/// What a process is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The configuration is to be read again.
    Reload,
    /// The end.
    Stop,
}

/// Signals, and what the parent says.
pub(super) struct Orders {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
    parent: Option<Receiver<Order>>,
}

impl Orders {
    /// Listens from now on; must be called inside a runtime. A supervised process is told by its parent too. On a terminal its end is ours.
    pub(super) fn new(supervised: bool) -> Orders {
        // where the system hands out no signals, the bond to the parent still stops us
        let of = |kind| signal_stream(kind).ok();
        Orders {
            interrupt: of(SignalKind::interrupt()),
            terminate: of(SignalKind::terminate()),
            hang_up: if std::io::stdin().is_terminal() { None } else { of(SignalKind::hangup()) },
            parent: supervised.then(parent),
        }
    }
    /// The next one.
    pub(super) async fn next(&mut self) -> Order {
        let Orders { interrupt, terminate, hang_up, parent } = self;
        let told = async {
            match parent {
                Some(parent) => parent.recv().await.unwrap_or(Order::Stop), // the parent is gone
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = caught(interrupt) => Order::Stop,
            () = caught(terminate) => Order::Stop,
            () = caught(hang_up) => Order::Reload,
            order = told => order,
        }
    }
}

/// Until the signal comes; one that cannot be listened to never does.
async fn caught(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// What the parent writes, until it ends.
fn parent() -> Receiver<Order> {
    let (tx, orders) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(n) if n > 0) {
            if byte == [RELOAD] && tx.blocking_send(Order::Reload).is_err() {
                return;
            }
        }
    });
    orders
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
