//! Events and batches: what is accepted is in the log, what is not says why, and one fault is one item's own.

use super::support::*;
use pulse::gateway::GatewayConfig;
use pulse_dataflows::ports::Topic;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test]
async fn an_accepted_event_is_in_the_log_as_it_came() {
    let server = Server::start(GatewayConfig::default()).await;
    let sent = event("o-1");
    let got = reply(server.post("/api/v1/events", sent.to_string())).await;
    assert_eq!(got.status, 200);
    let expected = json!({"index": 0, "id": "o-1", "status": "accepted", "code": null, "message": null});
    assert_eq!(got.json(), expected);
    assert_eq!(server.log.values(Topic::Raw), [sent]);
}

#[tokio::test]
async fn one_bad_item_is_refused_and_the_others_are_taken_in_order() {
    let server = Server::start(GatewayConfig::default()).await;
    let items = [event("a"), json!({"id": "no-type", "source": "web"}), event("b"), json!(7), event("a")];
    let got = server.batch(&items).await;
    assert_eq!(got.counts(), [2, 1, 2]);
    let results = got.json()["results"].as_array().unwrap().clone();
    let column = |key: &str| results.iter().map(|r| r[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("index"), [0, 1, 2, 3, 4].map(Value::from));
    assert_eq!(column("id"), [json!("a"), json!("no-type"), json!("b"), Value::Null, json!("a")]);
    assert_eq!(column("status"), ["accepted", "rejected", "accepted", "rejected", "duplicate"].map(Value::from));
    assert!(results[1]["code"].is_string() && results[1]["message"].is_string());
    assert_eq!(server.log.ids(), ["a", "b"]);
    // Both refused items are kept, with reason and hash.
    let kept = server.log.values(Topic::Rejected);
    assert_eq!(kept.len(), 2);
    assert_eq!((&kept[0]["id"], &kept[0]["stage"]), (&json!("no-type"), &json!("gateway")));
    assert_eq!(kept[1]["payload"], "7");
    assert_eq!(kept[1]["payload_hash"].as_str().unwrap().len(), 16);
}

#[tokio::test]
async fn a_batch_is_one_append_and_its_events_lie_in_their_partitions() {
    let server = Server::with(Log::new(4), pulse::access::Access::open(), GatewayConfig::default()).await;
    assert_eq!(server.batch(&events(500)).await.counts(), [500, 0, 0]);
    assert_eq!(server.log.appends.load(Ordering::SeqCst), 1);
    let mut seen = BTreeSet::new();
    for p in 0..4 {
        let values = server.log.partition_values(Topic::Raw, p);
        assert!(values.len() > 50, "partition {p} has {}", values.len());
        for value in values {
            let key = xxhash_rust::xxh3::xxh3_64(value["customer_id"].as_str().unwrap().as_bytes());
            assert_eq!(key % 4, u64::from(p));
            seen.insert(value["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen.len(), 500);
}

#[tokio::test]
async fn what_was_acknowledged_is_a_duplicate_of_its_own_source_only() {
    let server = Server::start(GatewayConfig::default()).await;
    assert_eq!(server.batch(&events(3)).await.counts(), [3, 0, 0]);
    assert_eq!(server.batch(&events(4)).await.counts(), [1, 3, 0]);
    let mut other = event("e-0");
    other["source"] = json!("app");
    assert_eq!(server.batch(&[other]).await.counts(), [1, 0, 0]);
    let single = reply(server.post("/api/v1/events", event("e-0").to_string())).await;
    assert_eq!((single.status, &single.json()["status"]), (200, &json!("duplicate")));
    assert_eq!(server.log.ids().len(), 5);
}

#[tokio::test]
async fn missing_ids_are_made_and_told() {
    let server = Server::start(GatewayConfig::default()).await;
    let got = server.batch(&[json!({"type": "heartbeat"}), json!({"type": "heartbeat"})]).await;
    let ids: Vec<String> = (0..2).map(|i| got.json()["results"][i]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(server.log.ids(), ids);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn packed_bodies_are_unpacked() {
    let server = Server::start(GatewayConfig::default()).await;
    for (i, name) in ["gzip", "x-gzip", "GZIP", "zstd", "identity"].into_iter().enumerate() {
        let body = json!([event(&format!("p-{i}"))]).to_string();
        let packed = match name {
            "identity" => body.into_bytes(),
            "zstd" => zstd(body.as_bytes()),
            // Two members, as concatenated logs are.
            _ => [gzip(&body.as_bytes()[..10]).await, gzip(&body.as_bytes()[10..]).await].concat(),
        };
        let got = reply(server.post("/api/v1/events:batch", packed).header("content-encoding", name)).await;
        assert_eq!(got.counts(), [1, 0, 0], "{name}");
    }
    assert_eq!(server.log.ids().len(), 5);
}

#[tokio::test]
async fn every_fault_of_a_request_has_its_status_and_code() {
    let server = Server::start(GatewayConfig::default()).await;
    let one = json!([event("x")]).to_string();
    let batch = "/api/v1/events:batch";
    let post = |path: &str, body: Vec<u8>| server.post(path, body);
    let big = vec![b' '; (5 << 20) + 1];
    let cases = [
        (post(batch, b"[1,".to_vec()), 400, "invalid_json"),
        (post(batch, b"[{},]".to_vec()), 400, "invalid_json"),
        (post(batch, b"{}".to_vec()), 400, "invalid_json"),
        (post(batch, b"".to_vec()), 400, "invalid_json"),
        (post(batch, b"\xef\xbb\xbf[]".to_vec()), 400, "invalid_json"),
        (post(batch, b"[\"\xff\"]".to_vec()), 400, "invalid_json"),
        (post("/api/v1/events", b"{".to_vec()), 400, "invalid_json"),
        (post("/api/v1/events", b"[]".to_vec()), 400, "invalid_json"),
        (post("/api/v1/events", event("x").to_string().repeat(400).into_bytes()), 413, "too_large"),
        (post(batch, format!("[{}1]", "1,".repeat(1_000_000)).into_bytes()), 413, "too_many_events"),
        (post(batch, big.clone()), 413, "body_too_large"),
        (post("/api/v1/events", big), 413, "body_too_large"),
        (post(batch, one.clone().into()).header("content-encoding", "gzip"), 400, "invalid_encoding"),
        (post(batch, zstd(one.as_bytes())[..9].to_vec()).header("content-encoding", "zstd"), 400, "invalid_encoding"),
        (post(batch, one.clone().into()).header("content-encoding", "br"), 415, "unsupported_encoding"),
        (post(batch, one.clone().into()).header("content-encoding", "gzip, gzip"), 415, "unsupported_encoding"),
        (
            server.client.post(server.url(batch)).header("content-type", "multipart/form-data"),
            415,
            "unsupported_media_type",
        ),
        (
            server.client.post(server.url(batch)).header("content-type", "application/x-ndjson"),
            415,
            "unsupported_media_type",
        ),
        (
            server.client.post(server.url(batch)).header("content-type", "application/json; charset=latin1"),
            415,
            "unsupported_media_type",
        ),
        (post("/api/v1/nothing", b"".to_vec()), 404, "not_found"),
        (server.client.get(server.url(batch)), 405, "method_not_allowed"),
    ];
    for (i, (request, status, code)) in cases.into_iter().enumerate() {
        assert_eq!(reply(request).await.problem(), (status, code.to_owned()), "case {i}");
    }
    assert!(server.log.ids().is_empty());
    assert_eq!(server.get("/api/v1/events").await.header("allow"), "POST");
}

#[tokio::test]
async fn clients_that_name_no_or_a_careless_content_type_are_understood() {
    let server = Server::start(GatewayConfig::default()).await;
    for (i, kind) in
        ["application/x-www-form-urlencoded", "application/json;charset=UTF-8", "text/plain", ""].iter().enumerate()
    {
        let request = server.client.post(server.url("/api/v1/events")).body(event(&format!("t-{i}")).to_string());
        let request = if kind.is_empty() { request } else { request.header("content-type", *kind) };
        assert_eq!(reply(request).await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn poison_is_refused_item_by_item() {
    let server = Server::start(GatewayConfig::default()).await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let poison = [
        r#"{"id":"nan","type":"order.completed","amount":NaN}"#.to_owned(),
        r#"{"id":"esc","type":"order.\q"}"#.into(),
        format!(r#"{{"id":"deep","type":"heartbeat","properties":{deep}}}"#),
        format!(r#"{{"id":"long","type":"heartbeat","properties":{{"a":"{}"}}}}"#, "x".repeat(1_000_000)),
        r#"{"id":"late","type":"heartbeat","time":"2099-01-01T00:00:00Z"}"#.into(),
        "nope".into(),
    ];
    let body = format!("[{},{},{}]", event("good-1"), poison.join(","), event("good-2"));
    let got = reply(server.post("/api/v1/events:batch", body)).await;
    assert_eq!(got.counts(), [2, 0, 6]);
    assert_eq!(server.log.ids(), ["good-1", "good-2"]);
    let kept = server.log.values(Topic::Rejected);
    assert_eq!(kept.len(), 6);
    assert!(kept.iter().all(|k| k["payload"].as_str().unwrap().len() <= 2_048));
}

#[tokio::test]
async fn a_flood_of_bad_input_is_sampled_and_what_is_left_out_is_counted() {
    let config = GatewayConfig { rejects_per_s: 10.try_into().unwrap(), ..GatewayConfig::default() };
    let server = Server::start(config).await;
    let items: Vec<Value> = (0..2_000).map(|i| json!({"id": format!("bad-{i}")})).chain(events(100)).collect();
    assert_eq!(server.batch(&items).await.counts(), [100, 0, 2_000]);
    let kept = server.log.values(Topic::Rejected).len() as u64;
    assert!((10..=20).contains(&kept), "{kept}");
    assert_eq!(metric(&server, "pulse_rejects_not_kept_total").await, 2_000 - kept);
}

#[tokio::test]
async fn card_numbers_reach_no_topic() {
    let server = Server::start(GatewayConfig::default()).await;
    let mut masked = event("m");
    masked["properties"] = json!({"note": "my card 4111 1111 1111 1111"});
    let bad = json!({"id": "bad", "note": "4111111111111111"});
    assert_eq!(server.batch(&[masked, bad]).await.counts(), [1, 0, 1]);
    let all = format!("{:?}{:?}", server.log.values(Topic::Raw), server.log.values(Topic::Rejected));
    assert!(!all.contains("4111 1111") && !all.contains("411111"), "{all}");
    assert_eq!(metric(&server, "pulse_card_numbers_masked_total").await, 1);
}

#[tokio::test]
async fn when_the_log_refuses_nothing_is_accepted_and_a_retry_loses_nothing() {
    let server = Server::start(GatewayConfig::default()).await;
    server.log.set(REFUSES);
    for path in ["/api/v1/events", "/api/v1/events:batch"] {
        let body = if path.ends_with("batch") { json!([event("r")]) } else { event("r") };
        let got = reply(server.post(path, body.to_string())).await;
        assert_eq!(got.problem(), (503, "log_unavailable".into()));
    }
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.json()["checks"][0],
        json!({"name": "log", "status": "failing", "message": "the log refused an append"})
    );
    server.log.set(WORKS);
    // Not remembered as known, though it was seen.
    assert_eq!(server.batch(&[event("r")]).await.counts(), [1, 0, 0]);
    assert_eq!(server.log.ids(), ["r"]);
}

#[tokio::test]
async fn a_log_that_never_answers_gives_503_in_time() {
    let server = Server::start(GatewayConfig { append_timeout_ms: 100, ..GatewayConfig::default() }).await;
    server.log.set(SILENT);
    assert_eq!(server.batch(&events(1)).await.problem(), (503, "log_unavailable".into()));
    server.log.set(WORKS);
    assert_eq!(server.batch(&events(1)).await.counts(), [1, 0, 0]);
}

#[tokio::test]
async fn request_ids_are_taken_over_when_harmless() {
    let server = Server::start(GatewayConfig::default()).await;
    let ask = |id: &'static str| reply(server.client.get(server.url("/nothing")).header("x-request-id", id));
    assert_eq!(ask("abc-1.2_3").await.json()["request_id"], "abc-1.2_3");
    let made = ask("<script>").await;
    assert_ne!(made.json()["request_id"], "<script>");
    assert_eq!(made.json()["instance"], "/nothing");
}

/// Sum of a counter's samples.
pub async fn metric(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").await.text;
    let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    text.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn counters_agree_with_answers_and_the_exposition_is_well_formed() {
    let server = Server::start(GatewayConfig::default()).await;
    let mut items = events(10);
    items.push(json!({"id": "bad"}));
    items.push(json!({"id": "u", "type": "custom.type", "source": "a\"b\\c\nd"}));
    assert_eq!(server.batch(&items).await.counts(), [11, 0, 1]);
    assert_eq!(server.batch(&events(10)).await.counts(), [0, 10, 0]);
    assert_eq!(metric(&server, "pulse_events_received_total").await, 22);
    assert_eq!(metric(&server, "pulse_events_rejected_total").await, 1);
    assert_eq!(metric(&server, "pulse_events_duplicate_total").await, 10);
    let page = server.get("/metrics").await;
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let families: Vec<&str> = page.text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(families.iter().collect::<BTreeSet<_>>().len(), families.len(), "a family twice: {families:?}");
    for line in page.text.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("pulse_") && value.parse::<f64>().is_ok(), "{line}");
    }
    let route =
        r#"pulse_http_request_duration_seconds_count{route="/api/v1/events:batch",method="POST",status="200"} 2"#;
    assert!(page.text.contains(route), "{}", page.text);
    for stage in ["accept", "append"] {
        assert!(page.text.contains(&format!(r#"pulse_stage_duration_seconds_count{{stage="{stage}"}}"#)));
    }
    assert!(page.text.contains("pulse_http_bytes_in_flight 0\n"));
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_takes_nothing_new() {
    let server = Server::start(GatewayConfig { append_timeout_ms: 300, ..GatewayConfig::default() }).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    server.log.set(SILENT);
    let under_way = server.post("/api/v1/events", event("w").to_string());
    let under_way = tokio::spawn(reply(under_way));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let address = server.address;
    server.stop().await;
    assert_eq!(under_way.await.unwrap().status, 503);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
