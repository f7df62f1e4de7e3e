//! History in, and the proof of a stored score.

use crate::backtest::events;
use crate::switch::fitted;
use pulse::app::{AppError, Settings, active};
use pulse::backtest::{Backtest, Scratch};
use pulse::engine::objects::Objects;
use pulse::engine::registry::Registry;
use pulse::explain::{ExplainError, compare, promoted, replayed, verify};
use pulse::import::mapping::Mapping;
use pulse::import::{Import, ImportError, Summary};
use pulse::log::{OpenError, SqliteLog};
use pulse::store::Store;
use pulse::store::query::events::{EventRow, by_id};
use pulse_dataflows::ports::{EventLog, Topic, partition};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn import(data: &Path, files: &[PathBuf], mapping: Option<Mapping>, warm_start: bool) -> Result<Summary, ImportError> {
    let settings = Settings::new(data.into());
    let (labels, labels_mapping) = (Vec::new(), None);
    Import { files: files.into(), mapping, labels, labels_mapping, warm_start, seed: 1, settings }.run(&mut |_| {})
}

fn log(data: &Path) -> Arc<SqliteLog> {
    SqliteLog::open_reader(&data.join("log.db")).unwrap()
}
fn registry(data: &Path) -> Arc<Registry> {
    Registry::new(Objects::folder(&data.join("objects")).unwrap())
}

fn records(data: &Path, topic: Topic) -> Vec<Value> {
    let (log, place, mut all) = (log(data), partition(topic, 0), Vec::new());
    let mut take = |_, _, value: &[u8]| all.push(serde_json::from_slice(value).unwrap());
    log.reader().each(place, 0, log.end(place), &mut take).unwrap();
    all
}

/// Alerts and incidents; closed minutes of the series are told to nobody.
fn told(data: &Path) -> usize {
    let types = ["anomaly.opened", "incident.opened"];
    records(data, Topic::Alerts).iter().filter(|m| types.contains(&m["type"].as_str().unwrap())).count()
}

/// Payments of one card, one a second, behind the last event of a file: rules have something to say.
fn card_testing(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let time = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        event["time"].as_str()?.parse::<jiff::Timestamp>().ok()
    };
    let last_ms = text.lines().filter_map(time).max().unwrap().as_millisecond();
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    for i in 1..=ATTACK as i64 {
        let event = json!({"id": format!("attack-{i}"), "type": "payment.failed", "time": last_ms + i * 1000, "source": "web",
            "amount": 1, "currency": "EUR", "device_id": "d-attack", "payment": {"card": "fp_attack", "method": "card"}});
        writeln!(file, "{event}").unwrap();
    }
}
/// Events of the attack.
const ATTACK: u64 = 40;

#[test]
fn imported_history_is_scored_as_in_a_backtest_and_every_score_can_be_proved() {
    let dir = tempfile::tempdir().unwrap();
    let (input, data) = (dir.path().join("events.ndjson"), dir.path().join("data"));
    events(&input, 7, 6000);
    card_testing(&input);
    let summary = import(&data, std::slice::from_ref(&input), None, false).unwrap();
    assert_eq!((summary.lines - ATTACK, summary.rejected, summary.duplicates), (6072, 12, 60), "{summary:?}");
    assert_eq!((summary.accepted - ATTACK, summary.scored - ATTACK), (6060, 6000), "{summary:?}");
    assert_eq!(summary.reasons["invalid_json"].count, 12);
    let kept = records(&data, Topic::Rejected);
    assert_eq!(kept.iter().filter(|r| r["code"] == "invalid_json" && r["stage"] == "import").count(), 12);
    assert!(told(&data) > 0, "without trouble the quiet of a warm start shows nothing");

    let scored = dir.path().join("scored");
    let backtest = Backtest {
        inputs: vec![input],
        log: None,
        config: Default::default(),
        model: None,
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers: 1,
        output: Some(scored.clone()),
        alerts: None,
        rejected: None,
        enriched: None,
    };
    backtest.run(Scratch::new().path(), &mut |_| {}).unwrap();
    let key = |v: &Value| {
        (v["id"].as_str().unwrap().to_owned(), [&v["score"], &v["p_value"], &v["reasons"]].map(Value::to_string))
    };
    let text = std::fs::read_to_string(scored).unwrap();
    let want: BTreeMap<_, _> = text.lines().map(|line| key(&serde_json::from_str(line).unwrap())).collect();
    let have = records(&data, Topic::Scored);
    assert!(have.iter().map(key).collect::<BTreeMap<_, _>>() == want);
    proofs(dir.path(), &data, &have);
}

