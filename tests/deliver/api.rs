//! The routes under `/webhooks`.

use crate::world::*;
use pulse::receiver::ReceiverArgs;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_shown_once() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config_to(&receiver.url()));
    let (id, secret) = create(&deliver, &format!("{}/mine", receiver.url())).await;
    let (_, list) = call(&deliver, "GET", "/webhooks", Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let (_, attempts) = call(&deliver, "GET", &format!("/webhooks/{id}/attempts"), Value::Null).await;
    for text in [list.to_string(), attempts.to_string()] {
        assert!(!text.contains("whsec_") && !text.contains(&secret.reveal()[6..]));
    }
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_are_refused_with_code_and_message() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config_to(&receiver.url()));
    let url = receiver.url();
    for body in [
        json!({"url": url, "types": ["nothing"]}),
        json!({"url": url, "groups": ["shoes"]}),
        json!({"url": url, "min_severity": "bad"}),
        json!({"url": url, "kind": "pigeon"}),
        json!({"url": url, "rate_per_s": 0}),
        json!({"url": url, "unknown": 1}),
        json!({"url": url, "description": "d".repeat(501)}),
        json!({}),
        json!([]),
    ] {
        let (status, answer) = call(&deliver, "POST", "/webhooks", body.clone()).await;
        assert!(
            (400..500).contains(&status) && answer["code"].is_string() && answer["message"].is_string(),
            "{body}: {answer}"
        );
    }
    let (_, list) = call(&deliver, "GET", "/webhooks", Value::Null).await;
    let configured = list["items"][0]["id"].as_str().unwrap();
    assert_eq!(call(&deliver, "DELETE", &format!("/webhooks/{configured}"), Value::Null).await.0, 409);
    assert_eq!(call(&deliver, "POST", &format!("/webhooks/{configured}/rotate"), Value::Null).await.0, 409);
    for path in ["/webhooks/no/attempts", "/webhooks?from=soon", "/webhooks?limit=x"] {
        assert!((400..500).contains(&call(&deliver, "GET", path, Value::Null).await.0), "{path}");
    }
    for (path, body) in [("/webhooks/no/test", Value::Null), ("/webhooks/no/replay", json!({"from": 0}))] {
        assert_eq!(call(&deliver, "POST", path, body).await.0, 404);
    }
    for body in [json!({}), json!({"from": 0, "message_id": "m"}), json!({"from": 0, "states": ["pending"]})] {
        assert_eq!(call(&deliver, "POST", &format!("/webhooks/{configured}/replay"), body).await.0, 400);
    }
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_button_says_what_came_of_it() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config());
    let (id, secret) = create(&deliver, &receiver.url()).await;
    let path = format!("/webhooks/{id}/test");
    let (_, refused) = call(&deliver, "POST", &path, Value::Null).await;
    assert_eq!((&refused["outcome"], &refused["attempt"]["status"]), (&json!("refused"), &json!(401)));
    receiver.set_secrets(vec![secret]);
    let (status, answer) = call(&deliver, "POST", &path, Value::Null).await;
    assert_eq!((status, &answer["outcome"]), (200, &json!("delivered")), "{answer}");
    let got = receiver.received().pop().unwrap();
    assert!(got.valid && got.r#type == "test.ping");
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_paged() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config());
    let mut secrets = Vec::new();
    for i in 0..5 {
        secrets.push(create(&deliver, &format!("{}/{i}", receiver.url())).await.1);
    }
    receiver.set_secrets(secrets);
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let (_, page) = call(&deliver, "GET", &format!("/webhooks?limit=2&cursor={cursor}"), Value::Null).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|i| i["id"].as_str().unwrap().to_string()));
        match page["next"].as_str() {
            Some(next) => cursor = next.into(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    let id = seen.first().unwrap();
    (0..5).for_each(|n| world.alert(n));
    arrived(&receiver, 25).await;
    until("delivered", || world.in_state("delivered") == 25).await;
    let path = format!("/webhooks/{id}/attempts?limit=3");
    let (_, first) = call(&deliver, "GET", &path, Value::Null).await;
    let (_, second) =
        call(&deliver, "GET", &format!("{path}&cursor={}", first["next"].as_str().unwrap()), Value::Null).await;
    let count = |page: &Value| page["items"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second), &second["next"]), (3, 2, &Value::Null));
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_endpoint_gets_nothing_more_and_its_rows_are_dead() {
    let (world, receiver) = (World::new(), receiver_with(ReceiverArgs { status: 500, ..Default::default() }).await);
    let deliver = world.start(config());
    let (id, _) = create(&deliver, &receiver.url()).await;
    world.alert(1);
    until("it waits", || world.count("SELECT count(*) FROM webhook_attempts") == 1).await;
    assert_eq!(call(&deliver, "DELETE", &format!("/webhooks?id={id}"), Value::Null).await.0, 204);
    assert_eq!(call(&deliver, "DELETE", &format!("/webhooks/{id}"), Value::Null).await.0, 404);
    world.forward(&deliver, 600_000);
    world.alert(2);
    a_moment().await;
    assert_eq!((receiver.received().len(), world.in_state("dead"), world.in_state("pending")), (1, 1, 0));
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_attempt_log_is_bounded() {
    let (world, receiver) = (World::new(), receiver().await);
    let config = pulse::deliver::DeliverConfig {
        attempts_kept: 10,
        rate_per_s: 10_000.0,
        burst: 1_000,
        total_burst: 1_000,
        ..config_to(&receiver.url())
    };
    let deliver = world.start(config);
    (0..200).for_each(|n| world.alert(n));
    until("delivered", || world.in_state("delivered") == 200).await;
    let kept = world.count("SELECT count(*) FROM webhook_attempts");
    assert!((10..=10 + 64).contains(&kept), "{kept}");
    deliver.stop().await;
}
