//! `pulse run` as a user starts it, parent and child on loopback ports: a client that sends until everything is answered, a
//! webhook receiver, and the ways to stop and to kill it.
//!
//! Deliberately absent: when to kill; the tests decide.

use pulse::deliver::signature::Secret;
use pulse::receiver::{Receiver, ReceiverArgs};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take: far more than it does, as machines are slow now and then.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Events of one request.
const BODY: usize = 25;

/// A data folder with fixed ports, and the process on it.
pub struct Live {
    pub dir: PathBuf,
    pub gateway: String,
    pub sidecar: String,
    parent: Option<Child>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.kill_tree();
    }
}

/// Two ports that are free, for gateway and sidecar; the same after every restart.
fn ports() -> (String, String) {
    let held: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let address = |i: usize| held[i].local_addr().unwrap().to_string();
    (address(0), address(1))
}

/// Signals processes.
pub fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let _ = Command::new("kill").arg(format!("-{name}")).args(pids).stderr(Stdio::null()).status(); // may be gone
}

/// Parent and state of a process, from its `stat`.
fn stat(pid: u32) -> Option<(u32, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    let state = words.next()?.to_owned();
    Some((words.next()?.parse().ok()?, state))
}

fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(_, state)| state != "Z" && state != "X")
}

impl Live {
    pub fn new(dir: &Path) -> Live {
        let config = "[webhooks]\nallow_http = true\nallow = [\"127.0.0.0/8\"]\nschedule_s = [1, 1, 1, 2, 2]\n\
                      [workers]\ncheckpoint_every_ms = 1000\n";
        std::fs::write(dir.join("pulse.toml"), config).unwrap();
        let (gateway, sidecar) = ports();
        Live { dir: dir.into(), gateway, sidecar, parent: None }
    }
    /// More lines of configuration.
    pub fn configure(&self, more: &str) {
        let path = self.dir.join("pulse.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + more).unwrap();
    }
    /// The same addresses without the process: for a client of its own.
    pub fn at(mut self, other: &Live) -> Live {
        (self.gateway, self.sidecar) = (other.gateway.clone(), other.sidecar.clone());
        self
    }
    /// The folder that holds log and store.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
    /// The command that runs it.
    pub fn command(&self, workers: u64) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
        command.args([
            "run",
            "--no-auth",
            "--config",
            "pulse.toml",
            "--data",
            "data",
            "--workers",
            &workers.to_string(),
        ]);
        command.args(["--gateway", &self.gateway, "--sidecar", &self.sidecar]).current_dir(&self.dir);
        command.stdout(Stdio::null());
        command
    }
    /// Starts it; standard error goes to a file beside the folder.
    pub fn start(&mut self, workers: u64, environment: &[(&str, &str)]) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("stderr")).unwrap();
        self.parent = Some(self.command(workers).envs(environment.iter().copied()).stderr(file).spawn().unwrap());
    }
    /// Starts it with the disturbed disk in front, and with more words.
    pub fn start_disturbed(&mut self, words: &[&str]) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("stderr")).unwrap();
        let mut command = self.command(1);
        crate::disk::in_front(&mut command, &self.dir);
        command.args(words);
        self.parent = Some(command.stderr(file).spawn().unwrap());
    }
    /// The sum of a metric over its labels, as far as they have `label` among them.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.get("/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.join("stderr")).unwrap_or_default()
    }
    pub fn parent(&self) -> u32 {
        self.parent.as_ref().unwrap().id()
    }
    /// The process that works, if there is one.
    pub fn child(&self) -> Option<u32> {
        let parent = self.parent();
        let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        pids.into_iter().find(|pid| stat(*pid).is_some_and(|(of, state)| of == parent && state != "Z"))
    }
    pub fn kill_child(&self) {
        if let Some(pid) = self.child() {
            signal("KILL", &[pid]);
        }
    }
    /// Kills both at once and waits until they are gone.
    pub fn kill_tree(&mut self) {
        let Some(parent) = self.parent.as_ref().map(Child::id) else { return };
        // a parent that still runs could start another child in between
        signal("STOP", &[parent]);
        while stat(parent).is_some_and(|(_, state)| !["T", "Z", "X"].contains(&state.as_str())) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let child = self.child();
        signal("KILL", &[Some(parent), child].into_iter().flatten().collect::<Vec<_>>());
        let _ = self.parent.take().map(|mut parent| parent.wait());
        let since = Instant::now();
        while child.is_some_and(alive) && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let (mut parent, since) = (self.parent.take().unwrap(), Instant::now());
        loop {
            if let Some(status) = parent.try_wait().unwrap() {
                return status;
            }
            if since.elapsed() > PATIENCE {
                self.parent = Some(parent);
                panic!("it does not end:\n{}", self.stderr());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    /// SIGTERM; the exit code and how long it took.
    pub fn terminate(&mut self) -> (Option<i32>, Duration) {
        let since = Instant::now();
        signal("TERM", &[self.parent()]);
        (self.wait().code(), since.elapsed())
    }
    /// Waits until it answers.
    pub async fn ready(&self) {
        let client = client();
        let url = format!("http://{}/readyz", self.sidecar);
        let since = Instant::now();
        while !client.get(&url).send().await.is_ok_and(|a| a.status() == 200) {
            assert!(since.elapsed() < PATIENCE && alive(self.parent()), "not ready:\n{}", self.stderr());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    /// A GET of the sidecar.
    pub async fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.sidecar);
        client().get(url).send().await.unwrap().text().await.unwrap()
    }
    /// A receiver that is told of everything from now on.
    pub async fn receiver(&self) -> Receiver {
        let receiver = Receiver::start(ReceiverArgs::default(), false).await.unwrap();
        let url = format!("http://{}/api/v1/webhooks", self.sidecar);
        let made = client().post(url).json(&json!({"url": receiver.url()})).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        receiver.set_secrets(vec![Secret::parse(made["secret"].as_str().unwrap()).unwrap()]);
        receiver
    }
    /// Sends events until each is answered; a request that fails is sent again as it was. The ids that were answered as taken.
    pub async fn send(&self, events: &[Value]) -> BTreeSet<String> {
        let (client, mut answered) = (client(), BTreeSet::new());
        let url = format!("http://{}/api/v1/events:batch", self.gateway);
        for body in events.chunks(BODY) {
            let since = Instant::now();
            let answer = loop {
                let sent = client.post(&url).json(&body).send().await;
                if let Ok(answer) = sent
                    && answer.status() == 200
                    && let Ok(answer) = answer.json::<Value>().await
                {
                    break answer;
                }
                assert!(since.elapsed() < PATIENCE, "no answer:\n{}", self.stderr());
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            for item in answer["results"].as_array().unwrap() {
                let taken = ["accepted", "duplicate"].contains(&item["status"].as_str().unwrap());
                answered.extend(taken.then(|| item["id"].as_str().unwrap().to_owned()));
            }
        }
        answered
    }
    /// Another command on the same folder.
    pub fn pulse(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pulse")).args(words).current_dir(&self.dir).output().unwrap()
    }
    /// `pulse audit`: the report, which must agree.
    pub fn audit(&self) -> Value {
        let output = self.pulse(&["audit", "--data", "data", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && report["agrees"] == true, "{report:#} {error}\n{}", self.stderr());
        report
    }
    /// Waits until everything has left: scored, stored, and sent.
    pub async fn settled(&self) -> Value {
        let since = Instant::now();
        loop {
            let report = self.audit();
            let waits = ["in_flight", "persist_lag"].map(|key| report[key].as_u64().unwrap());
            if waits == [0, 0] && report["deliveries"]["pending"] == 0 {
                return report;
            }
            assert!(since.elapsed() < PATIENCE, "{report:#}\n{}", self.stderr());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap()
}

/// Waits until it is so.
pub async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !is().await {
        assert!(since.elapsed() < PATIENCE, "not so after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Events of a shop without a history, from `from` on: customers that come back, and now and then tried cards on one device,
/// which raise an alert each.
pub fn events(seed: u64, from: usize, to: usize) -> Vec<Value> {
    let event = |i: usize| {
        let (id, n) = (format!("e-{seed}-{i}"), (seed as usize).wrapping_mul(31).wrapping_add(i * 17));
        if i % 400 >= 380 {
            return json!({"id": id, "type": "payment.failed", "customer_id": format!("t-{i}"), "amount": 1.0,
                "device_id": format!("d-{}", i / 400), "currency": "EUR",
                "payment": {"method": "card", "card": format!("fp_{i}"), "status": "failed"}});
        }
        let kind = ["product.viewed", "cart.added", "order.completed", "payment.authorized"][n % 4];
        json!({"id": id, "type": kind, "customer_id": format!("c-{}", n % 97), "ip": format!("198.51.100.{}", n % 90),
            "amount": 10.0 + (n % 50) as f64, "currency": "EUR", "items": [{"product_id": format!("p-{}", n % 23),
            "quantity": 1, "price": 10.0 + (n % 50) as f64}]})
    };
    (from..to).map(event).collect()
}