/// A `metric.sample` is proved from its distance to the past of its series; another distance is noticed.
#[test]
fn samples_of_a_series_can_be_proved() {
    let dir = tempfile::tempdir().unwrap();
    let (input, scored) = (dir.path().join("samples.ndjson"), dir.path().join("scored"));
    let sample = |i: i64| {
        let value = if i == 50 { 1e3 } else { 10.0 + (i * 7 % 5) as f64 / 3.0 };
        let time = 1_795_378_560_000 + i * 60_000;
        format!(r#"{{"id":"m-{i}","type":"metric.sample","time":{time},"metric":"checkout_errors","value":{value}}}"#)
    };
    std::fs::write(&input, (0..60).map(|i| sample(i) + "\n").collect::<String>()).unwrap();
    let backtest = Backtest {
        inputs: vec![input],
        log: None,
        config: Default::default(),
        model: None,
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers: 1,
        output: Some(scored.clone()),
        alerts: None,
        rejected: None,
        enriched: None,
    };
    backtest.run(Scratch::new().path(), &mut |_| {}).unwrap();
    let registry = Registry::new(Objects::folder(&dir.path().join("objects")).unwrap());
    let text = std::fs::read_to_string(scored).unwrap();
    let proof = |json: &str| verify(json, &registry, &BTreeMap::new()).unwrap();
    for json in text.lines() {
        assert_eq!(proof(json), [], "{json}");
    }
    let spike = text.lines().find(|json| json.contains("\"m-50\"")).unwrap();
    let value: Value = serde_json::from_str(spike).unwrap();
    assert!(value["score"] == 1.0 && value["series"]["deviation"].as_f64() > Some(0.0), "{spike}");
    let off = format!("\"off\":{}", value["series"]["off"]);
    assert!(spike.contains(&off), "{off} in {spike}");
    let changed = spike.replace(&off, "\"off\":0.5");
    assert_eq!(proof(&changed).iter().map(|d| d.what).collect::<Vec<_>>(), ["score", "p_value", "score_base"]);
    let bare = r#"{"group":"other","model":"global_model@v0","feature_schema":3,"score":0,"p_value":1.0}"#;
    assert!(matches!(verify(bare, &registry, &BTreeMap::new()), Err(ExplainError::NoFeatures)));
}

/// Every event's proof holds; a flipped bit, another part or another bundle is noticed.
fn proofs(dir: &Path, data: &Path, scored: &[Value]) {
    let (registry, named) = (registry(data), promoted(&*log(data)).unwrap());
    let place = partition(Topic::Scored, 0);
    let (mut ruled, mut checked) = (0, 0);
    let mut take = |_, _, value: &[u8]| {
        let json = std::str::from_utf8(value).unwrap();
        match verify(json, &registry, &named) {
            Ok(differences) => assert_eq!(differences, [], "{json}"),
            Err(error) => panic!("{error}: {json}"),
        }
        ruled += usize::from(json.contains("rules_decades"));
        checked += 1;
    };
    let log = log(data);
    log.reader().each(place, 0, log.end(place), &mut take).unwrap();
    assert!(ruled > 10 && checked == scored.len(), "{ruled} of {checked}");

    let store = Store::open(&data.join("store.db")).unwrap();
    let row = |event: &Value| -> EventRow {
        store.read(|db| by_id(db, event["id"].as_str().unwrap(), None)).unwrap().remove(0)
    };
    let with_rule = scored.iter().rfind(|e| e["rules_decades"].is_number()).unwrap();
    let (row, features) = (row(with_rule), with_rule["features"].as_str().unwrap());
    let what = |json: &str| verify(json, &registry, &named).unwrap().iter().map(|d| d.what).collect::<Vec<_>>();
    assert_eq!(what(&row.json), Vec::<&str>::new());
    for at in (0..features.len() - 8).step_by(13) {
        let mut other = features.as_bytes().to_vec();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let json = row.json.replace(features, std::str::from_utf8(&other).unwrap());
        assert_eq!(what(&json), ["features"], "place {at}");
    }
    let json = row.json.replace(&format!("\"rules_decades\":{}", with_rule["rules_decades"]), "\"rules_decades\":0.25");
    assert!(json != row.json && what(&json).contains(&"score_rules"), "{json}");

    // another bundle under the same name
    let folder = Objects::folder(&dir.join("other")).unwrap();
    let mut bundle = fitted(dir, "global_model@v1", 3);
    bundle.version = "global_model@v0".into();
    folder.put("models/global_model-v0.bundle", bundle.to_bytes()).unwrap();
    let other = verify(&row.json, &Registry::new(folder), &named).unwrap();
    let other: Vec<&str> = other.iter().map(|d| d.what).collect();
    assert!(other.contains(&"bundle") && other.contains(&"score_base"), "{other:?}");

    let again = replayed(log.clone(), registry.clone(), row.cause, 2).unwrap().unwrap();
    assert_eq!(compare(&row.json, &again), None);
    assert!(compare(&row.json.replace(features, &features.replace('A', "B")), &again).is_some());
    assert_eq!(replayed(log, registry, (0, u64::MAX), 1).unwrap(), None);
}

#[test]
fn a_warm_start_learns_and_tells_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (input, data) = (dir.path().join("events.ndjson"), dir.path().join("data"));
    events(&input, 7, 6000);
    // one that no shop would call ordinary
    let mut text = std::fs::read_to_string(&input).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let wrong = serde_json::json!({"id": "wrong", "type": "order.completed", "time": last["time"], "amount": -980.5});
    text.push_str(&format!("{wrong}\n"));
    std::fs::write(&input, text).unwrap();
    let summary = import(&data, &[input], None, true).unwrap();
    assert_eq!((summary.scored, summary.model.as_deref()), (6001, Some("global_model@v1")), "{summary:?}");
    assert!(records(&data, Topic::Scored).iter().any(|event| event["decision"] == "anomaly"));
    assert_eq!(told(&data), 0);
    let active = active(&*log(&data)).unwrap();
    assert_eq!(active.model.map(|m| m.0), summary.model);
    assert_eq!(active.quiet_until_ms, summary.window_ms.map(|w| w.1 + 1), "what comes later is told");
}

