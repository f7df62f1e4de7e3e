//! The program as a process of its own, on free ports and a temporary folder, with a receiver for its webhooks.

use pulse::receiver::{Receiver, ReceiverArgs};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A rule that marks every order of an amount, so that there are alerts; and one that has no value for those.
const CONFIG: &str = r#"
[workers]
checkpoint_every_ms = 1000
[entities]
extra = ["terminal"]
[webhooks]
allow = ["127.0.0.0/8"]
rate_per_s = 1000.0
[[rules.custom]]
name = "planted"
when = "event.amount == 4711.0"
text = "planted"
surprise = 6.0
[[rules.custom]]
name = "fails"
when = "event.amount == 4711.0 && 1 / int(event.amount - 4711.0) > 0"
text = "fails"
"#;

pub struct Program {
    pub gateway: String,
    pub sidecar: String,
    pub http: reqwest::Client,
    _dir: tempfile::TempDir,
    child: Child,
    receiver: Receiver,
}

/// `n` orders from number `from` on; the first of every fifty is planted, each on a device of its own.
pub fn events(from: usize, n: usize) -> Vec<Value> {
    let one = |i: usize| {
        json!({
            "id": format!("o-{i}"), "type": "order.completed", "source": "shop", "customer_id": format!("c-{}", i % 40),
            "device_id": format!("d-{i}"), "session_id": format!("s-{i}"), "ip": format!("203.0.113.{}", i % 200),
            "country": "DE", "currency": "EUR", "amount": if i.is_multiple_of(50) { 4711.0 } else { 20.0 + (i % 30) as f64 },
            "payment": {"method": "card", "card": format!("fp_{}", i % 40), "status": "captured"},
            "items": [{"product_id": format!("p-{}", i % 9), "category": "shoes", "quantity": 1, "price": 20.0}],
        })
    };
    (from..from + n).map(one).collect()
}

impl Program {
    /// Starts it; `more` is added to the configuration.
    pub async fn start(more: &str) -> Program {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("pulse.toml");
        std::fs::write(&config, format!("{CONFIG}{more}")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pulse"))
            .args([
                "run",
                "--once",
                "--no-auth",
                "--gateway",
                "127.0.0.1:0",
                "--sidecar",
                "127.0.0.1:0",
                "--workers",
                "2",
            ])
            .arg("--data")
            .arg(dir.path().join("data"))
            .arg("--config")
            .arg(config)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = || {
            let line = lines.next().expect("the program ended").unwrap();
            line.rsplit_once("http://").expect("an address").1.to_owned()
        };
        let (gateway, sidecar) = (address(), address());
        std::thread::spawn(move || lines.for_each(drop));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let receiver = Receiver::start(ReceiverArgs::default(), false).await.unwrap();
        Program { gateway, sidecar, http, _dir: dir, child, receiver }
    }
    /// Names the receiver as a destination.
    pub async fn receive(&mut self) {
        let url = format!("http://{}/api/v1/webhooks", self.sidecar);
        let body = json!({"url": self.receiver.url()});
        let (status, made) = self.post(&url, body.to_string(), "application/json").await;
        assert_eq!(status, 201, "{made}");
        let secret = made["secret"].as_str().unwrap();
        self.receiver.set_secrets(vec![pulse::deliver::signature::Secret::parse(secret).unwrap()]);
    }
    /// Messages of a type that the receiver has got.
    pub fn received(&self, kind: &str) -> usize {
        self.receiver.received().iter().filter(|message| message.valid && message.r#type == kind).count()
    }
    pub async fn get(&self, url: &str) -> String {
        let response = self.http.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        response.text().await.unwrap()
    }
    pub async fn post(&self, url: &str, body: String, kind: &str) -> (u16, Value) {
        let response = self.http.post(url).header("content-type", kind).body(body).send().await.unwrap();
        (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }
    pub async fn batch(&self, events: &[Value]) -> Value {
        let url = format!("http://{}/api/v1/events:batch", self.gateway);
        let (status, answer) = self.post(&url, Value::from(events.to_vec()).to_string(), "application/json").await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
    /// Every sample of a scrape: name and labels as they stand there.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let page = self.get(&format!("http://{}/metrics", self.sidecar)).await;
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(n, v)| (n.to_owned(), v.parse().unwrap())).collect()
    }
    /// Waits until so many events are scored, stored, and their alerts received.
    pub async fn settle(&self, scored: u64) {
        let (until, mut metrics) = (Instant::now() + Duration::from_secs(30), BTreeMap::new());
        while Instant::now() < until {
            metrics = self.metrics().await;
            let sum = |name: &str| metrics.iter().filter(|(n, _)| n.starts_with(name)).map(|(_, v)| v).sum::<f64>();
            let alerts = sum("pulse_alerts_total{kind=\"anomaly\"") - sum("pulse_alerts_suppressed_total");
            let stored = sum("pulse_persist_records_total") >= scored as f64 && sum("pulse_persist_lag_records") == 0.0;
            if sum("pulse_events_scored_total") as u64 >= scored
                && stored
                && self.received("anomaly.opened") as f64 >= alerts
                && sum("pulse_checkpoints_total{outcome=\"written\"}") > 0.0
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not settled: {metrics:#?}");
    }
    /// Ends it in order.
    pub async fn stop(mut self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        let until = Instant::now() + Duration::from_secs(30);
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not stop"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(status.success(), "{status}");
    }
}
impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
