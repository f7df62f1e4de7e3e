//! Floods and blocked readers: half of what comes is poison, nine tenths of it is one customer, somebody asks for metrics and
//! never reads them. The good events are all scored, in time, and the sets agree.

use crate::kills::values;
use crate::live::{Live, client, events};
use pulse_dataflows::ports::Topic;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// From the answer to the score, at the worst and on a busy machine; alone it is some milliseconds.
const SCORED_WITHIN: Duration = Duration::from_secs(5);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// Sends a batch whole, as bytes; the statuses of its items.
async fn send(live: &Live, body: String) -> Vec<String> {
    let url = format!("http://{}/api/v1/events:batch", live.gateway);
    let request = client().post(url).header("content-type", "application/json").body(body);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let status = |item: &Value| item["status"].as_str().unwrap().to_owned();
    answer["results"].as_array().map_or(Vec::new(), |items| items.iter().map(status).collect())
}

/// How long one more event takes from its answer to its score.
async fn probe(live: &Live, id: &str) -> Duration {
    send(live, json!([{"id": id, "type": "order.completed", "customer_id": "c-probe", "amount": 5}]).to_string()).await;
    let since = Instant::now();
    while live.get(&format!("/api/v1/events/{id}")).await.contains("\"not_found\"") {
        assert!(since.elapsed() < SCORED_WITHIN, "{id} is not scored");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    since.elapsed()
}

fn metric(text: &str, name: &str) -> u64 {
    let values = text.lines().filter(|l| l.starts_with(name)).filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

/// What nobody can take: broken in the ways of row 27.
const POISON: [&str; 8] = [
    r#"{"id":"x","type":"a","amount":NaN}"#,
    r#"{"id":"x","type":"a","p":1e400}"#,
    r#"{"id":"x","type":"a","p":"\ud800"}"#,
    r#"{"id":"x","type":"a","time":18446744073709551616}"#,
    r#"{"id":"x"}"#,
    "7",
    r#"{"id":"x","type":"a","items":{}}"#,
    r#"{"id":"x","type":"a","time":"2099-01-01T00:00:00Z"}"#,
];

#[test]
fn half_poison_leaves_the_good_events_unharmed_and_is_counted_and_sampled() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start(2, &[]);
    runtime().block_on(async {
        live.ready().await;
        let (mut good, mut refused, mut poison) = (BTreeSet::new(), 0, POISON.iter().cycle());
        for (i, chunk) in events(11, 0, 3_000).chunks(100).enumerate() {
            let mut items = Vec::new();
            for event in chunk {
                items.extend([event.to_string(), poison.next().unwrap().to_string()]);
                good.insert(event["id"].as_str().unwrap().to_owned());
            }
            // a broken number breaks its own item, not its neighbours
            let statuses = send(&live, format!("[{}]", items.join(","))).await;
            assert_eq!(statuses.len(), 200, "batch {i}");
            for (at, status) in statuses.iter().enumerate() {
                let wanted = if at % 2 == 0 { "accepted" } else { "rejected" };
                assert_eq!(status, wanted, "batch {i} item {at}: {}", items[at]);
            }
            refused += 100;
        }
        probe(&live, "probe").await;
        good.insert("probe".into());
        live.settled().await;
        assert_eq!(values(&live.data(), Topic::Scored, "id").into_keys().collect::<BTreeSet<_>>(), good);
        let metrics = gateway_metrics(&live).await;
        let counted = metric(&metrics, "pulse_events_rejected_total");
        assert!(counted >= refused, "{counted} of {refused} counted");
        // kept at a fixed rate: more than none, and what is left out is counted
        let log = pulse::log::SqliteLog::open_reader(&live.data().join("log.db")).unwrap();
        use pulse_dataflows::ports::{EventLog, partition};
        let kept = log.end(partition(Topic::Rejected, 0));
        assert!(
            kept > 0 && kept + metric(&metrics, "pulse_rejects_not_kept_total") == refused,
            "{kept} kept\n{metrics}"
        );
    });
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
}

async fn gateway_metrics(live: &Live) -> String {
    let url = format!("http://{}/metrics", live.gateway);
    client().get(url).send().await.unwrap().text().await.unwrap()
}

#[test]
fn one_key_with_nine_tenths_of_the_events_does_not_hold_up_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start(2, &[]);
    runtime().block_on(async {
        live.ready().await;
        let mut all = BTreeSet::new();
        let (mut i, until) = (0, Instant::now() + Duration::from_secs(3));
        while Instant::now() < until {
            let hot = |i: usize| {
                let who = if i.is_multiple_of(10) { format!("c-{i}") } else { "c-hot".into() };
                json!({"id": format!("h-{i}"), "type": "product.viewed", "customer_id": who, "device_id": "d-hot",
                    "ip": "198.51.100.1"})
            };
            let batch: Vec<Value> = (i..i + 250).map(hot).collect();
            all.extend(live.send(&batch).await);
            i += 250;
        }
        probe(&live, "probe").await;
        all.insert("probe".into());
        live.settled().await;
        assert_eq!(values(&live.data(), Topic::Scored, "id").into_keys().collect::<BTreeSet<_>>(), all);
    });
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
}

#[test]
fn who_asks_for_metrics_and_never_reads_them_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start(1, &[]);
    runtime().block_on(async {
        live.ready().await;
        let mut stalled = Vec::new();
        for address in [&live.sidecar, &live.gateway] {
            for _ in 0..20 {
                let mut stream = tokio::net::TcpStream::connect(address.as_str()).await.unwrap();
                let asks = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
                stream.write_all(asks.as_bytes()).await.unwrap();
                stalled.push(stream);
            }
        }
        let answered = live.send(&events(12, 0, 500)).await;
        assert_eq!(answered.len(), 500);
        probe(&live, "probe").await;
        live.settled().await;
        drop(stalled);
    });
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
}
