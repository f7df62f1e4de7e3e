//! The history that a new model is learnt from: numbers of scored events by key, a sample of each group, beside the dataflow that
//! says which of them count.
//!
//! Fed by records of `events.scored`, `labels` and `alerts`, live as in a backtest. Deliberately absent: fitting (`learn`).

use crate::json::Time;
use pulse_dataflows::retrain::{About, Example, Retrain, Verdict};
use pulse_models::features::{Group, Row};
use pulse_models::gate::{self, Held};
use pulse_models::train::Part;
use pulse_operators::confirmed::{event_key, key_of_alert};
use pulse_operators::record::scored::{TOP, decode_row};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_64;

/// Rows kept of a group: more than the ensemble and its calibration take. Beyond that half of the keys go, by their hash.
const MAX_ROWS: usize = 120_000;
/// The last part of the history is held back to compare models on.
const HELD: i64 = 5;
/// `source` of events and labels that name none.
const DEFAULT_SOURCE: &str = "default";

/// What is needed of a scored event.
#[derive(Deserialize)]
struct Scored {
    id: String,
    source: Option<String>,
    group: Group,
    time: Time,
    decision: String,
    score_rules: Option<f64>,
    features: Option<String>,
}

/// What is needed of a label (contract 2).
#[derive(Deserialize)]
struct Label {
    event_id: Option<String>,
    source: Option<String>,
    alert_id: Option<String>,
    incident_id: Option<String>,
    window: Option<Window>,
    from: Option<Time>,
    to: Option<Time>,
    verdict: Verdict,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    by: String,
}

#[derive(Deserialize)]
struct Window {
    from: Time,
    to: Time,
}

/// What is needed of a record of `alerts`.
#[derive(Deserialize)]
struct Alert {
    #[serde(rename = "type")]
    kind: String,
    timestamp: Time,
    data: Incident,
}

#[derive(Deserialize)]
struct Incident {
    incident_id: Option<String>,
    started_at: Option<Time>,
    resolved_at: Option<Time>,
}

struct Kept {
    group: Group,
    example: Example,
    row: Row,
    rules: Option<f32>,
}

/// Which keys of a group are kept: those whose hash is not above the bound.
struct Sample {
    bound: u64,
    rows: usize,
}

/// What was left out, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// Events that somebody confirmed to be trouble.
    pub confirmed: usize,
    /// Others: decided to be anomalies and not cleared, said to be expected, or within a confirmed incident or window.
    pub others: usize,
}

/// Rows to learn from.
pub struct Chosen {
    /// All of them by group, in the order of time.
    pub all: Vec<Part>,
    /// Those before the part that is held back.
    pub early: Vec<Part>,
    /// The part that is held back.
    pub held: Vec<Held>,
    /// First and last event time, ms.
    pub window_ms: (i64, i64),
    /// What is not among them.
    pub left_out: LeftOut,
}

impl Chosen {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.all.iter().map(|part| part.rows.len()).sum()
    }
}

/// The history.
pub struct History {
    retrain: Retrain,
    kept: BTreeMap<u64, Kept>,
    by_time: BTreeSet<(i64, u64)>,
    samples: BTreeMap<u8, Sample>,
    window_ms: i64,
    labels: u64,
    spans: BTreeSet<u64>,
    unread: u64,
}

fn hash(words: &[&str]) -> u64 {
    xxh3_64(words.join("\n").as_bytes())
}

impl History {
    /// Of so much event time.
    pub fn new(window_ms: i64) -> History {
        History {
            retrain: Retrain::new(),
            kept: BTreeMap::new(),
            by_time: BTreeSet::new(),
            samples: BTreeMap::new(),
            window_ms,
            labels: 0,
            spans: BTreeSet::new(),
            unread: 0,
        }
    }

    /// A record of `events.scored`.
    pub fn scored(&mut self, json: &[u8]) {
        let Ok(scored) = serde_json::from_slice::<Scored>(json) else { return };
        let Some(row) = scored.features.as_deref().and_then(decode_row) else { return }; // points of series have none
        let key = event_key(scored.source.as_deref().unwrap_or(DEFAULT_SOURCE), &scored.id);
        let sample = self.samples.entry(scored.group as u8).or_insert(Sample { bound: u64::MAX, rows: 0 });
        if key > sample.bound || self.kept.contains_key(&key) {
            return;
        }
        sample.rows += 1;
        let full = sample.rows > MAX_ROWS;
        let example = Example { key, time_ms: scored.time.0, anomaly: scored.decision == "anomaly" };
        let rules = scored.score_rules.map(|score| (score * TOP) as f32);
        self.retrain.insert(example);
        self.by_time.insert((example.time_ms, key));
        self.kept.insert(key, Kept { group: scored.group, example, row, rules });
        if full {
            self.halve(scored.group);
        }
    }

