//! Amounts and prices: far from the customer's or product's own, parts that do not add up, values that cannot be.

use super::case::{Case, Found};
use super::config::RulesConfig;
use super::estimate;
use crate::features::{
    EVENTS_OF_A_PURCHASE, LEAST_DEVIATION, PRIOR_DEVIATION, PRIOR_STRENGTH, catalogue_ratio, goods_minor, products,
};
use crate::record::{Answer, Direction, EntityKind, EventType, NO_AMOUNT, RuleHit, money};
use pulse_models::features::Group;

/// Surprise of an amount or price at its threshold.
const AT: f64 = 2.5;
/// Surprise of parts that miss the whole by exactly the tolerance.
const AT_TOTALS: f64 = 1.5;
/// Surprise of a value that cannot be: most likely a fault, so rare that only the scale's end lies above.
const IMPOSSIBLE: f64 = 5.0;
/// Amounts beyond are refused when decoding, so this is the end of what can be.
const LARGEST: f64 = 1e13;
/// Smallest spread of asinh(price) that is believed of a product: list prices never vary, coupons and rounding do.
const LEAST_PRICE_DEVIATION: f64 = crate::features::LEAST_PRICE_DEVIATION as f64;
/// Applies the rules of this file.
pub fn apply(case: &Case<'_>, config: &RulesConfig, hits: &mut Vec<RuleHit>) {
    let group = case.event.event_type.group();
    if matches!(group, Group::Payment | Group::Order) {
        hits.extend(amount_vs_customer(case, config));
    }
    if matches!(group, Group::Browse | Group::Cart | Group::Order) {
        hits.extend(price_vs_product(case, config));
        hits.extend(price_vs_catalogue(case, config));
    }
    if case.event.event_type == EventType::OrderCompleted {
        hits.extend(totals(case, config));
    }
    hits.extend(impossible(case));
}

/// What is usual for an entity: mean of asinh +- two deviations, back in currency.
fn usual(own: &Answer, deviation: f64) -> [f64; 2] {
    let mean = f64::from(own.mean);
    [libm::sinh(mean - 2.0 * deviation).max(0.0), libm::sinh(mean + 2.0 * deviation)]
}

fn amount_vs_customer(case: &Case<'_>, config: &RulesConfig) -> Option<RuleHit> {
    let own = case.answer(EntityKind::Customer)?;
    let amount = case.event.amount;
    let largest = f64::from(own.max_amount);
    if own.amounts < config.amount_min_history
        || amount.is_nan()
        || amount < config.amount_min.max(config.amount_times_largest * largest)
    {
        return None;
    }
    // few amounts understate the spread, and a purchase gives several of them
    let purchases = f64::from(own.amounts) / f64::from(EVENTS_OF_A_PURCHASE);
    let (least, prior) = (f64::from(own.deviation.max(LEAST_DEVIATION * 2.5)), f64::from(PRIOR_DEVIATION));
    let strength = f64::from(PRIOR_STRENGTH);
    let deviation = ((purchases * least * least + strength * prior * prior) / (purchases + strength)).sqrt();
    let units = (libm::asinh(amount) - f64::from(own.mean)) / deviation;
    if units < config.amount_deviations {
        return None;
    }
    let expected = usual(own, least);
    let text = format!(
        "Amount {amount:.2} {} is far above this customer's usual {:.0}-{:.0} (largest of {} so far: {largest:.2})",
        case.currency, expected[0], expected[1], own.amounts
    );
    let surprise = estimate::deviation(units, config.amount_deviations, AT);
    let found =
        Found { surprise, direction: Direction::High, value: amount, expected, entity: Some(EntityKind::Customer) };
    Some(found.hit("amount_vs_customer", text))
}

/// The item whose price is the most times away from what is usual for it.
fn price_vs_product(case: &Case<'_>, config: &RulesConfig) -> Option<RuleHit> {
    let limit = libm::log(config.price_factor);
    let known = products(case.event, case.arena, case.answers)
        .filter(|(item, own)| own.amounts >= config.price_min_history && item.price >= 0.0);
    let far = known.map(|(item, own)| (libm::asinh(item.price) - f64::from(own.mean), item, own));
    let (off, item, own) = far.max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()))?;
    let deviation = f64::from(own.deviation).max(LEAST_PRICE_DEVIATION);
    if off.abs() < limit || off.abs() < 3.0 * deviation {
        return None;
    }
    let (direction, word) = if off > 0.0 { (Direction::High, "above") } else { (Direction::Low, "below") };
    let expected = usual(own, deviation);
    let text = format!(
        "Price {:.2} {} of product {} is {:.1} times {word} its usual {:.2} ({} prices seen)",
        item.price,
        case.currency,
        case.arena.get(item.product_id),
        libm::exp(off.abs()),
        libm::sinh(f64::from(own.mean)),
        own.amounts
    );
    let surprise = estimate::excess(off.abs(), limit, AT);
    let found = Found { surprise, direction, value: item.price, expected, entity: Some(EntityKind::Product) };
    Some(found.hit("price_vs_product", text))
}

