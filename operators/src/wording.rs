//! What the model found, in words: `Failed payments ... in an hour: 6, usually none`.
//!
//! A number is told in the units a person thinks in. What does not stand out once it is told like that is no reason: one
//! event where 0.1 is usual, say. Deliberately absent: what is found, and in which order.

use crate::record::{Direction, Reason};
use pulse_models::explain::{Direction as Found, Reason as Finding};
use pulse_models::features::{self as columns, COLUMNS};

/// Code of an event that is rare as a whole though no value of it is.
pub const COMBINATION: &str = "combination";

/// How a column's numbers are told.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Count,
    Money,
    Share,
    Seconds,
    Hour,
    Deviations,
    Flag,
    Plain,
}

fn unit(column: usize) -> Unit {
    match column {
        columns::AMOUNT | columns::MAX_PRICE => Unit::Money,
        columns::DISCOUNT_SHARE | columns::SHIPPING_SHARE => Unit::Share,
        columns::CUSTOMER_GAP | columns::SESSION_GAP => Unit::Seconds,
        columns::HOUR => Unit::Hour,
        columns::BOT => Unit::Flag,
        columns::AMOUNT_VS_CUSTOMER | columns::AMOUNT_VS_CARD | columns::PRICE_VS_PRODUCT | columns::EXTRA_VALUE => {
            Unit::Deviations
        }
        columns::CATALOGUE_RATIO => Unit::Plain,
        column if column < COLUMNS.len() => Unit::Count,
        _ => Unit::Plain,
    }
}

/// Deviations that are worth a word: one or so is what everybody has.
const WORTH_TELLING: f64 = 2.0;

/// A number for a person: as few digits as tell it.
pub fn short(x: f64) -> String {
    if x == x.trunc() && x.abs() < 1e9 { format!("{x:.0}") } else { format!("{x:.2}") }
}

fn duration(seconds: f64) -> String {
    let (n, unit) = match seconds {
        s if s < 120.0 => (s, "second"),
        s if s < 7200.0 => (s / 60.0, "minute"),
        s if s < 172_800.0 => (s / 3600.0, "hour"),
        s => (s / 86_400.0, "day"),
    };
    let n = n.round();
    format!("{n:.0} {unit}{}", if n == 1.0 { "" } else { "s" })
}

fn told(unit: Unit, x: f64) -> String {
    match unit {
        Unit::Seconds => duration(x),
        Unit::Share => format!("{:.0} %", 100.0 * x),
        Unit::Hour => format!("{:02}:{:02}", x as i64, ((x - x.trunc()) * 60.0) as i64),
        _ => short(x),
    }
}

/// Where nine in ten lie, as far as such a number can be.
fn expected(unit: Unit, [low, high]: [f64; 2]) -> [f64; 2] {
    match unit {
        Unit::Count => [low.floor().max(0.0), (high - 0.05).ceil().max(0.0)],
        Unit::Hour => [low.clamp(0.0, 24.0), high.clamp(0.0, 24.0)],
        Unit::Deviations | Unit::Plain => [low, high],
        _ => [low.max(0.0), high.max(0.0)],
    }
}

fn usual(unit: Unit, [low, high]: [f64; 2]) -> String {
    let (least, most) = (told(unit, low), told(unit, high));
    match unit {
        Unit::Flag => "usually not".into(),
        Unit::Count if high <= 0.0 => "usually none".into(),
        Unit::Count if low <= 0.0 => format!("usually {most} at most"),
        _ if least == most => format!("usually {most}"),
        _ => format!("usually {least} to {most}"),
    }
}

