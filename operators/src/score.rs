//! Scores a batch: answers to features, features to the model's part, rules beside it, calibration over both.
//!
//! Pure: the same batch gives the same bits, whatever came before. [`score_rows`] is all that stands between a stored feature
//! row and its score: live scoring and a later check both go through it. Deliberately absent: thresholds.

use crate::batch::{Batch, Channel, Score};
use crate::cause::working;
use crate::decide::series_name;
use crate::entity::answers_of;
use crate::features::assemble;
use crate::record::{Answers, Direction, Event, EventType, Reason, RuleHit};
use crate::series::Compared;
use crate::wording::{self, short};
use pulse_models::bundle::GroupModel;
use pulse_models::ensemble::{ModelScore, Scratch};
use pulse_models::explain;
use pulse_models::features::{GROUPS, Group, Row};
use std::sync::Arc;

/// Reasons are worked out for what is at least this unusual (-log10 p): one in twenty.
pub const EXPLAINED: f64 = 1.301;
/// Reasons kept with a score.
pub const MAX_REASONS: usize = 5;

/// The model's part of a score and the whole, both -log10 p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// The model's part.
    pub base: f64,
    /// All parts together, calibrated.
    pub surprise: f64,
}

/// Memory for [`score_rows`], used again.
#[derive(Default)]
pub struct RowScratch {
    scratch: Scratch,
    scores: Vec<ModelScore>,
}

/// From feature rows and what rules said of them (-log10 p) to scores: the only way there is. A row's bits do not depend on
/// the rows beside it. `rules` has one item a row.
pub fn score_rows(
    model: &GroupModel,
    rows: &[Row],
    rules: impl Iterator<Item = Option<f64>>,
    scratch: &mut RowScratch,
    mut each: impl FnMut(usize, Weighed),
) {
    scratch.scores.clear();
    model.score(rows, &mut scratch.scratch, &mut scratch.scores);
    for (i, (score, rules)) in scratch.scores.iter().zip(rules).enumerate() {
        let base = score.base;
        each(i, Weighed { base, surprise: model.combine(base, rules, None) });
    }
}

/// Memory that is used again for every batch.
#[derive(Default)]
pub struct Scorer {
    answers: Answers,
    rows: Vec<Row>,
    rules: Vec<Option<f64>>,
    /// Batch and slot in it.
    slots: Vec<(usize, usize)>,
    scratch: RowScratch,
    failures: u64,
}

impl Scorer {
    /// Evaluations of the user's own rules that failed since the last call.
    pub fn take_failures(&mut self) -> u64 {
        std::mem::take(&mut self.failures)
    }
    /// Fills the `scores` of batches. Rows of all of them go through the model together: sixteen at once cost hardly more than
    /// one, and an epoch of its own seldom has so many of a group.
    pub fn score(&mut self, batches: &mut [&mut Box<Batch>]) {
        for alike in batches.chunk_by_mut(|a, b| Arc::ptr_eq(&a.context, &b.context)) {
            self.score_alike(alike);
        }
    }

    /// The same for batches of one context.
    fn score_alike(&mut self, batches: &mut [&mut Box<Batch>]) {
        let Some(context) = batches.first().map(|batch| batch.context.clone()) else { return };
        let work = working("Score");
        for batch in batches.iter_mut() {
            let mut scores = Vec::with_capacity(batch.events.len());
            for slot in 0..batch.events.len() {
                work.at(batch.events[slot].order());
                scores.push(batch.is_scored(slot).then(|| self.prepare(batch, slot)));
            }
            batch.scores = scores;
        }
        drop(work); // the model scores all rows at once
        for group in GROUPS {
            self.gather(batches, group);
            if self.rows.is_empty() {
                continue;
            }
            let model = context.model(group);
            let (slots, rules) = (&self.slots, self.rules.iter().copied());
            score_rows(model, &self.rows, rules, &mut self.scratch, |i, weighed| {
                let Some((batch, slot)) = slots.get(i).and_then(|(at, slot)| Some((batches.get_mut(*at)?, *slot)))
                else {
                    return;
                };
                let cold_start = batch.events.get(slot).is_some_and(|event| event.cold_start);
                if let Some(score) = batch.scores.get_mut(slot).and_then(Option::as_mut) {
                    finish(score, model, weighed, cold_start);
                }
            });
        }
    }

    /// The rows of a group, where they are from, and what rules said of them.
    fn gather(&mut self, batches: &[&mut Box<Batch>], group: Group) {
        self.slots.clear();
        self.rows.clear();
        self.rules.clear();
        for (at, batch) in batches.iter().enumerate() {
            for (slot, (event, score)) in batch.events.iter().zip(&batch.scores).enumerate() {
                if let Some(score) = score.as_ref().filter(|_| event.event_type.group() == group)
                    && score.channel != Channel::Series
                {
                    self.slots.push((at, slot));
                    self.rows.push(score.row);
                    self.rules.push(score.rules);
                }
            }
        }
    }

