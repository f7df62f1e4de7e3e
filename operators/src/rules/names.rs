//! The names that the user's rules may use: `event.*`, one root for each kind of entity, `features.*`.
//!
//! `event`: `type group source id order_id country ip_country billing_country shipping_country currency payment_method
//! payment_status coupon` (text), `amount shipping tax discount items` (numbers; `amount` in the shop's currency, the
//! others in the event's), `bot late` (true or false).
//! `customer session device card ip email`: numbers as in [`Answer`] (`count_10m ... sum_30d failures_1h ...`), before
//! this event, and `new_country new_device new_card new_customer` (true or false).
//! `features`: the columns of the feature row, and `signal_1` to `signal_4` in the order of the configuration.
//! Deliberately absent: free `properties`; they are never scored.

use super::case::Case;
use crate::record::{Answer, EntityKind, Event, NO_AMOUNT, Span, money};
use pulse_models::features::{BASE_FEATURES, COLUMNS, MAX_SIGNALS};

/// What a name stands for in one event.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// `NAN` = not available.
    Number(f64),
    /// True or false.
    Flag(bool),
    /// Empty = absent.
    Text(String),
}

/// A name, found.
#[derive(Clone, Copy)]
pub enum Name {
    /// A text of the event.
    Text(fn(&Case<'_>) -> String),
    /// A number of the event.
    Number(fn(&Event) -> f64),
    /// A flag of the event.
    Flag(fn(&Event) -> bool),
    /// A number of an entity.
    Entity(EntityKind, fn(&Answer) -> f64),
    /// A partner that is new to an entity: bit of `new_pair`.
    New(EntityKind, u8),
    /// A column of the feature row.
    Feature(usize),
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Name")
    }
}

const ROOTS: [(&str, EntityKind); 6] = [
    ("customer", EntityKind::Customer),
    ("session", EntityKind::Session),
    ("device", EntityKind::Device),
    ("card", EntityKind::Card),
    ("ip", EntityKind::Ip),
    ("email", EntityKind::Email),
];

impl Name {
    /// The name `root.field`, if there is one.
    pub fn parse(root: &str, field: &str) -> Option<Name> {
        match root {
            "event" => text(field).map(Name::Text).or(number(field).map(Name::Number)).or(flag(field).map(Name::Flag)),
            "features" => {
                let column = COLUMNS.iter().position(|column| column.0 == field);
                let signal = || field.strip_prefix("signal_")?.parse::<usize>().ok()?.checked_sub(1);
                column
                    .or_else(|| signal().filter(|at| *at < MAX_SIGNALS).map(|at| BASE_FEATURES + at))
                    .map(Name::Feature)
            }
            _ => {
                let kind = ROOTS.iter().find(|known| known.0 == root)?.1;
                let partners = ["new_country", "new_device", "new_card", "new_customer"];
                let new = partners.iter().position(|partner| *partner == field);
                new.map(|bit| Name::New(kind, bit as u8)).or(answer(field).map(|read| Name::Entity(kind, read)))
            }
        }
    }
    /// Its value for an event.
    pub fn read(&self, case: &Case<'_>) -> Read {
        match self {
            Name::Text(read) => Read::Text(read(case)),
            Name::Number(read) => Read::Number(read(case.event)),
            Name::Flag(read) => Read::Flag(read(case.event)),
            Name::Entity(kind, read) => Read::Number(case.answer(*kind).map_or(f64::NAN, read)),
            Name::New(kind, bit) => Read::Flag(case.answer(*kind).is_some_and(|own| own.new_pair >> bit & 1 == 1)),
            Name::Feature(at) => Read::Number(case.row.get(*at).map_or(f64::NAN, |value| f64::from(*value))),
        }
    }
    /// Some value of its type, to try an expression with.
    pub fn sample(&self, number: f64) -> Read {
        match self {
            Name::Text(_) => Read::Text("text".into()),
            Name::Flag(_) | Name::New(..) => Read::Flag(number > 1.0),
            Name::Number(_) | Name::Entity(..) | Name::Feature(_) => Read::Number(number),
        }
    }
}

fn span(case: &Case<'_>, span: Span) -> String {
    case.arena.get(span).to_owned()
}

fn text(field: &str) -> Option<fn(&Case<'_>) -> String> {
    Some(match field {
        "type" => |case| span(case, case.event.type_text),
        "group" => |case| case.event.event_type.group().name().to_owned(),
        "source" => |case| span(case, case.event.source),
        "id" => |case| span(case, case.event.id),
        "order_id" => |case| span(case, case.event.order_id),
        "country" => |case| case.event.country.as_str().to_owned(),
        "ip_country" => |case| case.event.ip_country.as_str().to_owned(),
        "billing_country" => |case| case.event.billing_country.as_str().to_owned(),
        "shipping_country" => |case| case.event.shipping_country.as_str().to_owned(),
        "currency" => |case| String::from_utf8_lossy(&case.event.currency).into_owned(),
        "payment_method" => |case| span(case, case.event.payment_method),
        "payment_status" => |case| span(case, case.event.payment_status),
        "coupon" => |case| span(case, case.event.coupon),
        _ => return None,
    })
}

fn major(minor: i64, exponent: u8) -> f64 {
    if minor == NO_AMOUNT { f64::NAN } else { money::major(minor, exponent) }
}

fn number(field: &str) -> Option<fn(&Event) -> f64> {
    Some(match field {
        "amount" => |event| event.amount,
        "shipping" => |event| major(event.shipping_minor, event.exponent),
        "tax" => |event| major(event.tax_minor, event.exponent),
        "discount" => |event| major(event.discount_minor, event.exponent),
        "items" => |event| f64::from(event.items_count),
        _ => return None,
    })
}

fn flag(field: &str) -> Option<fn(&Event) -> bool> {
    Some(match field {
        "bot" => |event| event.bot,
        "late" => |event| event.late,
        _ => return None,
    })
}

fn answer(field: &str) -> Option<fn(&Answer) -> f64> {
    Some(match field {
        "count_10m" => |own| f64::from(own.counts[0]),
        "count_1h" => |own| f64::from(own.counts[1]),
        "count_1d" => |own| f64::from(own.counts[2]),
        "count_7d" => |own| f64::from(own.counts[3]),
        "count_30d" => |own| f64::from(own.counts[4]),
        "sum_10m" => |own| f64::from(own.sums[0]),
        "sum_1h" => |own| f64::from(own.sums[1]),
        "sum_1d" => |own| f64::from(own.sums[2]),
        "sum_7d" => |own| f64::from(own.sums[3]),
        "sum_30d" => |own| f64::from(own.sums[4]),
        "failures_10m" => |own| f64::from(own.failures[0]),
        "failures_1h" => |own| f64::from(own.failures[1]),
        "refunds_30d" => |own| f64::from(own.refunds_30d),
        "coupons_1d" => |own| f64::from(own.coupons_1d),
        "gap_s" => |own| if own.gap_s < 0.0 { f64::NAN } else { f64::from(own.gap_s) },
        "age_s" => |own| f64::from(own.age_s),
        "amounts" => |own| f64::from(own.amounts),
        "max_amount" => |own| f64::from(own.max_amount),
        "countries_1d" => |own| f64::from(own.distinct_1d[0]),
        "devices_1d" => |own| f64::from(own.distinct_1d[1]),
        "cards_1d" => |own| f64::from(own.distinct_1d[2]),
        "customers_1d" => |own| f64::from(own.distinct_1d[3]),
        _ => return None,
    })
}
