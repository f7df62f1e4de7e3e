//! Countries that do not fit, and countries and devices that are new to a customer with a history.

use super::case::{Case, Found};
use super::config::RulesConfig;
use crate::record::{Direction, EntityKind, EventType, RuleHit, pair};
use pulse_models::features::Group;

/// Three different countries in one purchase: about one in three hundred, presents sent from abroad included.
const ALL_DIFFER: f64 = 2.5;
/// A new country and a new device at once: what a taken-over account looks like, and a new phone on holiday.
const BOTH_NEW: f64 = 3.0;
/// Holidays.
const COUNTRY_NEW: f64 = 1.3;
/// A new phone.
const DEVICE_NEW: f64 = 1.0;

/// Applies the rules of this file.
pub fn apply(case: &Case<'_>, config: &RulesConfig, hits: &mut Vec<RuleHit>) {
    let event = case.event;
    let buys = matches!(event.event_type.group(), Group::Payment | Group::Order);
    let [ip, billing, shipping] = [event.ip_country, event.billing_country, event.shipping_country];
    let known = ip.known() && billing.known() && shipping.known();
    if buys && known && ip != billing && ip != shipping && billing != shipping {
        let found =
            Found { surprise: ALL_DIFFER, direction: Direction::High, value: 3.0, expected: [1.0, 2.0], entity: None };
        let (ip, billing, shipping) = (ip.as_str(), billing.as_str(), shipping.as_str());
        let text =
            format!("IP address in {ip}, billing in {billing}, shipping to {shipping}: three different countries");
        hits.push(found.hit("countries_differ", text));
    }
    if buys || event.event_type == EventType::AccountLogin {
        hits.extend(new_pair(case, config));
    }
}

fn new_pair(case: &Case<'_>, config: &RulesConfig) -> Option<RuleHit> {
    let own = case.answer(EntityKind::Customer)?;
    let events = *own.counts.last()?;
    let days = f64::from(own.age_s) / 86_400.0;
    if events < config.new_pair_min_events || days < config.new_pair_min_days {
        return None;
    }
    let new = |place: usize| own.new_pair >> place & 1 == 1;
    let country = case.event.country.as_str();
    let (rule, surprise, what) = match (new(pair::COUNTRY), new(pair::DEVICE)) {
        (true, true) => ("new_country_and_device", BOTH_NEW, format!("country {country} and a device, both")),
        (true, false) => ("new_country", COUNTRY_NEW, format!("country {country},")),
        (false, true) => ("new_device", DEVICE_NEW, "a device".to_owned()),
        (false, false) => return None,
    };
    let text = format!("This customer comes with {what} not seen in their {events} events of 30 days");
    let entity = Some(EntityKind::Customer);
    let found = Found { surprise, direction: Direction::New, value: 1.0, expected: [0.0, 0.0], entity };
    Some(found.hit(rule, text))
}
