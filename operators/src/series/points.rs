//! From events to points, and the points of an epoch merged.

use super::key::{Dimension, Metric, Point, Segment};
use crate::record::{Arena, Event, EventType, NO_AMOUNT};
use std::collections::BTreeMap;

/// The shop's currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// ISO 4217.
    pub currency: [u8; 3],
    /// Digits behind the point.
    pub exponent: u8,
}
impl Money {
    /// Minor units of `major`; `None` when it is not given or beyond what fits.
    fn minor(&self, major: f64) -> Option<i64> {
        let scale = (0..self.exponent.min(4)).fold(1.0, |s, _| s * 10.0);
        let minor = libm::round(major * scale);
        (minor.abs() < 9.0e15).then_some(minor as i64)
    }
    fn amount(&self, event: &Event) -> Option<i64> {
        if event.currency == self.currency && event.exponent == self.exponent {
            return (event.amount_minor != NO_AMOUNT).then_some(event.amount_minor);
        }
        self.minor(event.amount)
    }
}

/// Counted metric of an event's type, and the sum of money beside it.
fn metrics(event_type: EventType) -> Option<(Metric, Option<Metric>)> {
    Some(match event_type {
        EventType::OrderCompleted => (Metric::Orders, Some(Metric::Revenue)),
        EventType::PaymentAttempted => (Metric::PaymentsAttempted, None),
        EventType::PaymentAuthorized => (Metric::PaymentsAuthorized, None),
        EventType::PaymentFailed => (Metric::PaymentsFailed, None),
        EventType::OrderRefunded => (Metric::Refunds, Some(Metric::RefundAmount)),
        EventType::ProductViewed => (Metric::Views, None),
        _ => return None,
    })
}

/// Adds the points of an event to `out`. A late event gives none: its buckets are closed for good.
///
/// The caller leaves out duplicates. A category counts an order once, however many of its items are in it; its money is
/// that of its items, without shipping. An amount without a rate into the shop's currency is left out of sums.
pub fn points(event: &Event, arena: &Arena, shop: &Money, out: &mut Vec<Point>) {
    let Some((count, money)) = metrics(event.event_type) else { return };
    if event.late {
        return;
    }
    let amount = shop.amount(event);
    let mut emit = |segment: Segment, amount: Option<i64>| {
        let bucket = |m: Metric| event.time_ms - event.time_ms.rem_euclid(m.bucket_ms());
        if let (Some(metric), Some(value)) = (money, amount) {
            out.push(Point { metric, segment: segment.clone(), bucket_ms: bucket(metric), value });
        }
        out.push(Point { metric: count, segment, bucket_ms: bucket(count), value: 1 });
    };
    emit(Segment::total(), amount);
    if event.country.known() {
        emit(Segment::new(Dimension::Country, event.country.as_str()), amount);
    }
    for (dimension, span) in [(Dimension::Method, event.payment_method), (Dimension::Source, event.source)] {
        let label = arena.get(span);
        if !label.is_empty() {
            emit(Segment::new(dimension, label), amount);
        }
    }
    let mut categories: BTreeMap<&str, Option<i64>> = BTreeMap::new();
    for item in arena.items(event) {
        let label = arena.get(item.category);
        if label.is_empty() {
            continue;
        }
        let pieces = if item.quantity.is_finite() { item.quantity } else { 1.0 };
        let sum = categories.entry(label).or_default();
        if let Some(minor) = shop.minor(item.price * pieces) {
            *sum = Some(sum.unwrap_or(0).saturating_add(minor));
        }
    }
    for (label, sum) in categories {
        emit(Segment::new(Dimension::Category, label), sum);
    }
}

/// Merges the points of an epoch, so that few of them travel.
#[derive(Clone, Debug, Default)]
pub struct Preaggregate {
    sums: BTreeMap<(i64, Segment, Metric), i64>,
}
impl Preaggregate {
    /// Adds a point.
    pub fn add(&mut self, point: Point) {
        let sum = self.sums.entry((point.bucket_ms, point.segment, point.metric)).or_default();
        *sum = sum.saturating_add(point.value);
    }
    /// The merged points by bucket, segment and metric; empty afterwards.
    pub fn drain(&mut self) -> impl Iterator<Item = Point> + use<> {
        std::mem::take(&mut self.sums).into_iter().map(|((bucket_ms, segment, metric), value)| Point {
            metric,
            segment,
            bucket_ms,
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DecodeConfig, Settings, decode};
    use std::collections::BTreeSet;

    const SHOP: Money = Money { currency: *b"EUR", exponent: 2 };

    /// Points as `metric segment value` of an event whose fields beside id and time are `fields`.
    fn of(fields: &str, late: bool) -> BTreeSet<String> {
        let config = DecodeConfig { fx: [("USD".to_owned(), 0.5)].into(), ..DecodeConfig::default() };
        let settings = Settings::new(&config, None).unwrap();
        let json = format!(r#"{{"id":"a","time":1700000015000,"source":"web","country":"DE",{fields}}}"#);
        let mut arena = Arena::default();
        let mut event = decode::decode(json.as_bytes(), 0, 0, 1_700_000_015_000, &settings, &mut arena).unwrap();
        event.late = late;
        let mut out = Vec::new();
        points(&event, &arena, &SHOP, &mut out);
        assert!(out.iter().all(|p| p.bucket_ms % p.metric.bucket_ms() == 0 && p.bucket_ms <= event.time_ms));
        out.iter().map(|p| format!("{} {} {}", p.metric.name(), p.segment.label, p.value)).collect()
    }
    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|w| w.to_string()).collect()
    }

    #[test]
    fn an_order_counts_in_each_of_its_segments() {
        let order = r#""type":"order.completed","amount":19.99,"currency":"EUR","payment":{"method":"card"},
            "items":[{"product_id":"p","category":"shoes","quantity":2,"price":5.00},
                     {"product_id":"q","category":"shoes","price":1.50}]"#;
        let mut wanted = set(&["orders shoes 1", "revenue shoes 1150"]);
        for segment in ["", "DE", "card", "web"] {
            wanted.extend([format!("orders {segment} 1"), format!("revenue {segment} 1999")]);
        }
        assert_eq!(of(order, false), wanted);
        assert!(of(order, true).is_empty(), "late: its buckets are closed");
    }

    #[test]
    fn foreign_money_is_converted_or_left_out() {
        let refund = |currency| format!(r#""type":"order.refunded","amount":3.00,"currency":"{currency}""#);
        assert!(of(&refund("USD"), false).contains("refund_amount DE 150"));
        let unknown = of(&refund("CHF"), false);
        assert!(unknown.contains("refunds DE 1") && !unknown.iter().any(|p| p.starts_with("refund_amount")));
    }

    #[test]
    fn what_has_no_metric_gives_no_points() {
        assert!(of(r#""type":"account.login""#, false).is_empty());
        assert_eq!(of(r#""type":"payment.failed""#, false).len(), 3);
    }
}
