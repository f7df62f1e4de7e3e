//! One log, two stores: every question has the same answer, byte by byte.

use crate::place::{Place, apart};
use crate::records::{T0, meta, put};
use axum::body::Body;
use axum::http::Request as HttpRequest;
use pulse::access::Access;
use pulse::deliver::{Deliver, DeliverConfig, Setup};
use pulse::engine::objects::Objects;
use pulse::engine::registry::Registry;
use pulse::engine::{Engine, Options};
use pulse::insights::Style;
use pulse::log::MemoryLog;
use pulse::persist::{self, Worker};
use pulse::sidecar::dashboard::Surroundings;
use pulse::sidecar::{KpiTargets, Parts, router};
use pulse::simulate::{Shop, ShopConfig};
use pulse::store::{Store, Target};
use pulse::telemetry::Metrics;
use pulse::telemetry::shared::Shared;
use pulse_dataflows::ports::{EventLog, Meta, Records, Request, Topic, partition};
use pulse_operators::record::DecodeConfig;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

const EVENTS: usize = 3_000;

/// A shop's events, scored as they are live, and verdicts on some of the alerts; the times they span.
fn scored() -> (Arc<MemoryLog>, i64, i64) {
    let (log, dir) = (MemoryLog::new(1, 1 << 28), tempfile::tempdir().unwrap());
    let objects = Objects::folder(dir.path()).unwrap();
    let options = Options { workers: 1, checkpoint_every_ms: 0, ungated: false };
    let fatal = |why: &pulse_dataflows::detect::Fatal| panic!("{why}");
    let engine = Engine::start(log.clone(), objects.clone(), Registry::new(objects), options, fatal).unwrap();
    let mut shop = Shop::new(ShopConfig { seed: 11, ..ShopConfig::of_size(4.0) }).unwrap();
    let (mut first, mut last, mut records) = (i64::MAX, 0, Records::default());
    for n in 0..EVENTS {
        let mut json = String::new();
        let time_ms = shop.next_event(&mut json).arrival_ms;
        (first, last) = (time_ms.min(first), time_ms.max(last));
        if n % 97 == 0 {
            json.truncate(json.len() / 2); // refused
        }
        records.push(Meta { time_ms, ..Meta::default() }, json.as_bytes());
    }
    log.append_wait(Request { parts: vec![(partition(Topic::Raw, 0), records)], ..Request::default() }).unwrap();
    while !engine.drain(Duration::from_secs(1)) {}
    engine.stop().unwrap();
    for (n, hostile) in crate::store::HOSTILE.iter().enumerate() {
        let label = json!({"time": T0, "alert_id": hostile, "verdict": "true_positive", "origin": hostile, "by": hostile, "reason": hostile});
        put(&log, Topic::Labels, meta(T0, n as u64, 0), label.to_string());
    }
    (log, first, last)
}

struct Side(axum::Router, Arc<Deliver>);

