//! The SDKs themselves, in Python and in Node: what they send arrives once, as the events that it means; 429 is obeyed, 400 is not
//! tried again.

use crate::support::{event, reply};
use crate::tools::{SECRET, Shop, clients, python, run};
use axum::extract::State;
use pulse::gateway::GatewayConfig;
use pulse::http::Problem;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// SHA-256 of `anna@example.com`, by `sha256sum`.
const ANNA: &str = "f7d54c22dda5b1780276601cd005909b70543fc4a6ba72d735b4cb9bbb611f01";

fn recent(event: &mut Value) {
    let time = event["time"].as_i64().unwrap();
    assert!((pulse::engine::now_ms() - time).abs() < 120_000, "{event}");
    event.as_object_mut().unwrap().remove("time");
}
fn types(shop: &Shop) -> Vec<String> {
    shop.events().iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect()
}
fn order(i: u32) -> Value {
    json!({"source": "web", "type": "order.completed", "customer_id": format!("c-{i}"), "order_id": format!("o-{i}"), "amount": 25 + i,
        "currency": "EUR", "coupon": "NOV10", "ip": "203.0.113.9", "properties": {"gift": true},
        "items": [{"product_id": format!("p-{i}"), "category": "shoes", "price": 12.5, "quantity": 2}]})
}
fn with(mut event: Value, more: Value) -> Value {
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}
const CALLS: [&str; 6] =
    ["order.completed", "user.identified", "page.viewed", "screen.viewed", "user.grouped", "user.aliased"];

#[tokio::test]
async fn segments_calls_become_events() {
    let shop = Shop::open().await;
    let said = run(python(&["segment", &shop.url(), &shop.key, "1"])).await;
    assert_eq!(said, Vec::<Value>::new());
    let mut got = shop.event("o-0");
    recent(&mut got);
    let more = json!({"id": "o-0", "user_agent": "Mozilla/5.0", "email_hash": ANNA});
    assert_eq!(got, with(order(0), more));
    assert_eq!(types(&shop), CALLS);
    assert_eq!(shop.event("identify")["email_hash"], ANNA);
    assert_eq!(shop.event("page")["properties"]["page"], "Shoes");
    assert!(!shop.event("identify").to_string().contains("Anna"), "traits are not kept");
    assert_eq!(shop.metric("pulse_way_in_items_total{way=\"segment\",outcome=\"accepted\"}").await, 6.0);
    assert_eq!(shop.metric("pulse_way_in_requests_total{way=\"segment\",outcome=\"ok\"}").await, 1.0);
}

#[tokio::test]
async fn rudderstacks_calls_become_events() {
    let shop = Shop::open().await;
    let said = run(python(&["rudderstack", &shop.url(), &shop.key, "1"])).await;
    assert_eq!(said, Vec::<Value>::new());
    let mut got = shop.event("o-0");
    recent(&mut got);
    assert_eq!(got, with(order(0), json!({"id": "o-0", "session_id": "1795437348"})));
    assert_eq!(types(&shop), CALLS);
    assert_eq!(shop.event("identify")["email_hash"], ANNA);
    assert_eq!(shop.metric("pulse_way_in_items_total{way=\"rudderstack\",outcome=\"accepted\"}").await, 6.0);
}

#[tokio::test]
async fn posthogs_captures_become_events() {
    let shop = Shop::open().await;
    let said = run(python(&["posthog", &shop.url(), &shop.key, "1"])).await;
    assert_eq!(said, Vec::<Value>::new());
    let id = "00000000-0000-4000-8000-000000000000";
    let mut got = shop.event(id);
    recent(&mut got);
    for about_the_machine in ["$python_runtime", "$python_version", "$os", "$os_version", "$os_distro"] {
        got["properties"].as_object_mut().unwrap().remove(about_the_machine);
    }
    assert_eq!(got, with(order(0), json!({"id": id, "session_id": "s-1"})));
    assert_eq!(types(&shop), ["order.completed", "user.identified", "user.aliased", "user.grouped"]);
    assert_eq!(shop.events()[1]["email_hash"], ANNA);
    assert_eq!(shop.metric("pulse_way_in_items_total{way=\"posthog\",outcome=\"ignored\"}").await, 1.0, "$autocapture");
}

/// The same through the SDKs for Node, which pack and label bodies otherwise.
#[tokio::test]
async fn in_node_too() {
    for (sdk, id) in [("segment", "o-2"), ("rudderstack", "o-2"), ("posthog", "00000000-0000-4000-8000-000000000002")] {
        let shop = Shop::open().await;
        let [_, node] = clients(&[sdk, &shop.url(), &shop.key, "3"]);
        assert_eq!(run(node).await, Vec::<Value>::new(), "{sdk}");
        assert_eq!(shop.events().len(), 3, "{sdk}: {:?}", shop.events());
        let mut got = shop.event(id);
        recent(&mut got);
        assert_eq!(got, with(order(2), json!({"id": id})), "{sdk}");
    }
}