/// A finding as a reason with this share of it; `None` when it does not stand out as a person is told it.
pub fn reason(found: &Finding, share: f64) -> Option<Reason> {
    let (code, text) = COLUMNS.get(found.column).copied().unwrap_or(("signal", "Signal of your own"));
    let unit = unit(found.column);
    let value = f64::from(found.value);
    let expected = expected(unit, found.expected.map(f64::from));
    let direction = match found.direction {
        Found::High => Direction::High,
        Found::Low => Direction::Low,
        Found::New => Direction::New,
        Found::Missing => Direction::Missing,
    };
    // fewer failures than such a busy customer would have is no news
    let harmless = match unit {
        Unit::Count => value < expected[0],
        Unit::Deviations => value.abs() < WORTH_TELLING,
        _ => false,
    };
    let inside = (expected[0]..=expected[1]).contains(&value);
    if harmless || inside || told(unit, value) == told(unit, expected[usize::from(value > expected[1])]) {
        return None;
    }
    let text = match unit {
        Unit::Deviations => {
            let side = if value > expected[1] { "above" } else { "below" };
            format!("{text}: {:.1} deviations {side} what is usual there", value.abs())
        }
        _ => format!("{text}: {}, {}", told(unit, value), usual(unit, expected)),
    };
    let contribution = share * found.contribution;
    let (value, expected) = (shortest(value), expected.map(shortest));
    Some(Reason { code: code.to_owned(), text, direction, value, expected, contribution })
}

/// The decimal number that a person would write for a value that was kept in 32 bits: 49.9, not 49.900001525878906.
fn shortest(value: f64) -> f64 {
    let narrow = value as f32;
    if f64::from(narrow) == value { narrow.to_string().parse().unwrap_or(value) } else { value }
}

/// The reason of an event whose values are ordinary one by one; `surprise`: -log10 p.
pub fn combination(surprise: f64) -> Reason {
    let rare = libm::exp10(surprise.clamp(0.0, 6.0));
    let digits = libm::exp10((libm::log10(rare).floor() - 1.0).max(0.0));
    let text = format!(
        "No value stands out by itself; together they are met once in {:.0} events",
        (rare / digits).round() * digits
    );
    let expected = [f64::NAN; 2];
    Reason { code: COMBINATION.into(), text, direction: Direction::High, value: surprise, expected, contribution: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(column: usize, value: f32, expected: [f32; 2], direction: Found) -> Option<String> {
        reason(&Finding { column, direction, value, expected, contribution: 1.0 }, 1.0).map(|reason| reason.text)
    }

    #[test]
    fn numbers_are_told_as_people_think_of_them() {
        let text = said(columns::FAILURES_1H, 6.0, [0.0, 0.0], Found::High).unwrap();
        assert!(text.ends_with("card or IP address: 6, usually none"), "{text}");
        let text = said(columns::CUSTOMER_1D, 57.0, [0.0, 15.2], Found::High).unwrap();
        assert!(text.ends_with(": 57, usually 16 at most"), "{text}");
        let text = said(columns::CUSTOMER_GAP, 306_383.7, [15.7, 94_251.5], Found::High).unwrap();
        assert!(text.ends_with(": 4 days, usually 16 seconds to 26 hours"), "{text}");
        let text = said(columns::DISCOUNT_SHARE, 0.75, [0.0, 0.2], Found::High).unwrap();
        assert!(text.ends_with(": 75 %, usually 0 % to 20 %"), "{text}");
        let text = said(columns::PRICE_VS_PRODUCT, -4.2, [-0.1, 0.1], Found::Low).unwrap();
        assert!(text.ends_with(": 4.2 deviations below what is usual there"), "{text}");
    }

    #[test]
    fn what_does_not_stand_out_is_no_reason() {
        assert_eq!(said(columns::COUPONS_1D, 1.0, [0.02, 0.1], Found::High), None);
        assert_eq!(said(columns::CUSTOMER_NEW_PAIRS, 0.0, [0.0, 0.02], Found::Low), None);
        assert_eq!(said(columns::HOUR, 23.38, [-0.5, 23.4], Found::High), None);
        assert_eq!(said(columns::AMOUNT, 10.004, [2.0, 10.001], Found::High), None, "told alike");
        assert_eq!(said(columns::FAILURES_1H, 0.0, [3.3, 7.8], Found::Low), None);
        assert_eq!(said(columns::AMOUNT_VS_CUSTOMER, 1.2, [-0.4, 0.9], Found::High), None);
        assert!(said(columns::AMOUNT, 0.5, [7.3, 12.8], Found::Low).is_some());
    }

    #[test]
    fn a_combination_says_how_rare_it_is() {
        assert!(combination(3.0).text.ends_with("once in 1000 events"), "{}", combination(3.0).text);
        assert!(combination(3.37).text.ends_with("once in 2300 events"), "{}", combination(3.37).text);
    }
}
