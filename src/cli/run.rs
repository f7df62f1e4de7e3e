//! `pulse run`: everything in one process on a data folder, under a tiny parent that starts it again when it dies.

use super::{Failure, code};
use crate::app::supervise::{CHILD, supervise};
use crate::app::{App, AppError, Settings};
use crate::config::Config;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Everything in one process on a data folder: gateway, workers, store, delivery, sidecar.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  pulse run --data ./data\n  pulse keys create --data ./data --scope ingest")]
pub struct RunArgs {
    /// Data folder; made when it is not there
    #[arg(long, default_value = "data")]
    pub data: PathBuf,
    /// Address of the gateway [default: 127.0.0.1:8080]
    #[arg(long)]
    pub gateway: Option<SocketAddr>,
    /// Address of the sidecar [default: 127.0.0.1:8081]
    #[arg(long)]
    pub sidecar: Option<SocketAddr>,
    /// Configuration
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Worker threads [default: 1]
    #[arg(long)]
    pub workers: Option<usize>,
    /// Ask nobody for a key; only on loopback addresses
    #[arg(long)]
    pub no_auth: bool,
    /// No parent that starts the process again when it dies: for service managers
    #[arg(long)]
    pub once: bool,
}

impl From<AppError> for Failure {
    fn from(e: AppError) -> Failure {
        let code = match &e {
            AppError::Public(_) | AppError::Config(_) => code::CONFIG,
            AppError::Folder(..) | AppError::Log(_) | AppError::Store(_) | AppError::Address(..) => code::UNAVAILABLE,
            AppError::Engine(_) | AppError::Part(..) => code::INTERNAL,
        };
        Failure { code, message: e.to_string() }
    }
}

fn settings(args: &RunArgs, config: &Config) -> Settings {
    let mut settings = config.settings(args.data.clone());
    settings.gateway_addr = args.gateway.unwrap_or(settings.gateway_addr);
    settings.sidecar_addr = args.sidecar.unwrap_or(settings.sidecar_addr);
    settings.workers = args.workers.unwrap_or(settings.workers).max(1);
    settings.no_auth |= args.no_auth;
    settings
}

/// Runs the command.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    // wrong settings are told once, not by every restart
    let config = Config::load(args.config.as_deref())?;
    let supervised = std::env::var_os(CHILD).is_some();
    if !supervised && !args.once {
        let stop = stop_flag()?;
        let code = supervise(|| stop.load(Ordering::Acquire)).map_err(|e| Failure::internal(&e))?;
        std::process::exit(code);
    }
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let settings = settings(args, &config);
        let app = App::start(&settings).await?;
        announce(&app, &settings);
        wait(supervised).await?;
        eprintln!("pulse: stopping");
        app.stop().await?;
        Ok(())
    })
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
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let runtime = super::runtime()?;
    std::thread::spawn(move || {
        runtime.block_on(signal());
        set.store(true, Ordering::Release);
    });
    Ok(flag)
}

/// Until SIGINT or SIGTERM.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
}

/// Until a signal, or the end of the parent.
async fn wait(supervised: bool) -> Result<(), Failure> {
    let (tx, orphaned) = tokio::sync::oneshot::channel();
    if supervised {
        std::thread::spawn(move || {
            // the parent never writes: its end is what ends the read
            let _ = std::io::stdin().read(&mut [0]);
            let _ = tx.send(()); // nobody waits when a signal came first
        });
        tokio::select! { () = signal() => {}, _ = orphaned => {} }
    } else {
        signal().await;
    }
    Ok(())
}
