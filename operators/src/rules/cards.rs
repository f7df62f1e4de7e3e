//! Card testing: many cards from one device or address, many small or failing attempts.

use super::case::{Case, Found, noun};
use super::config::RulesConfig;
use crate::record::{EntityKind, RuleHit, pair};
use pulse_models::features::Group;

/// Surprise at the thresholds.
const AT: f64 = 3.0;

/// Applies the rules of this file.
pub fn apply(case: &Case<'_>, config: &RulesConfig, hits: &mut Vec<RuleHit>) {
    if !matches!(case.event.event_type.group(), Group::Payment | Group::Order) {
        return;
    }
    many_cards(case, config, hits);
    small_amounts(case, config, hits);
    if let Some(card) = case.answer(EntityKind::Card) {
        let (failures, threshold) = (u32::from(card.failures[0]), config.payment_failures_card_10m);
        if failures >= threshold {
            let text = format!("{failures} failed payments of this card in 10 minutes; below {threshold} is usual");
            let found = Found::count(f64::from(failures), f64::from(threshold), AT, EntityKind::Card);
            hits.push(found.hit("payment_failures_card", text));
        }
    }
}

/// Different cards in a day with this event's, if that is new there.
fn cards(case: &Case<'_>, kind: EntityKind) -> u32 {
    let Some(answer) = case.answer(kind) else { return 0 };
    let new = answer.new_pair >> pair::CARD & 1;
    u32::from(answer.distinct_1d[pair::CARD]) + u32::from(new)
}

fn many_cards(case: &Case<'_>, config: &RulesConfig, hits: &mut Vec<RuleHit>) {
    let (count, threshold) = (cards(case, EntityKind::Device), config.card_testing_device_cards);
    if count >= threshold {
        let text = format!("{count} different cards on this device in a day; below {threshold} is usual");
        let found = Found::count(f64::from(count), f64::from(threshold), AT, EntityKind::Device);
        hits.push(found.hit("card_testing_device", text));
    }
    let (count, threshold) = (cards(case, EntityKind::Ip), config.card_testing_ip_cards);
    let failures = case.answer(EntityKind::Ip).map_or(0, |ip| u32::from(ip.failures[1]));
    if count >= threshold && failures >= config.card_testing_ip_failures_1h {
        let text = format!(
            "{count} different cards from this IP address in a day and {failures} failures in an hour; below {threshold} cards is usual"
        );
        let found = Found::count(f64::from(count), f64::from(threshold), AT, EntityKind::Ip);
        hits.push(found.hit("card_testing_ip", text));
    }
}

fn small_amounts(case: &Case<'_>, config: &RulesConfig, hits: &mut Vec<RuleHit>) {
    let small = case.event.amount >= 0.0 && case.event.amount <= config.card_testing_small_amount;
    if !small {
        return;
    }
    let threshold = config.card_testing_small_failures_10m;
    for kind in [EntityKind::Device, EntityKind::Card] {
        let failures = case.answer(kind).map_or(0, |answer| u32::from(answer.failures[0]));
        if failures >= threshold {
            let text = format!(
                "An attempt with {:.2} {} after {failures} failures of this {} in 10 minutes",
                case.event.amount,
                case.currency,
                noun(kind)
            );
            let found = Found::count(f64::from(failures), f64::from(threshold), AT, kind);
            hits.push(found.hit("card_testing_small_amounts", text));
            return;
        }
    }
}
