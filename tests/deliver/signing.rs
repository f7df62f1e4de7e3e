//! S15: what we sign, an independent verifier takes; altered messages it does not; rotation keeps both secrets alive.

use crate::world::*;
use axum::http::HeaderMap;
use pulse::receiver::Received;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::io::Write;
use std::process::{Command, Stdio};

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

/// Asks another library: pairs of message and whether it must take it.
fn asked(program: &str, words: &[&str], cases: &Value) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(program)
        .args(words)
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}; run tests/run.sh, which installs it"));
    child.stdin.take().unwrap().write_all(cases.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    assert!(output.status.success() && said.contains("agreed"), "{program}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libraries_in_python_and_node_take_it_during_a_rotation_too_and_nothing_altered() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config());
    let (id, old) = create(&deliver, &receiver.url()).await;
    let ticket = r#"{"t": {{ story.title }}, "ü": {{ id }}}"#;
    let (_, other) =
        call(&deliver, "POST", "/webhooks", json!({"url": format!("{}/crm", receiver.url()), "template": ticket}))
            .await;
    let theirs = other["secret"].as_str().unwrap();
    receiver.set_secrets(vec![old.clone(), pulse::deliver::signature::Secret::parse(theirs).unwrap()]);
    world.alert_with(1, json!({"note": "ü \"quoted\" \u{1f6d2}"}));
    let first = arrived(&receiver, 2).await;
    let (_, rotated) = call(&deliver, "POST", &format!("/webhooks/{id}/rotate"), Value::Null).await;
    world.alert(2);
    let all = arrived(&receiver, 4).await;
    let crm = |r: &&Received| r.path.ends_with("/crm");
    let case = |r: &Received, secret: &str, body: &str, good: bool| {
        let headers = json!({"webhook-id": r.id, "webhook-timestamp": r.timestamp, "webhook-signature": r.signature});
        json!([secret, headers, body, good])
    };
    let (plain, form) = (first.iter().find(|r| !crm(r)).unwrap(), first.iter().find(crm).unwrap());
    let later = all[2..].iter().find(|r| !crm(r)).unwrap();
    let new = rotated["secret"].as_str().unwrap();
    let mut cases = vec![
        case(plain, old.reveal(), &plain.body, true),
        case(plain, old.reveal(), &plain.body.replace("0.526", "0.527"), false),
        case(plain, new, &plain.body, false),
        case(form, theirs, &form.body, true),
        case(form, old.reveal(), &form.body, false),
        case(later, old.reveal(), &later.body, true),
        case(later, new, &later.body, true),
    ];
    let mut stale = case(plain, old.reveal(), &plain.body, false);
    stale[1]["webhook-timestamp"] = "1614265330".into();
    cases.push(stale);
    let cases = Value::from(cases);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let (python, modules) =
        (root.join("venv/bin/python").display().to_string(), root.join("node/node_modules").display().to_string());
    asked(&python, &["tests/deliver/verify.py"], &cases);
    asked("node", &["tests/deliver/verify.cjs", &modules], &cases);
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
