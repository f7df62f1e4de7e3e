//! Every threshold of every rule, with the reason for its default.
//!
//! Counts include the event at hand. A surprise is -log10 of a p-value: 3 is one event in a thousand.

use super::RuleError;

/// `[rules]`
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// Names of rules that ship and are not to be applied.
    pub disabled: Vec<String>,
    /// Payments and orders of one card in 10 minutes. A purchase makes four events, one with three failed attempts nine, and
    /// people who run into an outage try on.
    pub velocity_card_10m: u32,
    /// Events of one IP address in 10 minutes, payments, orders, carts and accounts only. Ten people in an office make 300.
    pub velocity_ip_10m: u32,
    /// Events of one device in 10 minutes. A busy person makes 60.
    pub velocity_device_10m: u32,
    /// Events of one customer in 10 minutes, on all their devices.
    pub velocity_customer_10m: u32,
    /// Views, clicks and searches of one session in 10 minutes. One every 4 seconds for ten minutes is no person.
    pub bot_views_session_10m: u32,
    /// Events of one IP address in 10 minutes when it looks at products.
    pub bot_views_ip_10m: u32,
    /// Different cards on one device in a day. A family has two or three.
    pub card_testing_device_cards: u32,
    /// Different cards from one IP address in a day, when payments from it fail as well.
    pub card_testing_ip_cards: u32,
    /// Failures from that address in an hour: without them it is an office.
    pub card_testing_ip_failures_1h: u32,
    /// What a small amount is, in the shop's currency: card testers try with little.
    pub card_testing_small_amount: f64,
    /// Failures in 10 minutes on the device or card of a small amount.
    pub card_testing_small_failures_10m: u32,
    /// Failed payments of one card in 10 minutes. People try three times.
    pub payment_failures_card_10m: u32,
    /// Amounts that a customer must have before new ones are compared with them; a purchase gives about three.
    pub amount_min_history: u32,
    /// Deviations from the customer's own amounts (of asinh of the amount).
    pub amount_deviations: f64,
    /// Times the customer's largest amount so far that it must also be.
    pub amount_times_largest: f64,
    /// Amounts below are never far above a customer's own, in the shop's currency.
    pub amount_min: f64,
    /// Prices that a product must have before new ones are compared with them.
    pub price_min_history: u32,
    /// Factor between a price and the product's usual or catalogue price. A clearance sale goes to a third.
    pub price_factor: f64,
    /// Share of the amount by which the parts may miss it: rounding by line, tips, gift wrapping.
    pub totals_tolerance_share: f64,
    /// The same in the currency's major units; the larger of both counts.
    pub totals_tolerance: f64,
    /// Events in 30 days that a customer must have before a country or device is new to them.
    pub new_pair_min_events: u32,
    /// Days since a customer's first event before a country or device is new to them.
    pub new_pair_min_days: f64,
    /// Orders with a coupon (and refused coupons) of one customer or device in a day. A family may have three.
    pub coupons_1d: u32,
    /// The same from one IP address: an office shares it.
    pub coupons_ip_1d: u32,
    /// Refunds and returns of one customer in 30 days.
    pub refunds_30d: u32,
    /// Failed logins of one customer in 10 minutes. People try four times, then ask for a new password.
    pub failed_logins_10m: u32,
    /// Failures of one device or IP address in 10 minutes, at a failed login.
    pub failed_logins_source_10m: u32,
    /// Different customers from one IP address in a day at a failed login, with half as many failures in an hour.
    pub stuffing_customers: u32,
    /// The user's own rules.
    pub custom: Vec<CustomConfig>,
}

impl Default for RulesConfig {
    fn default() -> Self {
        RulesConfig {
            disabled: Vec::new(),
            velocity_card_10m: 16,
            velocity_ip_10m: 400,
            velocity_device_10m: 150,
            velocity_customer_10m: 150,
            bot_views_session_10m: 150,
            bot_views_ip_10m: 800,
            card_testing_device_cards: 5,
            card_testing_ip_cards: 8,
            card_testing_ip_failures_1h: 6,
            card_testing_small_amount: 5.0,
            card_testing_small_failures_10m: 4,
            payment_failures_card_10m: 5,
            amount_min_history: 9,
            amount_deviations: 3.5,
            amount_times_largest: 2.0,
            amount_min: 100.0,
            price_min_history: 10,
            price_factor: 3.5,
            totals_tolerance_share: 0.02,
            totals_tolerance: 1.0,
            new_pair_min_events: 20,
            new_pair_min_days: 7.0,
            coupons_1d: 4,
            coupons_ip_1d: 12,
            refunds_30d: 8,
            failed_logins_10m: 6,
            failed_logins_source_10m: 20,
            stuffing_customers: 15,
            custom: Vec::new(),
        }
    }
}

impl RulesConfig {
    /// Every threshold must be positive and finite.
    pub(super) fn check(&self) -> Result<(), RuleError> {
        let counts = [
            ("velocity_card_10m", self.velocity_card_10m),
            ("velocity_ip_10m", self.velocity_ip_10m),
            ("velocity_device_10m", self.velocity_device_10m),
            ("velocity_customer_10m", self.velocity_customer_10m),
            ("bot_views_session_10m", self.bot_views_session_10m),
            ("bot_views_ip_10m", self.bot_views_ip_10m),
            ("card_testing_device_cards", self.card_testing_device_cards),
            ("card_testing_ip_cards", self.card_testing_ip_cards),
            ("card_testing_ip_failures_1h", self.card_testing_ip_failures_1h),
            ("card_testing_small_failures_10m", self.card_testing_small_failures_10m),
            ("payment_failures_card_10m", self.payment_failures_card_10m),
            ("amount_min_history", self.amount_min_history),
            ("price_min_history", self.price_min_history),
            ("new_pair_min_events", self.new_pair_min_events),
            ("coupons_1d", self.coupons_1d),
            ("coupons_ip_1d", self.coupons_ip_1d),
            ("refunds_30d", self.refunds_30d),
            ("failed_logins_10m", self.failed_logins_10m),
            ("failed_logins_source_10m", self.failed_logins_source_10m),
            ("stuffing_customers", self.stuffing_customers),
        ];
        let numbers = [
            ("card_testing_small_amount", self.card_testing_small_amount),
            ("amount_deviations", self.amount_deviations),
            ("amount_times_largest", self.amount_times_largest),
            ("amount_min", self.amount_min),
            ("price_factor", self.price_factor - 1.0),
            ("totals_tolerance_share", self.totals_tolerance_share),
            ("totals_tolerance", self.totals_tolerance),
            ("new_pair_min_days", self.new_pair_min_days),
        ];
        let mut all = counts.into_iter().map(|(name, count)| (name, f64::from(count))).chain(numbers);
        match all.find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            Some((name, _)) => Err(RuleError::Threshold(name)),
            None => Ok(()),
        }
    }
}

/// `[[rules.custom]]`
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomConfig {
    /// Stable name: lower-case letters, digits and `_`, none of those that ship.
    pub name: String,
    /// CEL expression that is true when the rule fires.
    pub when: String,
    /// Groups of event types that it looks at (`payment`, `order`, ...); empty = all.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Event types that it looks at; empty = all.
    #[serde(default)]
    pub types: Vec<String>,
    /// -log10 of how rare it is, in (0, 6].
    #[serde(default = "default_surprise")]
    pub surprise: f64,
    /// The sentence for a person.
    pub text: String,
}

fn default_surprise() -> f64 {
    3.0
}
