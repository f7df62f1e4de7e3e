//! How long the gateway's check and the decoding of an order take: nanoseconds an event, one core.
//!
//! `cargo run --release -p pulse-operators --example decode_speed [order|view]`

use pulse_operators::record::{Arena, DecodeConfig, Settings, admit, decode};
use std::time::Instant;

const ROUNDS: usize = 15;
const EVENTS: usize = 4096;

fn order(i: usize) -> String {
    format!(
        r#"{{"id":"o-{i}","type":"order.completed","time":"2026-11-22T20:16:{:02}.123Z","source":"web","customer_id":"c-{i}","email_hash":"5f1d{i}","session_id":"s-{i}","device_id":"d-{i}","ip":"203.0.{}.{}","user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36","country":"DE","billing_country":"DE","shipping_country":"DE","order_id":"{i}","amount":129.90,"currency":"EUR","shipping":4.90,"tax":0,"discount":10.00,"coupon":"NOV10","payment":{{"id":"pi_{i}","method":"card","card":"fp_{i}","bin":"411111","status":"authorized","decline_code":null}},"items":[{{"product_id":"p-{}","category":"shoes","quantity":1,"price":135.00}}],"entities":{{"terminal":"t-3156"}},"signals":{{"basket_age_s":38.5}}}}"#,
        i % 60,
        i / 256 % 256,
        i % 256,
        i % 500
    )
}

fn view(i: usize) -> String {
    format!(
        r#"{{"id":"v-{i}","type":"product.viewed","time":{},"source":"web","session_id":"s-{i}","device_id":"d-{i}","ip":"203.0.113.9","country":"DE","items":[{{"product_id":"p-{}"}}]}}"#,
        1_795_378_560_000 + i,
        i % 500
    )
}

/// The fastest round: neighbours on the machine only ever add.
fn fastest(mut round: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed().as_nanos() as f64 / EVENTS as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn main() {
    let config = DecodeConfig {
        time_zone: "Europe/Berlin".into(),
        extra_entities: vec!["terminal".into()],
        signals: vec!["basket_age_s".into()],
        ..DecodeConfig::default()
    };
    let settings = Settings::new(&config, None).unwrap_or_default();
    let only = std::env::args().nth(1);
    for (name, make) in [("order", order as fn(usize) -> String), ("view", view)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let events: Vec<String> = (0..EVENTS).map(make).collect();
        let bytes = events.iter().map(String::len).sum::<usize>() / EVENTS;
        let mut good = 0;
        let decoding = fastest(|| {
            for batch in events.chunks(1024) {
                let mut arena = Arena::default();
                for event in batch {
                    good += usize::from(decode(event.as_bytes(), 0, 0, i64::MAX, &settings, &mut arena).is_ok());
                }
            }
        });
        let admitting = fastest(|| {
            for event in &events {
                good += usize::from(admit(event.as_bytes(), i64::MAX, &mut String::new).is_ok());
            }
        });
        let tree = fastest(|| {
            for event in &events {
                good += usize::from(serde_json::from_str::<serde_json::Value>(event).is_ok());
            }
        });
        assert_eq!(good, 3 * ROUNDS * EVENTS);
        println!(
            "{name}, {bytes} bytes: decode {decoding:.0} ns, admit {admitting:.0} ns, serde_json::Value {tree:.0} ns"
        );
    }
}
