//! The program as a process of its own on free ports, and curl, which is not ours, as its client.

use pulse::log::SqliteLog;
use pulse_dataflows::ports::{EventLog, FROM_GATEWAY, Topic, partition};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The program with these arguments, to its end.
pub fn pulse(words: &[&str]) -> Output {
    command(words).output().unwrap()
}
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.args(words);
    command
}
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}
/// What it said, on both ways.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What curl got: status (0: nobody answered) and body.
pub fn curl(words: &[&str]) -> (u16, String) {
    let output = Command::new("curl").args(["-s", "--max-time", "20", "-w", "\n%{http_code}"]).args(words).output();
    let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// `pulse run` on a folder of its own.
pub struct World {
    pub dir: tempfile::TempDir,
    child: Option<Child>,
    pub gateway: String,
    pub sidecar: String,
    /// Words for curl: an authority to trust, a key.
    pub curl: Vec<String>,
    pub words: Vec<&'static str>,
}

/// What every run is told: checkpoints often, so that there are some.
const CONFIG: &str = "[workers]\ncheckpoint_every_ms = 1000\n";

impl World {
    /// Not started yet; `config` behind what every run is told.
    pub fn new(config: &str) -> World {
        let world = World {
            dir: tempfile::tempdir().unwrap(),
            child: None,
            gateway: String::new(),
            sidecar: String::new(),
            curl: Vec::new(),
            words: vec!["--no-auth", "--once"],
        };
        world.configure(config);
        world
    }
    pub fn configure(&self, config: &str) {
        std::fs::write(self.config(), format!("{CONFIG}{config}")).unwrap();
    }
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("pulse.toml")
    }
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    pub fn start(config: &str) -> World {
        let mut world = World::new(config);
        world.run();
        world
    }
    /// Starts it and waits until it answers.
    pub fn run(&mut self) {
        let out = |name: &str| {
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join(name)).unwrap()
        };
        let _ = std::fs::remove_file(self.dir.path().join("stdout")); // of the run before
        let mut command = command(&["run", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0"]);
        command.args(&self.words).arg("--data").arg(self.data()).arg("--config").arg(self.config());
        command.stdin(Stdio::null()).stdout(out("stdout")).stderr(out("stderr"));
        self.child = Some(command.spawn().unwrap());
        let address = |name: &str| {
            let text = std::fs::read_to_string(self.dir.path().join("stdout")).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
            Some(line.rsplit_once(' ')?.1.to_owned())
        };
        let (gateway, sidecar) = until("an address", || address("gateway").zip(address("sidecar")));
        (self.gateway, self.sidecar) = (gateway, sidecar);
    }
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
    /// Ends it in order; its exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal("-TERM");
        let mut child = self.child.take().unwrap();
        until("its end", || child.try_wait().unwrap()).code().unwrap_or(-1)
    }
    /// All that it said on the standard error output.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }
    fn ask(&self, words: &[&str]) -> (u16, String) {
        let own: Vec<&str> = self.curl.iter().map(String::as_str).collect();
        curl(&[&own, words].concat())
    }
    /// A GET of the sidecar.
    pub fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.ask(&[&format!("{}{path}", self.sidecar)]);
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
    /// A POST of JSON to an address.
    pub fn post(&self, url: &str, body: &str) -> (u16, String) {
        self.ask(&["-H", "content-type: application/json", "--data-binary", body, url])
    }
    /// Events by the native batch route, all taken.
    pub fn send(&self, events: &[Value]) {
        let url = format!("{}/api/v1/events:batch", self.gateway);
        let (status, text) = self.post(&url, &Value::from(events.to_vec()).to_string());
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["rejected"], 0, "{text}");
    }
    /// Waits until an event is scored and in the store.
    pub fn scored(&self, id: &str) -> Value {
        until(&format!("{id} in the store"), || {
            let (status, event) = self.get(&format!("/api/v1/events/{id}"));
            (status == 200).then_some(event)
        })
    }
    pub fn audit(&self) -> Value {
        let output =
            command(&["audit", "--json", "--config"]).arg(self.config()).arg("--data").arg(self.data()).output();
        let output = output.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
    }
}
impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
        }
    }
}

/// An order.
pub fn order(id: &str, customer: &str, amount: f64) -> Value {
    json!({"id": id, "type": "order.completed", "source": "shop", "customer_id": customer, "amount": amount, "currency": "EUR",
        "country": "DE", "items": [{"product_id": "p-1", "quantity": 1, "price": amount}]})
}

/// Everything in a folder, as bytes.
pub fn all_bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(all_bytes(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            all.push((path, bytes));
        }
    }
    all
}

/// Where these texts stand in any file of a folder. Checkpoints are compressed: they are unpacked first.
pub fn found(folder: &Path, texts: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for (path, bytes) in all_bytes(folder) {
        let unpacked = zstd::stream::decode_all(&bytes[..]).unwrap_or_default();
        for text in texts {
            let stands = |bytes: &[u8]| memchr::memmem::find(bytes, text.as_bytes()).is_some();
            if stands(&bytes) || stands(&unpacked) {
                all.push(format!("{text} in {}", path.display()));
            }
        }
    }
    all
}

/// Values of an output topic.
fn topic(log: &dyn EventLog, topic: Topic) -> Vec<u8> {
    let (mut all, place) = (Vec::new(), partition(topic, 0));
    let mut take = |_, meta: pulse_dataflows::ports::Meta, value: &[u8]| {
        if meta.cause.kind != FROM_GATEWAY {
            all.extend_from_slice(value);
            all.push(b'\n');
        }
    };
    log.reader().each(place, log.start(place), log.end(place), &mut take).unwrap();
    all
}

/// A replay of the log of a stopped program gives what it wrote live, byte for byte.
pub fn replays_to_the_same(data: &Path, config: &Path) {
    let out = tempfile::tempdir().unwrap();
    let (scored, alerts) = (out.path().join("scored"), out.path().join("alerts"));
    let mut replay = command(&["backtest", "--retrain", "never", "--log"]);
    replay.arg(data).arg("--config").arg(config).arg("--output").arg(&scored).arg("--alerts").arg(&alerts);
    let output = replay.output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    let log = SqliteLog::open_reader(&data.join("log.db")).unwrap();
    for (name, file, of) in [("scored", scored, Topic::Scored), ("alerts", alerts, Topic::Alerts)] {
        let live = topic(&*log, of);
        assert!(live == std::fs::read(file).unwrap(), "{name} differ from the replay");
        assert!(name == "alerts" || !live.is_empty());
    }
}
