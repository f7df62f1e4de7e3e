//! Retraining beside a running shop: on a thread of its own, when the events' time passes the moment that the configuration names.
//!
//! Everything comes from the log: scored events, labels, incidents; so any process that reads it can do this, and a restart loses
//! nothing. Two that do it at once make one version: the second finds it there. Deliberately absent: what is learnt (`learn`).

use super::history::History;
use super::learn::{Learnt, RetrainError, learn};
use super::{Every, RetrainConfig, schedule};
use crate::app::{active, append_control};
use crate::engine::registry::{Registry, RegistryError, SHIPPED_VERSION};
use crate::json::Time;
use jiff::tz::TimeZone;
use pulse_dataflows::control::Control;
use pulse_dataflows::ports::{EventLog, LogError, Topic, partition};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether a week is over.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What is needed of a scored event to know the time.
#[derive(Deserialize)]
struct Timed {
    time: Time,
}

/// Where and when.
#[derive(Clone)]
pub struct Live {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Models.
    pub registry: Arc<Registry>,
    /// When.
    pub config: RetrainConfig,
    /// The shop's time zone.
    pub zone: TimeZone,
}

/// Reads the whole history that the log has.
pub fn gather(log: &dyn EventLog, window_ms: i64) -> Result<History, LogError> {
    let (mut history, mut reader) = (History::new(window_ms), log.reader());
    for p in 0..log.partitions(Topic::Scored) {
        let place = partition(Topic::Scored, p);
        reader.each(place, log.start(place), log.end(place), &mut |_, _, value| history.scored(value))?;
    }
    let alerts = partition(Topic::Alerts, 0);
    reader.each(alerts, log.start(alerts), log.end(alerts), &mut |_, _, value| history.alert(value))?;
    let labels = partition(Topic::Labels, 0);
    reader.each(labels, log.start(labels), log.end(labels), &mut |_, _, value| history.label(value))?;
    Ok(history)
}

impl Live {
    /// Waits for each end of a week, until the token says stop. Errors are told and tried again.
    pub async fn run(self, stop: CancellationToken) {
        if self.config.every == Every::Never {
            return;
        }
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let live = self.clone();
            match tokio::task::spawn_blocking(move || live.look()).await {
                Ok(Ok(Some(learnt))) => {
                    tracing::info!(version = learnt.version, outcome = ?learnt.training.outcome, rows = learnt.training.rows, "a week is over: learnt anew")
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(error, "retraining did not work and is tried again"),
                Err(error) => tracing::error!(%error, "retraining broke off"),
            }
        }
    }

    /// Learns when a week is over.
    pub fn look(&self) -> Result<Option<Learnt>, String> {
        let Some((first_ms, last_ms)) = self.times().map_err(|e| e.to_string())? else { return Ok(None) };
        let before = self.registry.last_training().map_err(|e| e.to_string())?.unwrap_or(first_ms);
        match schedule::next(&self.config, &self.zone, before) {
            Some(due_ms) if due_ms <= last_ms => self.learn(last_ms),
            _ => Ok(None),
        }
    }

    /// Learns now, and puts it in force if the configuration says so.
    pub fn learn(&self, now_ms: i64) -> Result<Option<Learnt>, String> {
        let active = active(&*self.log).map_err(|e| e.to_string())?;
        let champion = active.model.map_or_else(|| SHIPPED_VERSION.into(), |(version, _)| version);
        let mut history = gather(&*self.log, self.config.window_ms()).map_err(|e| e.to_string())?;
        let budget = f64::from(active.config.budget.alerts_per_day);
        let learnt = match learn(&mut history, &self.registry, &champion, now_ms, &self.config, budget) {
            Err(RetrainError::Registry(RegistryError::Exists(_))) => return Ok(None), // another process was first
            learnt => learnt.map_err(|e| e.to_string())?,
        };
        if let Some(learnt) = learnt.as_ref().filter(|_| self.config.promote) {
            let control = Control::Model { version: learnt.version.clone(), checksum: learnt.checksum.clone() };
            append_control(&*self.log, &control).map_err(|e| e.to_string())?;
        }
        Ok(learnt)
    }

    /// First and last event time that is scored, ms.
    pub fn times(&self) -> Result<Option<(i64, i64)>, LogError> {
        let mut times: Option<(i64, i64)> = None;
        let mut reader = self.log.reader();
        for p in 0..self.log.partitions(Topic::Scored) {
            let place = partition(Topic::Scored, p);
            let (start, end) = (self.log.start(place), self.log.end(place));
            for at in [start, end.saturating_sub(1)] {
                reader.each(place, at, (at + 1).min(end), &mut |_, _, value| {
                    if let Ok(Timed { time: Time(ms) }) = serde_json::from_slice(value) {
                        let (first, last) = times.unwrap_or((ms, ms));
                        times = Some((first.min(ms), last.max(ms)));
                    }
                })?;
            }
        }
        Ok(times)
    }
}
