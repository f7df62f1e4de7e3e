//! Whole-book tests: what is found how soon, what is not, and that state survives.

use super::incident::Stage;
use super::*;
use proptest::prelude::*;

/// A small seeded generator, so that every CPU makes the same shop.
pub struct Dice(u64);
impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x5851_f42d_4c95_7f2d))
    }
    /// SplitMix64.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
    pub fn poisson(&mut self, mean: f64) -> i64 {
        let (limit, mut product, mut count) = (libm::exp(-mean), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;
const COUNTRIES: [(&str, f64); 4] = [("DE", 0.5), ("FR", 0.25), ("AT", 0.15), ("CH", 0.1)];

fn point(metric: Metric, segment: &Segment, at_ms: i64, value: i64) -> Point {
    Point { metric, segment: segment.clone(), bucket_ms: at_ms - at_ms.rem_euclid(metric.bucket_ms()), value }
}

/// What a test does to the shop: (minute, slice, country) -> (share of business, share of payments that fail).
type Plan<'a> = &'a dyn Fn(i64, i64, &str) -> (f64, f64);

/// Usual business at a minute: nights, days, weekends.
fn rhythm(minute: i64) -> f64 {
    let hour = (minute.rem_euclid(DAY)) as f64 / 60.0;
    let day = 0.15 + 0.85 * (1.0 + libm::cos((hour - 15.0) / 24.0 * std::f64::consts::TAU)) / 2.0;
    day * if minute.div_euclid(DAY) % 7 >= 5 { 1.4 } else { 1.0 }
}

/// One minute of a shop: `peak` payments a minute at the best hour.
fn minute(book: &mut SeriesBook, dice: &mut Dice, m: i64, peak: f64, plan: Plan) -> Vec<SeriesOutput> {
    let mut out = Vec::new();
    for slice in 0..6 {
        let at = m * MINUTE_MS + slice * SLICE_MS;
        for (country, share) in COUNTRIES {
            let (business, failing) = plan(m, slice, country);
            let here =
                [Segment::total(), Segment::new(Dimension::Country, country), Segment::new(Dimension::Source, "web")];
            let mut emit = |metric, value: i64| {
                if value > 0 {
                    here.iter().for_each(|s| book.add(point(metric, s, at, value)));
                }
            };
            let rate = peak * share * business * rhythm(m) / 6.0;
            let tried = dice.poisson(rate);
            let failed = (0..tried).filter(|_| dice.unit() < failing).count() as i64;
            emit(Metric::PaymentsAttempted, tried);
            emit(Metric::PaymentsFailed, failed);
            emit(Metric::PaymentsAuthorized, tried - failed);
            emit(Metric::Orders, tried - failed);
            let amounts = (0..tried - failed).map(|_| 2_000 + (-8_000.0 * libm::log(1.0 - dice.unit())) as i64);
            emit(Metric::Revenue, amounts.sum());
            emit(Metric::Views, dice.poisson(rate * 4.0));
            emit(Metric::Refunds, dice.poisson(rate * 0.05));
        }
        out.extend(book.advance(at + SLICE_MS));
    }
    out
}

fn opened(out: &[SeriesOutput]) -> Vec<&incident::Incident> {
    out.iter()
        .filter_map(|o| match o {
            SeriesOutput::Incident(Stage::Opened, i, _) => Some(i.as_ref()),
            _ => None,
        })
        .collect()
}

/// Runs minutes `[from, to)`; incident outputs only.
fn run(book: &mut SeriesBook, dice: &mut Dice, from: i64, to: i64, peak: f64, plan: Plan) -> Vec<SeriesOutput> {
    (from..to)
        .flat_map(|m| minute(book, dice, m, peak, plan))
        .filter(|o| matches!(o, SeriesOutput::Incident(..)))
        .collect()
}

const START: i64 = 19_000 * DAY;
fn usual(_: i64, _: i64, _: &str) -> (f64, f64) {
    (1.0, 0.03)
}
/// A book that has seen `days` of the usual shop up to noon.
fn learned(seed: u64, days: i64, peak: f64) -> (SeriesBook, Dice, i64) {
    let (mut book, mut dice) = (SeriesBook::new(SeriesConfig::default()).unwrap(), Dice::new(seed));
    let now = START + days * DAY + 14 * HOUR;
    let out = run(&mut book, &mut dice, START, now, peak, &usual);
    assert!(opened(&out).is_empty(), "seed {seed}: {:?}", opened(&out));
    (book, dice, now)
}

#[test]
fn an_outage_in_one_country_is_known_within_90_seconds() {
    // 5 payments a minute in Germany at the best hour
    let mut soon = 0;
    let (book, _, now) = learned(1, 3, 10.0);
    let snapshot = book.snapshot();
    for seed in 1..=20 {
        let mut book = SeriesBook::restore(SeriesConfig::default(), &snapshot).unwrap();
        let mut dice = Dice::new(seed + 100);
        let outage = |_: i64, _: i64, c: &str| (1.0, if c == "DE" { 1.0 } else { 0.03 });
        let out = run(&mut book, &mut dice, now, now + 30, 10.0, &outage);
        let found = opened(&out);
        assert_eq!(found.len(), 1, "seed {seed}: {found:?}");
        let segment = Segment::new(Dimension::Country, "DE");
        assert_eq!((found[0].metric, &found[0].segment), (Metric::PaymentsFailed, &segment), "seed {seed}");
        let delay_s = (found[0].detected_ms - now * MINUTE_MS) / 1000;
        assert!(delay_s <= 150, "seed {seed}: {delay_s} s");
        soon += usize::from(delay_s <= 90);
        let out = run(&mut book, &mut dice, now + 30, now + 70, 10.0, &usual);
        assert!(out.iter().any(|o| matches!(o, SeriesOutput::Incident(Stage::Resolved, ..))), "seed {seed}");
        assert!(book.open().is_empty() && opened(&out).is_empty());
    }
    assert!(soon >= 16, "{soon} of 20");
}

#[test]
fn four_weeks_with_a_sale_are_quiet() {
    for (seed, peak) in [(1, 10.0), (2, 2.0)] {
        let (mut book, mut dice) = (SeriesBook::new(SeriesConfig::default()).unwrap(), Dice::new(seed));
        // two days of twice the business in the third week, begun and ended at once
        let sale = |m: i64, _: i64, _: &str| (if (16..18).contains(&((m - START) / DAY)) { 2.0 } else { 1.0 }, 0.03);
        let out = run(&mut book, &mut dice, START, START + 28 * DAY, peak, &sale);
        assert!(opened(&out).is_empty(), "seed {seed}: {:?}", opened(&out));
        assert_eq!(book.counters(), Counters::default());
    }
}

#[test]
fn less_business_and_none_are_found() {
    let (mut book, mut dice, now) = learned(7, 22, 10.0);
    let snapshot = book.snapshot();
    let out = run(&mut book, &mut dice, now, now + 10, 10.0, &|_, _, _| (0.0, 0.0));
    let silence = opened(&out);
    assert_eq!(silence.len(), 1, "{silence:?}");
    assert!(silence[0].detected_ms - now * MINUTE_MS <= 5 * MINUTE_MS);

    let mut book = SeriesBook::restore(SeriesConfig::default(), &snapshot).unwrap();
    let out = run(&mut book, &mut dice, now, now + 120, 10.0, &|_, _, _| (0.6, 0.03));
    let drop = opened(&out);
    assert_eq!(drop.len(), 1, "{drop:?}");
    assert!(drop[0].side == series::Side::Low && drop[0].detected_ms - now * MINUTE_MS <= 40 * MINUTE_MS, "{drop:?}");
}

#[test]
fn many_refunds_are_found_in_a_sparse_shop() {
    // 12 refunds a day are usual, 65 more come
    let (mut book, mut dice, now) = learned(3, 17, 0.3);
    let mut out = Vec::new();
    for m in now..now + DAY {
        for _ in 0..dice.poisson(0.045) {
            book.add(point(Metric::Refunds, &Segment::total(), m * MINUTE_MS, 1));
        }
        out.extend(minute(&mut book, &mut dice, m, 0.3, &usual));
    }
    let found = opened(&out);
    assert!(found.len() == 1 && found[0].metric == Metric::Refunds, "{found:?}");
}

#[test]
fn late_points_amend_and_do_not_page() {
    let mut book = SeriesBook::new(SeriesConfig::default()).unwrap();
    let total = Segment::total();
    book.add(point(Metric::Orders, &total, 0, 2));
    let closed = |out: &[SeriesOutput], amended: bool| -> Vec<(i64, i64)> {
        out.iter()
            .filter_map(|o| match o {
                SeriesOutput::Closed(c) if c.amended == amended => {
                    Some((c.bucket_ms, c.segments.first()?.points.first()?.value))
                }
                _ => None,
            })
            .collect()
    };
    assert!(closed(&book.advance(69_999), false).is_empty(), "judged ten seconds after its end");
    assert_eq!(closed(&book.advance(70_000), false), [(0, 2)]);
    book.add(point(Metric::Orders, &total, 30_000, 1));
    assert_eq!(closed(&book.advance(190_000), true), [(0, 3)], "written again once final");
    book.add(point(Metric::Orders, &total, 30_000, 1));
    assert_eq!(book.counters().too_late, 1);
}

#[test]
fn segments_are_bounded_and_the_active_ones_stay() {
    let mut book = SeriesBook::new(SeriesConfig::default()).unwrap();
    for m in 0..3 * HOUR {
        book.add(point(Metric::Orders, &Segment::total(), m * MINUTE_MS, 100));
        for i in 0..100i64 {
            let weight = if i == 99 { 50 } else { 1 };
            let segment = Segment::new(Dimension::Category, &format!("c{i:02}"));
            book.add(point(Metric::Orders, &segment, m * MINUTE_MS, weight));
        }
        book.advance((m + 1) * MINUTE_MS);
    }
    assert_eq!(book.segments(), 64);
    assert!(book.counters().folded > 0);
    let out = book.advance(4 * HOUR * MINUTE_MS);
    let SeriesOutput::Closed(last) = out.last().unwrap() else { panic!() };
    assert!(last.segments.len() > 12 && last.segments.iter().any(|s| s.segment.label == "c99"));
}

#[test]
fn json_has_the_contracts_fields() {
    let (mut book, mut dice, now) = learned(1, 2, 20.0);
    let out = run(&mut book, &mut dice, now, now + 20, 20.0, &|_, _, c| (1.0, if c == "DE" { 1.0 } else { 0.03 }));
    let SeriesOutput::Incident(stage, i, at) = &out[0] else { panic!() };
    let value = json::incident(*stage, i, *at, book.config(), &["o-1"]);
    assert_eq!(value["type"], "incident.opened");
    assert_eq!(value["data"]["dimensions"], serde_json::json!({"country": "DE"}));
    for field in [
        "incident_id",
        "metric",
        "started_at",
        "detected_at",
        "resolved_at",
        "value",
        "expected",
        "direction",
        "impact",
        "contributors",
        "event_ids",
        "event_count",
    ] {
        assert!(value["data"].get(field).is_some(), "{field}");
    }
    assert!(value["data"]["impact"]["amount"].as_f64().unwrap() > 0.0);
    assert!(value.to_string().len() < 20_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Cut anywhere, restored: the same outputs as without a cut. And the order of points within a step does not matter.
    #[test]
    fn snapshots_and_order_change_nothing(seed in 1u64..1000, cut in 1i64..240) {
        let plan = |m: i64, _: i64, c: &str| (1.0, if c == "DE" && m > START + DAY + 15 * HOUR { 0.9 } else { 0.03 });
        let (from, to) = (START + DAY + 14 * HOUR, START + DAY + 18 * HOUR);
        let mut whole = SeriesBook::new(SeriesConfig::default()).unwrap();
        let mut dice = Dice::new(seed);
        for m in START..from { minute(&mut whole, &mut dice, m, 8.0, &plan); }
        let mut cut_book = SeriesBook::restore(SeriesConfig::default(), &whole.snapshot()).unwrap();
        let mut again = Dice(dice.0);
        for m in from..to {
            if m == from + cut {
                cut_book = SeriesBook::restore(SeriesConfig::default(), &cut_book.snapshot()).unwrap();
            }
            prop_assert_eq!(minute(&mut whole, &mut dice, m, 8.0, &plan), minute(&mut cut_book, &mut again, m, 8.0, &plan));
        }
        prop_assert_eq!(whole.snapshot(), cut_book.snapshot());
    }

    /// Merged before or not, in any order: the same sums.
    #[test]
    fn preaggregation_keeps_sums(values in prop::collection::vec((0usize..3, 0i64..5, -1000i64..1000), 1..60)) {
        let segments = [Segment::total(), Segment::new(Dimension::Country, "DE"), Segment::new(Dimension::Source, "web")];
        let make = |&(s, m, v): &(usize, i64, i64)| point(Metric::Revenue, &segments[s], m * MINUTE_MS, v);
        let (mut merged, mut plain) = (Preaggregate::default(), SeriesBook::new(SeriesConfig::default()).unwrap());
        for point in values.iter().map(make) {
            let place = merged.segment(point.segment.dimension, &point.segment.label);
            merged.add(place, point.metric, point.bucket_ms, point.value);
        }
        values.iter().rev().for_each(|v| plain.add(make(v)));
        let mut book = SeriesBook::new(SeriesConfig::default()).unwrap();
        merged.drain().into_iter().for_each(|p| book.add(p));
        prop_assert_eq!(book.advance(1_000_000), plain.advance(1_000_000));
    }
}
