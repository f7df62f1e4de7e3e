//! Row 34: what each answer of a receiver leads to.

use crate::world::*;
use pulse::receiver::ReceiverArgs;
use serde_json::{Value, json};
use std::time::Instant;
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_500_then_an_ok_is_one_message_with_the_same_id_and_bytes() {
    let (world, receiver) = (World::new(), receiver_with(ReceiverArgs { status: 500, ..Default::default() }).await);
    let deliver = world.start(config_to(&receiver.url()));
    world.alert(1);
    arrived(&receiver, 1).await;
    until("it waits", || world.in_state("pending") == 1).await;
    receiver.behave(|b| b.status = 204);
    world.forward(&deliver, 2_000);
    let got = arrived(&receiver, 2).await;
    assert_eq!((&got[0].id, &got[0].body), (&got[1].id, &got[1].body));
    assert!(got[0].timestamp < got[1].timestamp, "the timestamp is the attempt's");
    assert!(got[1].valid && !got[1].repeat);
    until("delivered", || world.in_state("delivered") == 1).await;
    world.forward(&deliver, 86_400_000);
    a_moment().await;
    assert_eq!(receiver.received().len(), 2, "and never again");
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_a_failure_and_never_followed() {
    let (world, target) = (World::new(), receiver().await);
    let first = receiver_with(ReceiverArgs { redirect_to: Some(target.url()), ..Default::default() }).await;
    let deliver = world.start(config_to(&first.url()));
    world.alert(1);
    arrived(&first, 1).await;
    until("it waits", || world.in_state("pending") == 1).await;
    a_moment().await;
    assert!(target.received().is_empty());
    assert_eq!(world.count("SELECT count(*) FROM webhook_attempts WHERE status = 302 AND outcome = 'refused'"), 1);
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_answer_is_cut() {
    let (world, receiver) =
        (World::new(), receiver_with(ReceiverArgs { endless_body: true, ..Default::default() }).await);
    let deliver = world.start(config_to(&receiver.url()));
    let begin = Instant::now();
    world.alert(1);
    until("delivered", || world.in_state("delivered") == 1).await;
    assert!(begin.elapsed().as_millis() < 1_500, "not read until the time-out");
    assert_eq!(world.count("SELECT length(reply) FROM webhook_attempts"), 1_024);
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_times_out() {
    let (world, receiver) =
        (World::new(), receiver_with(ReceiverArgs { delay_ms: 60_000, ..Default::default() }).await);
    let config = pulse::deliver::DeliverConfig { timeout_ms: 200, ..config_to(&receiver.url()) };
    let deliver = world.start(config);
    world.alert(1);
    until("timed out", || world.count("SELECT count(*) FROM webhook_attempts WHERE outcome = 'failed'") == 1).await;
    let ms = world.count("SELECT duration_ms FROM webhook_attempts");
    assert!((200..1_000).contains(&ms), "{ms}");
    deliver.stop().await;
}

/// Sends a byte of its answer now and then, for ever.
async fn slow_loris() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
                while socket.write_all(b"a").await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_loris_times_out_and_does_not_hold_up_others() {
    let (world, good) = (World::new(), receiver().await);
    let mut config = config_to(&slow_loris().await);
    config.timeout_ms = 300;
    config.endpoints.extend(config_to(&good.url()).endpoints);
    let deliver = world.start(config);
    let begin = Instant::now();
    world.alert(1);
    arrived(&good, 1).await;
    assert!(begin.elapsed().as_millis() < 300, "the other endpoint waits for nobody");
    until("timed out", || world.count("SELECT count(*) FROM webhook_attempts WHERE reply = 'no answer in time'") > 0)
        .await;
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_obeyed() {
    let args = ReceiverArgs { status: 429, retry_after: Some("30".into()), ..Default::default() };
    let (world, receiver) = (World::new(), receiver_with(args).await);
    let deliver = world.start(config_to(&receiver.url()));
    world.alert(1);
    arrived(&receiver, 1).await;
    until("it waits", || world.in_state("pending") == 1).await;
    receiver.behave(|b| b.status = 200);
    // Neither the message nor another one for the same receiver goes out earlier.
    world.alert(2);
    world.forward(&deliver, 28_000);
    a_moment().await;
    assert_eq!(receiver.received().len(), 1);
    world.forward(&deliver, 2_500);
    arrived(&receiver, 3).await;
    until("delivered", || world.in_state("delivered") == 2).await;
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_disables_tells_the_others_and_loses_nothing() {
    let (world, leaving, other) = (World::new(), receiver().await, receiver().await);
    let mut config = config_to(&other.url());
    config.endpoints[0].types = vec!["endpoint.disabled".into()];
    let deliver = world.start(config);
    let (id, secret) = create(&deliver, &leaving.url()).await;
    leaving.set_secrets(vec![secret]);
    leaving.behave(|b| b.status = 410);
    world.alert(1);
    let notice = arrived(&other, 1).await.remove(0);
    assert!(notice.valid && notice.r#type == "endpoint.disabled" && notice.body.contains(&id));
    world.alert(2);
    until("kept", || world.in_state("suppressed") == 1).await;
    assert_eq!(leaving.received().len(), 1);
    leaving.behave(|b| b.status = 200);
    let replay = json!({"from": 0});
    assert_eq!(call(&deliver, "POST", &format!("/webhooks/{id}/replay"), replay.clone()).await.0, 409);
    assert_eq!(call(&deliver, "POST", &format!("/webhooks/{id}/enable"), Value::Null).await.0, 200);
    let (status, answer) = call(&deliver, "POST", &format!("/webhooks/{id}/replay"), replay).await;
    assert_eq!((status, &answer["replayed"]), (202, &json!(2)));
    let got = arrived(&leaving, 3).await;
    assert_eq!(got.iter().filter(|r| r.id == got[0].id && r.body == got[0].body).count(), 2);
    until("delivered", || world.in_state("delivered") == 3).await;
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_last_attempt_it_is_dead_and_can_be_replayed() {
    let (world, receiver) = (World::new(), receiver_with(ReceiverArgs { status: 400, ..Default::default() }).await);
    let deliver = world.start(config_to(&receiver.url()));
    world.alert(1);
    for attempt in 1..=4 {
        arrived(&receiver, attempt).await;
        until("written down", || world.count("SELECT count(*) FROM webhook_attempts") == attempt as i64).await;
        world.forward(&deliver, 600_000);
    }
    until("dead", || world.in_state("dead") == 1).await;
    a_moment().await;
    assert_eq!(receiver.received().len(), 4, "three retries in the schedule");
    receiver.behave(|b| b.status = 200);
    let first = receiver.received().remove(0);
    let (_, list) = call(&deliver, "GET", "/webhooks", Value::Null).await;
    let path = format!("/webhooks/{}/replay", list["items"][0]["id"].as_str().unwrap());
    assert_eq!(call(&deliver, "POST", &path, json!({"message_id": first.id})).await.0, 202);
    let again = arrived(&receiver, 5).await.remove(4);
    assert_eq!((again.id, again.body), (first.id, first.body));
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_days_of_failures_disable_an_endpoint() {
    let (world, receiver) = (World::new(), receiver_with(ReceiverArgs { status: 500, ..Default::default() }).await);
    let config = pulse::deliver::DeliverConfig { schedule_s: vec![86_400; 10], ..config_to(&receiver.url()) };
    let deliver = world.start(config);
    world.alert(1);
    for attempt in 1..=3 {
        arrived(&receiver, attempt).await;
        until("written down", || world.count("SELECT count(*) FROM webhook_attempts") == attempt as i64).await;
        assert_eq!(world.count("SELECT count(*) FROM webhook_endpoints WHERE disabled_ms IS NULL"), 1, "{attempt}");
        world.forward(&deliver, 40 * 3_600_000);
    }
    until("disabled", || world.count("SELECT count(*) FROM webhook_endpoints WHERE disabled_reason = 'failing'") == 1)
        .await;
    assert_eq!(world.in_state("dead"), 1);
    deliver.stop().await;
}
