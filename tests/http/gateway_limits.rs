//! Bounds: what is too much, too slow or too often is cut short, and the others are served.

use super::gateway::metric;
use super::support::*;
use pulse::access::Access;
use pulse::gateway::GatewayConfig;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn bombs_end_at_the_bound() {
    let server = Server::start(GatewayConfig::default()).await;
    let zeros = vec![b' '; 200 << 20];
    for (name, bomb) in [("zstd", zstd(&zeros)), ("gzip", gzip(&zeros[..100 << 20]).await)] {
        assert!(bomb.len() < 1 << 20, "it is a bomb");
        let got = reply(server.post("/api/v1/events:batch", bomb).header("content-encoding", name)).await;
        assert_eq!(got.problem(), (413, "body_too_large".into()), "{name}");
    }
    assert_eq!(server.batch(&events(1)).await.counts(), [1, 0, 0]);
    assert_eq!(metric(&server, "pulse_http_bytes_in_flight").await, 0);
}

#[tokio::test]
async fn a_frame_that_wants_much_memory_is_refused() {
    let server = Server::start(GatewayConfig::default()).await;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &vec![b' '; 1 << 20]).unwrap();
    let frame = encoder.finish().unwrap();
    let got = reply(server.post("/api/v1/events:batch", frame).header("content-encoding", "zstd")).await;
    assert_eq!(got.problem(), (400, "invalid_encoding".into()));
}

