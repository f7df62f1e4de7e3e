//! A log in memory, a store in a temporary folder, delivery with a clock that can be moved, and requests to its routes.

use crate::place::Place;
use axum::body::Body;
use axum::http::Request as HttpRequest;
use pulse::deliver::audit::{compare_with_log, delivery_sums};
use pulse::deliver::signature::Secret;
use pulse::deliver::{Clock, Deliver, DeliverConfig, Setup, api, system_clock};
use pulse::log::MemoryLog;
use pulse::receiver::{Received, Receiver, ReceiverArgs};
use pulse::store::Store;
use pulse::telemetry::Metrics;
use pulse_dataflows::ports::{Cause, EventLog, Meta, Records, Request, Topic, partition};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tower::ServiceExt;

/// A secret for endpoints of the configuration.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub struct World {
    _place: Place,
    pub store: Arc<Store>,
    pub log: Arc<MemoryLog>,
    pub metrics: Metrics,
    ahead_ms: Arc<AtomicI64>,
}

/// Settings for loopback: short time-out, two quick retries, then a long one.
pub fn config() -> DeliverConfig {
    DeliverConfig {
        allow: vec!["127.0.0.0/8".into()],
        timeout_ms: 2_000,
        schedule_s: vec![1, 5, 300],
        ..DeliverConfig::default()
    }
}

/// The same with an endpoint in the configuration.
pub fn config_to(url: &str) -> DeliverConfig {
    let endpoint = toml::from_str(&format!("url = \"{url}\"\nsecret = \"{SECRET}\"")).unwrap();
    DeliverConfig { endpoints: vec![endpoint], ..config() }
}

/// A well-behaved receiver that knows [`SECRET`].
pub async fn receiver() -> Receiver {
    receiver_with(ReceiverArgs::default()).await
}
pub async fn receiver_with(args: ReceiverArgs) -> Receiver {
    let args = ReceiverArgs { secrets: vec![SECRET.into()], ..args };
    Receiver::start(args, false).await.unwrap()
}

impl World {
    pub fn new() -> World {
        let place = Place::new();
        let store = Arc::new(place.store().unwrap());
        World {
            _place: place,
            store,
            log: MemoryLog::new(1, 1 << 30),
            metrics: Metrics::default(),
            ahead_ms: Arc::default(),
        }
    }
    pub fn clock(&self) -> Clock {
        let (ahead, system) = (self.ahead_ms.clone(), system_clock());
        Arc::new(move || system() + ahead.load(Ordering::SeqCst))
    }
    pub fn setup(&self, config: DeliverConfig) -> Setup {
        let log: Arc<dyn EventLog> = self.log.clone();
        // Each start registers its metrics, as a new process would.
        Setup { clock: self.clock(), ..Setup::new(config, self.store.clone(), log, self.metrics.clone()) }
    }
    pub fn start(&self, config: DeliverConfig) -> Arc<Deliver> {
        Deliver::start(self.setup(config)).unwrap()
    }
    /// Moves the clock.
    pub fn forward(&self, deliver: &Deliver, ms: i64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
        deliver.wake_all();
    }
    /// An event and the alert it causes.
    pub fn alert(&self, n: usize) {
        self.alert_with(n, json!({}));
    }
    /// The same with more members in `data`.
    pub fn alert_with(&self, n: usize, more: Value) {
        let now = self.clock()();
        let raw = Records::of(Meta { time_ms: now, ..Meta::default() }, b"{}");
        let at = self.log.append_wait(Request { parts: vec![(partition(Topic::Raw, 0), raw)], ..Request::default() });
        let mut data = json!({"alert_id": format!("al_{n}"), "count": 1,
            "event": {"id": format!("o-{n}"), "type": "order.completed", "score": 0.526, "severity": "warning",
                "reasons": [{"code": "amount_vs_customer", "text": "far above"}]}});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let alert = json!({"type": "anomaly.opened", "timestamp": "2026-11-22T20:16:00Z", "data": data});
        self.record(
            &alert.to_string(),
            Meta { time_ms: now, cause: Cause { partition: 0, offset: at.unwrap()[0], kind: 1 } },
        );
    }
    /// Any record of the topic.
    pub fn record(&self, value: &str, meta: Meta) {
        let records = Records::of(meta, value.as_bytes());
        let parts = vec![(partition(Topic::Alerts, 0), records)];
        self.log.append_wait(Request { parts, ..Request::default() }).unwrap();
    }
    /// One number from the store.
    pub fn count(&self, sql: &str) -> i64 {
        self.store.read(|db| db.query_row(sql, [], |r| r.get(0))).unwrap()
    }
    /// The sums of delivery hold, and its rows are those that follow from the log.
    pub fn agrees(&self) {
        let sums = delivery_sums(&self.store).unwrap();
        let found = compare_with_log(&self.store, self.log.as_ref()).unwrap();
        assert!(sums.agree() && found.missing.is_empty() && found.unexpected.is_empty(), "{sums:?} {found:?}");
    }
    /// Rows in a state.
    pub fn in_state(&self, state: &str) -> i64 {
        self.count(&format!("SELECT count(*) FROM webhook_outbox WHERE state = '{state}'"))
    }
}

/// Waits until it is so.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(10), "not so after 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for `n` messages.
pub async fn arrived(receiver: &Receiver, n: usize) -> Vec<Received> {
    until(&format!("{n} messages arrived"), || receiver.received().len() >= n).await;
    receiver.received()
}

/// Gives things time to go wrong.
pub async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

/// A request to the routes: status and JSON.
pub async fn call(deliver: &Arc<Deliver>, method: &str, path: &str, body: Value) -> (u16, Value) {
    let mut request = HttpRequest::builder().method(method).uri(path);
    let mut content = Body::empty();
    if !body.is_null() {
        request = request.header("content-type", "application/json");
        content = Body::from(body.to_string());
    }
    let answer = api::routes(deliver).oneshot(request.body(content).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 22).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Makes an endpoint over the API: its id and secret.
pub async fn create(deliver: &Arc<Deliver>, url: &str) -> (String, Secret) {
    let (status, made) = call(deliver, "POST", "/webhooks", json!({"url": url})).await;
    assert_eq!(status, 201, "{made}");
    (made["id"].as_str().unwrap().into(), Secret::parse(made["secret"].as_str().unwrap()).unwrap())
}