#[test]
fn csv_is_mapped_masked_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let csv = dir.path().join("orders.csv.zst");
    let text = "no,when,sum,note\n1,1780000000,10.50,card 4111 1111 1111 1111\n2,1780000060,7,\n2,1780000060,7,\n\
                3,yesterday,7,\n4,,7,\n5,99999999999,7,\n6,1780000120,lots,\n";
    std::fs::write(&csv, zstd::stream::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    let mapping = "[columns]\nno = \"id\"\nwhen = \"time\"\nsum = \"amount\"\nnote = \"properties.note\"\n\
                   [constants]\ntype = \"order.completed\"\nsource = \"old\"\n[time]\nformat = \"unix_s\"";
    let mapping = Mapping::parse(mapping).unwrap();
    assert!(matches!(import(&data, std::slice::from_ref(&csv), None, false), Err(ImportError::Mapping(_))));
    assert!(!data.exists(), "a wrong call makes no folder");
    let summary = import(&data, &[csv], Some(mapping), false).unwrap();
    assert_eq!((summary.lines, summary.accepted, summary.duplicates, summary.masked), (7, 3, 1, 1), "{summary:?}");
    let codes: Vec<_> = summary.reasons.iter().map(|(code, refused)| (*code, refused.count)).collect();
    assert_eq!(codes, [("invalid_field", 2), ("missing_field", 1), ("time_in_future", 1)]);
    let raw = records(&data, Topic::Raw);
    assert!(raw.len() == 3 && raw[0]["source"] == "old" && !raw[0].to_string().contains("4111 1111"), "{raw:?}");
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("events.ndjson");
    events(&input, 7, 10);
    let _owner = SqliteLog::open(&dir.path().join("log.db"), 1, pulse::log::Options::default()).unwrap();
    let refused = import(dir.path(), &[input], None, false);
    assert!(matches!(refused, Err(ImportError::App(AppError::Log(OpenError::Locked { .. })))), "{refused:?}");
}

