//! Keys that stand in pages: which pages, and which events.

use crate::support::{Reply, reply};
use crate::tools::Shop;
use serde_json::{Value, json};

const PAGE: &str = "https://shop.example";

async fn send(shop: &Shop, origin: Option<&str>, events: &[&str]) -> Reply {
    let item = |(i, name): (usize, &&str)| json!({"type": "track", "event": name, "messageId": format!("{name}-{i}"), "anonymousId": "d-1"});
    let batch: Vec<Value> = events.iter().enumerate().map(item).collect();
    let body = json!({"batch": batch, "writeKey": shop.browser_key}).to_string();
    let request = shop.server.client.post(shop.server.url("/v1/batch")).header("content-type", "text/plain");
    let request = request.header("user-agent", "Mozilla/5.0 (a browser)").body(body);
    reply(match origin {
        Some(origin) => request.header("origin", origin),
        None => request,
    })
    .await
}

#[tokio::test]
async fn a_page_sends_browse_and_cart_events_and_nothing_else() {
    let shop = Shop::open().await;
    let got =
        send(&shop, Some(PAGE), &["Product Viewed", "Product Added", "Order Completed", "Video Played", "heartbeat"])
            .await;
    let results: Vec<Value> = got.json()["results"].as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(results, ["accepted", "accepted", "rejected", "ignored", "rejected"], "{}", got.text);
    assert_eq!(got.json()["results"][2]["code"], "not_for_browsers");
    assert_eq!(got.header("access-control-allow-origin"), PAGE);
    let seen = shop.event("Product Viewed-0");
    assert_eq!((&seen["source"], &seen["device_id"]), (&json!("page"), &json!("d-1")));
    assert_eq!((&seen["ip"], &seen["user_agent"]), (&json!("127.0.0.1"), &json!("Mozilla/5.0 (a browser)")));
    assert_eq!(shop.events().len(), 2);
    // on the native route it is the same key
    let native = |kind: &str| {
        let body = json!({"id": kind, "type": kind}).to_string();
        shop.server.post("/api/v1/events", body).bearer_auth(&shop.browser_key).header("origin", PAGE)
    };
    assert_eq!(reply(native("cart.added")).await.status, 200);
    assert_eq!(reply(native("payment.failed")).await.problem(), (400, "not_for_browsers".into()));
    assert_eq!(reply(native("metric.sample")).await.status, 400);
}

#[tokio::test]
async fn other_pages_and_programs_cannot_use_the_key() {
    let shop = Shop::open().await;
    for origin in [None, Some("https://evil.example"), Some("http://shop.example"), Some("null")] {
        let got = send(&shop, origin, &["Product Viewed"]).await;
        assert_eq!(got.problem(), (403, "wrong_origin".into()), "{origin:?}");
        assert_eq!(got.header("access-control-allow-origin"), "", "{origin:?}");
    }
    assert!(shop.events().is_empty());
    let read = shop.server.client.post(shop.server.url("/v1/batch")).bearer_auth(&shop.key).header("origin", PAGE);
    assert_eq!(reply(read.body(r#"{"batch":[]}"#)).await.status, 200, "the shop's own key has no origins");
}

#[tokio::test]
async fn a_browsers_question_beforehand_is_answered_for_known_origins() {
    let shop = Shop::open().await;
    let ask = |origin: &str, path: &str| {
        let request = shop.server.client.request(reqwest::Method::OPTIONS, shop.server.url(path));
        request.header("origin", origin).header("access-control-request-method", "POST")
    };
    for path in ["/v1/batch", "/e/", "/api/v1/events:batch"] {
        let got = reply(ask(PAGE, path)).await;
        assert_eq!((got.status, got.header("access-control-allow-origin")), (204, PAGE), "{path}");
        assert!(got.header("access-control-allow-headers").contains("authorization"));
        let got = reply(ask("https://evil.example", path)).await;
        assert_eq!((got.status, got.header("access-control-allow-origin")), (403, ""), "{path}");
    }
}
