//! What is in force while a batch flows: settings, rules, tables and model. Switched by control records, at the edge of an
//! epoch, on all workers at the same one.
//!
//! Deliberately absent: loading. Whoever makes a context has model and tables in memory already.

use crate::record::{DecodeConfig, Settings, SettingsError};
use crate::rules::{RuleError, Rules, RulesConfig};
use crate::series::{Money, SeriesBook, SeriesConfig, SeriesError};
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
    pub series: SeriesLimits,
    /// Alerts.
    pub budget: BudgetConfig,
    /// Lateness.
    pub time: TimeConfig,
}

/// When series are judged and how strictly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeriesLimits {
    /// A bucket is judged this long after its end; milliseconds.
    pub close_after_ms: i64,
    /// Decades (-log10 p) that the whole shop's series need for an incident.
    pub total_decades: f64,
    /// The same for segments, which are many.
    pub segment_decades: f64,
    /// The same for the share of failed payments of a segment; the whole shop's needs half a decade more.
    pub payments_decades: f64,
    /// Incidents a day at these thresholds; more need clearer evidence.
    pub incidents_per_day: usize,
    /// Incidents a day at most.
    pub most_incidents_per_day: usize,
    /// Segments (beside the total) whose minutes are written out.
    pub main_segments: usize,
}
impl Default for SeriesLimits {
    fn default() -> Self {
        let config = SeriesConfig::default();
        SeriesLimits {
            close_after_ms: config.close_after_ms,
            total_decades: config.total_decades,
            segment_decades: config.segment_decades,
            payments_decades: config.payments_decades,
            incidents_per_day: config.soft_budget,
            most_incidents_per_day: config.hard_budget,
            main_segments: config.main_segments,
        }
    }
}

/// All that series need to know, from several sections of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesTuning {
    limits: SeriesLimits,
    currency: [u8; 3],
    exponent: u8,
    time_zone: String,
    allowed_lateness_ms: i64,
    quiet_until_ms: i64,
}
impl SeriesTuning {
    /// What began at this time tells nobody: it is history that is only learnt from.
    pub fn is_quiet(&self, started_ms: i64) -> bool {
        started_ms < self.quiet_until_ms
    }
    /// As the series want it.
    pub fn config(&self) -> SeriesConfig {
        SeriesConfig {
            money: Money { currency: self.currency, exponent: self.exponent },
            timezone: self.time_zone.clone(),
            close_after_ms: self.limits.close_after_ms,
            allowed_lateness_ms: self.allowed_lateness_ms,
            total_decades: self.limits.total_decades,
            segment_decades: self.limits.segment_decades,
            payments_decades: self.limits.payments_decades,
            soft_budget: self.limits.incidents_per_day,
            hard_budget: self.limits.most_incidents_per_day,
            main_segments: self.limits.main_segments,
        }
    }
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
    /// Settings of the series.
    #[error(transparent)]
    Series(#[from] SeriesError),
}

/// All that is in force.
pub struct Context {
    config: DetectConfig,
    settings: Settings,
    rules: Rules,
    bundle: Arc<Bundle>,
    quiet_until_ms: i64,
}

impl Context {
    /// Checks and compiles the configuration.
    pub fn new(
        config: DetectConfig,
        bundle: Arc<Bundle>,
        catalogue: Option<Arc<crate::enrich::catalogue::Catalogue>>,
    ) -> Result<Context, ContextError> {
        let settings = Settings::new(&config.decode, catalogue)?;
        let rules = Rules::compile(&config.rules)?.in_currency(settings.currency);
        let context = Context { config, settings, rules, bundle, quiet_until_ms: i64::MIN };
        SeriesBook::new(context.tuning().config())?;
        Ok(context)
    }
    /// Events before this time, ms since the epoch, raise no alerts and no incidents.
    pub fn quiet_until(self, quiet_until_ms: i64) -> Context {
        Context { quiet_until_ms, ..self }
    }
    /// Does an event of this time raise no alert?
    pub fn is_quiet(&self, time_ms: i64) -> bool {
        time_ms < self.quiet_until_ms
    }
    /// As it was given.
    pub fn config(&self) -> &DetectConfig {
        &self.config
    }
    /// For decoding.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    /// For series.
    pub fn tuning(&self) -> SeriesTuning {
        SeriesTuning {
            limits: self.config.series.clone(),
            currency: self.settings.currency,
            exponent: self.settings.exponent,
            time_zone: self.config.decode.time_zone.clone(),
            allowed_lateness_ms: self.config.time.allowed_lateness_ms,
            quiet_until_ms: self.quiet_until_ms,
        }
    }
    /// The shop's currency.
    pub fn money(&self) -> Money {
        Money { currency: self.settings.currency, exponent: self.settings.exponent }
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
    /// Time of the newest event that the model was fitted on, ms since the epoch.
    pub fn trained_until_ms(&self) -> i64 {
        self.bundle.window_ms.1
    }
    /// Notifications a day.
    pub fn budget(&self) -> u32 {
        self.config.budget.alerts_per_day
    }
}
