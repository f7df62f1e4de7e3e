//! What is in force while a batch flows: settings, rules, tables and model. Switched by control records, at the edge of an
//! epoch, on all workers at the same one.
//!
//! Deliberately absent: loading. Whoever makes a context has model and tables in memory already.

use crate::record::{DecodeConfig, Settings, SettingsError};
use crate::rules::{RuleError, Rules, RulesConfig};
use crate::series::SeriesConfig;
use pulse_models::bundle::{Bundle, GroupModel};
use pulse_models::features::Group;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The part of the configuration that can change a score, an alert or an incident: it goes through the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectConfig {
    /// How events are read.
    pub decode: DecodeConfig,
    /// Rules that ship, and the user's own.
    pub rules: RulesConfig,
    /// Series and incidents.
    pub series: SeriesConfig,
    /// Alerts.
    pub budget: BudgetConfig,
    /// Lateness.
    pub time: TimeConfig,
}

/// How many alerts people want.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Notifications a day; twice as many are the hard cap.
    pub alerts_per_day: u32,
}
impl Default for BudgetConfig {
    fn default() -> Self {
        BudgetConfig { alerts_per_day: 20 }
    }
}

/// Event time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeConfig {
    /// An event older than the newest of its partition by more than this is late; milliseconds.
    pub allowed_lateness_ms: i64,
}
impl Default for TimeConfig {
    fn default() -> Self {
        TimeConfig { allowed_lateness_ms: 120_000 }
    }
}

/// Why a context cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Settings of the decoder.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// All that is in force.
pub struct Context {
    config: DetectConfig,
    settings: Settings,
    rules: Rules,
    bundle: Arc<Bundle>,
}

impl Context {
    /// Checks and compiles the configuration.
    pub fn new(
        config: DetectConfig,
        bundle: Arc<Bundle>,
        catalogue: Option<Arc<crate::enrich::catalogue::Catalogue>>,
    ) -> Result<Context, ContextError> {
        let settings = Settings::new(&config.decode, catalogue)?;
        let rules = Rules::compile(&config.rules)?;
        Ok(Context { config, settings, rules, bundle })
    }
    /// As it was given.
    pub fn config(&self) -> &DetectConfig {
        &self.config
    }
    /// For decoding.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
    /// The model of a group.
    pub fn model(&self, group: Group) -> &GroupModel {
        self.bundle.model(group)
    }
    /// The first threshold of a group, on the score's scale.
    pub fn initial_threshold(&self, group: Group) -> f64 {
        self.bundle.threshold(group)
    }
    /// `global_model@v0`
    pub fn model_version(&self) -> &str {
        &self.bundle.version
    }
    /// Notifications a day.
    pub fn budget(&self) -> u32 {
        self.config.budget.alerts_per_day
    }
}
