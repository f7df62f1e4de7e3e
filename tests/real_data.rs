//! Real orders of a real shop, once as a file and once over HTTP: every event is scored exactly once, and alike.
//!
//! The live run takes the first events only, for speed. As a score depends on nothing that comes later, they must have the
//! scores that they have in the whole file. Deliberately absent: whether the scores are good (the data has no labels).

use pulse::app::{App, Settings};
use pulse::backtest::{Backtest, Scratch, Summary};
use pulse_dataflows::ports::{Topic, partition};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Events in the file.
const EVENTS: usize = 11_666;
/// Events sent over HTTP.
const LIVE: usize = 2_500;
/// Events of one request: some hundred bodies, so that there are many cuts.
const BODY: usize = 125;
/// How long the live run may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/online_retail.ndjson.zst")
}

/// Lines of the file.
fn lines() -> Vec<String> {
    let bytes = zstd::decode_all(std::fs::File::open(file()).unwrap()).unwrap();
    String::from_utf8(bytes).unwrap().lines().map(String::from).collect()
}

fn id(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    value["id"].as_str().unwrap().into()
}

/// What of a scored event may not depend on the way it took, as text, so that the last digit counts.
fn judged(line: &str) -> (String, String) {
    let value: Value = serde_json::from_str(line).unwrap();
    let parts = ["score", "p_value", "score_base", "score_rules", "reasons", "rules"].map(|key| value[key].to_string());
    (value["id"].as_str().unwrap().into(), parts.join(" "))
}

/// By id; an id that is scored twice fails.
fn by_id(scored: &[String]) -> BTreeMap<String, String> {
    let map: BTreeMap<String, String> = scored.iter().map(|line| judged(line)).collect();
    assert_eq!(map.len(), scored.len(), "an event was scored twice");
    map
}

fn backtest(dir: &Path) -> (Summary, Vec<String>) {
    let (scratch, output) = (Scratch::new(), dir.join("scored.ndjson"));
    let backtest = Backtest {
        inputs: vec![file()],
        log: None,
        config: Default::default(),
        model: None,
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers: 2,
        output: Some(output.clone()),
        alerts: None,
        rejected: None,
        enriched: None,
    };
    let summary = backtest.run(scratch.path(), &mut |_| {}).unwrap();
    (summary, std::fs::read_to_string(output).unwrap().lines().map(String::from).collect())
}

/// Sends `lines` in order through the whole product and gives what it scored.
async fn live(dir: &Path, lines: &[String]) -> Vec<String> {
    let any = "127.0.0.1:0".parse().unwrap();
    let data = dir.join("data");
    let settings = Settings { gateway_addr: any, sidecar_addr: any, no_auth: true, ..Settings::new(data) };
    let app = App::start(&settings).await.unwrap();
    let client = reqwest::Client::new();
    for body in lines.chunks(BODY) {
        let request = client.post(format!("http://{}/api/v1/events:batch", app.gateway_addr));
        let request = request.header("content-type", "application/json").body(format!("[{}]", body.join(",")));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["accepted"], body.len(), "{answer}");
    }
    let (place, until) = (partition(Topic::Scored, 0), Instant::now() + PATIENCE);
    while app.log.end(place) < lines.len() as u64 {
        assert!(Instant::now() < until, "{} of {} scored", app.log.end(place), lines.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut scored = Vec::new();
    let mut take = |_, _, value: &[u8]| scored.push(String::from_utf8(value.to_vec()).unwrap());
    app.log.reader().each(place, 0, app.log.end(place), &mut take).unwrap();
    app.stop().await.unwrap();
    let log = pulse::log::SqliteLog::open_reader(&dir.join("data/log.db")).unwrap();
    let store = pulse::store::Store::open(&dir.join("data/store.db")).unwrap();
    let report = pulse::audit::audit(&*log, &store).unwrap();
    assert!(report.agrees && report.scored == lines.len() as u64, "{report:#?}");
    scored
}

#[test]
fn every_order_is_scored_once_and_alike_from_a_file_and_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    assert_eq!(lines.len(), EVENTS);
    let (summary, scored) = backtest(dir.path());
    let expected = Summary { events: EVENTS as u64, scored: EVENTS as u64, ..Summary::default() };
    let counted = Summary { anomalies: 0, alerts: 0, incidents: 0, late: 0, ..summary };
    assert_eq!(counted, expected);
    let from_file = by_id(&scored);
    assert!(lines.iter().all(|line| from_file.contains_key(&id(line))), "an event is missing");

    let first = &lines[..LIVE];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let over_http = by_id(&runtime.block_on(live(dir.path(), first)));
    assert_eq!(over_http.len(), LIVE);
    for line in first {
        let id = id(line);
        assert_eq!(over_http.get(&id), from_file.get(&id), "{id} is judged differently live");
    }
    let reasons = over_http.values().filter(|judged| judged.contains("\"code\"")).count();
    assert!(reasons > 0, "nothing unusual in {LIVE} real orders: the comparison would be empty");
}
