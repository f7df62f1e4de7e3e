//! Promises of `record`: what is taken up, with which values, and that nothing panics.

#[path = "record/admission.rs"]
mod admission;
#[path = "record/decoding.rs"]
mod decoding;
#[path = "record/reading.rs"]
mod reading;

use pulse_operators::record::{Arena, Event, Reject, Settings, decode};

/// Time of receipt of all events here: 2026-11-22T20:16:10Z.
pub const RECEIVED_MS: i64 = 1_795_378_570_000;

/// The contract's example.
pub const ORDER: &str = r#"{"id":"o-10001","type":"order.completed","time":"2026-11-22T20:16:00.123Z","source":"web","customer_id":"c-42","email_hash":"5f1d","session_id":"s-9",
 "device_id":"d-77","ip":"203.0.113.9","user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36","country":"DE","billing_country":"DE","shipping_country":"DE","order_id":"10001",
 "amount":129.90,"currency":"EUR","shipping":4.90,"tax":0,"discount":10.00,"coupon":"NOV10",
 "payment":{"id":"pi_1","method":"card","card":"fp_8c1","bin":"411111","status":"authorized","decline_code":null},
 "items":[{"product_id":"p-1","category":"shoes","quantity":1,"price":135.00}],
 "entities":{"terminal":"t-3156"},"signals":{"basket_age_s":38.5},"properties":{"anything":"else, kept and shown, never scored"}}"#;

/// Decodes with default settings.
pub fn plain(json: &str) -> Result<(Event, Arena), Reject> {
    let mut arena = Arena::default();
    let event = decode(json.as_bytes(), 0, 0, RECEIVED_MS, &Settings::default(), &mut arena)?;
    Ok((event, arena))
}

/// The code of the reject, or `ok`.
pub fn code(json: &str) -> &'static str {
    plain(json).map_or_else(|reject| reject.code, |_| "ok")
}

/// A minimal event with further members.
pub fn event_with(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"id":"e-1","type":"order.completed","time":{RECEIVED_MS}{comma}{more}}}"#)
}
