//! A payment outage in one country, with any seed: an incident that names the country within 90 seconds.
//!
//! The demonstration's shop, its history and its planted outage, straight into the series: what else runs on a machine does
//! not show. Deliberately absent: delivery, which takes milliseconds.

use pulse::simulate::Shop;
use pulse_operators::record::{Arena, DecodeConfig, Settings, decode};
use pulse_operators::series::incident::Stage;
use pulse_operators::series::{Dimension, Metric, Money, Preaggregate, SeriesBook, SeriesConfig, SeriesOutput, points};

/// 2026-11-22T20:16:00.123Z and some.
const NOW_MS: i64 = 1_795_378_560_123;
/// How soon it must be known.
const SOON_MS: i64 = 90_000;

/// Milliseconds from the outage to the incident that names its country.
fn known_after(seed: u64) -> Option<i64> {
    // another second of the minute for each seed
    let live_ms = NOW_MS + (seed as i64 * 7919) % 60_000;
    let mut shop = Shop::demo(seed, live_ms).unwrap();
    let mut book = SeriesBook::new(SeriesConfig::default()).unwrap();
    let settings = Settings::new(&DecodeConfig::default(), None).unwrap();
    let money = Money { currency: *b"EUR", exponent: 2 };
    let (mut json, mut merged, mut script) = (String::new(), Preaggregate::default(), None);
    loop {
        if script.is_none() && shop.peek_ms() >= live_ms {
            script = Some(shop.plant_demo(live_ms));
        }
        json.clear();
        let time_ms = shop.next_event(&mut json).time_ms;
        let mut arena = Arena::default();
        let event = decode::decode(json.as_bytes(), 0, 0, time_ms, &settings, &mut arena).unwrap();
        points(&event, &arena, &money, &mut merged);
        merged.drain().into_iter().for_each(|point| book.add(point));
        for out in book.advance(time_ms) {
            let (SeriesOutput::Incident(Stage::Opened, incident, at_ms), Some(script)) = (out, &script) else {
                continue;
            };
            let place = &incident.segment;
            let there = place.dimension == Dimension::Country && place.label == script.outage_country;
            if there && incident.metric == Metric::PaymentsFailed && at_ms >= script.outage_ms {
                return Some(at_ms - script.outage_ms);
            }
        }
        if script.as_ref().is_some_and(|s| time_ms > s.outage_ms + 2 * SOON_MS) {
            return None;
        }
    }
}

#[test]
fn an_outage_is_an_incident_of_its_country_within_ninety_seconds() {
    let seeds: Vec<u64> = match std::env::var("PULSE_OUTAGE_SEEDS") {
        Ok(text) => text.split(',').map(|seed| seed.parse().unwrap()).collect(),
        Err(_) => vec![3, 9, 14],
    };
    let found: Vec<_> = seeds.iter().map(|seed| (*seed, known_after(*seed))).collect();
    println!("{found:?}");
    let late: Vec<_> = found.iter().filter(|(_, after)| after.is_none_or(|ms| ms > SOON_MS)).collect();
    assert!(late.is_empty(), "{late:?}");
}
