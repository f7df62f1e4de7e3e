//! Fits a bundle: for each group of event types its own ensemble, tails, calibration and first threshold.
//!
//! Deliberately absent: which rows are normal; leave out confirmed anomalies and incident windows before.

use crate::bundle::{Bundle, GroupModel};
use crate::combine::{self, Weights};
use crate::ensemble::{Ensemble, FitError, MAX_CALIBRATION_ROWS, MAX_FIT_ROWS, Scratch};
use crate::explain::Explainer;
use crate::features::{FEATURE_SCHEMA, FEATURES, GROUPS, Group, Row};
use crate::matrix;
use crate::quantile::{BUDGET_PER_DAY, START, Target};
use std::borrow::Cow;

/// A group with fewer rows is scored by the pooled model of all groups.
pub const MIN_GROUP_ROWS: usize = 100;
/// Length of a day.
const DAY_MS: f64 = 86_400_000.0;

/// What a fit needs beside the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Name and number of the model, such as `global_model@v0`.
    pub version: String,
    /// The same rows and seed give the same bytes.
    pub seed: u64,
    /// Weights of model, rules and labels.
    pub weights: Weights,
    /// First and last event time of the rows, milliseconds since the epoch; (0, 0) if they have none.
    pub window_ms: (i64, i64),
    /// What was left out, in words.
    pub exclusions: Vec<String>,
    /// Alerts a day over all groups, for the first thresholds; the groups with rows share it evenly.
    pub budget_per_day: f64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            version: "global_model@v0".into(),
            seed: 0,
            weights: Weights::default(),
            window_ms: (0, 0),
            exclusions: vec![],
            budget_per_day: BUDGET_PER_DAY,
        }
    }
}

/// The rows of one group, in the order of time.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which group.
    pub group: Group,
    /// Its rows.
    pub rows: Vec<Row>,
    /// What the rules said of each row, as -log10 p; empty where no rule hit any.
    pub rules: Vec<Option<f32>>,
}

impl Part {
    /// Rows without rule hits.
    pub fn new(group: Group, rows: Vec<Row>) -> Part {
        Part { group, rows, rules: vec![] }
    }
}

/// Fits all groups. Groups with fewer than 100 rows fall back to the pooled model; without any rows nothing is unusual.
pub fn fit(parts: &[Part], options: &Options) -> Result<Bundle, FitError> {
    let mut groups: [Option<GroupModel>; GROUPS.len()] = Default::default();
    let mut rows = [0u64; GROUPS.len()];
    let (mut pool, mut pool_rules) = (vec![], vec![]);
    for group in GROUPS {
        let (own, rules) = gather(parts, group);
        let seed = options.seed.wrapping_add(1 + group as u64);
        if let (Some(slot), Some(count)) = (groups.get_mut(group as usize), rows.get_mut(group as usize)) {
            *count = own.len() as u64;
            if own.len() >= MIN_GROUP_ROWS {
                *slot = Some(fit_group(&own, &rules, seed, &options.weights)?);
            }
        }
        // The pool takes an even share of each group, so that the largest does not decide alone.
        let step = own.len().div_ceil(MAX_FIT_ROWS / GROUPS.len()).max(1);
        pool.extend(own.iter().step_by(step));
        pool_rules.extend(rules.iter().step_by(step));
    }
    let pooled = fit_group(&pool, &pool_rules, options.seed, &options.weights)?;
    let bundle = Bundle {
        version: options.version.clone(),
        feature_schema: FEATURE_SCHEMA,
        thresholds: thresholds(&rows, options),
        weights: options.weights,
        window_ms: options.window_ms,
        rows,
        seed: options.seed,
        exclusions: options.exclusions.clone(),
        groups,
        pooled,
        checksum: 0,
    };
    Ok(bundle.sealed())
}

