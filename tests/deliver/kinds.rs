//! Destinations that are no webhooks: a real Alertmanager, and what Slack and PagerDuty would get, as far as their own libraries
//! can judge it.
//!
//! Deliberately absent: Slack and PagerDuty themselves; they are on the internet.

use crate::world::*;
use axum::extract::State;
use axum::http::StatusCode;
use pulse_dataflows::ports::{Cause, Meta};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(name);
    if path.exists() { path } else { name.into() }
}

/// An Alertmanager on a free port, ended with the test.
struct Alertmanager {
    address: String,
    child: Child,
    _dir: tempfile::TempDir,
}
impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill(); // may be gone
        let _ = self.child.wait();
    }
}
impl Alertmanager {
    async fn start() -> Alertmanager {
        let dir = tempfile::tempdir().unwrap();
        let config = "route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n";
        std::fs::write(dir.path().join("am.yml"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = Command::new(tool("alertmanager"))
            .args(["--config.file=am.yml", "--storage.path=data", "--cluster.listen-address="])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("alertmanager: {e}; run tests/run.sh, which installs it"));
        let this = Alertmanager { address, child, _dir: dir };
        let begun = std::time::Instant::now();
        while this.get("/-/ready").await.is_none() {
            assert!(begun.elapsed().as_secs() < 30, "Alertmanager does not start");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        this
    }
    async fn get(&self, path: &str) -> Option<String> {
        let answer = reqwest::get(format!("http://{}{path}", self.address)).await.ok()?;
        answer.status().is_success().then_some(answer.text().await.ok()?)
    }
    async fn active(&self) -> Vec<Value> {
        let text = self.get("/api/v2/alerts?active=true").await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_alertmanager_has_the_alert_until_it_is_resolved() {
    let (world, manager) = (World::new(), Alertmanager::start().await);
    let deliver = world.start(config());
    let url = format!("http://{}/api/v2/alerts", manager.address);
    let (status, made) = call(&deliver, "POST", "/webhooks", json!({"url": url, "kind": "alertmanager"})).await;
    assert_eq!((status, &made["secret"]), (201, &Value::Null), "{made}");
    let entity = json!({"entity": {"kind": "device", "id": "d-7"}, "cause": "card_testing_device"});
    world.alert_with(1, entity.clone());
    until("it is delivered", || world.in_state("delivered") == 1).await;
    let active = manager.active().await;
    assert_eq!(active.len(), 1, "{active:?}");
    assert_eq!(active[0]["labels"]["entity"], "device:d-7");
    assert_eq!(active[0]["labels"]["alertname"], "PulseAnomaly");
    assert_eq!(active[0]["annotations"]["summary"], "far above");
    let mut data = json!({"alert_id": "al_1", "count": 1});
    data.as_object_mut().unwrap().extend(entity.as_object().unwrap().clone());
    let resolved = json!({"type": "anomaly.resolved", "timestamp": "2026-11-22T21:16:00Z", "data": data});
    world.record(
        &resolved.to_string(),
        Meta { time_ms: world.clock()(), cause: Cause { partition: 0, offset: 9, kind: 0 } },
    );
    until("its end is delivered", || world.in_state("delivered") == 2).await;
    let begun = std::time::Instant::now();
    while !manager.active().await.is_empty() {
        assert!(begun.elapsed().as_secs() < 10, "{:?}", manager.active().await);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // what it does not take is no success
    let wrong = format!("http://{}/api/v2/nothing", manager.address);
    let (_, made) = call(&deliver, "POST", "/webhooks", json!({"url": wrong, "kind": "alertmanager"})).await;
    let (_, tried) =
        call(&deliver, "POST", &format!("/webhooks/{}/test", made["id"].as_str().unwrap()), Value::Null).await;
    assert_ne!(tried["outcome"], "delivered", "{tried}");
    deliver.stop().await;
    world.agrees();
}

/// Keeps the bodies it gets, and answers with a status.
async fn keeper(status: StatusCode) -> (String, Arc<Mutex<Vec<Value>>>) {
    let bodies = Arc::<Mutex<Vec<Value>>>::default();
    let keep = move |State(bodies): State<Arc<Mutex<Vec<Value>>>>, axum::Json(body): axum::Json<Value>| async move {
        bodies.lock().unwrap().push(body);
        status
    };
    let router = axum::Router::new().fallback(axum::routing::post(keep)).with_state(bodies.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), bodies)
}

const SLACK: &str = r"
import json, sys
from slack_sdk.models.blocks import Block
for body in json.load(sys.stdin):
    assert body['text']
    blocks = Block.parse_all(body['blocks'])
    assert len(blocks) == len(body['blocks']) >= 2
    for block in blocks:
        block.validate_json()
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slack_gets_blocks_that_its_own_library_takes_and_the_address_is_not_shown() {
    let (world, (url, bodies)) = (World::new(), keeper(StatusCode::OK).await);
    let deliver = world.start(config());
    let address = format!("{url}/services/T0/B0/hush");
    let (status, made) = call(&deliver, "POST", "/webhooks", json!({"url": address, "kind": "slack"})).await;
    assert_eq!(status, 201, "{made}");
    world.alert_with(1, json!({"entity": {"kind": "customer", "id": "<b>&"}, "cause": "amount"}));
    world.alert_with(2, json!({"event": {"reasons": [{"text": "x".repeat(9_000)}, {"text": "a < b & c"}]}}));
    until("both are delivered", || world.in_state("delivered") == 2).await;
    let bodies = Value::from(bodies.lock().unwrap().clone());
    assert!(bodies.to_string().contains("&lt;b&gt;&amp;") && bodies.to_string().contains("far above"));
    let mut python = Command::new(tool("venv/bin/python"));
    let mut child = python.args(["-c", SLACK]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bodies.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, list) = call(&deliver, "GET", "/webhooks", Value::Null).await;
    assert!(!list.to_string().contains("hush") && !made.to_string().contains("hush"), "{list}");
    let id = made["id"].as_str().unwrap();
    assert_eq!(call(&deliver, "POST", &format!("/webhooks/{id}/rotate"), Value::Null).await.0, 409);
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pagerduty_opens_and_closes_under_one_key_and_its_routing_key_is_not_shown() {
    let (world, (url, bodies)) = (World::new(), keeper(StatusCode::ACCEPTED).await);
    let deliver = world.start(config());
    let wanted = json!({"url": format!("{url}/v2/enqueue"), "kind": "pagerduty"});
    let (status, answer) = call(&deliver, "POST", "/webhooks", wanted.clone()).await;
    assert_eq!((status, &answer["code"]), (400, &json!("invalid_secret")), "a key is needed");
    let mut with_key = wanted;
    with_key["secret"] = "R0UT1NGKEY".into();
    let (status, made) = call(&deliver, "POST", "/webhooks", with_key).await;
    assert_eq!(status, 201, "{made}");
    world.alert_with(1, json!({"entity": {"kind": "device", "id": "d-7"}, "cause": "card_testing_device"}));
    let resolved =
        json!({"type": "anomaly.resolved", "timestamp": "2026-11-22T21:16:00Z", "data": {"alert_id": "al_1"}});
    world.record(
        &resolved.to_string(),
        Meta { time_ms: world.clock()(), cause: Cause { partition: 0, offset: 9, kind: 0 } },
    );
    until("both are delivered", || world.in_state("delivered") == 2).await;
    let bodies = bodies.lock().unwrap().clone();
    let of = |action: &str| bodies.iter().find(|body| body["event_action"] == action).unwrap().clone();
    let (opened, closed) = (of("trigger"), of("resolve"));
    assert_eq!((&opened["dedup_key"], &closed["dedup_key"]), (&json!("al_1"), &json!("al_1")));
    assert_eq!((&opened["routing_key"], &opened["payload"]["severity"]), (&json!("R0UT1NGKEY"), &json!("warning")));
    assert_eq!(opened["payload"]["summary"], "far above");
    let (_, list) = call(&deliver, "GET", "/webhooks", Value::Null).await;
    assert!(!list.to_string().contains("R0UT1NGKEY") && !made.to_string().contains("R0UT1NGKEY"), "{list}");
    deliver.stop().await;
}
