//! Configuration: defaults, then a TOML file, then the environment (`PULSE__SECTION__KEY`). An unknown key is an error.
//!
//! [`sections`] are the parts that have no owner elsewhere; the others are the structs of the parts that use them. [`keys`]
//! finds unknown keys, [`changes`] what differs between two, [`properties`] are those of libraries. Every key, with its default and meaning, stands in `config/default.toml`, held to it by a test.
//! Deliberately absent: settings made at run time (destinations, snoozes, keys); those live in the store.

pub mod changes;
mod keys;
pub mod properties;
pub mod sections;
#[cfg(test)]
mod tests;

pub use sections::{
    ClusterConfig, DataConfig, EnrichConfig, EntitiesConfig, GatewaySection, LogConfig, LogFormat, LogKind,
    RetentionConfig, ShopConfig, SidecarConfig, SignalsConfig, StoreConfig, StoreKind, TelemetryConfig, WorkersConfig,
};

use crate::deliver::config::DeliverConfig;
use crate::engine::objects::ObjectsConfig;
use crate::export::ExportConfig;
use crate::gateway::SourcesConfig;
use crate::log::which::Brokers;
use crate::privacy::PrivacyConfig;
use crate::retrain::RetrainConfig;
use crate::sidecar::KpiTargets;
use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use figment::value::Value;
use jiff::tz::TimeZone;
use pulse_operators::context::{BudgetConfig, DetectConfig, SeriesLimits, TimeConfig};
use pulse_operators::record::{DecodeConfig, Settings};
use pulse_operators::rules::{Rules, RulesConfig};
use pulse_operators::series::{SeriesBook, SeriesConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The commented file that `pulse config init` writes.
pub const TEMPLATE: &str = include_str!("../../config/default.toml");
/// What environment variables of the configuration begin with.
pub const ENV_PREFIX: &str = "PULSE__";

/// The whole configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `[shop]`
    pub shop: ShopConfig,
    /// `[data]`
    pub data: DataConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[objects]`
    pub objects: ObjectsConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[gateway]`
    pub gateway: GatewaySection,
    /// `[sources]`
    pub sources: SourcesConfig,
    /// `[privacy]`
    pub privacy: PrivacyConfig,
    /// `[sidecar]`
    pub sidecar: SidecarConfig,
    /// `[workers]`
    pub workers: WorkersConfig,
    /// `[cluster]`
    pub cluster: ClusterConfig,
    /// `[entities]`
    pub entities: EntitiesConfig,
    /// `[signals]`
    pub signals: SignalsConfig,
    /// `[fx]`: units of the shop's currency for one unit of another.
    pub fx: BTreeMap<String, f64>,
    /// `[enrich]`
    pub enrich: EnrichConfig,
    /// `[time]`
    pub time: TimeConfig,
    /// `[rules]`
    pub rules: RulesConfig,
    /// `[series]`
    pub series: SeriesLimits,
    /// `[budget]`
    pub budget: BudgetConfig,
    /// `[retrain]`
    pub retrain: RetrainConfig,
    /// `[webhooks]`
    pub webhooks: DeliverConfig,
    /// `[export]`
    pub export: ExportConfig,
    /// `[retention]`
    pub retention: RetentionConfig,
    /// `[kpi]`
    pub kpi: KpiTargets,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// What was given, to see what changes.
    #[serde(skip)]
    given: changes::Given,
}

