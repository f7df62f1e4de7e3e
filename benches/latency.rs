//! From the receipt of an event to its webhook request, with everything on:
//! `cargo bench --bench latency -- [seconds] [rate] [brokers=HOST:PORT]`.
//!
//! `pulse run` as a process of its own: log with sync, checkpoints, store, sidecar, delivery to a receiver in here. A
//! simulated shop's events come in over HTTP at even times, one a request; every fiftieth is marked by a rule, so that its
//! alert can be timed from when it should have been sent to when the receiver has the request: a slow answer cannot hide by
//! slowing the sender. Beside it, the same folder's own time for a write of 4 KiB with `fdatasync`, and the program's own
//! histograms by stage. With brokers the log is on Apache Kafka, and the broker's own round trip is measured beside it.
//! `PULSE=FILE` runs another program than the one built with this. Deliberately absent: a verdict; the figures go to `RESULTS.md` with the load they were taken under.

#[path = "kafka/broker.rs"]
mod broker;

use hdrhistogram::Histogram;
use pulse::simulate::{Shop, ShopConfig};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Connections of the shop: as many requests can be on their way.
const CONNECTIONS: usize = 32;
/// One event in so many is marked.
const MARKED: usize = 250;
/// Rules that mark: of one cause only five alerts an hour are told one by one, and 64 rules are the most.
const RULES: usize = 60;
/// Events before the clock starts: connections, caches, first checkpoint.
const WARM_S: usize = 5;
const CONFIG: &str = r#"
[workers]
checkpoint_every_ms = 10000
[budget]
alerts_per_day = 10000
[webhooks]
allow = ["127.0.0.0/8"]
rate_per_s = 10000.0
burst = 1000
total_rate_per_s = 10000.0
total_burst = 1000
"#;

type Times = Arc<Mutex<HashMap<String, Instant>>>;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (seconds, rate) = (numbers.first().copied().unwrap_or(30), numbers.get(1).copied().unwrap_or(1_000));
    let brokers = std::env::args().find_map(|word| word.strip_prefix("brokers=").map(str::to_owned));
    let dir = tempfile::tempdir().expect("a folder");
    let (mut child, gateway, sidecar) = start(dir.path(), brokers.as_deref());
    let (received, receiver) = receive();
    exchange(&mut connect(&sidecar), &post(&sidecar, "/api/v1/webhooks", &json!({"url": receiver}).to_string()));
    let events = events((seconds + WARM_S) * rate);
    let (stop, load) = (Arc::<AtomicBool>::default(), load());
    let disk = probe(dir.path(), stop.clone());
    let bare = brokers.map(|brokers| broker::probe(&brokers, stop.clone(), histogram()));
    let (intended, answers) = send(&gateway, &events, rate);
    std::thread::sleep(Duration::from_secs(2));
    stop.store(true, Ordering::Relaxed);
    let disk = disk.join().expect("the disk's thread");
    let received = received.lock().expect("no panic").clone();
    let mut ways = histogram();
    let mut missing = 0;
    for i in (WARM_S * rate..events.len()).filter(|i| i % MARKED == 0) {
        let (id, at) = (format!("m-{i}"), intended.at(i));
        match received.get(&id) {
            Some(then) => ways.saturating_record(then.saturating_duration_since(at).as_micros() as u64),
            None => missing += 1,
        }
    }
    println!("{} events, {rate} a second, {} alerts timed, {missing} missing", events.len(), ways.len());
    println!("load before {load}, after {}", self::load());
    print("intended time to webhook request received", &ways);
    print("intended time to the gateway's answer", &answers);
    print("write and fdatasync of 4 KiB beside it", &disk);
    if let Some(bare) = bare {
        print("a bare broker's round trip beside it", &bare.join().expect("the broker's thread"));
    }
    stages(&sidecar);
    child.kill().expect("killed");
    let _ = child.wait(); // it was killed
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("sound bounds")
}
fn print(name: &str, h: &Histogram<u64>) {
    let ms = |q: f64| h.value_at_quantile(q) as f64 / 1e3;
    println!("{name:<44} p50 {:>8.2} p95 {:>8.2} p99 {:>8.2} max {:>8.2} ms", ms(0.5), ms(0.95), ms(0.99), ms(1.0));
}
fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// The program on free ports: process, gateway, sidecar.
fn start(dir: &Path, brokers: Option<&str>) -> (Child, String, String) {
    let rule = |k: usize| {
        format!(
            "[[rules.custom]]\nname = \"marked_{k}\"\nwhen = \"event.amount == {}.0\"\ntext = \"marked\"\nsurprise = 6.0\n",
            4711 + k
        )
    };
    let rules: String = (0..RULES).map(rule).collect();
    let log = brokers.map(|brokers| {
        let prefix = std::process::id();
        format!("[log]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\n[log.kafka]\nprefix = \"latency{prefix}.\"\n")
    });
    let log = log.unwrap_or_default();
    std::fs::write(dir.join("pulse.toml"), format!("{CONFIG}{log}{rules}")).expect("written");
    let program = std::env::var("PULSE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_pulse").into());
    let mut child = Command::new(program)
        .args(["run", "--once", "--no-auth", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0", "--data"])
        .arg(dir.join("data"))
        .arg("--config")
        .arg(dir.join("pulse.toml"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut address = || {
        let line = lines.next().expect("an address").expect("text");
        line.rsplit_once("http://").expect("an address").1.to_owned()
    };
    let (gateway, sidecar) = (address(), address());
    std::thread::spawn(move || lines.for_each(drop));
    (child, gateway, sidecar)
}

/// A shop's events as bodies; each marked one is about a customer of its own.
fn events(n: usize) -> Vec<String> {
    let mut shop = Shop::new(ShopConfig { seed: 7, ..ShopConfig::of_size(40.0) }).expect("a shop");
    let one = |i: usize| {
        let mut json = String::new();
        shop.next_event(&mut json);
        let mut event: Value = serde_json::from_str(&json).expect("JSON");
        if i.is_multiple_of(MARKED) {
            event = json!({"id": format!("m-{i}"), "type": "order.completed", "customer_id": format!("marked-{i}"),
                "amount": 4711 + i / MARKED % RULES, "currency": "EUR", "country": "DE"});
        } else if let Some(members) = event.as_object_mut() {
            members.remove("time"); // now, says the gateway
        }
        event.to_string()
    };
    (0..n).map(one).collect()
}

/// When events should leave.
#[derive(Clone, Copy)]
struct Schedule {
    began: Instant,
    rate: usize,
}
impl Schedule {
    fn at(&self, i: usize) -> Instant {
        self.began + Duration::from_nanos(i as u64 * 1_000_000_000 / self.rate as u64)
    }
}

/// Sends all at their times; the schedule, and how long the answers took.
fn send(gateway: &str, events: &[String], rate: usize) -> (Schedule, Histogram<u64>) {
    let schedule = Schedule { began: Instant::now() + Duration::from_millis(100), rate };
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(histogram()));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let (mut stream, mut own) = (connect(gateway), histogram());
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(event) = events.get(i) else { break };
                    std::thread::sleep(schedule.at(i).saturating_duration_since(Instant::now()));
                    exchange(&mut stream, &post(gateway, "/api/v1/events", event));
                    if i >= WARM_S * rate {
                        own.saturating_record(schedule.at(i).elapsed().as_micros() as u64);
                    }
                }
                answers.lock().expect("no panic").add(own).expect("same bounds");
            });
        }
    });
    (schedule, answers.into_inner().expect("no panic"))
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    stream
}
fn post(host: &str, path: &str, body: &str) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Reads one message of HTTP/1.1 with a length; its first line and body.
fn message(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 16_384]);
    loop {
        let head = seen.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(seen.get(..head)?).to_ascii_lowercase();
            let length = text.lines().find_map(|l| l.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
            let (from, to) = (head + 4, head + 4 + length.unwrap_or(0));
            if seen.len() >= to {
                let first = text.lines().next().unwrap_or_default().to_owned();
                return Some((first, String::from_utf8_lossy(seen.get(from..to)?).into_owned()));
            }
        }
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        seen.extend_from_slice(buffer.get(..n)?);
    }
}
fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).expect("sent");
    let (status, body) = message(stream).expect("an answer");
    assert!(status.starts_with("http/1.1 20"), "{status}: {body}");
    body
}