    /// Half of a group's keys go.
    fn halve(&mut self, group: Group) {
        let Some(sample) = self.samples.get_mut(&(group as u8)) else { return };
        sample.bound /= 2;
        let bound = sample.bound;
        let gone: Vec<u64> =
            self.kept.range(bound.saturating_add(1)..).filter(|(_, k)| k.group == group).map(|(key, _)| *key).collect();
        gone.into_iter().for_each(|key| self.forget(key));
    }

    fn forget(&mut self, key: u64) {
        let Some(kept) = self.kept.remove(&key) else { return };
        self.by_time.remove(&(kept.example.time_ms, key));
        self.retrain.remove(kept.example);
        if let Some(sample) = self.samples.get_mut(&(kept.group as u8)) {
            sample.rows -= 1;
        }
    }

    /// A record of `labels`.
    pub fn label(&mut self, json: &[u8]) {
        let Ok(label) = serde_json::from_slice::<Label>(json) else {
            self.unread += 1;
            return;
        };
        let author = hash(&[&label.by, &label.origin]);
        let window = label.window.map(|w| (w.from.0, w.to.0)).or_else(|| Some((label.from?.0, label.to?.0)));
        let source = label.source.as_deref().unwrap_or(DEFAULT_SOURCE);
        let of_event = label.event_id.map(|id| About::Event(event_key(source, &id)));
        let of_alert = || label.alert_id.as_deref().and_then(key_of_alert).map(About::Event);
        let of_incident = || label.incident_id.as_deref().map(|id| About::Span(hash(&["incident", id])));
        let of_window = || window.map(|(from, to)| About::Span(hash(&["window", &from.to_string(), &to.to_string()])));
        let Some(about) = of_event.or_else(of_alert).or_else(of_incident).or_else(of_window) else {
            self.unread += 1; // an order or payment: which event that is, is not known here
            return;
        };
        if let (About::Span(key), Some((from, to))) = (about, window)
            && self.spans.insert(key)
        {
            self.retrain.span(key, from, to);
        }
        self.labels += 1;
        self.retrain.label(about, author, self.labels, label.verdict);
    }

    /// A record of `alerts`: incidents have a time.
    pub fn alert(&mut self, json: &[u8]) {
        let Ok(alert) = serde_json::from_slice::<Alert>(json) else { return };
        let Some(id) =
            alert.data.incident_id.filter(|_| alert.kind.ends_with(".resolved") || alert.kind.ends_with(".opened"))
        else {
            return;
        };
        let from = alert.data.started_at.unwrap_or(alert.timestamp).0;
        let to = alert.data.resolved_at.unwrap_or(alert.timestamp).0;
        let key = hash(&["incident", &id]);
        if self.spans.insert(hash(&["incident", &id, &from.to_string(), &to.to_string()])) {
            self.retrain.span(key, from, to);
        }
    }

    /// Labels that could not be used.
    pub fn unread(&self) -> u64 {
        self.unread + self.retrain.left_out()
    }

    /// What there is to learn from at a moment of event time.
    pub fn close(&mut self, now_ms: i64) -> Chosen {
        while let Some((_, key)) = self.by_time.first().copied().filter(|(time, _)| *time < now_ms - self.window_ms) {
            self.forget(key);
        }
        let chosen = self.retrain.close().clone();
        let confirmed = self.retrain.confirmed();
        let first = self.by_time.first().map_or(now_ms, |(time, _)| *time);
        let last = self.by_time.last().map_or(now_ms, |(time, _)| *time);
        let split = last - (last - first) / HELD;
        let mut parts: [BTreeMap<u8, Part>; 4] = Default::default();
        let [all, early, late, trouble] = &mut parts;
        for (time, key) in &self.by_time {
            let Some(kept) = self.kept.get(key) else { continue };
            if chosen.contains(key) {
                kept.add_to(all);
                kept.add_to(if *time < split { &mut *early } else { &mut *late });
            } else if confirmed.contains(key) && *time >= split {
                kept.add_to(trouble);
            }
        }
        let confirmed = self.by_time.iter().filter(|(_, key)| confirmed.contains(key)).count();
        let left_out = LeftOut { confirmed, others: self.kept.len() - chosen.len() - confirmed };
        let [all, early, late, trouble] = parts.map(|parts| parts.into_values().collect::<Vec<Part>>());
        Chosen { all, early, held: gate::held(late, trouble), window_ms: (first, last), left_out }
    }
}

impl Kept {
    fn add_to(&self, parts: &mut BTreeMap<u8, Part>) {
        let part = parts.entry(self.group as u8).or_insert_with(|| Part::new(self.group, vec![]));
        part.rows.push(self.row);
        part.rules.push(self.rules);
    }
}
