//! Weekly retraining: a new model from the history, compared with the one in force on time that neither has seen, and promoted if it
//! is better. If it is not, the one in force is calibrated again, so that its p-values keep their promise.
//!
//! [`history`] is what is learnt from (the dataflow `retrain` says which events count), [`learn`] fits, compares and keeps,
//! [`schedule`] says when a week is over, [`live`] does it beside a running shop, [`beside`] within a
//! backtest. Deliberately absent: the dataflow itself, and what
//! makes a model better (`pulse_models::gate`).

pub mod beside;
pub mod history;
pub mod learn;
pub mod live;
pub mod schedule;

use serde::{Deserialize, Serialize};

/// When models are learnt anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// When a week is over
    #[default]
    Weekly,
    /// Never
    Never,
}

/// `[retrain]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetrainConfig {
    /// How often.
    pub every: Every,
    /// Day of the week, 1 = Monday to 7 = Sunday, in the shop's time zone.
    pub weekday: i8,
    /// Hour of that day.
    pub hour: i8,
    /// Days of history at most.
    pub window_days: u16,
    /// Fewer events than this are no history yet.
    pub min_events: usize,
    /// Put a better model in force. Without it the new one waits to be promoted by a person.
    pub promote: bool,
}

impl Default for RetrainConfig {
    fn default() -> RetrainConfig {
        RetrainConfig { every: Every::Weekly, weekday: 1, hour: 3, window_days: 35, min_events: 2_000, promote: true }
    }
}

impl RetrainConfig {
    /// What is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |key: &str, want: &str| Err(format!("retrain.{key}: must be {want}"));
        if !(1..=7).contains(&self.weekday) {
            return wrong("weekday", "1 (Monday) to 7 (Sunday)");
        }
        if !(0..=23).contains(&self.hour) {
            return wrong("hour", "0 to 23");
        }
        if !(1..=400).contains(&self.window_days) {
            return wrong("window_days", "1 to 400");
        }
        Ok(())
    }
    /// Length of the history, ms.
    pub fn window_ms(&self) -> i64 {
        i64::from(self.window_days) * 24 * 3_600_000
    }
}
