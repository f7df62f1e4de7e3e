//! What holds for the whole process: logging, and its end when a thread panics.

use super::{Code, Failure};
use crate::config::{LogFormat, TelemetryConfig};
use crate::engine::poison;
use pulse_operators::cause;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tracing_subscriber::EnvFilter;

/// Panics of guarded decoding that are printed: a flood of one input must not fill the disk with them.
const PRINTED: u32 = 20;

/// Ends the process when any thread panics: a dataflow that lost a worker would otherwise stand still without a word. The
/// parent process starts it again. Only decoding is guarded: there a panic refuses the input, and nothing else.
pub fn end_on_panic() {
    let (report, printed) = (std::panic::take_hook(), AtomicU32::new(0));
    std::panic::set_hook(Box::new(move |panic| {
        if cause::is_guarded() {
            if printed.fetch_add(1, Ordering::Relaxed) < PRINTED {
                report(panic);
            }
            return;
        }
        report(panic);
        poison::remember(panic.location());
        std::process::exit(i32::from(Code::Internal as u8));
    }));
}

/// Log lines go to the standard error output, as the configuration says.
pub fn start_logging(config: &TelemetryConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.log_level)
        .map_err(|e| Failure::new(Code::Config, format!("telemetry.log_level: {e}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            keep(move |filter| handle.reload(filter).map_err(|e| e.to_string()));
            lines.try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().with_filter_reloading();
            let handle = lines.reload_handle();
            keep(move |filter| handle.reload(filter).map_err(|e| e.to_string()));
            lines.try_init()
        }
    };
    started.map_err(Failure::internal)
}

type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;
static CHANGE: OnceLock<Change> = OnceLock::new();

fn keep(change: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) {
    let _ = CHANGE.set(Box::new(change)); // logging starts once
}

/// Another level of log lines from now on.
pub fn change_log_level(config: &TelemetryConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|e| e.to_string())?;
    CHANGE.get().map_or(Ok(()), |change| change(filter))
}

/// A small asynchronous runtime for a command of its own, with logging for people.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    start_logging(&TelemetryConfig { log_level: "warn".into(), ..TelemetryConfig::default() })?;
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)
}
