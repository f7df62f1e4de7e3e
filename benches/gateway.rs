//! CPU of the gateway per event, over TCP and into the embedded log on disk, by thread: `cargo bench --bench gateway`.
//!
//! One client keeps four connections busy with batches made beforehand; its own thread is told apart by its name.
//! The same orders as SDKs tell them show what translating costs.

use pulse::access::{Access, Scopes};
use pulse::gateway::{Gateway, GatewayConfig};
use pulse::log::{Options, SqliteLog};
use pulse::store::Store;
use pulse::telemetry::Metrics;
use pulse::telemetry::shared::Shared;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

const BATCHES: usize = 400;
const CONNECTIONS: usize = 4;
/// `/proc` counts in hundredths of a second.
const TICK_S: f64 = 0.01;

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = SqliteLog::open(&dir.path().join("log.db"), 1, Options::default()).expect("a log");
    let store = Arc::new(Store::open(&dir.path().join("pulse.db")).expect("a store"));
    let access = Access::with_store(store).expect("keys");
    let key = access.create("bench", Scopes::parse("ingest").expect("a scope"), None).expect("a key");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gateway")
        .enable_all()
        .build()
        .expect("a runtime");
    let stop = CancellationToken::new();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let metrics = Metrics::default();
    let shared = Shared::register(&metrics);
    let gateway = Gateway::new(log.clone(), access, GatewayConfig::default(), metrics, shared);
    let served = runtime.spawn(gateway.serve(listener, stop.clone()));
    let sizes = [1, 100, 500, 2_500].map(|size| (NATIVE, size));
    for (way, size) in sizes.into_iter().chain([(SEGMENT, 100), (POSTHOG, 100), (CLOUDEVENTS, 100)]) {
        let requests: Vec<Vec<u8>> = (0..BATCHES).map(|b| request(&key, way, size, b)).collect();
        let (before, started) = (cpu(), Instant::now());
        std::thread::scope(|scope| {
            for share in requests.chunks(BATCHES / CONNECTIONS) {
                let client = std::thread::Builder::new().name("client".into());
                client.spawn_scoped(scope, move || share.iter().for_each(|r| exchange(address, r))).expect("a thread");
            }
        });
        let (after, events) = (cpu(), (BATCHES * size) as f64);
        let spent = |name: &str| {
            let of = |cpu: &BTreeMap<String, f64>| cpu.get(name).copied().unwrap_or(0.0);
            (of(&after) - of(&before)) * 1e6 / events
        };
        let (gateway, writer) = (spent("gateway"), spent("log-writer"));
        let wall = events / started.elapsed().as_secs_f64();
        println!(
            "{:>22} {size:>5}: gateway {gateway:>6.1} us, log writer {writer:>6.1} us an event; {wall:>8.0} events/s",
            way.0
        );
    }
    stop.cancel();
    runtime.block_on(served).expect("an orderly end");
    log.close();
}

/// A way in: its route, and what stands before and behind the list of events.
type Way = (&'static str, &'static str, &'static str);
const NATIVE: Way = ("/api/v1/events:batch", "[", "]");
const SEGMENT: Way = ("/v1/batch", r#"{"batch":["#, r#"],"sentAt":"2026-01-02T03:04:06.678Z"}"#);
const POSTHOG: Way = ("/batch/", r#"{"batch":["#, r#"],"sent_at":"2026-01-02T03:04:06.678Z"}"#);
const CLOUDEVENTS: Way = ("/cloudevents", "[", "]");

/// What an order is in all of them, as members of an object.
fn common(i: usize) -> String {
    format!(
        r#""order_id":"{i}","currency":"EUR","shipping":4.90,"tax":0,"discount":10.00,"coupon":"NOV10","session_id":"s-{i}","country":"DE""#
    )
}

/// An order of some 600 bytes, as each of them tells it.
fn event(way: Way, id: &str, i: usize) -> String {
    const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36";
    let (customer, ip, common) = (i % 97, i % 250, common(i));
    let native = format!(
        r#""customer_id":"c-{customer}","device_id":"d-{i}","ip":"203.0.113.{ip}","user_agent":"{AGENT}","amount":129.90,{common},"payment":{{"id":"pi_{i}","method":"card","card":"fp_{i}","bin":"411111","status":"authorized"}},"items":[{{"product_id":"p-1","category":"shoes","quantity":1,"price":135.00}}],"signals":{{"basket_age_s":38.5}}"#
    );
    let properties = format!(
        r#""total":129.90,{common},"payment_id":"pi_{i}","payment_method":"card","card_fingerprint":"fp_{i}","products":[{{"product_id":"p-1","category":"shoes","quantity":1,"price":135.00}}]"#
    );
    let time = "2026-01-02T03:04:05.678Z";
    match way {
        SEGMENT => format!(
            r#"{{"type":"track","event":"Order Completed","messageId":"{id}","timestamp":"{time}","userId":"c-{customer}","anonymousId":"d-{i}","integrations":{{}},"context":{{"library":{{"name":"analytics-python","version":"2.4.0"}},"ip":"203.0.113.{ip}","userAgent":"{AGENT}"}},"properties":{{{properties}}}}}"#
        ),
        POSTHOG => format!(
            r#"{{"event":"Order Completed","uuid":"{id}","timestamp":"{time}","distinct_id":"c-{customer}","properties":{{"$lib":"posthog-python","$lib_version":"7.91.1","$device_id":"d-{i}","$ip":"203.0.113.{ip}","$raw_user_agent":"{AGENT}",{properties}}}}}"#
        ),
        CLOUDEVENTS => format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/web","type":"order.completed","time":"{time}","datacontenttype":"application/json","data":{{{native}}}}}"#
        ),
        _ => format!(r#"{{"id":"{id}","type":"order.completed","time":"{time}","source":"web",{native}}}"#),
    }
}

/// A request with `size` orders.
fn request(key: &str, way: Way, size: usize, batch: usize) -> Vec<u8> {
    let (route, before, behind) = way;
    let events: Vec<String> = (0..size).map(|i| event(way, &format!("{route}{size}-{batch}-{i}"), i)).collect();
    let body = format!("{before}{}{behind}", events.join(","));
    let kind = if way == CLOUDEVENTS { "cloudevents-batch+json" } else { "json" };
    let head = format!(
        "POST {route} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/{kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head, body].concat().into_bytes()
}

thread_local! {
    static CONNECTION: std::cell::RefCell<Option<TcpStream>> = const { std::cell::RefCell::new(None) };
}

/// Sends a request and reads its answer.
fn exchange(address: std::net::SocketAddr, request: &[u8]) {
    CONNECTION.with_borrow_mut(|connection| {
        let stream = connection.get_or_insert_with(|| TcpStream::connect(address).expect("a connection"));
        stream.write_all(request).expect("sent");
        let (mut seen, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let n = stream.read(&mut buffer).expect("an answer");
            assert!(n > 0, "the gateway closed the connection");
            seen.extend_from_slice(&buffer[..n]);
            let Some(head) = seen.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&seen[..head]);
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            let length = text.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if seen.len() >= head + 4 + length.expect("a length") {
                return;
            }
        }
    });
}

/// Seconds of CPU by thread name.
fn cpu() -> BTreeMap<String, f64> {
    let mut spent = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").expect("Linux").flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        let ticks = stat[close + 2..].split(' ').skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum::<f64>();
        *spent.entry(stat[open + 1..close].to_owned()).or_insert(0.0) += ticks * TICK_S;
    }
    spent
}
