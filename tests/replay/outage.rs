//! What the demonstration promises, with any seed: card testing is named with its reasons within 15 s of the live start, a
//! payment outage in one country is an incident within 90 s.
//!
//! The whole product in one process, fed as the demonstration feeds it (history, retraining, then live traffic), but the live
//! events go straight into the log, a second of them at a time, so that nobody waits. Deliberately absent: the network and
//! delivery, which take milliseconds.

use pulse::app::{App, Settings, retrain};
use pulse::simulate::{DemoScript, Shop};
use pulse_dataflows::ports::{Meta, Records, Request, Topic, partition};
use serde_json::Value;
use std::time::Duration;

const DAY_MS: i64 = 24 * 3_600_000;
/// 2026-11-22T20:16:00.123Z
const NOW_MS: i64 = 1_795_378_560_123;
/// How soon card testing and the outage must be known, ms after the live start.
const SOON_MS: (i64, i64) = (15_000, 90_000);

/// Puts events into the log until this time; waits until they are scored.
fn feed(app: &App, shop: &mut Shop, until_ms: i64) {
    let (mut records, mut json) = (Records::default(), String::new());
    while shop.peek_ms() < until_ms {
        json.clear();
        let event = shop.next_event(&mut json);
        records.push(Meta { time_ms: event.time_ms, ..Meta::default() }, json.as_bytes());
        if records.len() == 4096 {
            append(app, std::mem::take(&mut records));
        }
    }
    append(app, records);
    assert!(app.engine.drain(Duration::from_secs(300)), "not scored in time");
}

fn append(app: &App, records: Records) {
    if !records.is_empty() {
        let parts = vec![(partition(Topic::Raw, 0), records)];
        app.log.append_wait(Request { parts, ..Request::default() }).unwrap();
    }
}

/// What the log says from the live start on.
fn said(app: &App, from: u64) -> Vec<Value> {
    let (place, mut said) = (partition(Topic::Alerts, 0), Vec::new());
    let mut take = |_, _, json: &[u8]| said.push(serde_json::from_slice(json).unwrap());
    app.log.reader().each(place, from, app.log.end(place), &mut take).unwrap();
    said
}

fn time_ms(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// Milliseconds from the live start until each of the two was known.
async fn known_after(seed: u64, live_ms: i64, history_ms: i64) -> (Option<i64>, Option<i64>) {
    let dir = tempfile::tempdir().unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings { gateway_addr: any, sidecar_addr: any, no_auth: true, ..Settings::new(dir.path().into()) };
    let app = App::start(&settings).await.unwrap();
    let mut shop = Shop::demo(seed, live_ms, history_ms).unwrap();
    feed(&app, &mut shop, live_ms);
    retrain(&*app.log, &app.registry, seed).unwrap();
    let from = app.log.end(partition(Topic::Alerts, 0));
    let script = shop.plant_demo(live_ms);
    for second in 1..=100 {
        feed(&app, &mut shop, live_ms + second * 1000);
    }
    let found = found(&said(&app, from), &script, live_ms);
    app.stop().await.unwrap();
    found
}

fn found(said: &[Value], script: &DemoScript, live_ms: i64) -> (Option<i64>, Option<i64>) {
    if std::env::var("PULSE_DEMO_SAID").is_ok() {
        said.iter().for_each(|message| println!("{message}"));
    }
    let after = |time: i64| time - live_ms;
    let testing = said.iter().find(|m| {
        let reasons = m["data"]["event"]["reasons"].as_array();
        let cause = m["data"]["cause"].as_str().unwrap_or_default();
        m["type"] == "anomaly.opened"
            && cause.starts_with("card_testing")
            // the test's time is long ago, else nothing may hold it back
            && (m["data"]["suppressed"].is_null() || m["data"]["suppressed"] == "old")
            && reasons.is_some_and(|all| all.iter().any(|r| r["code"] == cause))
    });
    let outage = said.iter().find(|m| {
        m["type"] == "incident.opened"
            && m["data"]["metric"] == "payments_failed"
            && m["data"]["dimensions"]["country"] == script.outage_country
            // what opens before is not the outage's
            && time_ms(&m["data"]["detected_at"]) >= script.outage_ms
    });
    (testing.map(|m| after(time_ms(&m["timestamp"]))), outage.map(|m| after(time_ms(&m["data"]["detected_at"]))))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_keeps_its_promise_with_any_seed() {
    // five weeks and now, as in the demonstration, where seeds are named; a week is enough to see the promise break
    let (seeds, history_ms, now): (Vec<u64>, i64, bool) = match std::env::var("PULSE_DEMO_SEEDS") {
        Ok(text) => (text.split(',').map(|seed| seed.parse().unwrap()).collect(), 35 * DAY_MS, true),
        Err(_) => (vec![2, 9, 14], 7 * DAY_MS, false),
    };
    let mut late = Vec::new();
    for seed in seeds {
        let then = if now { jiff::Timestamp::now().as_millisecond() } else { NOW_MS };
        // another second of the minute for each seed
        let live_ms = then - then % 60_000 + seed as i64 * 7919 % 60_000;
        let (testing, outage) = known_after(seed, live_ms, history_ms).await;
        println!("seed {seed}: card testing after {testing:?} ms, outage after {outage:?} ms");
        if testing.is_none_or(|ms| ms > SOON_MS.0) || outage.is_none_or(|ms| ms > SOON_MS.1) {
            late.push((seed, testing, outage));
        }
    }
    assert!(late.is_empty(), "{late:?}");
}