#[tokio::test]
async fn slow_headers_and_slow_bodies_are_cut_while_others_are_served() {
    let config =
        GatewayConfig { header_timeout_ms: 300, body_idle_ms: 300, body_total_ms: 900, ..GatewayConfig::default() };
    let server = Server::start(config).await;
    let start = Instant::now();
    let slow_header = server.raw(b"POST /api/v1/events HTTP/1.1\r\nhost: x\r\n", 5 * SECOND);
    let nothing = server.raw(b"", 5 * SECOND);
    let slow_body = server.raw(b"POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{", 5 * SECOND);
    // The second request of a connection is held to the same pace as the first.
    let second = server.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /livez HTTP/1.1\r\n", 5 * SECOND);
    let (header, empty, body, second, good) =
        tokio::join!(slow_header, nothing, slow_body, second, server.batch_reply());
    assert!(start.elapsed() < 3 * SECOND);
    assert!(header.is_empty() || header.starts_with("HTTP/1.1 4"), "{header}");
    assert!(empty.is_empty() && second.starts_with("HTTP/1.1 200") && second.matches("HTTP/1.1").count() == 1);
    assert!(body.starts_with("HTTP/1.1 408") && body.contains("request_timeout"), "{body}");
    assert_eq!(good.counts(), [1, 0, 0]);
    // A byte now and then does not help beyond the time for the whole.
    let mut drip = TcpStream::connect(server.address).await.unwrap();
    drip.write_all(b"POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n").await.unwrap();
    let start = Instant::now();
    while drip.write_all(b" ").await.is_ok() && start.elapsed() < SECOND {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(read_all(&mut drip, 2 * SECOND).await.starts_with("HTTP/1.1 408"));
}

impl Server {
    async fn batch_reply(&self) -> Reply {
        self.batch(&events(1)).await
    }
}

#[tokio::test]
async fn idle_connections_hold_a_place_for_the_header_time_only() {
    let config = GatewayConfig { connections: 20, header_timeout_ms: 500, ..GatewayConfig::default() };
    let server = Server::start(config).await;
    // Someone who is served already keeps being served.
    assert_eq!(server.batch(&events(1)).await.counts(), [1, 0, 0]);
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let kept = Instant::now();
    assert_eq!(server.batch(&events(2)).await.counts(), [1, 1, 0]);
    assert!(kept.elapsed() < Duration::from_millis(400), "{:?}", kept.elapsed());
    // A newcomer waits its turn and is served: 200 in rounds of 19.
    let fresh = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!([event("fresh")]).to_string();
    let request = fresh.post(server.url("/api/v1/events:batch")).body(body).timeout(15 * SECOND);
    assert_eq!(reply(request).await.counts(), [1, 0, 0]);
    drop(idle);
}

/// Files that this process may have open, after asking for as many as it can get.
fn files() -> usize {
    let pid = std::process::id().to_string();
    let read = |column: usize| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits.lines().find(|l| l.starts_with("Max open files")).unwrap_or_default().to_owned();
        line.split_whitespace().nth(column).and_then(|n| n.parse().ok()).unwrap_or(1024)
    };
    let most: usize = read(4);
    // where there is no such program, the limit stays what it is
    let _ = std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={most}:{most}")]).status();
    read(3)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_capped_and_who_is_served_stays_quick() {
    const CAP: usize = 1_000;
    let config = GatewayConfig { connections: CAP, header_timeout_ms: 2_000, ..GatewayConfig::default() };
    let server = Server::start(config).await;
    assert_eq!(server.batch(&events(1)).await.counts(), [1, 0, 0]);
    let idle = 10_000.min(files().saturating_sub(2 * CAP));
    assert!(idle > 5 * CAP, "{idle} connections are no flood: raise the limit of open files");
    // those beyond cap and queue wait in the kernel: their tasks hold them
    let (address, count) = (server.address, idle);
    let flood: Vec<_> = (0..count)
        .map(|_| {
            tokio::spawn(async move {
                let stream = TcpStream::connect(address).await;
                tokio::time::sleep(60 * SECOND).await;
                drop(stream);
            })
        })
        .collect();
    tokio::time::sleep(SECOND / 2).await;
    let mut took = Vec::new();
    for i in 0..200 {
        let start = Instant::now();
        assert_eq!(server.batch(&[event(&format!("during-{i}"))]).await.counts(), [1, 0, 0]);
        took.push(start.elapsed());
    }
    took.sort();
    flood.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(took[197] < SECOND / 4, "p99 {:?}, the worst {:?}, {idle} idle", took[197], took[199]);
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_but_not_for_ever() {
    let config = GatewayConfig { header_timeout_ms: 100, keep_alive_ms: 800, ..GatewayConfig::default() };
    let server = Server::start(config).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let answer = read_all(&mut stream, Duration::from_millis(400)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let start = Instant::now();
    assert!(read_all(&mut stream, 5 * SECOND).await.is_empty());
    assert!(start.elapsed() < 3 * SECOND);
}

#[tokio::test]
async fn long_heads_are_refused() {
    let server = Server::start(GatewayConfig::default()).await;
    let long = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let many = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
    for head in [long, many] {
        let got = server.raw(head.as_bytes(), 2 * SECOND).await;
        assert!(got.is_empty() || got.starts_with("HTTP/1.1 431"), "{got}");
    }
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn too_many_events_of_a_key_and_too_many_requests_of_an_address_are_429() {
    let n = |n: u32| n.try_into().unwrap();
    let config = GatewayConfig { key_events_per_s: n(10), key_events_burst: n(100), ..GatewayConfig::default() };
    let server = Server::start(config).await;
    assert_eq!(server.batch(&events(100)).await.counts(), [100, 0, 0]);
    let got = server.batch(&events(30)).await;
    assert_eq!(got.problem(), (429, "rate_limited".into()));
    assert!((1..=3).contains(&got.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(got.header("ratelimit-policy"), "\"events\";q=100;w=10");
    assert!(got.header("ratelimit").starts_with("\"events\";r=0;t="));

    let config = GatewayConfig { ip_requests_per_s: n(1), ip_requests_burst: n(5), ..GatewayConfig::default() };
    let server = Server::start(config).await;
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(reply(server.post("/api/v1/events", event("x").to_string())).await.status);
    }
    assert_eq!(seen[..5], [200; 5]);
    assert!(seen[5..].iter().filter(|s| **s == 429).count() >= 13, "{seen:?}");
    assert_eq!(server.get("/livez").await.status, 200, "health has no rate");
}

#[tokio::test]
async fn more_bytes_than_memory_allows_are_503_and_given_back() {
    let config = GatewayConfig { bytes_in_flight: 100_000, ..GatewayConfig::default() };
    let server = Server::start(config).await;
    let wide = |n| vec![json!({"type": "heartbeat", "properties": {"a": "x".repeat(1_000)}}); n];
    assert_eq!(server.batch(&wide(200)).await.problem(), (503, "overloaded".into()));
    let packed = gzip(json!(wide(200)).to_string().as_bytes()).await;
    let request = server.post("/api/v1/events:batch", packed).header("content-encoding", "gzip");
    assert_eq!(reply(request).await.problem(), (503, "overloaded".into()));
    assert_eq!(server.batch(&wide(50)).await.counts(), [50, 0, 0]);
    assert_eq!(metric(&server, "pulse_http_bytes_in_flight").await, 0);
}

#[tokio::test]
async fn a_body_that_ends_early_is_nothing() {
    let server = Server::with(Log::new(1), Access::open(), GatewayConfig::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = event("half").to_string();
    let head = format!("POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len() + 1);
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_all(&mut stream, 2 * SECOND).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(server.log.ids().is_empty());
}

#[tokio::test]
async fn a_client_that_sends_everything_before_it_reads_still_hears_why_not() {
    let n = |n: u32| n.try_into().unwrap();
    let config = GatewayConfig { ip_requests_per_s: n(1), ip_requests_burst: n(2), ..GatewayConfig::default() };
    let server = Server::start(config).await;
    let length = 30 << 20;
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n");
    for (how, status) in [(format!("content-length: {length}\r\n\r\n"), 413), (chunked.clone(), 413), (chunked, 429)] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("POST /api/v1/events:batch HTTP/1.1\r\nhost: x\r\n{how}");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; length]).await.expect("everything is taken");
        let answer = read_all(&mut stream, 5 * SECOND).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{how}: {answer}");
    }
}
