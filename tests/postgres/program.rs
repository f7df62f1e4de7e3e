//! The whole program with its store on a server: one that dies while events come in, and the move of an installation.

use crate::place::{Place, free, script, server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// One request; status and body.
fn http(address: SocketAddr, method: &str, path: &str, key: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: pulse\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| std::io::Error::other("cut"))?;
    Ok((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}

/// A program on a data folder.
pub struct Pulse {
    child: Child,
    gateway: SocketAddr,
    sidecar: SocketAddr,
    key: String,
}
impl Pulse {
    pub fn start(config: &Path, key: &str) -> Pulse {
        let (gateway, sidecar) = (free(), free());
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
        command.args(["run", "--once", "--gateway", &gateway.to_string(), "--sidecar", &sidecar.to_string()]);
        command.args(if key.is_empty() { &["--no-auth"][..] } else { &[] }).arg("--config").arg(config);
        let log = std::fs::File::options().create(true).append(true).open(config.with_extension("stderr")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut pulse = Pulse { child, gateway, sidecar, key: key.into() };
        pulse.until("it to be ready", |p| matches!(http(p.sidecar, "GET", "/readyz", "", ""), Ok((200, _))));
        pulse
    }
    pub fn id(&self) -> u32 {
        self.child.id()
    }
    pub fn get(&self, path: &str) -> (u16, String) {
        http(self.sidecar, "GET", path, &self.key, "").unwrap()
    }
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").1;
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
    pub fn send(&self, ids: std::ops::Range<usize>) {
        let now = jiff::Timestamp::now();
        let event = |i| {
            format!(
                r#"{{"id":"p-{i}","type":"payment.failed","time":"{now}","customer_id":"c-{i}","device_id":"d-7","ip":"203.0.113.9","amount":1.00,"currency":"EUR","payment":{{"method":"card","card":"fp_{i}","status":"failed"}}}}"#
            )
        };
        let body = format!("[{}]", ids.map(event).collect::<Vec<_>>().join(","));
        let answer = http(self.gateway, "POST", "/api/v1/events:batch", &self.key, &body).unwrap();
        assert_eq!(answer.0, 200, "{}", answer.1);
    }
    pub fn until(&mut self, what: &str, mut there: impl FnMut(&Pulse) -> bool) {
        let begun = Instant::now();
        while !there(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed().as_secs() < 240, "{ended:?}, waited in vain for: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    pub fn stop(mut self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}
impl Drop for Pulse {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait()); // it may have ended
    }
}

fn command(words: &[&str], config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pulse")).args(words).arg("--config").arg(config).output().unwrap()
}

fn audited(config: &Path) -> serde_json::Value {
    let output = command(&["audit", "--json"], config);
    let report = serde_json::from_slice(&output.stdout);
    report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Waits until everything is scored and stored.
pub fn settled(pulse: &mut Pulse, config: &Path) -> serde_json::Value {
    pulse.until("all to be stored", |_| {
        let report = audited(config);
        report["agrees"] == true && report["in_flight"] == 0 && report["persist_lag"] == 0
    });
    audited(config)
}

pub fn configured(dir: &Path, name: &str, store: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, format!("[data]\ndir = {:?}\n[store]\n{store}\n", dir.join("data"))).unwrap();
    path
}

pub fn on_server(place: &Place) -> String {
    format!("kind = \"postgres\"\nurl = \"{}\"", place.url())
}

#[test]
fn events_are_scored_while_the_store_is_down_and_nothing_is_missing_afterwards() {
    let (port, dir) = (server(), tempfile::tempdir().unwrap());
    let place = Place::on(port);
    let config = configured(dir.path(), "pulse.toml", &on_server(&place));
    let mut pulse = Pulse::start(&config, "");
    pulse.send(0..500);
    pulse.until("scores", |p| p.metric("pulse_events_scored_total") >= 500.0);
    script(port, &["crash"]);
    pulse.until("the gauge", |p| p.metric("pulse_store_up") == 0.0);
    pulse.send(500..1_500);
    pulse.until("scores without a store", |p| p.metric("pulse_events_scored_total") >= 1_500.0);
    let (status, body) = pulse.get("/api/v1/events");
    assert!(status == 503 && body.contains("store_unavailable"), "{status} {body}");
    script(port, &["start"]);
    let report = settled(&mut pulse, &config);
    assert_eq!((&report["scored"], &report["missing_in_store"]), (&1_500.into(), &0.into()), "{report}");
    assert_eq!(pulse.metric("pulse_store_up"), 1.0);
    pulse.stop();
}

#[test]
fn a_box_moves_with_its_history_keys_and_state() {
    let (place, dir) = (Place::new(), tempfile::tempdir().unwrap());
    let from = configured(dir.path(), "from.toml", "kind = \"sqlite\"");
    let to = configured(dir.path(), "to.toml", &on_server(&place));
    let made = command(&["keys", "create", "--scope", "ingest,read,admin", "--json"], &from);
    let key: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let key = key["key"].as_str().unwrap();
    let mut pulse = Pulse::start(&from, key);
    pulse.send(0..30);
    pulse.until("an alert", |p| p.get("/api/v1/alerts").1.contains("different cards on this device"));
    let hook = r#"{"url":"https://example.com/hook","description":"a\ttab, a \\ and 'quotes'"}"#;
    // a name may not be found here; then there is no destination to move
    let _ = http(pulse.sidecar, "POST", "/api/v1/webhooks", key, hook).unwrap();
    settled(&mut pulse, &from);
    let paths = ["/api/v1/events?limit=500", "/api/v1/alerts", "/api/v1/rejects", "/api/v1/webhooks"];
    let before = paths.map(|path| pulse.get(path));

    let words = ["move", "--to", to.to_str().unwrap()];
    let output = command(&words, &from);
    assert_eq!(output.status.code(), Some(69), "it runs: {}", String::from_utf8_lossy(&output.stderr));
    pulse.stop();
    let output = command(&["move", "--json", "--to", to.to_str().unwrap()], &from);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let moved: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&moved["tables"]["scored_events"], &moved["tables"]["api_keys"]), (&30.into(), &1.into()), "{moved}");
    let again = command(&words, &from);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.code() == Some(78) && said.contains("move into an empty one"), "{said}");

    let mut pulse = Pulse::start(&to, key);
    for (path, (status, body)) in paths.iter().zip(before) {
        assert_eq!(pulse.get(path), (status, body), "{path}");
    }
    // state came with it: the thirty-first card on the device adds to the same alert
    pulse.send(30..40);
    let report = settled(&mut pulse, &to);
    assert_eq!((&report["scored"], &report["missing_in_store"]), (&40.into(), &0.into()), "{report}");
    pulse.until("the alert to grow", |p| {
        let alerts: serde_json::Value = serde_json::from_str(&p.get("/api/v1/alerts").1).unwrap();
        alerts["items"].as_array().unwrap().iter().any(|alert| alert["count"].as_i64() > Some(30))
    });
    pulse.stop();
}
