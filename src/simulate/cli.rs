//! `pulse simulate`: options, and events to the standard output. Sending to a gateway is in `send.rs`.
//!
//! The only part of the simulator, with `send.rs`, that reads a clock or does I/O.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::config::{ConfigError, DAY_MS, DEFAULT_START_MS, MINUTE_MS, ShopConfig, TroublePlan};
use super::send::{self, Summary};
use super::shop::Shop;
use super::truth::{KINDS, Truth};

/// Events written when nothing else is said.
const DEFAULT_EVENTS: u64 = 100_000;
/// Buffer of the output, bytes: writes of a size that pipes like.
const OUTPUT_BUFFER: usize = 1 << 20;
/// How long paced output may wait in the buffer, ms.
const FLUSH_MS: u64 = 50;

/// Options of `pulse simulate`.
#[derive(clap::Args, Clone, Debug)]
pub struct SimulateArgs {
    /// Everything random follows from it: the same seed and start give the same bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many events [default: 100000; with --rate and no --start: until stopped]
    #[arg(long)]
    pub events: Option<u64>,
    /// Time of the first event, RFC 3339 [default: 2026-01-05T00:00:00Z; with --rate: now; with --to alone: such that they end now]
    #[arg(long)]
    pub start: Option<String>,
    /// Events a second, sent at their times whatever the answers [default: as fast as possible]
    #[arg(long)]
    pub rate: Option<f64>,
    /// Address of a gateway, such as http://127.0.0.1:8080 [default: standard output]
    #[arg(long)]
    pub to: Option<String>,
    /// Key with the scope `ingest`
    #[arg(long, env = "PULSE_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Write labels of what was planted to this file, as NDJSON
    #[arg(long)]
    pub truth: Option<PathBuf>,
    /// Plant no trouble; look-alikes stay
    #[arg(long)]
    pub no_trouble: bool,
    /// Plant no look-alikes
    #[arg(long)]
    pub no_look_alikes: bool,
    /// Mean events a minute in simulated time, where --rate does not set it
    #[arg(long, default_value_t = 20.0)]
    pub events_per_minute: f64,
    /// Mean days between two planted episodes of a kind [default: 10; live: ten minutes]
    #[arg(long)]
    pub trouble_days: Option<f64>,
    /// Some events arrive seconds to minutes late
    #[arg(long)]
    pub disorder: bool,
    /// Days until the label of an event becomes known
    #[arg(long, default_value_t = 7.0)]
    pub label_delay_days: f64,
}

/// Why simulating stopped.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A shop that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An option that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The output or the truth file cannot be written.
    #[error("cannot write {what}: {error}")]
    Write {
        /// Which.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The gateway does not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl SimulateError {
    /// Exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            SimulateError::Config(_) | SimulateError::Usage(_) => 64,
            SimulateError::Unavailable(_) => 69,
            SimulateError::Write { .. } => 70,
        }
    }
}

/// Where labels go.
pub(super) struct TruthFile(Option<BufWriter<File>>);

impl TruthFile {
    fn create(path: Option<&PathBuf>) -> Result<TruthFile, SimulateError> {
        let open = |path: &PathBuf| File::create(path).map_err(|error| SimulateError::Write { what: "truth", error });
        Ok(TruthFile(path.map(open).transpose()?.map(BufWriter::new)))
    }

    /// Writes labels, if anybody wants them.
    pub fn write(&mut self, truths: impl IntoIterator<Item = Truth>) -> Result<(), SimulateError> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        let mut line = String::new();
        for truth in truths {
            line.clear();
            truth.write(&mut line);
            line.push('\n');
            file.write_all(line.as_bytes()).map_err(|error| SimulateError::Write { what: "truth", error })?;
        }
        Ok(())
    }

    /// What is buffered reaches the file.
    pub fn flush(&mut self) -> Result<(), SimulateError> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        file.flush().map_err(|error| SimulateError::Write { what: "truth", error })
    }
}

