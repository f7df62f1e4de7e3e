//! Learns a model from what was scored: the feature rows stand in `events.scored`, so nothing is computed twice and nothing
//! leaks from later events into earlier ones.
//!
//! Deliberately absent: deciding whether the new model is better (weekly retraining comes with its own comparison).

use pulse_dataflows::ports::{EventLog, LogError, Topic, partition};
use pulse_models::bundle::Bundle;
use pulse_models::features::{GROUPS, Group, Row};
use pulse_models::train::{Options, Part, fit};
use pulse_operators::record::scored::{TOP, decode_row};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Rows kept of a group: enough for the ensemble and its calibration; of more, every second is dropped, again and again.
const MAX_ROWS: usize = 120_000;

/// What a fit needs of a scored event.
#[derive(Deserialize)]
struct Scored<'a> {
    group: Group,
    time: &'a str,
    decision: &'a str,
    score_rules: Option<f64>,
    features: Option<&'a str>,
}

/// Why nothing is learnt.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The fit.
    #[error("{0}")]
    Fit(String),
}

#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    rules: Vec<Option<f32>>,
    every: usize,
    seen: usize,
}
impl Rows {
    fn push(&mut self, row: Row, rules: Option<f32>) {
        self.every = self.every.max(1);
        if self.seen.is_multiple_of(self.every) {
            self.rows.push(row);
            self.rules.push(rules);
        }
        self.seen += 1;
        if self.rows.len() >= MAX_ROWS {
            let mut keep = [true, false].into_iter().cycle();
            self.rows.retain(|_| keep.next().unwrap_or(true));
            let mut keep = [true, false].into_iter().cycle();
            self.rules.retain(|_| keep.next().unwrap_or(true));
            self.every *= 2;
        }
    }
}

/// Gathers rows of scored events, by group, in the order of the log.
#[derive(Default)]
pub struct Gathered {
    groups: BTreeMap<u8, Rows>,
    window_ms: Option<(i64, i64)>,
}
impl Gathered {
    /// Takes a record of `events.scored`. Anomalies are left out: what was found to be trouble is not normal.
    pub fn take(&mut self, json: &[u8]) {
        let Ok(scored) = serde_json::from_slice::<Scored>(json) else { return };
        let Some(row) = scored.features.and_then(decode_row) else { return };
        if scored.decision == "anomaly" {
            return;
        }
        if let Ok(time) = scored.time.parse::<jiff::Timestamp>() {
            let ms = time.as_millisecond();
            let (first, last) = self.window_ms.unwrap_or((ms, ms));
            self.window_ms = Some((first.min(ms), last.max(ms)));
        }
        let rules = scored.score_rules.map(|score| (score * TOP) as f32);
        self.groups.entry(scored.group as u8).or_default().push(row, rules);
    }
    /// What follows is of another time: the first thresholds rest on how busy those shops are that come now.
    pub fn another_time(&mut self) {
        self.window_ms = None;
    }
    /// Rows gathered.
    pub fn rows(&self) -> usize {
        self.groups.values().map(|g| g.rows.len()).sum()
    }
    /// Fits a bundle.
    pub fn fit(mut self, version: &str, seed: u64, budget_per_day: f64) -> Result<Bundle, LearnError> {
        let parts: Vec<Part> = GROUPS
            .into_iter()
            .filter_map(|group| {
                let Rows { rows, rules, .. } = self.groups.remove(&(group as u8))?;
                Some(Part { group, rows, rules })
            })
            .collect();
        let options = Options {
            version: version.into(),
            seed,
            window_ms: self.window_ms.unwrap_or((0, 0)),
            exclusions: vec!["events that were decided to be anomalies".into()],
            budget_per_day,
            ..Options::default()
        };
        fit(&parts, &options).map_err(|e| LearnError::Fit(e.to_string()))
    }
}

/// Gathers all of a log's scored events.
pub fn gather(log: &dyn EventLog) -> Result<Gathered, LearnError> {
    let (mut gathered, mut reader) = (Gathered::default(), log.reader());
    for p in 0..log.partitions(Topic::Scored) {
        let place = partition(Topic::Scored, p);
        reader.each(place, log.start(place), log.end(place), &mut |_, _, value| gathered.take(value))?;
    }
    Ok(gathered)
}
