//! From events to points, and the points of an epoch merged.

use super::key::{Dimension, MAX_LABEL, Metric, Point, Segment};
use crate::record::{Answers, Arena, EntityKind, Event, EventType, NO_AMOUNT};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Keys are hashes already, or begin with one.
#[derive(Default)]
struct Rotated(u64);
impl Hasher for Rotated {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }
    fn write_u64(&mut self, x: u64) {
        self.0 = x.rotate_right(20);
    }
}

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
pub(super) fn metrics(event_type: EventType) -> Option<(Metric, Option<Metric>)> {
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

/// Is this payment tried again: did its card, device or customer fail within ten minutes? A person who tries three times and
/// a thief who tries a hundred cards say no more about the payments of a country than one who fails once.
pub fn tried_again(answers: &Answers) -> bool {
    let kinds = [EntityKind::Customer, EntityKind::Device, EntityKind::Card];
    let known = kinds.into_iter().filter_map(|kind| answers.single.get(kind as usize).and_then(Option::as_ref));
    known.into_iter().any(|own| own.failures[0] > 0)
}

/// Adds the points of an event to `out`. A late event gives none: its buckets are closed for good. `again`: see [`tried_again`].
///
/// The caller leaves out duplicates. A category counts an order once, however many of its items are in it; its money is
/// that of its items, without shipping. An amount without a rate into the shop's currency is left out of sums.
pub fn points(event: &Event, arena: &Arena, shop: &Money, again: bool, out: &mut Preaggregate) {
    let Some((count, money)) = metrics(event.event_type) else { return };
    if event.late {
        return;
    }
    let amount = shop.amount(event);
    let mut emit = |dimension: Dimension, label: &str, amount: Option<i64>| {
        let bucket = |m: Metric| event.time_ms - event.time_ms.rem_euclid(m.bucket_ms());
        let segment = out.segment(dimension, label);
        if let (Some(metric), Some(value)) = (money, amount) {
            out.add(segment, metric, bucket(metric), value);
        }
        out.add(segment, count, bucket(count), 1);
        if let Some(metric) = count.again().filter(|_| again) {
            out.add(segment, metric, bucket(metric), 1);
        }
    };
    emit(Dimension::Total, "", amount);
    if event.country.known() {
        emit(Dimension::Country, event.country.as_str(), amount);
    }
    for (dimension, span) in [(Dimension::Method, event.payment_method), (Dimension::Source, event.source)] {
        let label = arena.get(span);
        if !label.is_empty() {
            emit(dimension, label, amount);
        }
    }
    // few: a list is quicker than a map
    let mut categories: Vec<(&str, Option<i64>)> = Vec::new();
    for item in arena.items(event) {
        let label = arena.get(item.category);
        if label.is_empty() {
            continue;
        }
        let pieces = if item.quantity.is_finite() { item.quantity } else { 1.0 };
        let at = categories.iter().position(|c| c.0 == label).unwrap_or_else(|| {
            categories.push((label, None));
            categories.len() - 1
        });
        if let (Some((_, sum)), Some(minor)) = (categories.get_mut(at), shop.minor(item.price * pieces)) {
            *sum = Some(sum.unwrap_or(0).saturating_add(minor));
        }
    }
    for (label, sum) in categories {
        emit(Dimension::Category, label, sum);
    }
}

/// A segment within a [`Preaggregate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// A bucket of a series within a [`Preaggregate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bucket_ms: i64,
    segment: Place,
    metric: Metric,
}
impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let series = u64::from(self.segment.0) << 4 | self.metric as u64;
        // two odd constants: neighbours of either kind end up far apart
        let mixed =
            (self.bucket_ms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ series.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        state.write_u64(mixed);
    }
}

/// Merges the points of an epoch, so that few of them travel. A label is copied once an epoch, not once an event.
#[derive(Clone, Debug, Default)]
pub struct Preaggregate {
    segments: Vec<Segment>,
    places: HashMap<u64, Place, BuildHasherDefault<Rotated>>,
    sums: HashMap<Cell, i64, BuildHasherDefault<Rotated>>,
}
impl Preaggregate {
    /// The place of a segment, which is made when it is new.
    pub fn segment(&mut self, dimension: Dimension, label: &str) -> Place {
        let mut hash = xxh3_64_with_seed(label.as_bytes(), dimension as u64);
        loop {
            match self.places.get(&hash) {
                None => {
                    let place = Place(self.segments.len() as u32);
                    self.segments.push(Segment::new(dimension, label));
                    self.places.insert(hash, place);
                    return place;
                }
                Some(place) if self.is(*place, dimension, label) => return *place,
                Some(_) => hash = hash.wrapping_add(1), // two labels with one hash
            }
        }
    }
    fn is(&self, place: Place, dimension: Dimension, label: &str) -> bool {
        // a label that is cut stands for all that begin like it
        let same = |s: &Segment| {
            s.dimension == dimension && (s.label == label || label.starts_with(&s.label) && label.len() > MAX_LABEL)
        };
        self.segments.get(place.0 as usize).is_some_and(same)
    }
    /// Adds to a bucket.
    pub fn add(&mut self, segment: Place, metric: Metric, bucket_ms: i64, value: i64) {
        let sum = self.sums.entry(Cell { bucket_ms, segment, metric }).or_default();
        *sum = sum.saturating_add(value);
    }
    /// The merged points by bucket, segment and metric; empty afterwards.
    pub fn drain(&mut self) -> Vec<Point> {
        let segments = std::mem::take(&mut self.segments);
        self.places.clear();
        let of = |place: Place| segments.get(place.0 as usize).cloned().unwrap_or_else(Segment::total);
        let mut points: Vec<Point> = (self.sums.drain())
            .map(|(cell, value)| Point {
                metric: cell.metric,
                segment: of(cell.segment),
                bucket_ms: cell.bucket_ms,
                value,
            })
            .collect();
        points.sort_unstable_by(|a, b| (a.bucket_ms, &a.segment, a.metric).cmp(&(b.bucket_ms, &b.segment, b.metric)));
        points
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
        let mut out = Preaggregate::default();
        points(&event, &arena, &SHOP, false, &mut out);
        let out = out.drain();
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
