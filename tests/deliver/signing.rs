//! S15: what we sign, an independent verifier takes; altered messages it does not; rotation keeps both secrets alive.

use crate::world::*;
use axum::http::HeaderMap;
use pulse::receiver::Received;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

fn headers(r: &Received) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", r.id.parse().unwrap());
    headers.insert("webhook-timestamp", r.timestamp.parse().unwrap());
    headers.insert("webhook-signature", r.signature.parse().unwrap());
    headers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_verifier_takes_it_and_nothing_altered() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config_to(&receiver.url()));
    world.alert(1);
    let got = arrived(&receiver, 1).await.remove(0);
    assert!(got.valid && got.status == 200 && !got.id.contains('.'));
    let foreign = Webhook::new(SECRET).unwrap();
    foreign.verify(got.body.as_bytes(), &headers(&got)).unwrap();
    let altered = got.body.replace("0.526", "0.527");
    assert!(altered != got.body && foreign.verify(altered.as_bytes(), &headers(&got)).is_err());
    for name in ["webhook-id", "webhook-timestamp"] {
        let mut other = headers(&got);
        other.insert(name, "1614265330".parse().unwrap());
        assert!(foreign.verify(got.body.as_bytes(), &other).is_err());
    }
    let body: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(body["type"], "anomaly.opened");
    let latency = &body["data"]["latency"];
    let part = |name: &str| latency[name].as_i64().unwrap();
    assert!(
        0 <= part("appended_ms") && part("appended_ms") <= part("scored_ms") && part("scored_ms") <= part("sent_ms")
    );
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rotation_both_secrets_sign_for_a_day() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config());
    let (id, old) = create(&deliver, &receiver.url()).await;
    let (status, rotated) = call(&deliver, "POST", &format!("/webhooks/{id}/rotate"), Value::Null).await;
    assert_eq!(status, 200);
    let new = rotated["secret"].as_str().unwrap();
    receiver.set_secrets(vec![old.clone()]);
    world.alert(1);
    let got = arrived(&receiver, 1).await.remove(0);
    assert!(got.valid, "who still has the old secret can verify");
    assert_eq!(got.signature.split(' ').count(), 2);
    for secret in [old.reveal(), new] {
        Webhook::new(secret).unwrap().verify(got.body.as_bytes(), &headers(&got)).unwrap();
    }
    world.forward(&deliver, 24 * 3_600_000);
    world.alert(2);
    let later = arrived(&receiver, 2).await.remove(1);
    assert_eq!(later.signature.split(' ').count(), 1);
    assert!(!later.valid, "the old secret no longer signs");
    let again = pulse::deliver::signature::Secret::parse(new).unwrap();
    assert_eq!(later.signature, again.sign(&later.id, later.timestamp.parse().unwrap(), later.body.as_bytes()));
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_in_the_configuration_is_rotated_in() {
    let (world, receiver) = (World::new(), receiver().await);
    world.start(config_to(&receiver.url())).stop().await;
    let mut config = config_to(&receiver.url());
    let other = pulse::deliver::signature::Secret::generate().unwrap();
    config.endpoints[0].secret = Some(pulse::deliver::config::SecretSetting(other.clone()));
    let deliver = world.start(config);
    world.alert(1);
    let got = arrived(&receiver, 1).await.remove(0);
    assert!(got.valid, "signed by the old one too");
    Webhook::new(other.reveal()).unwrap().verify(got.body.as_bytes(), &headers(&got)).unwrap();
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_alert_is_shrunk_below_the_limit() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config_to(&receiver.url()));
    world.alert_with(1, json!({"contributors": "c".repeat(50_000)}));
    let got = arrived(&receiver, 1).await.remove(0);
    assert!(got.valid && got.body.len() < 20_000);
    let body: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!((&body["data"]["truncated"], &body["data"]["alert_id"]), (&json!(true), &json!("al_1")));
    deliver.stop().await;
}