#[tokio::test]
async fn cloudevents_arrive_in_all_three_modes() {
    for i in [0, 1] {
        let shop = Shop::open().await;
        let client = clients(&["cloudevents", &shop.url(), &shop.key, "4"]).into_iter().nth(i).unwrap();
        let said = run(client).await;
        assert!(said.iter().all(|line| line["status"] == 200) && said.len() == 3, "{said:?}");
        for i in 0..4 {
            let event = shop.event(&format!("o-{i}"));
            assert_eq!((&event["source"], &event["type"]), (&json!("/shop/web"), &json!("order.completed")));
            assert_eq!((&event["amount"], &event["customer_id"]), (&json!(25 + i), &json!(format!("c-{i}"))));
            let subject = event["properties"]["subject"].as_str().unwrap();
            assert!(["größe 7", "shoes"].contains(&subject), "{subject}");
        }
    }
}

#[tokio::test]
async fn stripes_own_signature_opens_the_way_in() {
    for i in [0, 1] {
        let shop = Shop::open().await;
        let client = clients(&["stripe", &shop.url(), SECRET, "2"]).into_iter().nth(i).unwrap();
        let said = run(client).await;
        assert!(said.iter().all(|line| line["answer"]["accepted"] == 1) && said.len() == 2, "{said:?}");
        let event = shop.event("evt_1");
        let wanted = (&json!("stripe"), &json!("payment.captured"), &json!(129.90));
        assert_eq!((&event["source"], &event["type"], &event["amount"]), wanted);
        assert_eq!(event["payment"], json!({"id": "pi_1", "status": "succeeded"}));
        assert_eq!((&event["order_id"], &event["customer_id"]), (&json!("o-1"), &json!("c-1")));
    }
}

/// Somebody else with the same key uses the quota up until the SDK is refused; an SDK that obeys comes back, is taken then, and says
/// nothing.
#[tokio::test]
async fn a_429_is_obeyed_by_every_sdk() {
    let rate = |n| NonZeroU32::new(n).unwrap();
    for sdk in ["segment", "rudderstack", "posthog"] {
        for i in [0, 1] {
            let config =
                GatewayConfig { key_events_per_s: rate(1), key_events_burst: rate(2), ..GatewayConfig::default() };
            let shop = Shop::with(config).await;
            let client = clients(&[sdk, &shop.url(), &shop.key, "2"]).into_iter().nth(i).unwrap();
            let line = format!("pulse_way_in_requests_total{{way=\"{sdk}\",outcome=\"rate_limited\"}}");
            let hog = async {
                for n in 0.. {
                    if shop.metric(&line).await > 0.0 {
                        return;
                    }
                    let one = json!([event(&format!("n-{n}"))]).to_string();
                    reply(shop.server.post("/api/v1/events:batch", one).bearer_auth(&shop.key)).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let (said, ()) = tokio::join!(run(client), hog);
            assert_eq!(said, Vec::<Value>::new(), "{sdk} {i}");
            let sent = shop.events().iter().filter(|e| !e["id"].as_str().unwrap().starts_with("n-")).count();
            assert_eq!(sent, 2, "{sdk} {i}");
            let refused = shop.metric(&line).await;
            assert!((1.0..=4.0).contains(&refused), "{sdk} {i}: refused {refused} times");
        }
    }
}

/// A gateway that refuses everything, as ours refuses.
async fn refuser() -> (String, Arc<AtomicU32>) {
    let hits = Arc::new(AtomicU32::new(0));
    let refuse = |State(hits): State<Arc<AtomicU32>>| async move {
        hits.fetch_add(1, Ordering::SeqCst);
        Problem::bad_request("invalid_json", "not what it should be")
    };
    let app = axum::Router::new().fallback(refuse).with_state(hits.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = GatewayConfig::default().listen_limits();
    tokio::spawn(pulse::http::listen::serve(listener, app, limits, CancellationToken::new()));
    (format!("http://{address}"), hits)
}

#[tokio::test]
async fn a_400_is_not_tried_again() {
    for sdk in ["segment", "rudderstack", "posthog"] {
        for i in [0, 1] {
            let (url, hits) = refuser().await;
            let client = clients(&[sdk, &url, "key", "1"]).into_iter().nth(i).unwrap();
            let said = tokio::time::timeout(Duration::from_secs(60), run(client)).await.unwrap();
            // in Python one call makes six, which may go in two batches
            let batches = hits.load(Ordering::SeqCst);
            assert!((1..=2).contains(&batches), "{sdk} {i}: {batches} requests, {said:?}");
            assert!(!said.is_empty() || batches == 1, "{sdk} {i}: a refusal is told: {said:?}");
        }
    }
}