impl Side {
    fn new(log: &Arc<MemoryLog>, target: &Target) -> Side {
        let store = Arc::new(apart(|| Store::at(target)).unwrap());
        let metrics = Metrics::default();
        let mut worker = Worker::open(log.clone(), store.clone(), &persist::Options::default(), &metrics).unwrap();
        while worker.step().unwrap() > 0 {}
        let deliver =
            Deliver::start(Setup::new(DeliverConfig::default(), store.clone(), log.clone(), metrics.clone())).unwrap();
        let router = router(Parts {
            log: log.clone(),
            store,
            access: Access::open(),
            shared: Shared::register(&metrics),
            metrics,
            registry: None,
            webhooks: Some(deliver.clone()),
            targets: KpiTargets::default(),
            style: Style::of(&DecodeConfig::default()),
            checks: Vec::new(),
            dashboard: Surroundings::default(),
        });
        Side(router, deliver)
    }
    async fn get(&self, path: &str) -> (u16, String) {
        let request = HttpRequest::builder().uri(path).header("host", "127.0.0.1").body(Body::empty()).unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_answers_the_same_from_both_stores() {
    let (log, from, to) = apart(scored);
    let (place, dir) = (Place::new(), tempfile::tempdir().unwrap());
    let file = Side::new(&log, &Target::File(dir.path().join("store.db")));
    let server = Side::new(&log, &place.target());
    let span = format!("from={}&to={}", from - 1, to + 3_600_000);
    let mut waiting: Vec<String> = vec![
        format!("/api/v1/kpis?{span}"),
        format!("/api/v1/insights?{span}"),
        "/api/v1/audit".into(),
        "/api/v1/webhooks".into(),
        "/api/v1/events/none".into(),
        "/api/v1/events/a%00b".into(),
    ];
    for filter in
        ["", "&decision=anomaly", "&decision=normal", "&type=order.completed", "&min_score=0.3", "&min_score=0.7"]
    {
        waiting.push(format!("/api/v1/events?{span}&limit=100{filter}"));
    }
    for list in ["alerts", "incidents"] {
        for filter in ["", "&status=open", "&status=resolved", "&severity=warning"] {
            waiting.push(format!("/api/v1/{list}?{span}&limit=7{filter}"));
        }
    }
    waiting.push("/api/v1/rejects?limit=9".into());
    for metric in ["orders", "revenue", "events", "payments_failed"] {
        for step in ["1m", "15m", "1h"] {
            waiting.push(format!("/api/v1/series?metric={metric}&{span}&step={step}"));
        }
    }
    let pages = [
        "/",
        "/alerts?status=all",
        "/alerts?status=all&judged=no&severity=critical",
        "/alerts?kind=incidents&status=all",
        "/sources",
    ];
    waiting.extend(pages.map(String::from));
    let (mut asked, mut bytes) = (BTreeSet::new(), 0);
    while let Some(path) = waiting.pop() {
        if !asked.insert(path.clone()) {
            continue;
        }
        let (one, other) = (file.get(&path).await, server.get(&path).await);
        // each request has an id of its own; it stands in refusals alone
        let plain = |answer: &(u16, String)| match answer.0 {
            // pages have tokens of their own, and say how long ago things are
            200 if !path.starts_with("/api/") => answer.1.matches("data-row").count().to_string(),
            200 => answer.1.clone(),
            status => status.to_string(),
        };
        assert_eq!(plain(&one), plain(&other), "{path}");
        assert!(one.0 == 200 || path.starts_with("/api/"), "{path}: {}", one.1);
        bytes += one.1.len();
        let Ok(body) = serde_json::from_str::<Value>(&one.1) else { continue };
        if let Some(next) = body["next"].as_str() {
            let base = path.split("&cursor=").next().unwrap();
            waiting.push(format!("{base}&cursor={next}"));
        }
        for item in body["items"].as_array().into_iter().flatten().take(5) {
            for (list, id) in [("events", "id"), ("alerts", "alert_id"), ("incidents", "incident_id")] {
                if let (true, Some(id)) = (path.starts_with(&format!("/api/v1/{list}?")), item[id].as_str()) {
                    waiting.push(format!("/api/v1/{list}/{id}"));
                    if list != "events" {
                        waiting.push(format!("/{list}/{id}"));
                    }
                }
            }
            if let Some(customer) = item["customer_id"].as_str() {
                waiting.push(format!("/api/v1/events?entity=customer:{customer}&{span}&limit=3"));
            }
        }
        for entity in body["entities"].as_array().into_iter().flatten().filter_map(Value::as_str).take(3) {
            waiting.push(format!("/api/v1/events?entity={entity}&{span}&limit=3"));
        }
    }
    assert!(asked.len() > 100 && bytes > 1_000_000, "{} questions, {bytes} bytes", asked.len());
    file.1.stop().await;
    server.1.stop().await;
}
