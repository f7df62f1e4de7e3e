//! The sidecar over real HTTP on loopback.

use crate::place::Place;
use crate::records::*;
use base64::Engine;
use pulse::access::{Access, Scopes};
use pulse::deliver::{Deliver, DeliverConfig, Setup};
use pulse::http::health::Check;
use pulse::insights::Style;
use pulse::log::MemoryLog;
use pulse::persist::{Options, Worker};
use pulse::sidecar::dashboard::Surroundings;
use pulse::sidecar::{KpiTargets, Parts, Registry, RegistryRefusal, serve};
use pulse::telemetry::Metrics;
use pulse::telemetry::shared::{Shared, Stage};
use pulse_dataflows::ports::Topic;
use pulse_operators::record::DecodeConfig;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct Models;
impl Registry for Models {
    fn list(&self) -> Result<Vec<Value>, String> {
        Ok(vec![json!({"version": "global_model@v0"})])
    }
    fn show(&self, version: &str) -> Result<Option<Value>, String> {
        Ok((version == "global_model@v0").then(|| json!({"version": version})))
    }
    fn promote(&self, version: &str) -> Result<Value, RegistryRefusal> {
        match version {
            "global_model@v0" => Ok(json!({"version": version})),
            _ => Err(RegistryRefusal::Unknown(version.into())),
        }
    }
    fn rollback(&self) -> Result<Value, RegistryRefusal> {
        Err(RegistryRefusal::Conflict("no other".into()))
    }
}

/// A running sidecar with its own log, store and persist.
struct Running {
    log: Arc<MemoryLog>,
    worker: Worker,
    shared: Shared,
    address: String,
    keys: [String; 3],
    client: reqwest::Client,
    stop: CancellationToken,
    _place: Place,
}

