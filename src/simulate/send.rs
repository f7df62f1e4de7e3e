//! Events to a gateway: batches over HTTP at their intended times, and how long until they were acknowledged.
//!
//! Open loop: an event's latency counts from when it should have been sent, so a slow gateway cannot hide by slowing the
//! sender. Refused for now (429, 503) or unreachable: the same batch goes again; ids make that harmless. With a rate up to
//! [`IN_FLIGHT`] batches are on their way at once; without one it is one, so that events arrive in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Semaphore;

use super::cli::{Job, SimulateError, due};

/// Events in a batch, at most: far below the gateway's limit.
const BATCH: usize = 500;
/// How long an event may wait for its batch, ms.
const BATCH_MS: u64 = 50;
/// Batches on their way at once: more only queue at the gateway.
const IN_FLIGHT: usize = 64;
/// Tries of one batch before it counts as failed: about a minute with the waits below.
const TRIES: u32 = 20;
/// First and longest wait between two tries, ms, where the gateway does not say.
const BACK_OFF_MS: (u64, u64) = (100, 5000);
/// Longest wait that a gateway may ask for, s.
const MAX_RETRY_AFTER_S: u64 = 30;
/// Longest time for one request, s.
const REQUEST_S: u64 = 30;
/// Longest latency that is told apart, us: ten minutes.
const MAX_LATENCY_US: u64 = 600_000_000;

/// What became of the events.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Sent and answered.
    pub sent: u64,
    /// Said to be accepted.
    pub accepted: u64,
    /// Said to be duplicates.
    pub duplicate: u64,
    /// Said to be rejected.
    pub rejected: u64,
    /// Given up after many tries, or refused for good.
    pub failed: u64,
    /// Batches that had to be sent again.
    pub retried: u64,
    /// Seconds from first to last.
    pub seconds: f64,
    /// From intended time of sending to acknowledgement, median, ms.
    pub ack_p50_ms: f64,
    /// 95 %.
    pub ack_p95_ms: f64,
    /// 99 %.
    pub ack_p99_ms: f64,
    /// The slowest.
    pub ack_max_ms: f64,
    /// Why the last batch failed.
    pub last_error: Option<String>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = self.sent as f64 / self.seconds.max(1e-9);
        writeln!(f, "sent {} in {:.1} s ({rate:.0}/s)", self.sent, self.seconds)?;
        writeln!(f, "accepted {}, duplicate {}, rejected {}", self.accepted, self.duplicate, self.rejected)?;
        writeln!(f, "failed {}, batches sent again {}", self.failed, self.retried)?;
        let latencies = (self.ack_p50_ms, self.ack_p95_ms, self.ack_p99_ms, self.ack_max_ms);
        write!(
            f,
            "ack p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            latencies.0, latencies.1, latencies.2, latencies.3
        )?;
        match &self.last_error {
            Some(error) => write!(f, "\nlast error: {error}"),
            None => Ok(()),
        }
    }
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Answer {
    accepted: u64,
    duplicate: u64,
    rejected: u64,
}

/// Counts of all batches.
struct Tally {
    summary: Summary,
    latency_us: Histogram<u64>,
}

/// Where batches go.
struct Target {
    client: reqwest::Client,
    url: String,
    key: Option<String>,
    tally: Mutex<Tally>,
}

/// A batch, with when each event should have been sent.
struct Batch {
    body: String,
    intended: Vec<Instant>,
}

/// What to do after a try.
enum Outcome {
    Done(Answer),
    Again(Option<Duration>, String),
    Never(String),
}

impl Target {
    async fn once(&self, body: &str) -> Outcome {
        let mut request = self.client.post(&self.url).header("content-type", "application/json").body(body.to_owned());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Outcome::Again(None, format!("no answer: {error}")),
        };
        let status = response.status();
        if status.is_success() {
            return match response.json::<Answer>().await {
                Ok(answer) => Outcome::Done(answer),
                Err(error) => Outcome::Again(None, format!("answer cut off: {error}")),
            };
        }
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let after = after.map(|seconds: u64| Duration::from_secs(seconds.min(MAX_RETRY_AFTER_S)));
        let reason = format!("the gateway answers {status}");
        if status.as_u16() == 429 || status.is_server_error() {
            Outcome::Again(after, reason)
        } else {
            Outcome::Never(reason)
        }
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a batch until it is answered or given up.
    async fn deliver(&self, batch: Batch) {
        let mut wait_ms = BACK_OFF_MS.0;
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.once(&batch.body).await {
                Outcome::Done(answer) => return self.answered(&batch, &answer),
                Outcome::Never(reason) => {
                    last = reason;
                    break;
                }
                Outcome::Again(after, reason) => {
                    last = reason;
                    self.tally().summary.retried += 1;
                    tokio::time::sleep(after.unwrap_or(Duration::from_millis(wait_ms))).await;
                    wait_ms = (wait_ms * 2).min(BACK_OFF_MS.1);
                }
            }
        }
        let mut tally = self.tally();
        tally.summary.failed += batch.intended.len() as u64;
        tally.summary.last_error = Some(last);
    }

    fn answered(&self, batch: &Batch, answer: &Answer) {
        let now = Instant::now();
        let mut tally = self.tally();
        tally.summary.sent += batch.intended.len() as u64;
        tally.summary.accepted += answer.accepted;
        tally.summary.duplicate += answer.duplicate;
        tally.summary.rejected += answer.rejected;
        for intended in &batch.intended {
            let latency_us = now.saturating_duration_since(*intended).as_micros() as u64;
            tally.latency_us.saturating_record(latency_us.min(MAX_LATENCY_US));
        }
    }
}

