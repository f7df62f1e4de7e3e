//! What decoding needs to know beside the event: the shop's currency, rates, time zone, names of extra fields, tables.
//!
//! All of it comes in as values; the configuration's part is [`DecodeConfig`].
//! Deliberately absent: reading files, rules.

use super::{MAX_EXTRA_ENTITIES, money};
use crate::enrich::catalogue::Catalogue;
use jiff::{Timestamp, tz::TimeZone};
use pulse_models::features::MAX_SIGNALS;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The configuration that decoding uses.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeConfig {
    /// Currency of events without one, and of all comparisons; ISO 4217.
    pub shop_currency: String,
    /// IANA name of the shop's time zone: hours of the day are taken in it.
    pub time_zone: String,
    /// Units of the shop's currency for one unit of another.
    pub fx: BTreeMap<String, f64>,
    /// Names in `entities` that keep running state, at most 8.
    pub extra_entities: Vec<String>,
    /// Names in `signals` that are features, at most 4.
    pub signals: Vec<String>,
    /// Look up the country of IP addresses in the registries' allocation tables.
    pub geo: bool,
    /// Write every scored event with what was looked up to `events.enriched` too.
    pub enriched: bool,
    /// Key of the hash that recognises duplicates. Another key forgets what was seen.
    pub identity_seed: u64,
}

impl Default for DecodeConfig {
    fn default() -> Self {
        DecodeConfig {
            shop_currency: "EUR".into(),
            time_zone: "UTC".into(),
            fx: BTreeMap::new(),
            extra_entities: Vec::new(),
            signals: Vec::new(),
            geo: true,
            enriched: false,
            identity_seed: 0x5075_6C73_6545_636F,
        }
    }
}

/// What is wrong with a [`DecodeConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not three letters.
    #[error("currency {0:?} is not an ISO 4217 code")]
    Currency(String),
    /// Zero, negative or not finite.
    #[error("the rate of {0} must be a positive number")]
    Rate(String),
    /// Not in the time zone database.
    #[error("time zone {0:?} is unknown")]
    Zone(String),
    /// Too many, empty or repeated.
    #[error("{0}: at most {1} different names of 1-100 characters")]
    Names(&'static str, usize),
}

/// Compiled settings, shared by all who decode.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `shop_currency`
    pub currency: [u8; 3],
    /// Its exponent.
    pub exponent: u8,
    /// Sorted by currency; the shop's own is not in it.
    rates: Vec<([u8; 3], f64)>,
    /// `[entities] extra`
    pub extra_entities: Vec<String>,
    /// `[signals] extra`
    pub signals: Vec<String>,
    /// Countries of IP addresses are looked up.
    pub geo: bool,
    /// Products, when there is a table.
    pub catalogue: Option<Arc<Catalogue>>,
    /// Key of the identity hash.
    pub identity_seed: u64,
    zone: Zone,
}

impl Default for Settings {
    /// Euro, UTC, no rates, no tables, no look-up of addresses.
    fn default() -> Self {
        let currency = *b"EUR";
        Settings {
            currency,
            exponent: money::exponent(currency),
            rates: Vec::new(),
            extra_entities: Vec::new(),
            signals: Vec::new(),
            geo: false,
            catalogue: None,
            identity_seed: DecodeConfig::default().identity_seed,
            zone: Zone::default(),
        }
    }
}

impl Settings {
    /// Checks and compiles.
    pub fn new(config: &DecodeConfig, catalogue: Option<Arc<Catalogue>>) -> Result<Settings, SettingsError> {
        let currency = |text: &str| money::currency(text).ok_or_else(|| SettingsError::Currency(text.to_owned()));
        let shop = currency(&config.shop_currency)?;
        let mut rates = Vec::with_capacity(config.fx.len());
        for (name, rate) in &config.fx {
            if !(rate.is_finite() && *rate > 0.0) {
                return Err(SettingsError::Rate(name.clone()));
            }
            rates.push((currency(name)?, *rate));
        }
        rates.sort_by_key(|rate| rate.0);
        names("extra_entities", &config.extra_entities, MAX_EXTRA_ENTITIES)?;
        names("signals", &config.signals, MAX_SIGNALS)?;
        Ok(Settings {
            currency: shop,
            exponent: money::exponent(shop),
            rates,
            extra_entities: config.extra_entities.clone(),
            signals: config.signals.clone(),
            geo: config.geo,
            catalogue,
            identity_seed: config.identity_seed,
            zone: Zone::new(&config.time_zone)?,
        })
    }
    /// Units of the shop's currency for one unit of `currency`; `None` while there is no rate.
    pub fn rate(&self, currency: [u8; 3]) -> Option<f64> {
        if currency == self.currency {
            return Some(1.0);
        }
        let at = self.rates.binary_search_by_key(&currency, |rate| rate.0).ok()?;
        self.rates.get(at).map(|rate| rate.1)
    }
    /// Hour of the day in the shop's time zone, with fraction, in [0, 24).
    pub fn hour(&self, time_ms: i64) -> f64 {
        let local_ms = time_ms + self.zone.offset_s(time_ms) * 1000;
        local_ms.rem_euclid(86_400_000) as f64 / 3_600_000.0
    }
}

