//! The demonstration: quiet history, then trouble in time.

use std::collections::BTreeMap;

use super::super::config::{DAY_MS, DEFAULT_START_MS, HOUR_MS, MINUTE_MS};
use super::super::{DEMO_HISTORY_MS, DemoScript, Kind, Shop};

#[test]
fn the_demo_has_a_history_and_shows_its_trouble_in_time_with_any_seed_at_any_hour() {
    for seed in 0..3 {
        let now_ms = DEFAULT_START_MS + 200 * DAY_MS + (seed as i64) * (5 * HOUR_MS + 17_000);
        let mut shop = Shop::demo(seed, now_ms, DEMO_HISTORY_MS).unwrap();
        let mut json = String::new();
        let (mut history, mut last_hour) = (0u32, 0u32);
        while shop.peek_ms() < now_ms {
            let event = shop.next_event(&mut json);
            history += 1;
            last_hour += u32::from(event.time_ms >= now_ms - HOUR_MS);
            assert!(event.truth.is_none_or(|truth| truth.tag.kind.look_alike()));
        }
        assert!((250_000..450_000).contains(&history), "{history} events in {DEMO_HISTORY_MS} ms");
        // Learning took twelve seconds.
        let live_ms = now_ms + 12_000;
        while shop.peek_ms() < live_ms {
            shop.next_event(&mut json);
        }
        let script = shop.plant_demo(live_ms);
        assert_eq!(script.outage_country, "DE");
        demo_live(&mut shop, live_ms, &script, f64::from(last_hour) / 3600.0);
    }
}

fn demo_live(shop: &mut Shop, live_ms: i64, script: &DemoScript, usual: f64) {
    let mut json = String::new();
    let (mut cards, mut failed_minutes, mut other) = (0, BTreeMap::<i64, u32>::new(), 0);
    let mut last_ms = live_ms;
    while shop.peek_ms() < live_ms + 180_000 {
        let event = shop.next_event(&mut json);
        assert!(event.arrival_ms >= last_ms);
        last_ms = event.arrival_ms;
        let testing = event.truth.as_ref().is_some_and(|truth| truth.tag.kind == Kind::CardTesting);
        if testing && json.contains("payment.failed") && event.time_ms < script.card_testing_ms + 5000 {
            cards += 1;
        }
        if json.contains("processor_unavailable") {
            *failed_minutes.entry(event.time_ms.div_euclid(MINUTE_MS)).or_default() += 1;
        } else if !testing && event.time_ms < script.outage_ms {
            other += 1;
        }
    }
    assert!(cards >= 3, "{cards} cards tried in five seconds");
    let first = failed_minutes.iter().find(|(_, count)| **count >= 4).map(|(minute, _)| (minute + 1) * MINUTE_MS);
    assert!(first.is_some_and(|end_ms| end_ms - live_ms <= 76_000), "{failed_minutes:?} {live_ms}");
    // Beside the trouble the traffic is what it was: 30 s of it, by the Poisson law within five deviations.
    let expected = usual * (script.outage_ms - live_ms) as f64 / 1000.0;
    assert!((f64::from(other) - expected).abs() < 5.0 * expected.sqrt() + 5.0, "{other} against {expected}");
}