/// What is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    File(String, String),
    /// The file is no TOML, or a value is of the wrong kind.
    #[error("{place}: {message}")]
    Value {
        /// Key as `section.key`, or the file.
        place: String,
        /// What is expected.
        message: String,
    },
    /// A key that nothing reads.
    #[error("unknown key `{key}`; {known}")]
    Unknown {
        /// As `section.key`.
        key: String,
        /// The keys that stand there.
        known: String,
    },
    /// A value that cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Reads `file` (none: defaults only) and the process's environment, and checks everything.
    pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
        let text = match file {
            Some(path) => {
                let failed = |e: std::io::Error| ConfigError::File(path.display().to_string(), e.to_string());
                Some((path.display().to_string(), std::fs::read_to_string(path).map_err(failed)?))
            }
            None => None,
        };
        // a value that is no UTF-8 cannot be meant: it reads as something that no key takes
        let variables = std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into(), v.to_string_lossy().into()));
        Config::read(text.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), variables)
    }

    /// The same from values: name and text of the file, and environment variables, of which the others are left alone.
    pub fn read(
        file: Option<(&str, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let name = file.map_or("", |(name, _)| name);
        let mut given = Figment::new();
        if let Some((_, text)) = file {
            given = given.merge(Toml::string(text));
        }
        for (variable, value) in variables {
            let Some(key) = variable.strip_prefix(ENV_PREFIX) else { continue };
            let value: Value = value.parse().unwrap_or_else(|never| match never {});
            given = given.merge(Serialized::default(&env_key(key), value));
        }
        let known = serde_json::to_value(Config::default()).map_err(|e| ConfigError::Invalid(e.to_string()))?;
        let values = given.extract::<Value>().map_err(|e| wrong(name, &e))?;
        keys::check(&values, &known)?;
        let mut config: Config = given.extract().map_err(|e| wrong(name, &e))?;
        config.given = changes::given(&values);
        config.check()?;
        Ok(config)
    }

    /// The part that can change a score, an alert or an incident: it goes through the log.
    pub fn detect(&self) -> DetectConfig {
        DetectConfig {
            decode: DecodeConfig {
                shop_currency: self.shop.currency.clone(),
                time_zone: self.shop.timezone.clone(),
                fx: self.fx.clone(),
                extra_entities: self.entities.extra.clone(),
                signals: self.signals.extra.clone(),
                geo: self.enrich.geo,
                enriched: self.enrich.topic,
                ..DecodeConfig::default()
            },
            rules: self.rules.clone(),
            series: self.series.clone(),
            budget: self.budget.clone(),
            time: self.time.clone(),
        }
    }

    /// File with the shop's products, if one is named.
    pub fn catalogue(&self) -> Option<PathBuf> {
        let path = &self.enrich.catalogue;
        (!path.as_os_str().is_empty()).then(|| path.clone())
    }

    /// The shop's time zone.
    pub fn zone(&self) -> Result<TimeZone, ConfigError> {
        TimeZone::get(&self.shop.timezone).map_err(|e| ConfigError::Invalid(format!("shop.timezone: {e}")))
    }

    /// The brokers that keep the log, if it is not a file.
    pub fn brokers(&self) -> Option<Brokers> {
        (self.log.kind == LogKind::Kafka).then(|| Brokers {
            brokers: self.log.brokers.clone(),
            config: self.log.kafka.clone(),
            keep_ms: i64::from(self.retention.raw_days.max(self.retention.scored_days)) * 86_400_000,
            accept_gap: false,
        })
    }

    /// Checks what can be checked without files and networks; the first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: String| ConfigError::Invalid(text);
        let detect = self.detect();
        Settings::new(&detect.decode, None).map_err(|e| invalid(e.to_string()))?;
        Rules::compile(&detect.rules).map_err(|e| invalid(format!("rules: {e}")))?;
        let series = SeriesConfig {
            timezone: self.shop.timezone.clone(),
            allowed_lateness_ms: self.time.allowed_lateness_ms,
            ..SeriesConfig::default()
        };
        SeriesBook::new(series).map_err(|e| invalid(format!("series: {e}")))?;
        self.retrain.check().map_err(invalid)?;
        self.sources.check().map_err(invalid)?;
        self.privacy.check().map_err(invalid)?;
        self.webhooks.check().map_err(|e| invalid(e.to_string()))?;
        self.export.check().map_err(invalid)?;
        sections::check(self).map_err(invalid)
    }

    /// As TOML; secrets are hidden by their own types.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|e| ConfigError::Invalid(e.to_string()))
    }
}

/// `SECTION__KEY` as `section.key`; names of currencies stay in capitals.
fn env_key(key: &str) -> String {
    match key.split_once("__") {
        Some((section, rest)) if section.eq_ignore_ascii_case("fx") => format!("fx.{rest}"),
        _ => key.to_ascii_lowercase().replace("__", "."),
    }
}

/// What people call what a program calls a type.
fn in_words(expected: &str) -> String {
    match expected {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number, not negative".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" | "bool" => "true or false".into(),
        "a string" | "str" | "string" => "a text in quotes".into(),
        other if other.starts_with("struct ") => "a section with keys of its own".into(),
        other => other.into(),
    }
}

/// The reader of TOML shows the line that it could not read, which may hold a secret.
fn without_text(message: &str) -> String {
    let shows = |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    message.lines().filter(|line| !shows(line)).collect::<Vec<_>>().join(": ")
}

/// Says where, and what was expected; the value itself may be a secret and is left out.
fn wrong(file: &str, error: &figment::Error) -> ConfigError {
    use figment::error::Kind;
    let message = match &error.kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) | Kind::InvalidLength(_, expected) => {
            format!("must be {}", in_words(&expected.to_string()))
        }
        Kind::UnknownVariant(_, variants) => format!("must be one of {}", variants.join(", ")),
        Kind::Unsupported(_) | Kind::UnsupportedKey(..) => "cannot be given like that".into(),
        other => without_text(&other.to_string()),
    };
    let place = if error.path.is_empty() { file.to_owned() } else { error.path.join(".") };
    ConfigError::Value { place, message }
}
