//! What a digest says of tracks whose trouble is known.

use super::*;

const DAY: Window = Window { from_ms: 1_795_392_000_000, hours: 24 }; // 2026-11-23T00:00Z

fn style() -> Style {
    Style { currency: "EUR".into(), zone: jiff::tz::TimeZone::UTC }
}

/// The same daily rhythm in every week, with noise that differs by seed.
fn hours(level: f64, seed: u64) -> Vec<f64> {
    let mut random = seed.wrapping_mul(6_364_136_223_846_793_005) | 1;
    let mut noise = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 40) as f64 / (1u64 << 24) as f64 * 2.0 - 1.0
    };
    let of = |hour: usize| level * (1.5 + (hour as f64 / 24.0 * std::f64::consts::TAU).sin());
    (0..24).map(|hour| (of(hour) + noise() * of(hour).sqrt()).round().max(0.0)).collect()
}

fn track(metric: &str, dimensions: &str, level: f64, seed: u64) -> Track {
    let before = (1..=4).map(|week| hours(level, seed * 31 + week)).collect();
    Track { metric: metric.into(), dimensions: dimensions.into(), now: hours(level, seed * 31), before }
}

/// A shop whose countries add up to the whole.
fn shop(metric: &str, seed: u64) -> Vec<Track> {
    let parts: Vec<Track> = [("country=DE", 60.0), ("country=AT", 25.0), ("country=CH", 15.0)]
        .into_iter()
        .enumerate()
        .map(|(i, (name, level))| track(metric, name, level, seed * 7 + i as u64))
        .collect();
    let mut all = vec![whole(metric, &parts)];
    all.extend(parts);
    all
}

fn whole(metric: &str, parts: &[Track]) -> Track {
    let sum = |of: &dyn Fn(&Track) -> &Vec<f64>| -> Vec<f64> {
        (0..24).map(|hour| parts.iter().map(|part| of(part)[hour]).sum()).collect()
    };
    let before = (0..4).map(|week| sum(&|t| &t.before[week])).collect();
    Track { metric: metric.into(), dimensions: String::new(), now: sum(&|t| &t.now), before }
}

#[test]
fn a_quiet_day_says_nothing() {
    let said: usize = (0..200).map(|seed| digest(&DAY, &shop("orders", seed), &style()).len()).sum();
    assert!(said <= 2, "{said} of 200 quiet days");
}

#[test]
fn an_outage_is_told_with_its_hours_and_its_country() {
    for seed in 0..50 {
        let mut shop = shop("orders", seed);
        shop[1].now[14..18].fill(0.0); // nothing from Germany for four hours
        shop[0] = whole("orders", &shop[1..]);
        let said = digest(&DAY, &shop, &style());
        assert_eq!(said.len(), 1, "seed {seed}");
        let one = &said[0];
        assert_eq!((one.metric.as_str(), one.direction, one.lasts), ("orders", "down", false));
        let from = (one.from_ms - DAY.from_ms) / HOUR_MS;
        let to = (one.to_ms - DAY.from_ms) / HOUR_MS;
        assert!((13..=14).contains(&from) && (18..=19).contains(&to), "seed {seed}: {from} to {to}");
        assert_eq!(one.evidence[1].dimensions, "country=DE");
        assert!(one.headline.starts_with("Orders fell by "), "{}", one.headline);
        assert!(one.place.contains("country DE −"), "{}", one.place);
    }
}

#[test]
fn segments_and_the_rest_add_up_to_the_change() {
    let mut shop = shop("payments_failed", 3);
    shop[2].now[20..].iter_mut().for_each(|x| *x += 80.0);
    shop[0] = whole("payments_failed", &shop[1..]);
    let said = digest(&DAY, &shop, &style());
    let [whole, parts @ ..] = said[0].evidence.as_slice() else { panic!("{said:?}") };
    let sum: f64 = parts.iter().map(|e| e.change).sum();
    assert!((sum - whole.change).abs() < 1e-9, "{sum} and {}", whole.change);
    assert_eq!((parts[0].dimensions.as_str(), said[0].lasts), ("country=AT", true));
    assert!(said[0].headline.contains(" since Mon 23 Nov 20:00."), "{}", said[0].headline);
}

/// Every number in the sentences is one of the evidence, rounded, a share of two of them, or a time.
#[test]
fn no_number_is_made_up() {
    for seed in 0..50 {
        let mut shop = shop(["orders", "revenue", "refunds"][seed as usize % 3], seed);
        let from = 3 + seed as usize % 12;
        let segment = 1 + seed as usize % 3;
        shop[segment].now[from..from + 6].iter_mut().for_each(|x| *x = *x * 4.0 + 90.0);
        shop[0] = whole(&shop[0].metric.clone(), &shop[1..]);
        for one in digest(&DAY, &shop, &style()) {
            let whole = &one.evidence[0];
            let mut known: Vec<String> = one
                .evidence
                .iter()
                .flat_map(|e| [e.value, e.usual, e.change.abs()])
                .map(|value| words::number(value, "orders", &style()))
                .collect();
            known.push(format!("{:.0}", (whole.change / whole.usual * 100.0).abs()));
            for ms in [one.from_ms, one.to_ms] {
                let time = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
                known.extend(time.strftime("%H %M %-d").to_string().split(' ').map(str::to_owned));
            }
            let text = format!("{} {}", one.headline, one.place);
            let digits = |c: char| !c.is_ascii_digit() && c != '.';
            for number in text.split(digits).map(|n| n.trim_matches('.')).filter(|n| !n.is_empty()) {
                assert!(known.iter().any(|k| k == number), "{number} of {text:?} is not in {known:?}");
            }
        }
    }
}

#[test]
fn without_an_earlier_week_nothing_is_said() {
    let mut shop = shop("orders", 1);
    shop.iter_mut().for_each(|t| t.before.clear());
    shop[0].now.fill(0.0);
    assert_eq!(digest(&DAY, &shop, &style()), vec![]);
}