/// Chargebacks of a bank as CSV: on orders that are there they count, the others are told.
#[test]
fn verdicts_come_in_from_files_and_are_on_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (input, data) = (dir.path().join("events.ndjson"), dir.path().join("data"));
    let order = |i: u32| {
        json!({"id": format!("e-{i}"), "type": "order.completed", "time": 1_795_378_560_000_i64 + i64::from(i), "source": "web",
            "order_id": format!("{i}"), "customer_id": format!("c-{i}"), "amount": 10})
    };
    std::fs::write(&input, (0..5).map(|i| format!("{}\n", order(i))).collect::<String>()).unwrap();
    let (bank, ours) = (dir.path().join("bank.csv"), dir.path().join("ours.ndjson"));
    std::fs::write(&bank, "Order;Date\n3;01.11.2026\n77;01.11.2026\n4;soon\n").unwrap();
    let verdict = json!({"time": "2026-11-01T00:00:00Z", "event_id": "e-1", "verdict": "expected"});
    std::fs::write(&ours, format!("{verdict}\nnonsense\n{{\"event_id\":\"e-1\",\"verdict\":\"expected\"}}\n")).unwrap();
    let mapping = |verdict: &str| {
        format!(
            "[columns]\nOrder = \"order_id\"\nDate = \"time\"\n[constants]\n{verdict} = \"true_positive\"\norigin = \"chargeback\"\nby = \"bank\"\n\
             [time]\nformat = \"%d.%m.%Y\"\n[csv]\ndelimiter = \";\"\n"
        )
    };
    let typo = Mapping::of_labels(&mapping("verdickt")).unwrap_err().to_string();
    assert!(typo.contains("verdickt is no member; there are: time, event_id"), "{typo}");
    let import = |files: Vec<PathBuf>| {
        let labels_mapping = Some(Mapping::of_labels(&mapping("verdict")).unwrap());
        let (labels, settings) = (vec![bank.clone(), ours.clone()], Settings::new(data.clone()));
        Import { files, mapping: None, labels, labels_mapping, warm_start: false, seed: 1, settings }
            .run(&mut |_| {})
            .unwrap()
    };
    let verdicts = import(vec![input]).verdicts.unwrap();
    assert_eq!((verdicts.lines, verdicts.recorded, verdicts.rejected), (6, 2, 4), "{verdicts:?}");
    let codes: Vec<_> = verdicts.reasons.keys().copied().collect();
    assert_eq!(codes, ["invalid_json", "missing_field", "not_found"], "{verdicts:?}");
    let labels = records(&data, Topic::Labels);
    assert_eq!(
        (&labels[0]["order_id"], &labels[0]["by"], &labels[0]["origin"]),
        (&json!("3"), &json!("bank"), &json!("chargeback"))
    );
    assert!(labels[0]["entities"].as_array().unwrap().contains(&json!("customer:c-3")), "{:?}", labels[0]);
    assert_eq!((&labels[1]["event_id"], &labels[1]["by"]), (&json!("e-1"), &json!("import")));
    let again = import(vec![]).verdicts.unwrap();
    assert_eq!((again.recorded, again.unchanged), (0, 2), "{again:?}");
}
