//! Coupons, refunds and logins used more than people use them, and robots that buy.

use super::case::{Case, Found, noun};
use super::config::RulesConfig;
use crate::record::{Direction, EntityKind, EventType, RuleHit, pair};
use pulse_models::features::Group;

/// Surprise at the thresholds.
const AT: f64 = 3.0;
/// A robot's user agent on a payment or order: also shop apps that send their library's name.
const ROBOT_BUYS: f64 = 2.5;

/// Applies the rules of this file.
pub fn apply(case: &Case<'_>, config: &RulesConfig, hits: &mut Vec<RuleHit>) {
    let event = case.event;
    // an order that is changed later uses no other coupon
    let applied = matches!(event.event_type, EventType::CouponApplied | EventType::OrderCompleted);
    if applied && event.coupon.len > 0 || event.event_type == EventType::CouponApplied {
        hits.extend(coupons(case, config));
    }
    match event.event_type.group() {
        Group::Return => hits.extend(refunds(case, config)),
        Group::Account if event.event_type == EventType::AccountLoginFailed => logins(case, config, hits),
        Group::Payment | Group::Order if event.bot => {
            let entity = Some(EntityKind::Ip);
            let found =
                Found { surprise: ROBOT_BUYS, direction: Direction::High, value: 1.0, expected: [0.0, 0.0], entity };
            hits.push(found.hit("robot_buys", "The user agent of this purchase is a robot's".to_owned()));
        }
        _ => (),
    }
}

fn coupons(case: &Case<'_>, config: &RulesConfig) -> Option<RuleHit> {
    let kinds = [
        (EntityKind::Customer, config.coupons_1d),
        (EntityKind::Device, config.coupons_1d),
        (EntityKind::Ip, config.coupons_ip_1d),
    ];
    kinds.into_iter().find_map(|(kind, threshold)| {
        let uses = u32::from(case.answer(kind)?.coupons_1d) + 1;
        (uses >= threshold).then(|| {
            let text = format!(
                "{uses} orders with a coupon, or refused ones, of this {} in a day; below {threshold} is usual",
                noun(kind)
            );
            Found::count(f64::from(uses), f64::from(threshold), AT, kind).hit("coupon_abuse", text)
        })
    })
}

fn refunds(case: &Case<'_>, config: &RulesConfig) -> Option<RuleHit> {
    let (count, threshold) = (u32::from(case.answer(EntityKind::Customer)?.refunds_30d) + 1, config.refunds_30d);
    (count >= threshold).then(|| {
        let text = format!("{count} refunds and returns of this customer in 30 days; below {threshold} is usual");
        Found::count(f64::from(count), f64::from(threshold), AT, EntityKind::Customer).hit("refund_abuse", text)
    })
}

fn logins(case: &Case<'_>, config: &RulesConfig, hits: &mut Vec<RuleHit>) {
    let kinds = [
        ("failed_logins_account", EntityKind::Customer, config.failed_logins_10m),
        ("failed_logins_source", EntityKind::Device, config.failed_logins_source_10m),
        ("failed_logins_source", EntityKind::Ip, config.failed_logins_source_10m),
    ];
    for (rule, kind, threshold) in kinds {
        let Some(answer) = case.answer(kind) else { continue };
        let failures = u32::from(answer.failures[0]) + 1;
        if failures >= threshold && hits.last().is_none_or(|hit| hit.rule != rule) {
            let text = format!("{failures} failures of this {} in 10 minutes, this failed login included", noun(kind));
            hits.push(Found::count(f64::from(failures), f64::from(threshold), AT, kind).hit(rule, text));
        }
    }
    if let Some(ip) = case.answer(EntityKind::Ip) {
        let (customers, threshold) = (u32::from(ip.distinct_1d[pair::CUSTOMER]), config.stuffing_customers);
        let failures = u32::from(ip.failures[1]) + 1;
        if customers >= threshold && failures >= threshold.div_ceil(2) {
            let text = format!(
                "Failed logins from an IP address with {customers} different customers in a day and {failures} failures in an hour"
            );
            let found = Found::count(f64::from(customers), f64::from(threshold), AT, EntityKind::Ip);
            hits.push(found.hit("credential_stuffing", text));
        }
    }
}