impl Running {
    async fn start(auth: bool) -> Running {
        let place = Place::new();
        let store = Arc::new(place.store().unwrap());
        let (log, metrics) = (log(), Metrics::default());
        let worker = Worker::open(log.clone(), store.clone(), &Options::default(), &metrics).unwrap();
        let access = if auth { Access::with_store(store.clone()).unwrap() } else { Access::open() };
        let keys = ["read", "admin", "ingest"].map(|s| access.create(s, Scopes::parse(s).unwrap(), None).unwrap());
        let shared = Shared::register(&metrics);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let setup = Setup::new(DeliverConfig::default(), store.clone(), log.clone(), metrics.clone());
        let parts = Parts {
            log: log.clone(),
            webhooks: Some(Deliver::start(setup).unwrap()),
            store,
            access,
            metrics,
            shared: shared.clone(),
            registry: Some(Arc::new(Models)),
            targets: KpiTargets::default(),
            style: Style::of(&DecodeConfig::default()),
            checks: vec![Check::new("store", || Ok(()))],
            dashboard: Surroundings::default(),
        };
        tokio::spawn(serve(parts, listener, stop.clone()));
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Running { log, worker, shared, address, keys, client, stop, _place: place }
    }
    fn persist(&mut self) {
        while self.worker.step().unwrap() > 0 {}
    }
    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<Value>) -> reqwest::Response {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.address));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.unwrap()
    }
    async fn get(&self, path: &str) -> Value {
        let response = self.send("GET", path, Some(&self.keys[0]), None).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }
    async fn problem(&self, method: &str, path: &str, key: usize, body: Option<Value>) -> (u16, String) {
        let response = self.send(method, path, Some(&self.keys[key]), body).await;
        let status = response.status().as_u16();
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert!(body["request_id"].is_string() && body["detail"].is_string());
        (status, body["code"].as_str().unwrap().to_owned())
    }
    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let response = self.send("POST", path, Some(&self.keys[1]), Some(body)).await;
        (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }
}
impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const ROUTES: [&str; 39] = [
    "delete /api/v1/webhooks",
    "delete /api/v1/webhooks/{id}",
    "get /api/v1/access-log",
    "get /api/v1/alerts",
    "get /api/v1/alerts/{id}",
    "get /api/v1/audit",
    "get /api/v1/events",
    "get /api/v1/events/{id}",
    "get /api/v1/incidents",
    "get /api/v1/incidents/{id}",
    "get /api/v1/insights",
    "get /api/v1/kpis",
    "get /api/v1/models",
    "get /api/v1/models/{version}",
    "get /api/v1/rejects",
    "get /api/v1/series",
    "get /api/v1/webhooks",
    "get /api/v1/webhooks/{id}/attempts",
    "get /healthz",
    "get /livez",
    "get /metrics",
    "get /metrics/latency",
    "get /openapi.json",
    "get /readyz",
    "get /take-on/{id}/{until}/{signature}",
    "post /api/v1/alerts/{id}/ack",
    "post /api/v1/alerts/{id}/feedback",
    "post /api/v1/erase",
    "post /api/v1/incidents/{id}/ack",
    "post /api/v1/incidents/{id}/feedback",
    "post /api/v1/labels",
    "post /api/v1/models/rollback",
    "post /api/v1/models/{version}/promote",
    "post /api/v1/webhooks",
    "post /api/v1/webhooks/{id}/enable",
    "post /api/v1/webhooks/{id}/replay",
    "post /api/v1/webhooks/{id}/rotate",
    "post /api/v1/webhooks/{id}/test",
    "post /take-on/{id}/{until}/{signature}",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_described_and_everything_described_is_a_route() {
    let running = Running::start(true).await;
    let described = running.get("/openapi.json").await;
    let mut found = BTreeSet::new();
    for (path, operations) in described["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            found.insert(format!("{method} {path}"));
            let at = path.replace("{id}", "x").replace("{version}", "x");
            let method = method.to_uppercase();
            let with = running.send(&method, &at, Some(&running.keys[1]), None).await;
            assert_ne!(with.status(), 405, "{method} {path}");
            let text = with.text().await.unwrap();
            assert!(!text.contains("nothing at this address") || path.contains('{'), "{method} {path}: {text}");
            let without = running.send(&method, &at, None, None).await.status().as_u16();
            let guarded = operation["security"].is_array();
            assert_eq!(without == 401 && path.starts_with("/api/"), guarded, "{method} {path}: {without}");
        }
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ROUTES);
    assert_eq!(running.problem("GET", "/api/v1/nothing", 0, None).await, (404, "not_found".into()));
    assert_eq!(running.problem("DELETE", "/api/v1/events", 0, None).await, (405, "method_not_allowed".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_hold() {
    let running = Running::start(true).await;
    for (method, path, allowed) in [
        ("GET", "/api/v1/events", [true, true, false]),
        ("POST", "/api/v1/alerts/x/ack", [false, true, false]),
        ("POST", "/api/v1/alerts/x/feedback", [false, true, false]),
        ("POST", "/api/v1/labels", [false, true, true]),
        ("POST", "/api/v1/models/global_model@v0/promote", [false, true, false]),
        ("POST", "/api/v1/models/rollback", [false, true, false]),
        ("GET", "/api/v1/webhooks", [true, true, false]),
        ("DELETE", "/api/v1/webhooks/x", [false, true, false]),
    ] {
        for (key, allowed) in running.keys.iter().zip(allowed) {
            let status = running.send(method, path, Some(key), Some(json!({}))).await.status().as_u16();
            assert_eq!(status != 403, allowed, "{method} {path} {status}");
        }
    }
    // who was refused stands in the audit, by the public part of the key, within two seconds
    let since = std::time::Instant::now();
    let refused = loop {
        let audit: Value =
            running.send("GET", "/api/v1/audit", Some(&running.keys[0]), None).await.json().await.unwrap();
        let of = |key: &str, scope: &str| {
            let prefix = key.split('_').nth(1).unwrap();
            let row = audit["refusals"].as_array().unwrap().iter().find(|r| r["key"] == prefix && r["scope"] == scope);
            row.map_or(0, |row| row["refused"].as_i64().unwrap())
        };
        let found = [of(&running.keys[2], "read"), of(&running.keys[0], "admin")];
        if found.iter().all(|n| *n > 1) || since.elapsed().as_secs() >= 10 {
            assert!(!audit.to_string().contains(running.keys[2].as_str()), "the key itself is nowhere");
            break found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(refused, [2, 6]);
    let query = format!("/api/v1/events?api_key={}", running.keys[0]);
    assert_eq!(running.send("GET", &query, None, None).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_listed_and_shown_whole() {
    let mut running = Running::start(false).await;
    for i in 0..25 {
        let (id, score) = (format!("o-{i}"), if i % 5 == 0 { 0.7 } else { 0.1 });
        event(&running.log, &native(&id, T0 + i), &scored(&id, T0 + i, score));
    }
    let mut other = scored("o-3", T0, 0.2);
    other["source"] = json!("app");
    put(&running.log, Topic::Scored, meta(T0, 100, 0), other.to_string());
    running.persist();

    let list = running.get("/api/v1/events?decision=anomaly&limit=3").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    assert_eq!(list["items"][0]["id"], "o-20");
    assert!(list["items"][0].get("features").is_none());
    let rest = running
        .get(&format!("/api/v1/events?decision=anomaly&limit=3&cursor={}", list["next"].as_str().unwrap()))
        .await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (2, &Value::Null));
    for (query, count) in [
        ("entity=customer:c-42", 25),
        ("entity=customer:c-43", 0),
        ("min_score=0.5", 5),
        ("min_score=0.15&type=order.completed", 6),
        ("type=order.cancelled", 0),
        (&format!("from={}&to={}", T0 + 1, T0 + 3), 2),
        ("from=2026-11-22T20:16:00.024Z", 1),
    ] {
        let list = running.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{query}");
    }
    let one = running.get("/api/v1/events/o-3?source=web").await;
    assert_eq!(
        (&one["raw"]["customer_id"], &one["features"], &one["received_at"]),
        (&json!("c-42"), &json!("AAAA"), &json!("2026-11-22T20:16:00.000Z"))
    );
    assert!(one["entities"].as_array().unwrap().contains(&json!("card:fp_1")));
    assert_eq!(running.problem("GET", "/api/v1/events/o-3", 0, None).await, (409, "several_sources".into()));
    assert_eq!(running.problem("GET", "/api/v1/events/none", 0, None).await, (404, "not_found".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_parameters_are_named() {
    let running = Running::start(false).await;
    for query in [
        "events?limit=0",
        "events?limit=1001",
        "events?limit=x",
        "events?limit=5&limit=6",
        "events?decision=maybe",
        "events?min_score=NaN",
        "events?min_score=2",
        "events?entity=customer",
        "events?entity=:x",
        "events?from=yesterday",
        "events?from=9223372036854775807",
        "events?from=5&to=5",
        "events?cursor=AAAA",
        "events?surprise=1",
        "events/x?surprise=1",
        "alerts?status=odd",
        "alerts?severity=odd",
        "series?metric=orders&step=5s",
        "series?metric=orders&step=1m&from=0&to=1795378560000",
        "kpis?from=-9223372036854775808",
        "rejects?limit=-1",
        "models?limit=5",
        "audit?fast=1",
        "webhooks?limit=0",
        "webhooks?page=2",
        "incidents/x?from=1",
    ] {
        let (status, code) = running.problem("GET", &format!("/api/v1/{query}"), 0, None).await;
        assert_eq!((status, code.as_str()), (400, "invalid_parameter"), "{query}");
    }
    assert_eq!(running.problem("GET", "/api/v1/events/%FF", 0, None).await.1, "invalid_path");
    assert_eq!(running.problem("GET", "/metrics/latency?format=xml", 0, None).await.1, "invalid_parameter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_go_to_the_log_with_the_entities_of_their_event() {
    let mut running = Running::start(true).await;
    let mut raw = native("o-1", T0);
    raw["order_id"] = json!("10001");
    event(&running.log, &raw, &scored("o-1", T0, 0.7));
    put(
        &running.log,
        Topic::Alerts,
        meta(T0, 0, 1),
        alert("a-1", "anomaly.opened", &scored("o-1", T0, 0.7), 1, T0).to_string(),
    );
    put(&running.log, Topic::Alerts, meta(T0, 1, 1), incident("i-1", "incident.opened", T0).to_string());
    running.persist();

    let said = json!({"verdict": "true_positive", "reason": "chargeback", "by": "anna"});
    let (status, answer) = running.post("/api/v1/alerts/a-1/feedback", said.clone()).await;
    assert_eq!((status, &answer["status"], &answer["offset"]), (200, &json!("recorded"), &json!(0)));
    let (_, answer) = running.post("/api/v1/incidents/i-1/feedback", json!({"verdict": "expected"})).await;
    assert_eq!(answer["status"], "recorded");
    let (_, answer) = running
        .post("/api/v1/labels", json!({"order_id": "10001", "verdict": "false_positive", "origin": "bank"}))
        .await;
    assert_eq!(answer["status"], "recorded", "{answer}");
    let window =
        json!({"from": T0, "to": T0 + 1, "metric": "orders", "dimensions": {"region": "eu"}, "verdict": "expected"});
    assert_eq!(running.post("/api/v1/labels", window).await.0, 200);
    let records = all(&running.log, Topic::Labels);
    let entities = json!(["card:fp_1", "customer:c-42", "ip:203.0.113.9", "product:p-1", "terminal:t-1"]);
    assert_eq!(
        (&records[0]["alert_id"], &records[0]["event_id"], &records[0]["source"]),
        (&json!("a-1"), &json!("o-1"), &json!("web"))
    );
    assert_eq!((&records[0]["entities"], &records[0]["origin"]), (&entities, &json!("feedback")));
    assert_eq!((&records[2]["entities"], &records[2]["order_id"]), (&entities, &json!("10001")));
    assert_eq!(records[3]["dimensions"]["region"], "eu");

    running.persist();
    assert_eq!(running.post("/api/v1/alerts/a-1/feedback", said).await.1["status"], "unchanged");
    let alert = running.get("/api/v1/alerts/a-1").await;
    assert_eq!(
        (&alert["verdicts"][0]["verdict"], &alert["history"][0]["type"]),
        (&json!("true_positive"), &json!("anomaly.opened"))
    );
    let kpis = running.get(&format!("/api/v1/kpis?from={}&to={}", T0 - 3_600_000, T0 + 3_600_000)).await;
    assert_eq!(
        (&kpis["figures"]["precision"], &kpis["figures"]["recall"], &kpis["figures"]["events"]),
        (&json!(1.0), &json!(1.0), &json!(1))
    );
    running.post("/api/v1/alerts/a-1/feedback", json!({"verdict": "withdrawn", "by": "anna"})).await;
    running.persist();
    assert_eq!(running.get("/api/v1/alerts/a-1").await["verdicts"], json!([]));

    for (path, body, status, code) in [
        ("alerts/none/feedback", json!({"verdict": "expected"}), 404, "not_found"),
        ("alerts/a-1/feedback", json!({"verdict": "wrong"}), 400, "invalid_parameter"),
        ("alerts/a-1/feedback", json!({}), 400, "invalid_parameter"),
        ("alerts/a-1/feedback", json!({"verdict": "expected", "role": "admin"}), 400, "invalid_body"),
        ("alerts/a-1/feedback", json!({"verdict": "expected", "reason": "x".repeat(1001)}), 400, "invalid_parameter"),
        ("labels", json!({"verdict": "expected"}), 400, "invalid_target"),
        ("labels", json!({"verdict": "expected", "event_id": "o-1", "order_id": "1"}), 400, "invalid_target"),
        ("labels", json!({"verdict": "expected", "event_id": "none"}), 404, "not_found"),
        (
            "labels",
            json!({"verdict": "expected", "event_id": "o-1", "time": "2999-01-01T00:00:00Z"}),
            400,
            "invalid_parameter",
        ),
        ("labels", json!({"verdict": "expected", "from": 5, "to": 5}), 400, "invalid_parameter"),
        ("labels", json!([1]), 400, "invalid_body"),
        ("alerts/a-1/ack", json!({"by": ""}), 400, "invalid_parameter"),
        ("incidents/none/ack", json!({}), 404, "not_found"),
        ("labels", json!({"verdict": "expected", "event_id": "x".repeat(100_000)}), 413, "body_too_large"),
    ] {
        let found = running.problem("POST", &format!("/api/v1/{path}"), 1, Some(body.clone())).await;
        assert_eq!(found, (status, code.to_owned()), "{path} {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_are_taken_on_once() {
    let mut running = Running::start(true).await;
    put(
        &running.log,
        Topic::Alerts,
        meta(T0, 0, 1),
        alert("a-1", "anomaly.opened", &scored("o-1", T0, 0.7), 2, T0).to_string(),
    );
    put(&running.log, Topic::Alerts, meta(T0, 1, 1), incident("i-1", "incident.opened", T0).to_string());
    running.persist();
    for by in ["anna", "ben"] {
        assert_eq!(running.post("/api/v1/alerts/a-1/ack", json!({"by": by})).await.0, 200);
        assert_eq!(running.post("/api/v1/incidents/i-1/ack", json!({"by": by})).await.0, 200);
    }
    let alerts = running.get("/api/v1/alerts?status=open&severity=warning").await;
    let alert = &alerts["items"][0];
    assert_eq!(
        (&alert["acked_by"], &alert["count"], &alert["event"]["id"]),
        (&json!("anna"), &json!(2), &json!("o-1"))
    );
    assert!(alert["event"].get("features").is_none());
    let incident = running.get("/api/v1/incidents/i-1").await;
    assert_eq!((&incident["acked_by"], &incident["dimensions"]["region"]), (&json!("anna"), &json!("eu")));
    // What a person did outlives what the log says next.
    put(&running.log, Topic::Alerts, meta(T0, 5, 1), alert_resolved("a-1").to_string());
    running.persist();
    assert_eq!(running.get("/api/v1/alerts?status=open").await["items"], json!([]));
    assert_eq!(running.get("/api/v1/alerts/a-1").await["acked_by"], "anna");
}

fn alert_resolved(id: &str) -> Value {
    json!({"type": "anomaly.resolved", "timestamp": T0 + 5, "data": {"alert_id": id, "count": 2}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_models_rejects_and_health_answer() {
    let mut running = Running::start(false).await;
    let points = json!({"type": "series.closed", "timestamp": T0, "data": {"bucket_ms": T0, "amended": false,
        "segments": [{"anomalous": ["orders"], "dimensions": {}, "points": {"orders": [50.0, 40.0, 60.0]}}]}});
    put(&running.log, Topic::Alerts, meta(T0, 0, 1), points.to_string());
    running.persist();
    let span = format!("from={}&to={}", T0 - 60_000, T0 + 60_000);
    let series = running.get(&format!("/api/v1/series?metric=orders&{span}")).await;
    let point = json!({"time": "2026-11-22T20:16:00.000Z", "value": 50.0, "expected": [40.0, 60.0], "anomalous": true, "last_week": null});
    assert_eq!(series["items"], json!([point]));
    assert_eq!(
        running.get(&format!("/api/v1/series?{span}")).await["items"],
        json!([{"metric": "orders", "dimensions": ""}])
    );
    assert_eq!(running.get("/api/v1/models").await["items"][0]["version"], "global_model@v0");
    assert_eq!(running.get("/api/v1/models/global_model@v0").await["version"], "global_model@v0");
    assert_eq!(running.problem("GET", "/api/v1/models/v9", 0, None).await.0, 404);
    assert_eq!(running.get("/api/v1/rejects").await["items"], json!([]));
    assert_eq!(running.get("/readyz").await["status"], "ready");
    let metrics = running.send("GET", "/metrics", None, None).await.text().await.unwrap();
    assert!(metrics.contains("persist_lag_records") && metrics.contains("# TYPE "));
    running.shared.observe_stage(Stage::Persist, Duration::from_millis(7));
    let stages = running.get("/metrics/latency").await;
    assert!(
        stages["stages"].as_array().unwrap().iter().any(|one| one["stage"] == "persist" && one["total"]["count"] == 1)
    );
    let hlog = running.send("GET", "/metrics/latency?format=hlog", None, None).await.text().await.unwrap();
    let line = hlog.lines().find(|line| line.starts_with("Tag=persist,")).unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(line.rsplit(',').next().unwrap()).unwrap();
    let decoded: hdrhistogram::Histogram<u64> =
        hdrhistogram::serialization::Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
    assert_eq!((decoded.len(), decoded.max() / 10), (1, 700));
}

/// Minutes of two weeks; in the last three hours of the second nothing comes from one country.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insights_say_what_changed_and_where() {
    const HOUR: i64 = 3_600_000;
    let mut running = Running::start(false).await;
    let (end, mut offset) = (T0 / HOUR * HOUR, 0);
    let mut minutes = |to: i64, hours: i64, german: f64| {
        for at in (to - hours * HOUR..to).step_by(60_000) {
            let segment = |dimensions: Value, orders: f64| json!({"anomalous": [], "dimensions": dimensions, "points": {"orders": [orders, 0.0, 10.0]}});
            let segments = [
                segment(json!({}), german + 2.0),
                segment(json!({"country": "DE"}), german),
                segment(json!({"country": "AT"}), 2.0),
            ];
            let closed = json!({"type": "series.closed", "timestamp": at,
                "data": {"bucket_ms": at, "amended": false, "segments": segments}});
            put(&running.log, Topic::Alerts, meta(at, offset, 1), closed.to_string());
            offset += 1;
        }
    };
    minutes(end - 168 * HOUR, 24, 3.0);
    minutes(end - 3 * HOUR, 21, 3.0);
    minutes(end, 3, 0.0);
    running.persist();
    let answer = running.get(&format!("/api/v1/insights?to={T0}")).await;
    assert_eq!(answer["weeks"], 1);
    let [one] = answer["items"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!((&one["direction"], &one["lasts"], &one["to"]), (&json!("down"), &json!(true), &answer["to"]));
    let of = |i: usize| (&one["evidence"][i]["dimensions"], &one["evidence"][i]["value"], &one["evidence"][i]["usual"]);
    assert_eq!(of(0), (&json!(""), &json!(360.0), &json!(900.0)));
    assert_eq!(of(1), (&json!("country=DE"), &json!(0.0), &json!(540.0)));
    assert!(one["headline"].as_str().unwrap().starts_with("Orders fell by 60 %: 360 in place of 900, since "), "{one}");
    assert_eq!(one["place"], "Of −540 are country DE −540, the rest +0.");
    // a time before any week to compare with
    let first = running.get(&format!("/api/v1/insights?to={}", end - 168 * HOUR)).await;
    assert_eq!((&first["weeks"], &first["items"]), (&json!(0), &json!([])));
    for wrong in ["from=5&to=5", "from=0&to=604800001000"] {
        assert_eq!(running.problem("GET", &format!("/api/v1/insights?{wrong}"), 0, None).await.0, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_finds_what_is_missing_and_what_was_invented() {
    let mut running = Running::start(false).await;
    for i in 0..4 {
        event(&running.log, &native(&format!("o-{i}"), T0), &scored(&format!("o-{i}"), T0, 0.1));
    }
    let log = running.log.clone();
    let raw = |value: Value| put(&log, Topic::Raw, meta(T0, 0, 0), value.to_string());
    raw(native("o-1", T0)); // a duplicate
    raw(json!({"id": "h-1", "type": "heartbeat", "source": "web"}));
    let refused = raw(native("o-refused", T0));
    put(
        &running.log,
        Topic::Rejected,
        meta(T0, refused, 0),
        json!({"code": "invalid_field", "stage": "decode"}).to_string(),
    );
    let poison = raw(native("o-poison", T0));
    put(
        &running.log,
        Topic::Rejected,
        meta(T0, poison, 0),
        json!({"code": "quarantined", "stage": "decode"}).to_string(),
    );
    raw(native("o-waiting", T0));
    put(
        &running.log,
        Topic::Alerts,
        meta(T0, 0, 1),
        alert("a-1", "anomaly.opened", &scored("o-1", T0, 0.7), 1, T0).to_string(),
    );
    running.persist();
    let report = running.get("/api/v1/audit").await;
    let sums = [
        "raw",
        "raw_ids",
        "scored",
        "duplicate",
        "rejected",
        "quarantined",
        "heartbeats",
        "in_flight",
        "missing",
        "alerts",
    ];
    assert_eq!(sums.map(|name| report[name].as_u64().unwrap()), [9, 8, 4, 1, 1, 1, 1, 1, 0, 1], "{report}");
    assert_eq!(report["agrees"], true);

    let behind = raw(native("o-behind", T0));
    put(&running.log, Topic::Scored, meta(T0, behind, 0), scored("o-invented", T0, 0.1).to_string());
    let report = running.get("/api/v1/audit").await;
    assert_eq!((&report["missing"], &report["invented"], &report["persist_lag"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!(report["agrees"], false);
    assert!(report["examples"].as_array().unwrap().contains(&json!("missing: web/o-behind")), "{report}");
}