/// A receiver: when the request of each marked event was there, and its address.
fn receive() -> (Times, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (times, address) = (Times::default(), listener.local_addr().expect("an address"));
    let all = times.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let times = all.clone();
            std::thread::spawn(move || {
                while let Some((_, body)) = message(&mut stream) {
                    let now = Instant::now();
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"); // it may have gone
                    let body: Value = serde_json::from_str(&body).unwrap_or_default();
                    if body["type"] == "anomaly.opened" {
                        let id = body["data"]["event"]["id"].as_str().unwrap_or_default().to_owned();
                        times.lock().expect("no panic").entry(id).or_insert(now);
                    }
                }
            });
        }
    });
    (times, format!("http://{address}/hook"))
}

/// What the disk itself takes, twenty times a second.
fn probe(dir: &Path, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Histogram<u64>> {
    let path = dir.join("probe");
    std::thread::spawn(move || {
        let (mut file, mut h) = (std::fs::File::create(path).expect("a file"), histogram());
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            file.write_all(&[7; 4096]).expect("written");
            file.sync_data().expect("synced");
            h.saturating_record(began.elapsed().as_micros() as u64);
            std::thread::sleep(Duration::from_millis(50));
        }
        h
    })
}

/// The program's own view.
fn stages(sidecar: &str) {
    let mut stream = connect(sidecar);
    let request = format!("GET /metrics/latency?format=json HTTP/1.1\r\nhost: {sidecar}\r\n\r\n");
    let stages: Value = serde_json::from_str(&exchange(&mut stream, request.as_bytes())).expect("JSON");
    for stage in stages["stages"].as_array().into_iter().flatten() {
        let ms = |name: &str| stage["total"][name].as_f64().unwrap_or(f64::NAN) * 1e3;
        println!(
            "stage {:<38} p50 {:>8.2} p95 {:>8.2} p99 {:>8.2} max {:>8.2} ms, {} times",
            stage["stage"].as_str().unwrap_or_default(),
            ms("p50_s"),
            ms("p95_s"),
            ms("p99_s"),
            ms("max_s"),
            stage["total"]["count"],
        );
    }
}