/// The same members, calibrated on these rows, which they were not fitted on: what a p-value promises is right again where the shop has
/// moved. Groups with fewer than 100 rows stay as they are.
pub fn recalibrate(bundle: &Bundle, parts: &[Part], options: &Options) -> Bundle {
    let mut new = Bundle {
        version: options.version.clone(),
        window_ms: options.window_ms,
        seed: options.seed,
        exclusions: options.exclusions.clone(),
        ..bundle.clone()
    };
    let mut scratch = Scratch::default();
    for group in GROUPS {
        let (own, rules) = gather(parts, group);
        if let Some(count) = new.rows.get_mut(group as usize) {
            *count = own.len() as u64;
        }
        let model = new.groups.get_mut(group as usize).and_then(Option::as_mut).filter(|_| own.len() >= MIN_GROUP_ROWS);
        if let Some(model) = model {
            let mut scores = vec![];
            model.score(&own, &mut scratch, &mut scores);
            let sums = scores.iter().zip(&rules).map(|(s, rule)| model.weights.sum(s.base, rule.map(f64::from), None));
            let mut sums: Vec<f64> = sums.collect();
            model.combined = combine::fit(&model.weights, &mut sums);
        }
    }
    new.thresholds = thresholds(&new.rows, options);
    new.sealed()
}

/// A group's rows, copied only where several parts hold them, and what the rules said of each.
fn gather(parts: &[Part], group: Group) -> (Cow<'_, [Row]>, Vec<Option<f32>>) {
    let (mut rows, mut rules) = (Cow::Borrowed(&[][..]), vec![]);
    for part in parts.iter().filter(|p| p.group == group) {
        if rows.is_empty() {
            rows = Cow::Borrowed(&part.rows)
        } else {
            rows.to_mut().extend_from_slice(&part.rows)
        }
        rules.extend((0..part.rows.len()).map(|i| part.rules.get(i).copied().flatten()));
    }
    (rows, rules)
}

fn fit_group(rows: &[Row], rules: &[Option<f32>], seed: u64, weights: &Weights) -> Result<GroupModel, FitError> {
    let matrix = matrix::view(rows.as_flattened(), FEATURES);
    let fitted = Ensemble::fit(matrix, seed)?;
    let thinned = matrix::thinned(matrix, MAX_FIT_ROWS);
    let Ensemble { scaling, mahalanobis, .. } = &fitted.ensemble;
    let explainer = Explainer::fit(matrix::view(&thinned, FEATURES), scaling, mahalanobis);
    // The same rows, in the same order, as the calibration slice was thinned to.
    let held = rules.get(fitted.from..).unwrap_or_default();
    let count = held.len().min(MAX_CALIBRATION_ROWS);
    let rule = |i: usize| held.get((i as u128 * held.len() as u128 / count.max(1) as u128) as usize).copied().flatten();
    let sum = |(i, base): (usize, &f64)| weights.sum(*base, rule(i).map(f64::from), None);
    let mut sums: Vec<f64> = fitted.calibration.iter().enumerate().map(sum).collect();
    let combined = combine::fit(weights, &mut sums);
    Ok(GroupModel { ensemble: fitted.ensemble, explainer, combined, weights: *weights })
}

/// First thresholds: what the calibrated score promises at each group's share of the budget.
fn thresholds(rows: &[u64; GROUPS.len()], options: &Options) -> [f64; GROUPS.len()] {
    let days = (options.window_ms.1.saturating_sub(options.window_ms.0)) as f64 / DAY_MS;
    let active = |group: Group| rows.get(group as usize).copied().unwrap_or(0);
    let whole: f64 = GROUPS.iter().filter(|g| active(**g) > 0).map(|g| g.budget_share()).sum();
    GROUPS.map(|group| {
        let rows = active(group);
        let budget_per_day = options.budget_per_day * group.budget_share() / whole.max(f64::MIN_POSITIVE);
        let target = Target { budget_per_day, events_per_day: rows as f64 / days };
        match target.rate() {
            Some(rate) if days > 0.0 && rows > 0 => combine::score(combine::log_p(rate)),
            _ => START,
        }
    })
}
