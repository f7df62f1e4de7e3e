//! The receiver itself: verifies, notices repeats, writes its file, fails by seed.

use crate::world::*;
use pulse::deliver::signature::Secret;
use pulse::receiver::{Receiver, ReceiverArgs};

async fn post(receiver: &Receiver, id: &str, at_s: i64, body: &str) -> u16 {
    let signature = Secret::parse(SECRET).unwrap().sign(id, at_s, body.as_bytes());
    let request = reqwest::Client::new().post(receiver.url()).header("webhook-id", id);
    let request = request.header("webhook-timestamp", at_s).header("webhook-signature", signature);
    request.body(body.to_string()).send().await.unwrap().status().as_u16()
}
fn now_s() -> i64 {
    pulse::deliver::system_clock()() / 1000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_verifies_and_notices_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("received.ndjson");
    let receiver = receiver_with(ReceiverArgs { out: Some(out.clone()), ..Default::default() }).await;
    let body = r#"{"type":"test.ping","timestamp":"t","data":{}}"#;
    assert_eq!(post(&receiver, "msg_1", now_s(), body).await, 200);
    assert_eq!(post(&receiver, "msg_1", now_s(), body).await, 200);
    assert_eq!(post(&receiver, "msg_2", now_s() - 400, body).await, 401);
    let unsigned = reqwest::Client::new().post(receiver.url()).body(body).send().await.unwrap();
    assert_eq!(unsigned.status(), 401);
    let got = receiver.received();
    assert_eq!(
        got.iter().map(|r| (r.valid, r.repeat)).collect::<Vec<_>>(),
        [(true, false), (true, true), (false, false), (false, false)]
    );
    let lines: Vec<serde_json::Value> =
        std::fs::read_to_string(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["type"], &lines[0]["body"]), (4, &"test.ping".into(), &body.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_failures_are_repeatable() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let receiver = receiver_with(ReceiverArgs { fail_rate: 0.5, seed: 7, ..Default::default() }).await;
        let mut statuses = Vec::new();
        for n in 0..20 {
            statuses.push(post(&receiver, &format!("msg_{n}"), now_s(), "{}").await);
        }
        assert!(statuses.contains(&500) && statuses.contains(&200));
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_arguments_are_refused() {
    for args in [
        ReceiverArgs { status: 7, ..Default::default() },
        ReceiverArgs { fail_rate: 1.5, ..Default::default() },
        ReceiverArgs { secrets: vec!["secret".into()], ..Default::default() },
    ] {
        assert!(Receiver::start(args, false).await.is_err());
    }
}