fn names(what: &'static str, names: &[String], most: usize) -> Result<(), SettingsError> {
    let fine = |name: &String| !name.is_empty() && name.chars().count() <= 100;
    let repeated = names.iter().enumerate().any(|(i, name)| names.iter().take(i).any(|other| other == name));
    if names.len() > most || repeated || !names.iter().all(fine) {
        return Err(SettingsError::Names(what, most));
    }
    Ok(())
}

/// A time zone as a table: from when on which offset holds.
#[derive(Clone, Debug, Default)]
struct Zone {
    first_offset_s: i64,
    /// Second since the epoch, offset from then on; ascending.
    changes: Vec<(i64, i64)>,
}

/// The table covers years 1970 to 2069: before and after, the nearest offset holds.
const ZONE_UNTIL_S: i64 = 3_155_760_000;
/// More changes than any zone has in that time.
const MAX_CHANGES: usize = 400;

impl Zone {
    fn new(name: &str) -> Result<Zone, SettingsError> {
        let zone = TimeZone::get(name).map_err(|_| SettingsError::Zone(name.to_owned()))?;
        let changes = zone.following(Timestamp::UNIX_EPOCH).take(MAX_CHANGES);
        let changes = changes.map(|change| (change.timestamp().as_second(), i64::from(change.offset().seconds())));
        Ok(Zone {
            first_offset_s: i64::from(zone.to_offset(Timestamp::UNIX_EPOCH).seconds()),
            changes: changes.take_while(|change| change.0 < ZONE_UNTIL_S).collect(),
        })
    }
    fn offset_s(&self, time_ms: i64) -> i64 {
        let second = time_ms.div_euclid(1000);
        let behind = self.changes.partition_point(|change| change.0 <= second);
        behind.checked_sub(1).and_then(|at| self.changes.get(at)).map_or(self.first_offset_s, |change| change.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_the_shop() {
        for name in ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Africa/Casablanca"] {
            let zone = TimeZone::get(name).unwrap();
            let settings = Settings::new(&DecodeConfig { time_zone: name.into(), ..Default::default() }, None).unwrap();
            for step in 0..20_000_i64 {
                let ms = 1_000_000_000_000 + step * 53_123_457;
                let civil = Timestamp::from_millisecond(ms).unwrap().to_zoned(zone.clone());
                assert_eq!(settings.hour(ms) as i8, civil.hour(), "{name} {ms}");
            }
        }
    }

    #[test]
    fn wrong_configuration_is_refused() {
        let wrong = |change: fn(&mut DecodeConfig)| {
            let mut config = DecodeConfig::default();
            change(&mut config);
            Settings::new(&config, None).unwrap_err()
        };
        assert_eq!(wrong(|c| c.shop_currency = "EURO".into()), SettingsError::Currency("EURO".into()));
        assert_eq!(wrong(|c| c.time_zone = "Mars/Base".into()), SettingsError::Zone("Mars/Base".into()));
        assert_eq!(wrong(|c| c.fx = [("USD".into(), 0.0)].into()), SettingsError::Rate("USD".into()));
        assert_eq!(wrong(|c| c.signals = vec!["a".into(), "a".into()]), SettingsError::Names("signals", 4));
        assert_eq!(
            wrong(|c| c.extra_entities = (0..9).map(|i| i.to_string()).collect()),
            SettingsError::Names("extra_entities", 8)
        );
    }
}
