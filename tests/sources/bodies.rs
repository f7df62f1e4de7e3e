//! Bodies by hand: what SDKs of today do not send and somebody will, and how each fault is told.

use crate::support::{Reply, gzip, reply};
use crate::tools::Shop;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

async fn post(shop: &Shop, path: &str, body: impl Into<reqwest::Body>) -> Reply {
    reply(shop.server.client.post(shop.server.url(path)).bearer_auth(&shop.key).body(body)).await
}
fn track(id: &str, more: Value) -> Value {
    let mut call = json!({"type": "track", "event": "Order Completed", "messageId": id, "userId": "c-1"});
    call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call
}
fn statuses(got: &Reply) -> Vec<String> {
    assert_eq!(got.status, 200, "{}", got.text);
    got.json()["results"].as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn single_calls_and_keys_in_three_places() {
    let shop = Shop::open().await;
    for (call, kind) in [("track", "order.completed"), ("page", "page.viewed"), ("identify", "user.identified")] {
        let got = post(&shop, &format!("/v1/{call}"), track(call, json!({})).to_string()).await;
        assert_eq!(got.counts(), [1, 0, 0]);
        assert_eq!(shop.event(call)["type"], kind);
    }
    let send = |body: Value| shop.server.client.post(shop.server.url("/v1/track")).body(body.to_string());
    let in_body = send(track("a", json!({"writeKey": shop.key})));
    assert_eq!(reply(in_body).await.counts(), [1, 0, 0]);
    let basic = send(track("b", json!({}))).basic_auth(&shop.key, Some(""));
    assert_eq!(reply(basic).await.counts(), [1, 0, 0]);
    for bad in [
        send(track("c", json!({}))),
        send(track("c", json!({"writeKey": "x"}))),
        send(track("c", json!({}))).basic_auth("x", Some("")),
    ] {
        assert_eq!(reply(bad).await.problem(), (401, "unauthorized".into()));
    }
    let other = post(&shop, "/v1/unknown", "{}").await;
    assert_eq!(other.problem(), (404, "not_found".into()));
}

#[tokio::test]
async fn a_fault_is_the_items_own() {
    let shop = Shop::open().await;
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let body = format!(
        r#"{{"batch":[{},{{"type":"track","event":"x","messageId":"nan","properties":{{"a":NaN}}}},{{"type":"track","event":"x","messageId":"deep","properties":{{"a":{deep}}}}},
          7,{{"type":"track","messageId":"nameless"}},{{"event":"x"}},{}],"sentAt":"2026-01-01T00:00:00Z"}}"#,
        track("good", json!({})),
        track("last", json!({}))
    );
    let got = post(&shop, "/v1/batch", body).await;
    assert_eq!(statuses(&got), ["accepted", "rejected", "rejected", "rejected", "rejected", "rejected", "accepted"]);
    let codes: Vec<Value> = got.json()["results"].as_array().unwrap().iter().map(|r| r["code"].clone()).collect();
    assert_eq!(codes[1..6], ["invalid_json", "too_deep", "invalid_json", "missing_field", "missing_field"]);
    assert_eq!(shop.events().len(), 2);
    assert_eq!(shop.rejects().len(), 5);
    assert!(shop.rejects()[0]["payload"].as_str().unwrap().contains("NaN"), "people see what was sent");
    for (body, code) in [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        (r#"{"batch":{}}"#, "invalid_json"),
        (r#"{"sentAt":1}"#, "invalid_json"),
    ] {
        assert_eq!(post(&shop, "/v1/batch", body).await.problem(), (400, code.into()), "{body}");
    }
    let many = json!({"batch": vec![json!({}); 2_501]}).to_string();
    assert_eq!(post(&shop, "/v1/batch", many).await.problem(), (413, "too_many_events".into()));
}

/// Tracking data are free: what cannot be an amount or a country stays among the properties, and costs no event.
#[tokio::test]
async fn odd_properties_cost_no_event() {
    let shop = Shop::open().await;
    let properties = json!({"total": "12,50", "value": "HD", "currency": "Euro", "quantity": {"a": 1}, "products": "none", "price": 5,
        "category": "video", "country": "Germany", "coupon": "x".repeat(150), "note": "é\n\"", "order_id": 77});
    assert_eq!(
        post(&shop, "/v1/track", track("odd", json!({"properties": properties})).to_string()).await.counts(),
        [1, 0, 0]
    );
    let got = shop.event("odd");
    assert_eq!((&got["order_id"], got["coupon"].as_str().unwrap().len()), (&json!("77"), 100));
    let rest = json!({"total": "12,50", "value": "HD", "currency": "Euro", "quantity": {"a": 1}, "products": "none", "price": 5,
        "category": "video", "country": "Germany", "note": "é\n\""});
    assert_eq!(got["properties"], rest);
    assert!(got.get("amount").is_none() && got.get("items").is_none());
    let much = track("much", json!({"properties": {"total": 5, "text": "x".repeat(40_000)}}));
    assert_eq!(post(&shop, "/v1/track", much.to_string()).await.counts(), [1, 0, 0]);
    assert_eq!(
        (&shop.event("much")["amount"], &shop.event("much")["properties"]["left_out_bytes"]),
        (&json!(5), &json!(40_010))
    );
    let long = track("long", json!({"userId": "u".repeat(101)}));
    assert_eq!(post(&shop, "/v1/track", long.to_string()).await.counts(), [0, 0, 1], "an id that is cut is another");
}

#[tokio::test]
async fn clocks_that_are_off_by_hours_are_corrected_where_they_say_when_they_sent() {
    let shop = Shop::open().await;
    let now = pulse::engine::now_ms();
    let at = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap().to_string();
    for (id, wrong_by_h) in [("ahead", 5), ("behind", -7), ("right", 0)] {
        let clock = now + wrong_by_h * 3_600_000;
        let body = json!({"batch": [track(id, json!({"timestamp": at(clock - 60_000)}))], "sentAt": at(clock)});
        assert_eq!(post(&shop, "/v1/batch", body.to_string()).await.counts(), [1, 0, 0]);
        let off = shop.event(id)["time"].as_i64().unwrap() - (now - 60_000);
        assert!(off.abs() < 30_000, "{id}: off by {off} ms");
    }
    let silent = json!({"batch": [track("silent", json!({"timestamp": at(now + 3_600_000)}))]});
    let got = post(&shop, "/v1/batch", silent.to_string()).await;
    assert_eq!(got.json()["results"][0]["code"], "time_in_future");
}

#[tokio::test]
async fn posthogs_script_packs_bodies_in_its_own_ways() {
    let shop = Shop::open().await;
    let one = |id: &str| {
        json!({"uuid": id, "event": "Product Viewed", "properties": {"token": shop.key, "distinct_id": "d-1", "$device_id": "d-1",
            "product_id": "p-1", "price": 9.5, "$ip": "203.0.113.9"}})
    };
    let plain = |path: &str, body: Vec<u8>| reply(shop.server.client.post(shop.server.url(path)).body(body));
    assert_eq!(
        plain("/e/?compression=gzip-js&ver=1.2", gzip(one("gz").to_string().as_bytes()).await).await.counts(),
        [1, 0, 0]
    );
    let form = format!(
        "data={}",
        STANDARD.encode(json!([one("f1"), one("f2")]).to_string()).replace('+', "%2B").replace('=', "%3D")
    );
    assert_eq!(plain("/e/", form.into_bytes()).await.counts(), [2, 0, 0]);
    assert_eq!(plain("/i/v0/e/", one("single").to_string().into_bytes()).await.counts(), [1, 0, 0]);
    let capture = json!({"api_key": shop.key, "event": "purchase", "distinct_id": "c-1", "uuid": "cap", "properties": {"value": 5}});
    assert_eq!(plain("/capture/", capture.to_string().into_bytes()).await.counts(), [1, 0, 0]);
    let event = shop.event("gz");
    assert_eq!((&event["type"], &event["device_id"]), (&json!("product.viewed"), &json!("d-1")));
    assert!(event.get("customer_id").is_none() && !event.to_string().contains(&shop.key), "{event}");
    assert_eq!((&shop.event("cap")["type"], &shop.event("cap")["amount"]), (&json!("order.completed"), &json!(5)));
    assert_eq!(plain("/batch", b"{\"api_key\":1}".to_vec()).await.status, 401);
}

#[tokio::test]
async fn measurement_protocol_is_understood() {
    let shop = Shop::open().await;
    let now = pulse::engine::now_ms();
    let purchase = json!({"name": "purchase", "params": {"transaction_id": "T1", "value": 30.03, "currency": "EUR", "tax": 4.9, "shipping": 5.99,
        "coupon": "NOV10", "session_id": 17, "items": [{"item_id": "p-1", "item_name": "Shoe", "item_category": "shoes", "price": 10.01, "quantity": 3}]}});
    let body = json!({"client_id": "x.1", "user_id": "c-1", "events": [purchase, {"name": "page_view", "params": {"engagement_time_msec": 1}}],
        "timestamp_micros": (now - 5_000) * 1000});
    assert_eq!(post(&shop, "/mp/collect?measurement_id=G-1", body.to_string()).await.counts(), [2, 0, 0]);
    let wanted = json!({"source": "web", "time": now - 5_000, "id": "order.completed:T1", "type": "order.completed", "customer_id": "c-1",
        "device_id": "x.1", "order_id": "T1", "amount": 30.03, "currency": "EUR", "shipping": 5.99, "tax": 4.9, "coupon": "NOV10", "session_id": "17",
        "items": [{"product_id": "p-1", "category": "shoes", "name": "Shoe", "price": 10.01, "quantity": 3}]});
    assert_eq!(shop.event("order.completed:T1"), wanted);
    assert_eq!(post(&shop, "/mp/collect", body.to_string()).await.json()["results"][0]["status"], "duplicate");
    let address = format!("/mp/collect?api_secret={}", shop.key);
    assert_eq!(post(&shop, &address, body.to_string()).await.status, 401, "keys in addresses end in logs");
}

#[tokio::test]
async fn cloudevents_by_the_letter() {
    let shop = Shop::open().await;
    let base =
        [("ce-id", "a%20b"), ("ce-source", "\"quoted \\\" one\""), ("ce-type", "heartbeat"), ("ce-specversion", "1.0")];
    let send = async |headers: &[(&str, &str)], body: &str| {
        let mut request =
            shop.server.client.post(shop.server.url("/cloudevents")).bearer_auth(&shop.key).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        reply(request).await
    };
    assert_eq!(send(&base, "").await.counts(), [1, 0, 0]);
    assert_eq!(shop.event("a b")["source"], "quoted \" one");
    for (name, value) in [("ce-x", "%C0%A0"), ("ce-datacontenttype", "application/json")] {
        assert_eq!(send(&[&base[..], &[(name, value)]].concat(), "{}").await.problem(), (400, "invalid_json".into()));
    }
    assert_eq!(send(&[], "{}").await.problem().0, 400);
    assert_eq!(send(&[&base[..3], &[("ce-specversion", "0.3")]].concat(), "{}").await.counts(), [0, 0, 1]);
    assert_eq!(send(&base[..3], "[1]").await.counts(), [0, 0, 1]);
    let media = [("content-type", "Application/CloudEvents+JSON; charset=UTF-8")];
    let event = json!({"specversion": "1.0", "id": "s", "source": "/s", "type": "cart.added", "data_base64": STANDARD.encode(r#"{"amount":2}"#)});
    assert_eq!(send(&media, &event.to_string()).await.counts(), [1, 0, 0]);
    assert_eq!(shop.event("s")["amount"], 2);
    assert_eq!(send(&media, "{").await.problem(), (400, "invalid_json".into()));
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let got = send(&batch, &json!([event, {"id": "x"}, 5]).to_string()).await;
    assert_eq!(statuses(&got), ["duplicate", "rejected", "rejected"]);
}

/// The description names what is there, and nothing else.
#[tokio::test]
async fn every_described_route_is_there() {
    let shop = Shop::open().await;
    let document = shop.server.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 20);
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase().parse::<reqwest::Method>().unwrap();
            let got =
                reply(shop.server.client.request(method, shop.server.url(path)).bearer_auth(&shop.key).body("{}"))
                    .await;
            assert!(!matches!(got.status, 404 | 405 | 415), "{path}: {got:?}");
        }
    }
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/gateway/sources/http.rs")).unwrap();
    let routes = source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    for route in routes.filter(|route| !route.contains('{')) {
        assert!(paths.contains_key(route), "{route} is not described");
    }
}
