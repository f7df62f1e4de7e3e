//! The whole program on brokers: `pulse run`, its answers, its exit codes, and what the other commands read.

use crate::broker::{self, *};
use pulse::log::kafka::KafkaConfig;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// One request; status and body, or what went wrong with the connection.
pub fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let kind = if path.contains("stream") { "application/x-ndjson" } else { "application/json" };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: pulse\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("cut off"))?;
    Ok((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}

/// A data folder with a configuration, and a program on it.
pub struct Pulse {
    pub dir: tempfile::TempDir,
    pub config: PathBuf,
    pub brokers: String,
    pub kafka: KafkaConfig,
    pub gateway: SocketAddr,
    pub sidecar: SocketAddr,
    pub child: Option<Child>,
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Pulse {
    pub fn new(brokers: &str, partitions: u16) -> Pulse {
        let (dir, kafka) = (tempfile::tempdir().unwrap(), broker::config(partitions));
        let config = dir.path().join("pulse.toml");
        let text = format!(
            "[data]\ndir = {:?}\n[log]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\n[log.kafka]\npartitions = {partitions}\nprefix = \"{}\"\ngroup = \"{}\"\nconnect_timeout_ms = 5000\n[workers]\ncheckpoint_every_ms = 1000\n",
            dir.path().join("data"),
            kafka.prefix,
            kafka.group
        );
        std::fs::write(&config, text).unwrap();
        Pulse { dir, config, brokers: brokers.into(), kafka, gateway: free(), sidecar: free(), child: None }
    }
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    pub fn spawn(&mut self, workers: u64, more: &[&str]) {
        self.start(workers, &[&["--once"], more].concat());
    }
    /// With its parent, which starts it again.
    pub fn supervised(&mut self, workers: u64) {
        self.start(workers, &[]);
    }
    fn start(&mut self, workers: u64, more: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
        command
            .args(["run", "--no-auth", "--workers", &workers.to_string()])
            .args(more)
            .arg("--config")
            .arg(&self.config);
        command.args(["--gateway", &self.gateway.to_string(), "--sidecar", &self.sidecar.to_string()]);
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("stderr")).unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }
    pub fn ready(&mut self) {
        let begun = Instant::now();
        while !matches!(http(self.sidecar, "GET", "/readyz", ""), Ok((200, _))) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed().as_secs() < 60, "{ended:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    /// Waits for its end by itself; its exit code.
    pub fn end(&mut self, patience: Duration) -> i32 {
        let (mut child, begun) = (self.child.take().unwrap(), Instant::now());
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            if begun.elapsed() > patience {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it did not end: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    /// Stops it in order.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.end(Duration::from_secs(60)), 0, "{}", self.said());
    }
    pub fn command(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pulse")).args(words).arg("--config").arg(&self.config).output().unwrap()
    }
    /// Sends lines until they are taken, whatever dies meanwhile.
    pub fn send(&self, lines: &[String]) {
        let body = format!("[{}]", lines.join(","));
        until("events to be taken", || {
            matches!(http(self.gateway, "POST", "/api/v1/events:batch", &body), Ok((200, _)))
        });
    }
    /// `pulse audit`.
    pub fn audit(&self) -> serde_json::Value {
        let output = self.command(&["audit", "--json"]);
        let report = serde_json::from_slice(&output.stdout);
        report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }
    /// Waits until everything that was sent is scored and stored.
    pub fn settled(&self) {
        until("everything to be scored and stored", || {
            let report = self.audit();
            report["agrees"] == true && report["in_flight"] == 0 && report["persist_lag"] == 0
        });
    }
}
impl Drop for Pulse {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn cards(n: usize) -> Vec<String> {
    let now = jiff::Timestamp::now();
    (0..n)
        .map(|i| {
            format!(
                r#"{{"id":"p-{i}","type":"payment.failed","time":"{now}","customer_id":"c-{i}","device_id":"d-7","ip":"203.0.113.9","amount":1.00,"currency":"EUR","payment":{{"method":"card","card":"fp_{i}","status":"failed"}}}}"#
            )
        })
        .collect()
}

/// Events in over HTTP and straight into the topic; scores, an alert and rejects out; audit and replay over the brokers.
#[test]
fn the_whole_product_runs_on_brokers() {
    let _shared = shared();
    let mut pulse = Pulse::new(address(), 3);
    pulse.spawn(2, &[]);
    pulse.ready();
    pulse.send(&cards(12));
    let log = pulse::log::KafkaLog::open_reader(address(), &pulse.kafka).unwrap();
    drop(log);
    straight(
        &pulse.kafka,
        0,
        &[r#"{"id":"s-1","type":"order.completed","time":1700000000000,"amount":1,"currency":"EUR"}"#, "no event"],
    );
    until("an alert", || {
        let (_, body) = http(pulse.sidecar, "GET", "/api/v1/alerts", "").unwrap();
        body.contains("different cards on this device")
    });
    until("the reject", || http(pulse.sidecar, "GET", "/api/v1/rejects", "").unwrap().1.contains("no event"));
    pulse.settled();
    let report = pulse.audit();
    assert_eq!((&report["scored"], &report["rejected"]), (&13.into(), &1.into()), "{report}");
    let (_, metrics) = http(pulse.sidecar, "GET", "/metrics", "").unwrap();
    assert!(metrics.contains("pulse_kafka_consumer_lag_records"), "no lag in the metrics");
    pulse.stop();
    let out = pulse.dir.path().join("again.ndjson");
    let words =
        ["backtest", "--log", pulse.data().to_str().unwrap(), "--output", out.to_str().unwrap()].map(String::from);
    let output = pulse.command(&words.each_ref().map(String::as_str));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(Path::new(&out).exists());
}

/// A client's trace goes into the headers of its event and of what follows from it, from the gateway as from the topic; another
/// word in its place does not.
#[test]
fn a_trace_goes_from_the_client_to_the_outputs() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::{Headers, Message};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let _shared = shared();
    let mut pulse = Pulse::new(address(), 1);
    pulse.spawn(2, &[]);
    pulse.ready();
    let trace = |n: u32| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{n:016x}-01");
    for (id, trace) in [("t-1", trace(1)), ("t-2", "nonsense".into())] {
        let body = format!(r#"{{"id":"{id}","type":"order.completed","amount":1,"currency":"EUR"}}"#);
        let mut stream = TcpStream::connect(pulse.gateway).unwrap();
        let (path, length) = ("/api/v1/events", body.len());
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: pulse\r\nconnection: close\r\ntraceparent: {trace}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let producer: BaseProducer =
        rdkafka::config::ClientConfig::new().set("bootstrap.servers", address()).create().unwrap();
    let (raw, own) = (format!("{}events.raw", pulse.kafka.prefix), trace(3));
    let header = rdkafka::message::Header { key: "traceparent", value: Some(&own) };
    let headers = rdkafka::message::OwnedHeaders::new().insert(header);
    let event = r#"{"id":"t-3","type":"order.completed","time":1700000000000}"#;
    producer.send(BaseRecord::<(), str>::to(&raw).headers(headers).payload(event)).map_err(|(e, _)| e).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
    for topic in ["events.raw", "events.scored"] {
        let mut client = rdkafka::config::ClientConfig::new();
        client.set("bootstrap.servers", address()).set("group.id", topic);
        let consumer: BaseConsumer = client.create().unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        let name = format!("{}{topic}", pulse.kafka.prefix);
        list.add_partition_offset(&name, 0, rdkafka::Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        for want in [Some(trace(1)), None, Some(trace(3))] {
            let message = consumer.poll(Duration::from_secs(30)).unwrap().unwrap();
            let found =
                message.headers().into_iter().flat_map(Headers::iter).find(|header| header.key == "traceparent");
            let found = found.map(|header| String::from_utf8_lossy(header.value.unwrap()).into_owned());
            assert_eq!(found, want, "{topic} {}", message.offset());
            let value = String::from_utf8_lossy(message.payload().unwrap()).into_owned();
            assert!(!value.contains("4bf92f"), "the contract has no trace in the value: {value}");
        }
    }
    pulse.stop();
}

/// Records of a producer that knows nothing of us.
pub fn straight(config: &KafkaConfig, partition: i32, values: &[&str]) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let producer: BaseProducer =
        rdkafka::config::ClientConfig::new().set("bootstrap.servers", address()).create().unwrap();
    let topic = format!("{}events.raw", config.prefix);
    for value in values {
        producer
            .send(BaseRecord::<(), str>::to(&topic).partition(partition).payload(*value))
            .map_err(|(e, _)| e)
            .unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

#[test]
fn what_is_wrong_at_the_start_is_said_once_with_the_setting() {
    for (brokers, code, said) in [("127.0.0.1:1", 69, "log.brokers"), ("", 78, "log.brokers")] {
        let pulse = Pulse::new(brokers, 1);
        let output = pulse.command(&["run", "--no-auth"]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains(said) && !err.contains("starting again"), "{err}");
    }
    // parts that share topics do not make them
    let _shared = shared();
    let pulse = Pulse::new(address(), 1);
    for part in ["gateway", "persist", "deliver", "serve", "retrain"] {
        let output = pulse.command(&[part]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{err}");
        assert!(
            err.contains("events.raw") && err.contains("start them first") && err.contains("log.kafka.prefix"),
            "{err}"
        );
    }
}
