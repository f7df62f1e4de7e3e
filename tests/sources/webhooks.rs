//! Webhooks of shop systems: signatures, topics, and shops that behave badly.

use crate::support::{Reply, reply};
use crate::tools::{SECRET, Shop};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

fn sign(body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

async fn shopify(shop: &Shop, topic: &str, id: &str, body: &str) -> Reply {
    let request = shop.server.client.post(shop.server.url("/webhooks/shopify")).body(body.to_owned());
    let request = request.header("x-shopify-topic", topic).header("x-shopify-webhook-id", id);
    reply(request.header("x-shopify-hmac-sha256", sign(body, SECRET))).await
}
async fn woo(shop: &Shop, topic: &str, body: &str) -> Reply {
    let request = shop.server.client.post(shop.server.url("/webhooks/woocommerce")).body(body.to_owned());
    reply(request.header("x-wc-webhook-topic", topic).header("x-wc-webhook-signature", sign(body, SECRET))).await
}

/// As Shopify documents an order, shortened.
fn order() -> Value {
    json!({"id": 820982911946154508_u64, "email": "Jon@example.com", "created_at": "2026-01-02T03:04:05-05:00",
        "updated_at": "2026-01-02T03:04:06-05:00", "currency": "USD", "total_price": "398.00", "total_tax": "11.94", "total_discounts": "20.00",
        "total_shipping_price_set": {"shop_money": {"amount": "10.00", "currency_code": "USD"}}, "browser_ip": "203.0.113.9",
        "client_details": {"user_agent": "Mozilla/5.0"}, "customer": {"id": 115310627314723954_u64, "first_name": "Jon"},
        "billing_address": {"country_code": "US", "name": "Jon"}, "shipping_address": {"country_code": "CA"},
        "discount_codes": [{"code": "TENOFF"}], "payment_gateway_names": ["visa"],
        "line_items": [{"product_id": 632910392, "title": "IPod Nano", "price": "199.00", "quantity": 2, "sku": "x"}]})
}

#[tokio::test]
async fn an_order_of_shopify_is_an_event_once() {
    let shop = Shop::open().await;
    let body = order().to_string();
    assert_eq!(shopify(&shop, "orders/create", "w-1", &body).await.counts(), [1, 0, 0]);
    // a retry has the same id
    assert_eq!(shopify(&shop, "orders/create", "w-1", &body).await.counts(), [0, 1, 0]);
    let wanted = json!({"source": "shopify", "time": 1_767_341_046_000_i64, "id": "w-1", "type": "order.completed",
        "order_id": "820982911946154508", "customer_id": "115310627314723954",
        "email_hash": "e8d4a1b0", "ip": "203.0.113.9", "user_agent": "Mozilla/5.0", "billing_country": "US", "shipping_country": "CA",
        "amount": 398.00, "currency": "USD", "tax": 11.94, "discount": 20.00, "shipping": 10.00, "coupon": "TENOFF",
        "payment": {"method": "visa"}, "items": [{"product_id": "632910392", "name": "IPod Nano", "price": 199.00, "quantity": 2}]});
    let mut got = shop.event("w-1");
    assert_eq!(got["email_hash"].as_str().map(str::len), Some(64));
    got["email_hash"] = json!("e8d4a1b0");
    assert_eq!(got, wanted);
    assert!(!shop.event("w-1").to_string().contains("Jon"), "names are not kept");
}

#[tokio::test]
async fn a_wrong_signature_is_401_and_counted() {
    let shop = Shop::open().await;
    let body = order().to_string();
    for (way, topic, header) in [
        ("shopify", "x-shopify-topic", "x-shopify-hmac-sha256"),
        ("woocommerce", "x-wc-webhook-topic", "x-wc-webhook-signature"),
        ("stripe", "x-none", "stripe-signature"),
    ] {
        for signature in [sign(&body, "other"), sign("{}", SECRET), "x".into(), String::new()] {
            let request = shop.server.client.post(shop.server.url(&format!("/webhooks/{way}"))).body(body.clone());
            let got = reply(request.header(topic, "orders/create").header(header, signature)).await;
            assert_eq!(got.problem(), (401, "wrong_signature".into()));
        }
        let line = format!("pulse_way_in_requests_total{{way=\"{way}\",outcome=\"wrong_signature\"}}");
        assert_eq!(shop.metric(&line).await, 4.0);
    }
    assert!(shop.events().is_empty() && shop.rejects().is_empty());
}

#[tokio::test]
async fn unknown_topics_are_answered_so_that_nobody_tries_again_and_counted() {
    let shop = Shop::open().await;
    for got in [
        shopify(&shop, "products/update", "w-2", "{\"id\": 1").await,
        woo(&shop, "coupon.created", "{\"id\": 1}").await,
        woo(&shop, "", "{}").await,
    ] {
        assert_eq!((got.counts(), &got.json()["ignored"]), ([0, 0, 0], &json!(1)));
        assert_eq!(got.json()["results"][0]["code"], "unknown_topic");
    }
    assert_eq!(shop.metric("pulse_way_in_items_total{way=\"shopify\",outcome=\"ignored\"}").await, 1.0);
    assert_eq!(shop.metric("pulse_way_in_items_total{way=\"woocommerce\",outcome=\"ignored\"}").await, 2.0);
    assert!(shop.events().is_empty());
}

#[tokio::test]
async fn woocommerces_changes_are_events_by_their_status() {
    let shop = Shop::open().await;
    let ping = shop.server.client.post(shop.server.url("/webhooks/woocommerce")).body("webhook_id=7");
    assert_eq!(reply(ping).await.status, 200, "a webhook can be saved");
    let order = |status: &str, at: &str| {
        json!({"id": 727, "status": status, "currency": "EUR", "total": "29.35", "total_tax": "1.35", "discount_total": "0.00",
            "shipping_total": "10.00", "customer_id": 26, "customer_ip_address": "203.0.113.9", "customer_user_agent": "Mozilla/5.0",
            "date_created_gmt": "2026-03-22T16:28:02", "date_modified_gmt": at, "payment_method": "bacs", "transaction_id": "",
            "billing": {"email": "john@example.com", "country": "DE", "last_name": "Doe"}, "shipping": {"country": "DE"},
            "coupon_lines": [{"code": "NOV10"}],
            "line_items": [{"product_id": 93, "name": "Woo", "price": 3, "quantity": 2, "total": "6.00"}]})
        .to_string()
    };
    let at = |second: u32| format!("2026-03-22T16:28:{second:02}");
    for (topic, status, second, kind) in [
        ("order.created", "pending", 2, "order.completed"),
        ("order.updated", "processing", 8, "order.updated"),
        ("order.updated", "failed", 9, "payment.failed"),
        ("order.updated", "refunded", 10, "order.refunded"),
        ("order.updated", "cancelled", 11, "order.cancelled"),
    ] {
        let body = order(status, &at(second));
        assert_eq!(woo(&shop, topic, &body).await.counts(), [1, 0, 0], "{topic} {status}");
        assert_eq!(woo(&shop, topic, &body).await.counts(), [0, 1, 0], "told twice");
        let event = shop.event(&format!("{topic}:727:{}", at(second)));
        assert_eq!(
            (&event["type"], &event["order_id"], &event["amount"]),
            (&json!(kind), &json!("727"), &json!(29.35))
        );
        assert_eq!(event["time"], 1_774_196_880_000_i64 + i64::from(second) * 1000);
        assert!(!event.to_string().contains("Doe"));
    }
}

/// Two megabytes with thousands of lines: the order counts, what is too much of it is left out and said.
#[tokio::test]
async fn an_order_of_two_megabytes_is_an_order() {
    let shop = Shop::open().await;
    let mut body = order();
    let line = json!({"product_id": 1, "title": "x".repeat(300), "price": "1.00", "quantity": 1});
    body["line_items"] = json!(vec![line; 6_000]);
    let body = body.to_string();
    assert!(body.len() > 2_000_000);
    assert_eq!(shopify(&shop, "orders/create", "large", &body).await.counts(), [1, 0, 0]);
    let event = shop.event("large");
    assert_eq!((event["items"].as_array().unwrap().len(), &event["amount"]), (100, &json!(398.00)));
    assert_eq!(event["properties"]["items_left_out"], 5_900);
    let huge = "x".repeat(6 << 20);
    assert_eq!(shopify(&shop, "orders/create", "huge", &huge).await.problem(), (413, "body_too_large".into()));
    assert_eq!(shop.metric("pulse_way_in_requests_total{way=\"shopify\",outcome=\"body_too_large\"}").await, 1.0);
    assert_eq!(shopify(&shop, "orders/create", "next", &order().to_string()).await.counts(), [1, 0, 0]);
}

/// A shop whose clock is hours ahead: its orders count when they come.
#[tokio::test]
async fn a_shop_with_a_wrong_clock_loses_nothing() {
    let shop = Shop::open().await;
    let mut body = order();
    body["updated_at"] = json!("2099-01-01T00:00:00Z");
    assert_eq!(shopify(&shop, "orders/create", "ahead", &body.to_string()).await.counts(), [1, 0, 0]);
    let time = shop.event("ahead")["time"].as_i64().unwrap();
    assert!((pulse::engine::now_ms() - time).abs() < 60_000);
}

/// The same webhook a thousand times at once: one event, and everybody gets an answer.
#[tokio::test]
async fn a_storm_of_retries_is_one_event() {
    let shop = std::sync::Arc::new(Shop::open().await);
    let body = order().to_string();
    let storm = (0..1_000).map(|_| shopify(&shop, "orders/create", "storm", &body));
    let answers = futures::future::join_all(storm).await;
    assert!(answers.iter().all(|got| got.status == 200));
    let raw = shop.events().len();
    // those that came in before the first was in the log are in it too, and the dataflow removes them
    assert!(shop.events().iter().all(|event| event["id"] == "storm"), "{raw}");
    assert_eq!(shopify(&shop, "orders/create", "storm", &body).await.counts(), [0, 1, 0]);
}

#[tokio::test]
async fn without_a_secret_the_way_is_closed() {
    let server = crate::support::Server::start(Default::default()).await;
    for way in ["shopify", "woocommerce", "stripe"] {
        let got = reply(server.post(&format!("/webhooks/{way}"), "{}")).await;
        assert_eq!(got.problem(), (404, "source_closed".into()), "an empty secret would sign anything");
    }
}

#[tokio::test]
async fn stripe_topics_and_old_signatures() {
    let shop = Shop::open().await;
    let now_s = pulse::engine::now_ms() / 1000;
    let send = async |kind: &str, object: Value, at: i64| {
        let body = json!({"id": format!("evt_{kind}"), "type": kind, "created": now_s, "data": {"object": object}})
            .to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{at}.{body}").as_bytes());
        let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let request = shop.server.client.post(shop.server.url("/webhooks/stripe")).body(body);
        reply(request.header("stripe-signature", format!("t={at},v1={hex}"))).await
    };
    let failed = json!({"id": "pi_9", "amount": 500, "currency": "jpy", "status": "requires_payment_method", "last_payment_error":
        {"decline_code": "stolen_card", "payment_method": {"type": "card", "card": {"fingerprint": "fp_1"}}}});
    assert_eq!(send("payment_intent.payment_failed", failed.clone(), now_s).await.counts(), [1, 0, 0]);
    let event = shop.event("evt_payment_intent.payment_failed");
    let payment = json!({"id": "pi_9", "method": "card", "card": "fp_1", "status": "requires_payment_method", "decline_code": "stolen_card"});
    assert_eq!((&event["amount"], &event["payment"]), (&json!(500), &payment));
    let refund =
        json!({"id": "ch_1", "payment_intent": "pi_9", "amount": 1000, "amount_refunded": 250, "currency": "eur"});
    assert_eq!(send("charge.refunded", refund, now_s).await.counts(), [1, 0, 0]);
    assert_eq!(shop.event("evt_charge.refunded")["amount"], 2.50);
    let dispute = json!({"id": "dp_1", "charge": "ch_1", "payment_intent": "pi_9", "amount": 1000, "reason": "fraudulent", "status": "won"});
    for (topic, verdict) in [("charge.dispute.created", "true_positive"), ("charge.dispute.closed", "withdrawn")] {
        assert_eq!(send(topic, dispute.clone(), now_s).await.counts(), [1, 0, 0]);
        let labels = shop.server.log.values(pulse_dataflows::ports::Topic::Labels);
        let label = labels.last().unwrap();
        let told = [&label["payment_id"], &label["verdict"], &label["origin"], &label["by"], &label["reason"]];
        assert_eq!(told, ["pi_9", verdict, "chargeback", "stripe", "fraudulent"]);
    }
    assert_eq!(send("invoice.created", json!({}), now_s).await.json()["ignored"], 1);
    let old = send("payment_intent.succeeded", failed, now_s - 301).await;
    assert_eq!(old.problem(), (401, "wrong_signature".into()));
}
