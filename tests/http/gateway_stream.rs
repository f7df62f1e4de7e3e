//! NDJSON both ways.

use super::gateway::metric;
use super::support::*;
use axum::body::Bytes;
use pulse::gateway::GatewayConfig;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const PATH: &str = "/api/v1/events:stream";
const WAIT: Duration = Duration::from_secs(5);

/// Both ends of an open stream.
struct Open {
    send: mpsc::Sender<Result<Bytes, std::io::Error>>,
    response: reqwest::Response,
    buffer: Vec<u8>,
}
async fn open(server: &Server, encoding: &str, first: Vec<u8>) -> Open {
    let (send, receive) = mpsc::channel(100);
    send.send(Ok(first.into())).await.unwrap();
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(receive));
    let request = server.client.post(server.url(PATH)).header("content-type", "application/x-ndjson").body(body);
    let response = request.header("content-encoding", encoding).send().await.unwrap();
    assert_eq!(response.status(), 200);
    Open { send, response, buffer: Vec::new() }
}
impl Open {
    async fn send(&self, text: impl Into<Vec<u8>>) {
        self.send.send(Ok(Bytes::from(text.into()))).await.unwrap();
    }
    /// The next result line; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let piece = tokio::time::timeout(WAIT, self.response.chunk()).await.expect("a line in time").unwrap();
            self.buffer.extend_from_slice(&piece?);
        }
    }
}
fn line(id: &str) -> String {
    format!("{}\n", event(id))
}

#[tokio::test]
async fn results_come_while_events_are_still_being_sent() {
    let server = Server::start(GatewayConfig::default()).await;
    let mut stream = open(&server, "identity", line("s-0").into_bytes()).await;
    for i in 0..5 {
        let result = stream.next().await.unwrap();
        assert_eq!((&result["index"], &result["status"]), (&json!(i), &json!("accepted")));
        assert_eq!(server.log.ids().len(), i + 1, "answered means in the log");
        stream.send(line(&format!("s-{}", i + 1))).await;
    }
    stream.send("{\"id\":\"bad\"}\n\n  \r\n").await;
    stream.send(line("s-0").trim_end().to_owned()).await; // the last line needs no end
    drop(std::mem::replace(&mut stream.send, mpsc::channel(1).0));
    let statuses = [stream.next().await.unwrap(), stream.next().await.unwrap(), stream.next().await.unwrap()];
    assert_eq!(statuses.each_ref().map(|s| s["status"].as_str().unwrap()), ["accepted", "rejected", "duplicate"]);
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn packed_streams_are_answered_piece_by_piece() {
    let server = Server::start(GatewayConfig::default()).await;
    let mut stream = open(&server, "gzip", gzip(line("z-0").as_bytes()).await).await;
    for i in 1..4 {
        assert_eq!(stream.next().await.unwrap()["status"], "accepted");
        stream.send(gzip(line(&format!("z-{i}")).as_bytes()).await).await;
    }
    assert_eq!(stream.next().await.unwrap()["id"], "z-3");
}

#[tokio::test]
async fn many_lines_keep_their_order_and_bad_ones_hurt_nobody() {
    let server = Server::start(GatewayConfig::default()).await;
    let mut body = Vec::new();
    for i in 0..5_000 {
        body.extend_from_slice(line(&format!("m-{i}")).as_bytes());
        if i % 1_000 == 0 {
            body.extend_from_slice(b"{\"id\":\"u\",\"type\":\"\xff\"}\n");
            body.extend(std::iter::repeat_n(b'x', 10 << 20).chain([b'\n']));
        }
    }
    let got = reply(server.client.post(server.url(PATH)).body(body)).await;
    let lines: Vec<Value> = got.text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 5_010);
    assert!(lines.iter().enumerate().all(|(i, l)| l["index"] == i));
    let accepted: Vec<&str> =
        lines.iter().filter(|l| l["status"] == "accepted").map(|l| l["id"].as_str().unwrap()).collect();
    assert_eq!(accepted, (0..5_000).map(|i| format!("m-{i}")).collect::<Vec<_>>());
    assert_eq!(lines.iter().filter(|l| l["code"] == "too_large").count(), 5);
    assert_eq!(server.log.ids(), accepted);
    assert_eq!(metric(&server, "pulse_http_bytes_in_flight").await, 0);
}

#[tokio::test]
async fn lines_that_the_log_refuses_say_so_and_can_be_sent_again() {
    let server = Server::start(GatewayConfig::default()).await;
    let mut stream = open(&server, "identity", line("a").into_bytes()).await;
    assert_eq!(stream.next().await.unwrap()["status"], "accepted");
    server.log.set(REFUSES);
    stream.send(line("b")).await;
    let refused = stream.next().await.unwrap();
    assert_eq!((&refused["status"], &refused["code"]), (&json!("unavailable"), &json!("log_unavailable")));
    server.log.set(WORKS);
    stream.send(line("b")).await;
    assert_eq!(stream.next().await.unwrap()["status"], "accepted");
    assert_eq!(server.log.ids(), ["a", "b"]);
}

#[tokio::test]
async fn silence_and_a_stop_close_a_stream_with_a_word() {
    let config = GatewayConfig { stream_idle_ms: 200, ..GatewayConfig::default() };
    let server = Server::start(config).await;
    let mut stream = open(&server, "identity", line("a").into_bytes()).await;
    assert_eq!(stream.next().await.unwrap()["status"], "accepted");
    let last = stream.next().await.unwrap();
    assert_eq!((&last["status"], &last["code"]), (&json!("closed"), &json!("request_timeout")));
    assert_eq!(stream.next().await, None);

    let server = Server::start(GatewayConfig::default()).await;
    let mut stream = open(&server, "identity", line("b").into_bytes()).await;
    assert_eq!(stream.next().await.unwrap()["status"], "accepted");
    server.cancel();
    assert_eq!(stream.next().await.unwrap()["code"], "shutting_down");
    assert_eq!(stream.next().await, None);
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_only_grows_is_closed() {
    let server = Server::start(GatewayConfig::default()).await;
    let bomb = gzip(&vec![b'\n'; 100 << 20]).await;
    let started = Instant::now();
    let got = reply(server.client.post(server.url(PATH)).header("content-encoding", "gzip").body(bomb)).await;
    assert!(got.text.contains("body_too_large"), "{}", got.text);
    assert!(started.elapsed() < WAIT);
}

#[tokio::test]
async fn a_client_that_reads_no_results_is_read_more_slowly_and_let_go() {
    let config = GatewayConfig { stream_idle_ms: 500, write_idle_ms: 500, ..GatewayConfig::default() };
    let server = Server::start(config).await;
    let mut socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    socket
        .write_all(b"POST /api/v1/events:stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let lines: String = (0..2_000).map(|i| format!("{{\"id\":\"n-{i}\"}}\n")).collect();
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    let mut sent = 0;
    let filling = async {
        while socket.write_all(chunk.as_bytes()).await.is_ok() {
            sent += chunk.len();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(8), filling).await.is_ok(), "never let go, {sent} bytes taken");
    assert!(sent < 64 << 20, "{sent} bytes taken");
    assert_eq!(server.batch(&events(1)).await.counts(), [1, 0, 0]);
}
