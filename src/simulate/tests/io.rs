//! The edges: lines to a pipe, batches to a gateway that is not always willing.

use std::io;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use clap::Parser;
use serde_json::{Value, json};

use super::super::{SimulateArgs, SimulateError, run};
use crate::simulate::cli::print_to;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: SimulateArgs,
}

fn args(words: &[&str]) -> SimulateArgs {
    Cli::try_parse_from(std::iter::once("simulate").chain(words.iter().copied())).unwrap().args
}

#[test]
fn lines_and_truth_are_written_and_the_same_options_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let truth = folder.path().join("truth.ndjson");
    let truth = truth.to_str().unwrap();
    let options = ["--seed", "9", "--events", "40000", "--trouble-days", "0.5", "--truth", truth];
    let (mut one, mut two) = (Vec::new(), Vec::new());
    print_to(&args(&options), &mut one).unwrap();
    let labels = std::fs::read_to_string(truth).unwrap();
    print_to(&args(&options), &mut two).unwrap();
    assert!(one == two && labels == std::fs::read_to_string(truth).unwrap());
    assert_eq!(one.iter().filter(|&&byte| byte == b'\n').count(), 40_000);
    let labels: Vec<Value> = labels.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(labels.len() > 100 && labels.iter().any(|label| label.get("window").is_some()));
}

/// A reader that goes away after the first megabyte.
struct Gone(usize);
impl io::Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 > 1 << 20 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    print_to(&args(&["--events", "1000000"]), Gone(0)).unwrap();
}

#[test]
fn options_that_cannot_be_are_usage_errors() {
    for options in [["--rate", "0"], ["--start", "yesterday"], ["--events-per-minute", "0"], ["--trouble-days", "0"]] {
        let error = print_to(&args(&options), io::sink()).unwrap_err();
        assert_eq!(error.exit_code(), 64, "{options:?}: {error}");
    }
}

#[derive(Default)]
struct Seen {
    requests: u32,
    ids: Vec<String>,
    largest: usize,
}

/// Refuses every third request, asks for the key.
async fn gateway(State(seen): State<Arc<Mutex<Seen>>>, headers: HeaderMap, Json(events): Json<Vec<Value>>) -> Response {
    if headers.get("authorization").is_none_or(|value| value != "Bearer k1") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut seen = seen.lock().unwrap();
    seen.requests += 1;
    if seen.requests % 3 == 1 {
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response();
    }
    seen.largest = seen.largest.max(events.len());
    seen.ids.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
    Json(json!({"accepted": events.len(), "duplicate": 0, "rejected": 0, "results": []})).into_response()
}

fn serve() -> (String, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let app = axum::Router::new()
        .route("/api/v1/events:batch", axum::routing::post(gateway))
        .layer(axum::extract::DefaultBodyLimit::max(5 << 20))
        .with_state(seen.clone());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    (address, seen)
}

#[test]
fn a_gateway_that_refuses_now_and_then_gets_every_event_once_and_in_order() {
    let (address, seen) = serve();
    let summary = run(&args(&["--events", "5000", "--to", &address, "--key", "k1"])).unwrap().unwrap();
    assert_eq!((summary.sent, summary.accepted, summary.failed), (5000, 5000, 0));
    assert!(summary.retried >= 3 && summary.ack_p50_ms > 0.0, "{summary}");
    let seen = seen.lock().unwrap();
    let number = |id: &String| id.rsplit('n').next().unwrap().parse::<u64>().unwrap();
    assert!(seen.ids.iter().map(number).eq(1..=5000));
    assert_eq!(seen.largest, 500);
}

#[test]
fn live_events_keep_their_rate() {
    let (address, seen) = serve();
    let summary = run(&args(&["--rate", "400", "--events", "600", "--to", &address, "--key", "k1"])).unwrap().unwrap();
    assert_eq!(summary.accepted, 600);
    assert!((1.0..6.0).contains(&summary.seconds), "{summary}");
    let seen = seen.lock().unwrap();
    assert!(seen.requests > 6 && seen.largest < 400, "{} requests, {} at once", seen.requests, seen.largest);
}

#[test]
fn a_wrong_key_and_nobody_there_are_said() {
    let (address, _) = serve();
    let refused = run(&args(&["--events", "10", "--to", &address, "--key", "other"]));
    assert!(matches!(&refused, Err(SimulateError::Unavailable(text)) if text.contains("401")), "{refused:?}");
}
