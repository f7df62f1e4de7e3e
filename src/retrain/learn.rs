//! One retraining: fit on the early part of the history, compare on its last part, keep what is to be in force next.
//!
//! Deliberately absent: switching (a control record of whoever calls).

use super::RetrainConfig;
use super::history::{History, LeftOut};
use crate::engine::registry::{Registry, RegistryError};
use pulse_models::gate::{Comparison, compare};
use pulse_models::train::{self, Options};
use serde::{Deserialize, Serialize};

/// Why nothing is learnt.
#[derive(Debug, thiserror::Error)]
pub enum RetrainError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The fit.
    #[error("fit: {0}")]
    Fit(String),
}

/// How a version came to be; it stands beside the bundle and in the model's card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Event time of the retraining, ms since the epoch.
    pub trained_ms: i64,
    /// The version that was in force.
    pub champion: String,
    /// Learnt anew (`retrained`), or the one in force with a new calibration (`recalibrated`).
    pub outcome: Outcome,
    /// Rows that it was learnt from.
    pub rows: usize,
    /// Events that somebody confirmed to be trouble and that were left out.
    pub confirmed_left_out: usize,
    /// Others that were left out.
    pub others_left_out: usize,
    /// Labels that could not be used.
    pub labels_unread: u64,
    /// How the new model stood against the one in force.
    pub comparison: Comparison,
}

/// What a retraining ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new model is better.
    Retrained,
    /// It is not: the one in force, calibrated again.
    Recalibrated,
}

/// A version that is kept and not in force yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Learnt {
    /// Its name.
    pub version: String,
    /// Checksum, as a control record carries it.
    pub checksum: String,
    /// How it came to be.
    pub training: Training,
}

fn exclusions(left_out: &LeftOut) -> Vec<String> {
    vec![
        format!("{} events confirmed to be trouble", left_out.confirmed),
        format!(
            "{} events decided to be anomalies, said to be expected, or within confirmed incidents and windows",
            left_out.others
        ),
    ]
}

/// Learns at a moment of event time; `None` while there is too little history.
pub fn learn(
    history: &mut History,
    registry: &Registry,
    champion: &str,
    now_ms: i64,
    config: &RetrainConfig,
    budget_per_day: f64,
) -> Result<Option<Learnt>, RetrainError> {
    let chosen = history.close(now_ms);
    if chosen.rows() < config.min_events {
        return Ok(None);
    }
    let fit = |e: pulse_models::ensemble::FitError| RetrainError::Fit(e.to_string());
    let (_, in_force) = registry.get(champion)?;
    let version = registry.next_version()?;
    let seed = version.rsplit_once("@v").and_then(|(_, n)| n.parse().ok()).unwrap_or(1);
    let mut options = Options { version: version.clone(), seed, budget_per_day, ..Options::default() };
    let challenger = train::fit(&chosen.early, &options).map_err(fit)?;
    let comparison = compare(&in_force, &challenger, &chosen.held, seed);
    (options.window_ms, options.exclusions) = (chosen.window_ms, exclusions(&chosen.left_out));
    let (bundle, outcome) = match comparison.better {
        // of the whole history: what was held back is the newest of it
        true => (train::fit(&chosen.all, &options).map_err(fit)?, Outcome::Retrained),
        false => (train::recalibrate(&in_force, &chosen.all, &options), Outcome::Recalibrated),
    };
    let training = Training {
        trained_ms: now_ms,
        champion: champion.into(),
        outcome,
        rows: chosen.rows(),
        confirmed_left_out: chosen.left_out.confirmed,
        others_left_out: chosen.left_out.others,
        labels_unread: history.unread(),
        comparison,
    };
    let checksum = registry.add_learnt(&bundle, &training)?;
    Ok(Some(Learnt { version, checksum, training }))
}
