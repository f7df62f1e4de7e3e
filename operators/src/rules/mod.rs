//! Rules: what a person would call wrong without a model, each with its own estimate of how unusual it is.
//!
//! [`config`] every threshold; [`case`] what a rule looks at; [`estimate`] from excess to surprise; then the rules by
//! theme: [`velocity`], [`cards`], [`amounts`], [`places`], [`abuse`]; [`custom`] the user's own, in CEL, with
//! [`names`].
//! Precision first: thresholds leave room for sales, offices behind one address and families on one device.
//! Deliberately absent: decisions, thresholds of scores, state.

pub mod abuse;
pub mod amounts;
pub mod cards;
pub mod case;
pub mod config;
pub mod custom;
pub mod estimate;
pub mod names;
pub mod places;
pub mod velocity;

use crate::record::{Answers, Arena, Event, EventType, RuleHit};
use case::Case;
pub use config::{CustomConfig, RulesConfig};
pub use custom::CustomRule;
use pulse_models::features::Row;

/// Names of the rules that ship, in the order in which they are applied.
pub const NAMES: [&str; 25] = [
    "velocity_card_10m",
    "velocity_ip_10m",
    "velocity_device_10m",
    "velocity_customer_10m",
    "bot_views_session",
    "bot_views_ip",
    "card_testing_device",
    "card_testing_ip",
    "card_testing_small_amounts",
    "payment_failures_card",
    "amount_vs_customer",
    "price_vs_product",
    "price_vs_catalogue",
    "totals_do_not_add_up",
    "impossible_values",
    "countries_differ",
    "new_country_and_device",
    "new_country",
    "new_device",
    "coupon_abuse",
    "refund_abuse",
    "failed_logins_account",
    "failed_logins_source",
    "credential_stuffing",
    "robot_buys",
];

/// Why rules cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// `disabled` names no rule that ships.
    #[error("rules.disabled: there is no rule {0:?}")]
    Unknown(String),
    /// A threshold that can never or always be reached.
    #[error("rules.{0} must be a positive number")]
    Threshold(&'static str),
    /// One of the user's rules.
    #[error("rules.custom {name:?}: {what}")]
    Custom {
        /// The rule's name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Checked rules, ready to be applied.
#[derive(Debug)]
pub struct Rules {
    config: RulesConfig,
    custom: Vec<CustomRule>,
    currency: String,
}

impl Rules {
    /// Checks the configuration and compiles the user's rules.
    pub fn compile(config: &RulesConfig) -> Result<Rules, RuleError> {
        config.check()?;
        if let Some(name) = config.disabled.iter().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(RuleError::Unknown(name.clone()));
        }
        Ok(Rules { config: config.clone(), custom: custom::compile(&config.custom)?, currency: "EUR".into() })
    }
    /// The shop's currency, as texts name it (EUR unless said).
    pub fn in_currency(mut self, currency: [u8; 3]) -> Rules {
        self.currency = String::from_utf8_lossy(&currency).into_owned();
        self
    }
    /// Adds the rules that fire for an event to `hits`. Returns how many of the user's rules failed in evaluation
    /// (a type that does not fit, say): to be counted, they have not fired.
    pub fn apply(&self, event: &Event, arena: &Arena, answers: &Answers, row: &Row, hits: &mut Vec<RuleHit>) -> u32 {
        if matches!(event.event_type, EventType::Heartbeat | EventType::MetricSample) {
            return 0;
        }
        let before = hits.len();
        let case = Case { event, arena, answers, row, currency: &self.currency };
        velocity::apply(&case, &self.config, hits);
        cards::apply(&case, &self.config, hits);
        amounts::apply(&case, &self.config, hits);
        places::apply(&case, &self.config, hits);
        abuse::apply(&case, &self.config, hits);
        if !self.config.disabled.is_empty() {
            let mut place = 0;
            hits.retain(|hit| {
                place += 1;
                place <= before || !self.config.disabled.contains(&hit.rule)
            });
        }
        self.custom.iter().map(|rule| u32::from(rule.apply(&case, hits).is_err())).sum()
    }
}
