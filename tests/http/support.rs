//! A gateway on a port of its own, a log that can be told to fail, and clients.

use pulse::access::Access;
use pulse::gateway::{Gateway, GatewayConfig, SourcesConfig};
use pulse::log::memory::MemoryLog;
use pulse::telemetry::Metrics;
use pulse::telemetry::shared::Shared;
use pulse_dataflows::ports::{EventLog, Hook, LogError, LogReader, Partition, Request, Topic, partition};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub const WORKS: u8 = 0;
pub const REFUSES: u8 = 1;
pub const SILENT: u8 = 2;

/// A log in memory that can be told to refuse, or never to answer.
pub struct Log {
    inner: Arc<MemoryLog>,
    mode: AtomicU8,
    /// Requests that were never answered.
    silent: Mutex<Vec<Request>>,
    pub appends: AtomicU8,
}
impl Log {
    pub fn new(partitions: u16) -> Arc<Log> {
        let inner = MemoryLog::new(partitions, 1 << 30);
        Arc::new(Log { inner, mode: AtomicU8::new(WORKS), silent: Mutex::default(), appends: AtomicU8::new(0) })
    }
    pub fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
    /// All values of a topic, partition by partition.
    pub fn values(&self, topic: Topic) -> Vec<Value> {
        (0..self.partitions(topic)).flat_map(|p| self.partition_values(topic, p)).collect()
    }
    pub fn partition_values(&self, topic: Topic, number: u16) -> Vec<Value> {
        let (place, mut values) = (partition(topic, number), Vec::new());
        let parse = |value: &[u8]| serde_json::from_slice(value).expect("what is in the log is JSON");
        self.reader().each(place, 0, self.end(place), &mut |_, _, value| values.push(parse(value))).unwrap();
        values
    }
    pub fn ids(&self) -> Vec<String> {
        self.values(Topic::Raw).iter().map(|v| v["id"].as_str().unwrap().to_owned()).collect()
    }
}
impl EventLog for Log {
    fn partitions(&self, topic: Topic) -> u16 {
        self.inner.partitions(topic)
    }
    fn generation(&self) -> u64 {
        self.inner.generation()
    }
    fn append(&self, request: Request) {
        match self.mode.load(Ordering::SeqCst) {
            REFUSES => request.ack.into_iter().for_each(|ack| ack(Err(LogError::Unavailable("told to".into())))),
            SILENT => self.silent.lock().unwrap().push(request),
            _ => {
                self.appends.fetch_add(1, Ordering::SeqCst);
                self.inner.append(request);
            }
        }
    }
    fn start(&self, place: Partition) -> u64 {
        self.inner.start(place)
    }
    fn end(&self, place: Partition) -> u64 {
        self.inner.end(place)
    }
    fn reader(&self) -> Box<dyn LogReader> {
        self.inner.reader()
    }
    fn offset_for_time(&self, place: Partition, time_ms: i64) -> Result<u64, LogError> {
        self.inner.offset_for_time(place, time_ms)
    }
    fn subscribe(&self, topics: &[Topic], wake: Box<dyn Fn() + Send + Sync>) {
        self.inner.subscribe(topics, wake);
    }
    fn trim(&self, place: Partition, offset: u64) -> Result<(), LogError> {
        self.inner.trim(place, offset)
    }
    fn sync(&self) -> Result<(), LogError> {
        self.inner.sync()
    }
    fn install(&self, hook: Box<dyn Hook>) {
        self.inner.install(hook);
    }
    fn nudge(&self) {
        self.inner.nudge();
    }
}

/// A running gateway; stops when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub log: Arc<Log>,
    pub client: reqwest::Client,
    stop: CancellationToken,
    served: Option<tokio::task::JoinHandle<()>>,
}
impl Server {
    pub async fn start(config: GatewayConfig) -> Server {
        Server::with(Log::new(1), Access::open(), config).await
    }
    pub async fn with(log: Arc<Log>, access: Arc<Access>, config: GatewayConfig) -> Server {
        Server::open(log, access, config, SourcesConfig::default()).await
    }
    pub async fn open(log: Arc<Log>, access: Arc<Access>, config: GatewayConfig, sources: SourcesConfig) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let metrics = Metrics::new(Mutex::new(prometheus_client::registry::Registry::with_prefix("pulse")));
        let shared = Shared::register(&metrics);
        let gateway = Gateway::new(log.clone(), access, config, metrics, shared).with_sources(sources);
        let served = Some(tokio::spawn(gateway.serve(listener, stop.clone())));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Server { address, log, client, stop, served }
    }
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    pub fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client.post(self.url(path)).header("content-type", "application/json").body(body)
    }
    pub async fn batch(&self, events: &[Value]) -> Reply {
        reply(self.post("/api/v1/events:batch", json!(events).to_string())).await
    }
    pub async fn get(&self, path: &str) -> Reply {
        reply(self.client.get(self.url(path))).await
    }
    /// Stops and waits until everything under way is answered.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(served) = self.served.take() {
            served.await.unwrap();
        }
    }
    /// Asks it to stop, without waiting.
    pub fn cancel(&self) {
        self.stop.cancel();
    }
    /// Sends bytes as they are and reads until the other end closes or `wait` is over.
    pub async fn raw(&self, bytes: &[u8], wait: Duration) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(bytes).await; // the server may close before it has read everything
        read_all(&mut stream, wait).await
    }
}
impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn read_all(stream: &mut TcpStream, wait: Duration) -> String {
    let mut seen = Vec::new();
    let _ =
        tokio::time::timeout(wait, async { while matches!(stream.read_buf(&mut seen).await, Ok(n) if n > 0) {} }).await;
    String::from_utf8_lossy(&seen).into_owned()
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}
impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
    /// Status and code of a problem; checks its form.
    pub fn problem(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        for key in ["type", "title", "status", "detail", "instance", "code", "message", "request_id", "errors"] {
            assert!(body.get(key).is_some(), "{key} is missing in {body}");
        }
        assert_eq!(body["status"], self.status);
        assert_eq!(body["request_id"], self.header("x-request-id"));
        if matches!(self.status, 429 | 503) {
            assert!(self.header("retry-after").parse::<u64>().unwrap() >= 1);
        }
        (self.status, body["code"].as_str().unwrap().to_owned())
    }
    pub fn counts(&self) -> [u64; 3] {
        assert_eq!(self.status, 200, "{self:?}");
        ["accepted", "duplicate", "rejected"].map(|k| self.json()[k].as_u64().unwrap())
    }
}
pub async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, text: response.text().await.unwrap() }
}

pub fn event(id: &str) -> Value {
    json!({"id": id, "type": "order.completed", "time": "2026-01-02T03:04:05.678Z", "source": "web",
        "customer_id": format!("c-{id}"), "amount": 129.90, "currency": "EUR"})
}
pub fn events(n: usize) -> Vec<Value> {
    (0..n).map(|i| event(&format!("e-{i}"))).collect()
}

pub async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = async_compression::tokio::write::GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}
