//! Too many events in 10 minutes: of a card, an IP address, a device, a customer; views faster than a person makes them.

use super::case::{Case, Found, noun};
use super::config::RulesConfig;
use crate::record::{EntityKind, RuleHit};
use pulse_models::features::Group;

/// Surprise at the threshold: one event in a thousand. IP addresses are shared, so they say less.
const AT: f64 = 3.0;
const AT_SHARED: f64 = 2.0;

/// Applies the rules of this file.
pub fn apply(case: &Case<'_>, config: &RulesConfig, hits: &mut Vec<RuleHit>) {
    let group = case.event.event_type.group();
    let buys = matches!(group, Group::Payment | Group::Order);
    let acts = buys || matches!(group, Group::Cart | Group::Account);
    let table = [
        ("velocity_card_10m", EntityKind::Card, config.velocity_card_10m, AT, buys),
        ("velocity_ip_10m", EntityKind::Ip, config.velocity_ip_10m, AT_SHARED, acts),
        ("velocity_device_10m", EntityKind::Device, config.velocity_device_10m, AT, acts),
        ("velocity_customer_10m", EntityKind::Customer, config.velocity_customer_10m, AT, acts),
    ];
    for (rule, kind, threshold, at, applies) in table {
        if let (true, Some(count)) = (applies, count_10m(case, kind, threshold)) {
            let what = if kind == EntityKind::Card { "payment and order events" } else { "events" };
            let text = format!("{count} {what} of this {} in 10 minutes; below {threshold} is usual", noun(kind));
            hits.push(Found::count(f64::from(count), f64::from(threshold), at, kind).hit(rule, text));
        }
    }
    if group != Group::Browse || case.event.bot {
        return; // a crawler that says so is no trouble
    }
    let table = [
        ("bot_views_session", EntityKind::Session, config.bot_views_session_10m, AT),
        ("bot_views_ip", EntityKind::Ip, config.bot_views_ip_10m, AT_SHARED),
    ];
    for (rule, kind, threshold, at) in table {
        if let Some(count) = count_10m(case, kind, threshold) {
            let seconds = 600.0 / f64::from(count);
            let text = format!(
                "{count} events of this {} in 10 minutes, one every {seconds:.1} s, while it looks at products",
                noun(kind)
            );
            hits.push(Found::count(f64::from(count), f64::from(threshold), at, kind).hit(rule, text));
        }
    }
}

/// Events in 10 minutes with this one, when they reach the threshold.
fn count_10m(case: &Case<'_>, kind: EntityKind, threshold: u32) -> Option<u32> {
    let count = case.answer(kind)?.counts.first()?.saturating_add(1);
    (count >= threshold).then_some(count)
}
