//! Who gets what, and when: quiet hours, a limit by the hour, somebody who stands in, links to take an alert on, forms of others.

use crate::world::*;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use pulse::deliver::link::LinkKey;
use pulse::deliver::{Deliver, DeliverConfig, Setup};
use pulse::sidecar;
use pulse::telemetry::Metrics;
use pulse_dataflows::ports::{Cause, Meta};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use tower::ServiceExt;

async fn add(deliver: &Arc<Deliver>, more: Value) -> (String, Value) {
    let (status, made) = call(deliver, "POST", "/webhooks", more).await;
    assert_eq!(status, 201, "{made}");
    (made["id"].as_str().unwrap().into(), made)
}
fn body(got: &Got) -> Value {
    serde_json::from_str(&got.body).unwrap()
}

/// What came in.
#[derive(Clone)]
struct Got {
    path: String,
    body: String,
}
/// Takes everything, signed or not and whatever the time in it, as these tests move the clock.
struct Keeper {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    status: Arc<AtomicU16>,
}
impl Keeper {
    async fn start(status: u16) -> Keeper {
        let (got, status) = (Arc::<Mutex<Vec<Got>>>::default(), Arc::new(AtomicU16::new(status)));
        let (keep, says) = (got.clone(), status.clone());
        let take = move |uri: axum::http::Uri, body: String| {
            keep.lock().unwrap().push(Got { path: uri.path().into(), body });
            std::future::ready(axum::http::StatusCode::from_u16(says.load(Ordering::SeqCst)).unwrap())
        };
        let router = axum::Router::new().fallback(axum::routing::post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Keeper { url, got, status }
    }
    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
    async fn arrived(&self, n: usize) -> Vec<Got> {
        until(&format!("{n} messages arrived"), || self.got().len() >= n).await;
        self.got()
    }
    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}
fn severity(name: &str) -> Value {
    json!({"severity": name, "event": {"id": "o-1", "type": "order.completed", "score": 0.5, "severity": name,
        "reasons": [{"code": "amount_vs_customer", "text": "far above"}]}})
}
impl World {
    /// A page of the sidecar: status and text.
    async fn page(&self, method: &str, path: &str) -> (u16, String) {
        let metrics = Metrics::default();
        let parts = sidecar::Parts {
            log: self.log.clone(),
            store: self.store.clone(),
            access: pulse::access::Access::open(),
            shared: pulse::telemetry::shared::Shared::register(&metrics),
            metrics,
            registry: None,
            webhooks: None,
            targets: sidecar::KpiTargets::default(),
            style: pulse::insights::Style::of(&Default::default()),
            checks: vec![],
            dashboard: Default::default(),
        };
        let request = axum::http::Request::builder().method(method).uri(path).body(axum::body::Body::empty()).unwrap();
        let answer = sidecar::router(parts).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }
    /// The end of an alert, or another message about it.
    fn about(&self, kind: &str, n: usize, offset: u64) {
        let data = json!({"alert_id": format!("al_{n}"), "count": 2});
        let record = json!({"type": kind, "timestamp": "2026-11-22T21:16:00Z", "data": data});
        let cause = Cause { partition: 0, offset, kind: 0 };
        self.record(&record.to_string(), Meta { time_ms: self.clock()(), cause });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_quiet_hours_arrives_when_they_end_and_critical_at_once() {
    let (world, receiver) = (World::new(), Keeper::start(200).await);
    let zone = TimeZone::get("Asia/Kolkata").unwrap();
    let deliver =
        Deliver::start(Setup { zone: zone.clone(), ..world.setup(DeliverConfig { concurrency: 1, ..config() }) })
            .unwrap();
    // from an hour ago to in an hour, on the shop's clock
    let clock = |hours: i64| {
        let at = Timestamp::from_millisecond(world.clock()()).unwrap().to_zoned(zone.clone());
        at.checked_add(hours.hours()).unwrap().strftime("%H:%M").to_string()
    };
    let quiet = json!([{"from": clock(-1), "to": clock(1), "pass": "critical"}]);
    let (id, _) = add(&deliver, json!({"url": receiver.url, "quiet": quiet})).await;
    for n in 1..=3 {
        world.alert_with(n, severity("warning"));
        world.forward(&deliver, 20_000);
    }
    world.alert_with(4, severity("critical"));
    let first = body(&receiver.arrived(1).await[0]);
    assert_eq!(first["data"]["alert_id"], "al_4");
    // an end comes behind its beginning; one whose beginning was told comes at once
    world.about("anomaly.resolved", 1, 91);
    world.about("anomaly.resolved", 4, 94);
    assert_eq!(body(&receiver.arrived(2).await[1])["data"]["alert_id"], "al_4");
    until("taken up", || world.in_state("pending") == 4).await;
    assert_eq!(world.count("SELECT count(*) FROM webhook_outbox WHERE reason = 'quiet_hours'"), 4);
    // a test is somebody who waits
    let (_, tried) = call(&deliver, "POST", &format!("/webhooks/{id}/test"), Value::Null).await;
    assert_ne!(tried["outcome"], "waiting", "{tried}");
    world.forward(&deliver, 56 * 60_000);
    a_moment().await;
    assert_eq!(receiver.got().len(), 3);
    for _ in 0..60 {
        world.forward(&deliver, 5_000);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let got = receiver.arrived(7).await;
    let told: Vec<(Value, Value)> =
        got[3..].iter().map(body).map(|b| (b["type"].clone(), b["data"]["alert_id"].clone())).collect();
    let expected = [("opened", 1), ("opened", 2), ("opened", 3), ("resolved", 1)];
    assert_eq!(told, expected.map(|(kind, n)| (json!(format!("anomaly.{kind}")), json!(format!("al_{n}")))));
    deliver.stop().await;
    world.agrees();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_by_the_hour_tells_how_many_others_there_are_and_survives_a_restart() {
    let (world, receiver) = (World::new(), Keeper::start(200).await);
    let mut config = config_to(&receiver.url);
    config.endpoints[0].most_per_hour = Some(3);
    let deliver = world.start(config.clone());
    for n in 1..=2 {
        world.alert(n);
        receiver.arrived(n).await;
        until("written down", || world.in_state("delivered") == n as i64).await;
    }
    deliver.stop().await;
    for n in 3..=9 {
        world.alert_with(n, severity(if n == 5 { "critical" } else { "info" }));
    }
    let deliver = world.start(config);
    let third = body(&receiver.arrived(3).await[2]);
    until("all have their place", || world.in_state("suppressed") + world.in_state("pending") == 6).await;
    let (more, alert) = (third["data"]["more"].as_u64().unwrap_or(0), third["data"]["alert_id"].clone());
    assert_eq!(more as i64, world.in_state("suppressed"), "{third}");
    world.forward(&deliver, 1_800_000);
    world.alert(10);
    a_moment().await;
    assert_eq!(receiver.got().len(), 3, "no more than three in an hour");
    world.forward(&deliver, 1_801_000);
    let all = receiver.arrived(4).await;
    let told: u64 = all.iter().map(body).map(|b| 1 + b["data"]["more"].as_u64().unwrap_or(0)).sum();
    until("all are told", || world.in_state("pending") == 0).await;
    let rest = receiver.got()[4..].iter().map(body).map(|b| 1 + b["data"]["more"].as_u64().unwrap_or(0)).sum::<u64>();
    assert_eq!(told + rest, 10, "each alert is told, or counted");
    assert!(more == 0 || alert == "al_5", "the worst of them is told: {third}");
    deliver.stop().await;
    world.agrees();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_is_dead_is_noticed_over_a_second_way() {
    let dead = Keeper::start(503).await;
    let (world, second) = (World::new(), Keeper::start(200).await);
    let mut config = config_to(&dead.url);
    config.schedule_s = vec![1, 5, 300, 300, 300];
    config.endpoints.extend(config_to(&second.url).endpoints);
    (config.endpoints[0].name, config.endpoints[0].fallback) = ("shop floor".into(), "on call".into());
    (config.endpoints[1].name, config.endpoints[1].types) = ("on call".into(), vec!["incident.*".into()]);
    let deliver = world.start(config.clone());
    world.alert(1);
    dead.arrived(1).await;
    until("written down", || world.count("SELECT count(*) FROM webhook_attempts") == 1).await;
    a_moment().await;
    assert!(second.got().is_empty(), "one failure is nothing");
    world.alert(2);
    for _ in 0..3 {
        world.forward(&deliver, 8_000);
        a_moment().await;
    }
    let got = second.arrived(2).await;
    assert!(got.iter().all(|r| body(r)["data"]["instead_of"] == "shop floor"), "{:?}", got[0].body);
    let mut alerts: Vec<Value> = got.iter().map(|r| body(r)["data"]["alert_id"].clone()).collect();
    alerts.sort_by_key(ToString::to_string);
    assert_eq!(alerts, ["al_1", "al_2"]);
    // once only, and the first gets it too when it is back
    dead.says(200);
    world.forward(&deliver, 600_000);
    until("both have both", || world.in_state("delivered") == 4).await;
    assert_eq!(second.got().len(), 2);
    // who leaves leaves nothing behind
    dead.says(410);
    world.alert(3);
    second.arrived(3).await;
    world.alert(4);
    assert_eq!(body(&second.arrived(4).await[3])["data"]["instead_of"], "shop floor");
    until("delivered", || world.in_state("delivered") == 6).await;
    deliver.stop().await;
    world.agrees();
    config.endpoints[0].fallback = "nobody".into();
    assert!(config.check().unwrap_err().to_string().contains("nobody"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_has_taken_on_calls_nobody_again_and_its_end_is_told() {
    let (world, receiver) = (World::new(), Keeper::start(200).await);
    let config = DeliverConfig { public_url: "https://pulse.shop.example/".into(), ..config() };
    let deliver = world.start(config);
    let chat = |path: &str| json!({"kind": "slack", "url": format!("{}/{path}", receiver.url)});
    add(&deliver, chat("chat")).await;
    add(&deliver, json!({"url": receiver.url})).await;
    world.alert(1);
    let got = receiver.arrived(2).await;
    let hook = got.iter().map(body).find(|b| b["type"] == "anomaly.opened").unwrap();
    let url = hook["data"]["take_on_url"].as_str().unwrap();
    let path = url.strip_prefix("https://pulse.shop.example/take-on/al_1/").unwrap();
    let (until_s, tag) = path.split_once('/').unwrap();
    let key = world.store.read(LinkKey::read).unwrap().unwrap();
    assert!(key.fits("al_1", until_s.parse().unwrap(), tag, world.clock()()));
    assert!(
        got.iter().any(|r| r.path.ends_with("chat") && r.body.contains(&format!("<{url}|Take it on>"))),
        "in the chat too"
    );
    until("written down", || world.in_state("delivered") == 2).await;
    // what persist does with the alert
    let known = "INSERT INTO alerts(alert_id, status, opened_ms, updated_ms, event_id, source, event_type, event_group, score, severity, count, json)
        VALUES ('al_1', 'open', 0, 0, 'o-1', 'web', 'order.completed', 'order', 0.5, 'warning', 1, '{}')";
    world.store.write(|tx| tx.execute(known, [])).unwrap();
    let path = url.strip_prefix("https://pulse.shop.example").unwrap();
    let acked = || world.count("SELECT count(*) FROM alerts WHERE acked_by = 'link'");
    let (status, page) = world.page("GET", path).await;
    assert!(status == 200 && page.contains("Take it on") && acked() == 0, "looking changes nothing: {page}");
    for wrong in [
        path.replace("al_1", "al_2"),
        format!("{path}0"),
        path.replace(until_s, "9999999999"),
        path.replace(until_s, "soon"),
    ] {
        assert_eq!(world.page("POST", &wrong).await.0, 404, "{wrong}");
    }
    assert_eq!((acked(), world.page("POST", path).await.0, acked()), (0, 200, 1));
    world.about("anomaly.amended", 1, 71);
    world.about("anomaly.resolved", 1, 72);
    until("all have their place", || world.in_state("delivered") == 5).await;
    assert_eq!(
        world.count("SELECT count(*) FROM webhook_outbox WHERE state = 'suppressed' AND reason = 'acknowledged'"),
        1
    );
    let chats = receiver.got().iter().filter(|r| r.path.ends_with("chat")).count();
    assert_eq!(chats, 2, "its beginning and its end");
    deliver.stop().await;
    world.agrees();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crm_gets_its_own_form_signed_as_it_is_sent() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config());
    let ticket = r#"{"title": {{ story.title }}, "urgent": {{ story.severity == "critical" }}, "external_id": {{ story.subject }}}"#;
    let wanted = json!({"url": receiver.url(), "template": ticket, "types": ["anomaly.*"]});
    let (id, made) = add(&deliver, wanted.clone()).await;
    receiver.set_secrets(vec![pulse::deliver::signature::Secret::parse(made["secret"].as_str().unwrap()).unwrap()]);
    world.alert_with(1, severity("critical"));
    let got = arrived(&receiver, 1).await.remove(0);
    assert!(got.valid, "the signature is over what is sent: {}", got.body);
    assert_eq!(
        serde_json::from_str::<Value>(&got.body).unwrap(),
        json!({"title": "far above", "urgent": true, "external_id": "al_1"})
    );
    let (_, tried) = call(&deliver, "POST", &format!("/webhooks/{id}/test"), Value::Null).await;
    assert_eq!(tried["outcome"], "delivered", "{tried}");
    for (wrong, why) in [
        (json!({"template": "{{ nothing }}"}), "undefined"),
        (json!({"template": "{\"a\": \"{{ story.title }}\"}"}), "without"),
        (json!({"template": "{{ data.event.id }}", "types": ["incident.*"]}), "incident.opened"),
        (json!({"template": "{% if %}"}), "syntax"),
        (json!({"content_type": "text/plain"}), "belongs"),
        (json!({"template": ticket, "kind": "alertmanager"}), "form of its own"),
        (json!({"kind": "alertmanager", "most_per_hour": 3}), "most_per_hour"),
        (json!({"quiet": [{"from": "25:00", "to": "7"}]}), "quiet"),
        (json!({"fallback": "nobody"}), "nobody|no destination"),
    ] {
        let mut asked = json!({"url": receiver.url()});
        asked.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let (status, problem) = call(&deliver, "POST", "/webhooks", asked).await;
        let said = problem["message"].as_str().unwrap_or_default();
        assert!(status == 400 && why.split('|').any(|why| said.contains(why)), "{wrong}: {problem}");
    }
    deliver.stop().await;
    world.agrees();
}