fn price_vs_catalogue(case: &Case<'_>, config: &RulesConfig) -> Option<RuleHit> {
    let limit = libm::log(config.price_factor);
    let items = case.arena.items(case.event).iter().map(|item| (catalogue_ratio(item), item));
    let far = items.filter(|(ratio, _)| ratio.abs() >= limit);
    let (ratio, item) = far.max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()))?;
    let direction = if ratio > 0.0 { Direction::High } else { Direction::Low };
    let text = format!(
        "Price {:.2} {} of product {}; the catalogue says {:.2}",
        item.price,
        case.currency,
        case.arena.get(item.product_id),
        item.catalogue_price
    );
    let surprise = estimate::excess(ratio.abs(), limit, AT);
    let expected = [item.catalogue_price / config.price_factor, item.catalogue_price * config.price_factor];
    let found = Found { surprise, direction, value: item.price, expected, entity: Some(EntityKind::Product) };
    Some(found.hit("price_vs_catalogue", text))
}

/// Goods, shipping and tax less discount against the amount, where all are given; tax may be in the prices already.
fn totals(case: &Case<'_>, config: &RulesConfig) -> Option<RuleHit> {
    let event = case.event;
    let given = [event.amount_minor, event.shipping_minor, event.tax_minor, event.discount_minor];
    let quantities = case.arena.items(event).iter().all(|item| !item.quantity.is_nan());
    if given.contains(&NO_AMOUNT) || !quantities {
        return None;
    }
    let [amount, shipping, tax, discount] = given.map(|minor| minor as f64);
    let inclusive = goods_minor(event, case.arena)? + shipping - discount;
    let exclusive = inclusive + tax;
    let nearer = if (amount - inclusive).abs() < (amount - exclusive).abs() { inclusive } else { exclusive };
    let unit = 1.0 / money::major(1, event.exponent);
    let tolerance = (config.totals_tolerance * unit).max(config.totals_tolerance_share * amount.abs());
    let off = (amount - nearer).abs();
    if off <= tolerance {
        return None;
    }
    let shown = |minor: f64| minor / unit;
    let currency = String::from_utf8_lossy(&event.currency);
    let text =
        format!("Amount {:.2} {currency}, but its parts add up to {:.2} {currency}", shown(amount), shown(nearer));
    let found = Found {
        surprise: estimate::excess(off, tolerance, AT_TOTALS),
        direction: if amount > nearer { Direction::High } else { Direction::Low },
        value: shown(amount),
        expected: [shown(nearer - tolerance), shown(nearer + tolerance)],
        entity: None,
    };
    Some(found.hit("totals_do_not_add_up", text))
}

/// The first value that cannot be. Returns, cancellations and corrections may have negative ones.
fn impossible(case: &Case<'_>) -> Option<RuleHit> {
    use EventType::{OrderCancelled, OrderUpdated};
    let event = case.event;
    if event.event_type.group() == Group::Return || matches!(event.event_type, OrderCancelled | OrderUpdated) {
        return None;
    }
    let (what, value, least, most) = negative(case).or_else(|| excessive_discount(case))?;
    let direction = if value < least { Direction::Low } else { Direction::High };
    let text = format!("{what} {value} cannot be: it must be {least} to {most}");
    let found = Found { surprise: IMPOSSIBLE, direction, value, expected: [least, most], entity: None };
    Some(found.hit("impossible_values", text))
}

/// What, its value, the least and the most that can be.
type Limits = (&'static str, f64, f64, f64);

fn negative(case: &Case<'_>) -> Option<Limits> {
    let event = case.event;
    let fields = [
        ("Amount", event.amount_minor),
        ("Shipping", event.shipping_minor),
        ("Tax", event.tax_minor),
        ("Discount", event.discount_minor),
    ];
    let items = case.arena.items(event);
    let prices = items.iter().map(|item| ("Item price", item.price_minor));
    let mut amounts = fields.into_iter().chain(prices);
    let amount = amounts.find(|(_, minor)| *minor != NO_AMOUNT && *minor < 0);
    let quantity =
        || items.iter().find(|item| item.quantity < 0.0 || (item.quantity == 0.0 && item.price_minor != NO_AMOUNT));
    amount
        .map(|(what, minor)| (what, money::major(minor, event.exponent), 0.0, LARGEST))
        .or_else(|| quantity().map(|item| ("Quantity", item.quantity, 1.0, LARGEST)))
}

/// More discount than goods and shipping.
fn excessive_discount(case: &Case<'_>) -> Option<Limits> {
    let event = case.event;
    let shipping = if event.shipping_minor == NO_AMOUNT { 0 } else { event.shipping_minor };
    let whole = goods_minor(event, case.arena)? + shipping as f64;
    let scale = money::major(1, event.exponent);
    let beyond = event.discount_minor != NO_AMOUNT && event.discount_minor as f64 > whole + 1.0;
    beyond.then(|| ("Discount", money::major(event.discount_minor, event.exponent), 0.0, whole * scale))
}