    /// Features and rules of one event.
    fn prepare(&mut self, batch: &Batch, slot: usize) -> Score {
        let event = &batch.events[slot];
        answers_of(batch, slot, &mut self.answers);
        let mut hits = Vec::new();
        if event.event_type == EventType::MetricSample {
            let past = self.answers.series.map(|a| Compared { off: a.mean, deviation: a.deviation });
            return sample(batch, event, past.unwrap_or_default());
        }
        let row = assemble(event, &batch.arena, &self.answers, batch.context.settings());
        let failures = batch.context.rules().apply(event, &batch.arena, &self.answers, &row, &mut hits);
        self.failures += u64::from(failures);
        if event.cold_start {
            // on day one everything is new
            hits.retain(|hit| hit.reason.direction != Direction::New);
        }
        hits.sort_by(|a, b| b.surprise.total_cmp(&a.surprise).then_with(|| a.rule.cmp(&b.rule)));
        let rules = strongest(&hits);
        Score {
            surprise: 0.0,
            base: None,
            rules,
            hits,
            reasons: Vec::new(),
            row,
            past: None,
            channel: Channel::Model,
            cold_start: event.cold_start,
        }
    }
}

/// Rules are not independent: the strongest one speaks for all.
fn strongest(hits: &[RuleHit]) -> Option<f64> {
    hits.first().map(|hit| hit.surprise)
}

/// Takes the score in and gives the reasons.
fn finish(score: &mut Score, model: &GroupModel, Weighed { base, surprise }: Weighed, cold_start: bool) {
    score.base = Some(base);
    score.surprise = surprise;
    let rules = score.rules.unwrap_or(0.0);
    score.channel = if rules > base { Channel::Rules } else { Channel::Model };
    if score.surprise < EXPLAINED && score.hits.is_empty() {
        return;
    }
    let total = (rules + base).max(f64::MIN_POSITIVE);
    let of_rules = score.hits.iter().map(|hit| hit.surprise).sum::<f64>().max(f64::MIN_POSITIVE);
    for hit in &score.hits {
        let contribution = rules / total * hit.surprise / of_rules;
        score.reasons.push(Reason { contribution, ..hit.reason.clone() });
    }
    let share = base / total;
    let mut found = Vec::new();
    model.explain(&score.row, &mut found);
    for found in found {
        // on day one everything is new
        let masked = cold_start && found.direction == explain::Direction::New;
        let Some(reason) = wording::reason(&found, share).filter(|_| !masked) else { continue };
        if !score.reasons.iter().any(|known| known.code == reason.code) {
            score.reasons.push(reason);
        }
    }
    if score.reasons.is_empty() {
        score.reasons.push(wording::combination(surprise));
    }
    score.reasons.sort_by(|a, b| b.contribution.total_cmp(&a.contribution));
    score.reasons.truncate(MAX_REASONS);
}

/// -log10 of the two-sided tail of a normal at `z`, by the bound of Mills' ratio beyond 5.
fn two_sided(z: f64) -> f64 {
    let z = z.abs();
    let p = libm::erfc(z / std::f64::consts::SQRT_2);
    if p > 1e-300 { -libm::log10(p) } else { 300.0 }
}

/// -log10 p of a sample of the user's own series: the only way from what is stored of it to its score.
pub fn score_sample(past: Compared) -> f64 {
    two_sided(past.z())
}

/// A sample of the user's own series is scored by its series alone.
fn sample(batch: &Batch, event: &Event, past: Compared) -> Score {
    let (z, surprise) = (past.z(), score_sample(past));
    let reasons = if surprise < EXPLAINED {
        Vec::new()
    } else {
        let name = series_name(batch, event);
        vec![Reason {
            code: "metric_vs_past".into(),
            text: format!("{name} is {}, {} deviations from its past", short(event.value), short(z)),
            direction: if z > 0.0 { Direction::High } else { Direction::Low },
            value: event.value,
            expected: [-3.0, 3.0].map(|d| event.value - f64::from(past.off) + d * f64::from(past.deviation)),
            contribution: 1.0,
        }]
    };
    Score {
        surprise,
        base: Some(surprise),
        rules: None,
        hits: Vec::new(),
        reasons,
        row: [f32::NAN; pulse_models::features::FEATURES],
        past: Some(past),
        channel: Channel::Series,
        cold_start: event.cold_start,
    }
}