/// Sends a job's events to the gateway at `url`, on a runtime of its own.
pub(super) fn run(job: Job, url: &str, key: Option<&str>) -> Result<Summary, SimulateError> {
    let unavailable = |error: &dyn std::fmt::Display| SimulateError::Unavailable(error.to_string());
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(REQUEST_S))
        .pool_max_idle_per_host(IN_FLIGHT)
        .build()
        .map_err(|error| unavailable(&error))?;
    let latency_us = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).map_err(|error| unavailable(&error))?;
    let target = Arc::new(Target {
        client,
        url: format!("{}/api/v1/events:batch", url.trim_end_matches('/')),
        key: key.map(str::to_owned),
        tally: Mutex::new(Tally { summary: Summary::default(), latency_us }),
    });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| unavailable(&error))?;
    runtime.block_on(send_all(job, target))
}

async fn send_all(mut job: Job, target: Arc<Target>) -> Result<Summary, SimulateError> {
    let in_flight = if job.rate.is_some() { IN_FLIGHT } else { 1 };
    let permits = Arc::new(Semaphore::new(in_flight));
    // Before the clock starts: the first look runs the shop's warm-up.
    let first_ms = job.shop.peek_ms();
    let began = Instant::now();
    let mut made = 0;
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let batch = tokio::select! {
            batch = next_batch(&mut job, began, first_ms, &mut made) => batch?,
            _ = &mut stop => break,
        };
        if batch.intended.is_empty() {
            break;
        }
        let Ok(permit) = permits.clone().acquire_owned().await else { break };
        let target = target.clone();
        tokio::spawn(async move {
            target.deliver(batch).await;
            drop(permit);
        });
    }
    // All permits back: everything on its way has been answered or given up.
    let _all = permits.acquire_many(in_flight as u32).await;
    let windows = job.shop.cut_windows();
    job.truth.write(windows)?;
    job.truth.flush()?;
    let tally = target.tally();
    let at = |quantile: f64| tally.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
    let summary = Summary {
        seconds: began.elapsed().as_secs_f64(),
        ack_p50_ms: at(0.50),
        ack_p95_ms: at(0.95),
        ack_p99_ms: at(0.99),
        ack_max_ms: tally.latency_us.max() as f64 / 1000.0,
        ..tally.summary.clone()
    };
    match (&summary.last_error, summary.sent) {
        (Some(error), 0) => Err(SimulateError::Unavailable(error.clone())),
        _ => Ok(summary),
    }
}

/// Gathers what is due: up to [`BATCH`] events or [`BATCH_MS`]. Empty at the end.
async fn next_batch(job: &mut Job, began: Instant, first_ms: i64, made: &mut u64) -> Result<Batch, SimulateError> {
    let mut batch = Batch { body: String::from("["), intended: Vec::new() };
    let mut json = String::new();
    while batch.intended.len() < BATCH && job.events.is_none_or(|events| *made < events) {
        let now = Instant::now();
        let intended = match job.rate {
            Some(rate) => due(job.live, began, first_ms, job.shop.peek_ms(), *made, rate),
            None => now,
        };
        if intended > now {
            let closes = batch.intended.first().map(|first| *first + Duration::from_millis(BATCH_MS));
            match closes {
                Some(closes) if closes < intended || closes <= now => {
                    tokio::time::sleep_until(closes.into()).await;
                    break;
                }
                _ => tokio::time::sleep_until(intended.into()).await,
            }
        }
        let event = job.shop.next_event(&mut json);
        if !batch.intended.is_empty() {
            batch.body.push(',');
        }
        batch.body.push_str(&json);
        batch.intended.push(intended);
        *made += 1;
        let windows = job.shop.take_windows();
        job.truth.write(windows.into_iter().chain(event.truth))?;
    }
    batch.body.push(']');
    Ok(batch)
}
