//! What can be chosen about a simulated shop. Everything else is frozen (see the table in `mod.rs`).
//!
//! Deliberately absent: where events go.

use super::geo;
use super::truth::Kind;

/// A minute, an hour, a day, ms.
pub(super) const MINUTE_MS: i64 = 60_000;
/// An hour, ms.
pub(super) const HOUR_MS: i64 = 3_600_000;
/// A day, ms.
pub(super) const DAY_MS: i64 = 86_400_000;

/// When the default shop opens: Monday 2026-01-05 00:00 UTC. Fixed, so that a seed alone gives the same bytes.
pub const DEFAULT_START_MS: i64 = 1_767_571_200_000;

/// Planted trouble: which, how often, how long.
#[derive(Clone, Debug)]
pub struct TroublePlan {
    /// Kinds that are planted.
    pub kinds: Vec<Kind>,
    /// Mean time between two episodes of one kind, ms. The gaps are 0.5 to 1.5 of it, the first at most one of it.
    pub mean_gap_ms: i64,
    /// No trouble before this long after the start, ms.
    pub quiet_ms: i64,
    /// Multiplies how long an episode lasts: 1 for history, less to see whole episodes in a short live run.
    pub stretch: f64,
    /// Metric-level trouble falls into the hours from 9 to 20 of the largest country, where there is something to see.
    pub by_day: bool,
}

impl TroublePlan {
    /// All ten kinds of trouble and all look-alikes, each every ten days on average.
    pub fn weeks() -> TroublePlan {
        TroublePlan {
            kinds: super::truth::KINDS.to_vec(),
            mean_gap_ms: 10 * DAY_MS,
            quiet_ms: 0,
            stretch: 1.0,
            by_day: true,
        }
    }

    /// The same for minutes of live traffic: each kind every ten minutes on average, a tenth as long.
    pub fn minutes() -> TroublePlan {
        TroublePlan { mean_gap_ms: 10 * MINUTE_MS, stretch: 0.1, by_day: false, ..TroublePlan::weeks() }
    }

    /// Nothing unusual at all.
    pub fn none() -> TroublePlan {
        TroublePlan { kinds: Vec::new(), ..TroublePlan::weeks() }
    }
}

/// A simulated shop.
#[derive(Clone, Debug)]
pub struct ShopConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// Time of the first events, ms since the epoch.
    pub start_ms: i64,
    /// Mean number of events a minute over a week, all sources together, without planted ones.
    pub events_per_minute: f64,
    /// Customers; 0 = so many that each comes twice a month on average, at most [`MAX_CUSTOMERS`].
    pub customers: u64,
    /// Goods in the catalogue.
    pub products: u32,
    /// Countries by ISO code with their share of the visits. Shares need not add up to 1.
    pub countries: Vec<(String, f64)>,
    /// Countries that may open later (a look-alike).
    pub later_countries: Vec<String>,
    /// ISO 4217 code of all prices.
    pub currency: String,
    /// What is planted.
    pub trouble: TroublePlan,
    /// No rhythm of day and week: a steady rate, for load.
    pub flat: bool,
    /// Moves the customers' clocks, ms: the demo puts the evening peak where it is now.
    pub clock_shift_ms: i64,
    /// Some events arrive up to two minutes late, a few later.
    pub disorder: bool,
    /// How long after an event its label becomes known, ms.
    pub label_delay_ms: i64,
}

/// Bound on the number of customers: their numbers stay short, and nobody can tell more apart.
pub const MAX_CUSTOMERS: u64 = 20_000_000;
/// Least and most events a minute that make sense: one in 100 minutes, 100,000 a second.
const EVENTS_PER_MINUTE: std::ops::RangeInclusive<f64> = 0.01..=6_000_000.0;
/// Most goods: the catalogue is held in memory.
const MAX_PRODUCTS: u32 = 1_000_000;

impl Default for ShopConfig {
    fn default() -> Self {
        let countries = [
            ("DE", 0.46),
            ("FR", 0.13),
            ("AT", 0.10),
            ("NL", 0.08),
            ("IT", 0.06),
            ("ES", 0.06),
            ("GB", 0.06),
            ("CH", 0.03),
            ("US", 0.02),
        ];
        ShopConfig {
            seed: 1,
            start_ms: DEFAULT_START_MS,
            events_per_minute: 20.0,
            customers: 0,
            products: 3000,
            countries: countries.iter().map(|(code, share)| ((*code).to_owned(), *share)).collect(),
            later_countries: ["PL", "SE", "DK", "BE", "PT"].map(str::to_owned).to_vec(),
            currency: "EUR".to_owned(),
            trouble: TroublePlan::weeks(),
            flat: false,
            clock_shift_ms: 0,
            disorder: false,
            label_delay_ms: 7 * DAY_MS,
        }
    }
}

/// A shop that cannot be.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigError {
    /// A country that the simulator has no addresses for.
    #[error("unknown country {0}: the simulator has no addresses for it")]
    UnknownCountry(String),
    /// No country with a positive share.
    #[error("no country has a positive, finite share")]
    NoCountry,
    /// Out of range.
    #[error("{name} must be within {range}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What it may be.
        range: &'static str,
    },
}

impl ShopConfig {
    /// The default shop at another size: the catalogue grows with the square root of the traffic.
    pub fn of_size(events_per_minute: f64) -> ShopConfig {
        let growth = libm::sqrt(events_per_minute.max(20.0) / 20.0);
        ShopConfig { events_per_minute, products: (3000.0 * growth).min(50_000.0) as u32, ..ShopConfig::default() }
    }

    /// Places of the countries in the table, with shares that add up to 1.
    pub(super) fn shares(&self) -> Result<Vec<(u8, f64)>, ConfigError> {
        let total: f64 = self.countries.iter().map(|(_, share)| share).sum();
        if !(total > 0.0 && total.is_finite()) || self.countries.iter().any(|(_, share)| *share < 0.0) {
            return Err(ConfigError::NoCountry);
        }
        let place = |code: &str| geo::index(code).ok_or_else(|| ConfigError::UnknownCountry(code.to_owned()));
        self.countries.iter().map(|(code, share)| Ok((place(code)?, share / total))).collect()
    }

    /// Checks what has a range.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !EVENTS_PER_MINUTE.contains(&self.events_per_minute) {
            return Err(ConfigError::Range { name: "events a minute", range: "0.01 to 6,000,000" });
        }
        if self.products == 0 || self.products > MAX_PRODUCTS {
            return Err(ConfigError::Range { name: "products", range: "1 to 1,000,000" });
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(ConfigError::Range { name: "currency", range: "the three-letter codes of ISO 4217" });
        }
        if !(self.trouble.stretch > 0.0 && self.trouble.stretch <= 10.0) || self.trouble.mean_gap_ms < MINUTE_MS {
            return Err(ConfigError::Range { name: "trouble", range: "stretch 0 to 10, gap of a minute and more" });
        }
        Ok(())
    }
}
