//! `pulse demo`: a simulated shop, learnt first, then live with planted trouble.

use super::backtest::counter;
use super::{Failure, output, process};
use crate::app::demo::{Demo, Step};
use crate::app::{App, Settings};
use crate::backtest::Scratch;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// For `--help`.
pub const EXAMPLES: &str = "Example:
  pulse demo --seed 3";

/// Arguments of `pulse demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Everything random follows from it [default: the time]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Stop after so many seconds [default: never]
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Address of the gateway
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub gateway: SocketAddr,
    /// Address of the page and the query API
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub sidecar: SocketAddr,
    /// Worker threads
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
}

impl DemoArgs {
    /// Runs it, until a signal.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        process::start_logging(&crate::config::TelemetryConfig { log_level: "warn".into(), ..Default::default() })?;
        let runtime = tokio::runtime::Runtime::new().map_err(Failure::internal)?;
        let scratch = Scratch::new();
        let folder = scratch.path().to_path_buf();
        // learning keeps its thread busy, so a signal is waited for on another; there is nothing to save
        runtime.spawn(async move {
            super::run::signal().await;
            let _ = std::fs::remove_dir_all(folder);
            std::process::exit(0);
        });
        runtime.block_on(self.show(&scratch, json))
    }

    async fn show(&self, scratch: &Scratch, json: bool) -> Result<(), Failure> {
        let settings = Settings {
            gateway_addr: self.gateway,
            sidecar_addr: self.sidecar,
            workers: self.workers.max(1),
            no_auth: true,
            ..Settings::new(scratch.path().to_path_buf())
        };
        let seed = self.seed.unwrap_or_else(|| crate::engine::now_ms() as u64 % 10_000);
        let bar = counter("events of history");
        let mut tell = |step: Step| say(step, json, &bar);
        let mut demo = Demo::start(&settings, seed, &mut tell).await?;
        introduce(&demo.app, seed, json);
        demo.live(self.seconds.map_or(Duration::MAX, Duration::from_secs), &mut tell).await?;
        demo.app.stop().await?;
        Ok(())
    }
}

fn introduce(app: &App, seed: u64, json: bool) {
    if !json {
        println!("seed {seed}; open http://{} to look; events go to http://{}", app.sidecar_addr, app.gateway_addr);
    }
}

fn say(step: Step, json: bool, bar: &indicatif::ProgressBar) {
    match step {
        Step::Learning(events) => bar.set_position(events),
        Step::Learnt(events, seconds, model) => {
            bar.finish_and_clear();
            if !json {
                println!("learnt five weeks, {events} events, in {seconds:.1} s: {model} is in force");
            }
        }
        Step::Live(script) => {
            if !json {
                println!("live; planted: card testing, then a payment outage in {}", script.outage_country);
            }
        }
        Step::Alert(seconds, message) => {
            let line = serde_json::json!({"seconds": seconds, "message": message});
            // a reader that went away ends the demonstration no earlier than its next signal
            let _ = output::print(json, &line, || format!("{seconds:>7.1} s  {}", sentence(message)));
        }
    }
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// One alert in one line.
fn sentence(message: &Value) -> String {
    let kind = text(message, "/type");
    if kind.starts_with("anomaly.") {
        let reason = text(message, "/data/event/reasons/0/text");
        let (of, id) = (text(message, "/data/entity/kind"), text(message, "/data/entity/id"));
        return format!("{kind}  {of} {id}  {}  {reason}", text(message, "/data/cause"));
    }
    let show = |path: &str| message.pointer(path).map(Value::to_string).unwrap_or_default();
    format!(
        "{kind}  {} {}  {} where {} is expected",
        text(message, "/data/metric"),
        show("/data/dimensions"),
        show("/data/value"),
        show("/data/expected")
    )
}