/// What the options mean.
pub(super) struct Job {
    pub shop: Shop,
    pub truth: TruthFile,
    /// `None`: until stopped.
    pub events: Option<u64>,
    /// Events a second; `None`: as fast as possible.
    pub rate: Option<f64>,
    /// Events happen now: they are due at their own times.
    pub live: bool,
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn job(args: &SimulateArgs) -> Result<Job, SimulateError> {
    if args.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 100_000.0)) {
        return Err(SimulateError::Usage("--rate must be above 0 and at most 100000".to_owned()));
    }
    let live = args.rate.is_some() && args.start.is_none();
    let events = if live { args.events } else { Some(args.events.unwrap_or(DEFAULT_EVENTS)) };
    let per_minute = match args.rate {
        Some(rate) if live => rate * 60.0,
        _ => args.events_per_minute,
    };
    let start_ms = match &args.start {
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .map_err(|error| SimulateError::Usage(format!("--start: {error}")))?
            .as_millisecond(),
        None if live => now_ms(),
        None if args.to.is_some() => {
            now_ms() - (events.unwrap_or_default() as f64 / per_minute * MINUTE_MS as f64) as i64
        }
        None => DEFAULT_START_MS,
    };
    let mut trouble = if live { TroublePlan::minutes() } else { TroublePlan::weeks() };
    if let Some(days) = args.trouble_days {
        trouble.mean_gap_ms = (days * DAY_MS as f64) as i64;
    }
    let wanted = |look_alike: bool| if look_alike { !args.no_look_alikes } else { !args.no_trouble };
    trouble.kinds = KINDS.into_iter().filter(|kind| wanted(kind.look_alike())).collect();
    let shop = Shop::new(ShopConfig {
        seed: args.seed,
        start_ms,
        trouble,
        flat: live,
        disorder: args.disorder,
        label_delay_ms: (args.label_delay_days * DAY_MS as f64) as i64,
        ..ShopConfig::of_size(per_minute)
    })?;
    let truth = TruthFile::create(args.truth.as_ref())?;
    Ok(Job { shop, truth, events, rate: args.rate, live })
}

/// Simulates as the options say. Blocks until done; must not be called from within an asynchronous runtime. `None` for the
/// standard output, else what became of the events sent.
pub fn run(args: &SimulateArgs) -> Result<Option<Summary>, SimulateError> {
    let job = job(args)?;
    match &args.to {
        Some(url) => send::run(job, url, args.key.as_deref()).map(Some),
        None => print(job, io::stdout().lock()).map(|()| None),
    }
}

/// As [`run`] without a gateway, to any writer.
#[cfg(test)]
pub(super) fn print_to(args: &SimulateArgs, out: impl Write) -> Result<(), SimulateError> {
    print(job(args)?, out)
}

/// Writes lines; a reader that goes away ends it in peace.
fn print(mut job: Job, out: impl Write) -> Result<(), SimulateError> {
    let mut out = BufWriter::with_capacity(OUTPUT_BUFFER, out);
    match print_lines(&mut job, &mut out) {
        Err(SimulateError::Write { what: "events", error }) if error.kind() == io::ErrorKind::BrokenPipe => {
            // The buffer holds lines that nobody will read: dropping it must not try again.
            let _ = out.into_parts();
        }
        Err(error) => return Err(error),
        Ok(()) => {}
    }
    let windows = job.shop.cut_windows();
    job.truth.write(windows)?;
    job.truth.flush()
}

fn print_lines(job: &mut Job, out: &mut impl Write) -> Result<(), SimulateError> {
    let failed = |error| SimulateError::Write { what: "events", error };
    let mut json = String::new();
    // Before the clock starts: the first look runs the shop's warm-up.
    let first_ms = job.shop.peek_ms();
    let began = Instant::now();
    let mut written = 0;
    while job.events.is_none_or(|events| written < events) {
        if let Some(rate) = job.rate {
            let due = due(job.live, began, first_ms, job.shop.peek_ms(), written, rate);
            let wait = due.saturating_duration_since(Instant::now());
            if wait > Duration::from_millis(FLUSH_MS / 10) {
                out.flush().map_err(failed)?;
                std::thread::sleep(wait);
            }
        }
        let event = job.shop.next_event(&mut json);
        json.push('\n');
        out.write_all(json.as_bytes()).map_err(failed)?;
        written += 1;
        let windows = job.shop.take_windows();
        job.truth.write(windows.into_iter().chain(event.truth))?;
    }
    out.flush().map_err(failed)
}

/// When an event is due: live ones at their own time, others evenly spaced.
pub(super) fn due(live: bool, began: Instant, first_ms: i64, arrival_ms: i64, nth: u64, rate: f64) -> Instant {
    if live {
        began + Duration::from_millis((arrival_ms - first_ms).max(0) as u64)
    } else {
        began + Duration::from_secs_f64(nth as f64 / rate)
    }
}
