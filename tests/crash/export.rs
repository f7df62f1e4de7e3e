//! Export to Parquet: a foreign reader (pyarrow) finds what the query API says; killed in front of every step and run again it is the
//! same, byte for byte; on S3; and a full disk under it harms nothing else.

use crate::disk;
use crate::live::{Live, events, until};
use crate::s3::Server;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Reads both tables by their folders, checks that rows lie under their day, and gives them as JSON.
const READ: &str = r#"
import json, os, sys
import pyarrow.dataset as ds
tables = {}
for name in ("events", "alerts"):
    rows = [] if not os.path.isdir(f"{sys.argv[1]}/{name}") else ds.dataset(f"{sys.argv[1]}/{name}", format="parquet", partitioning=ds.partitioning(flavor="hive")).to_table().to_pylist()
    for row in rows:
        assert row["time"].tzinfo is not None and str(row.pop("date"))[:10] == row["time"].strftime("%Y-%m-%d"), row
        for key, value in row.items():
            row[key] = int(value.timestamp() * 1000 + 0.5) if hasattr(value, "timestamp") else value
    tables[name] = rows
json.dump(tables, sys.stdout, default=str)
"#;

/// What a foreign reader finds.
fn read(place: &Path) -> (Vec<Value>, Vec<Value>) {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/venv/bin/python");
    let output = Command::new(python).args(["-c", READ]).arg(place).output().expect("tests/run.sh installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut tables: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut take = |name: &str| serde_json::from_value(tables[name].take()).unwrap();
    (take("events"), take("alerts"))
}

/// All items of a list of the API.
async fn listed(live: &Live, path: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let text = live.get(&format!("{path}?limit=1000{cursor}")).await;
        let page: Value = serde_json::from_str(&text).unwrap();
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
/// JSON in a column.
fn inner(row: &Value, key: &str) -> Value {
    serde_json::from_str(text(row, key)).unwrap()
}

/// Each event and each alert of the API has its rows, and there are no others.
async fn same_as_the_api(live: &Live, place: &Path) -> usize {
    let (rows, alerts) = read(place);
    let by_id: BTreeMap<&str, &Value> = rows.iter().map(|row| (text(row, "event_id"), row)).collect();
    let known = listed(live, "/api/v1/events").await;
    assert_eq!((rows.len(), by_id.len()), (known.len(), known.len()), "no row twice, none missing");
    for event in &known {
        let row = by_id[text(event, "id")];
        for key in [
            "score",
            "p_value",
            "decision",
            "type",
            "threshold_value",
            "threshold",
            "confidence",
            "model",
            "late",
            "cold_start",
            "score_base",
            "score_rules",
        ] {
            let same = row[key] == event[key] || (row[key].is_f64() && row[key].as_f64() == event[key].as_f64());
            assert!(same, "{key}: {} of {event}", row[key]);
        }
        for key in ["reasons", "rules"] {
            assert_eq!(inner(row, key), event[key], "{key} of {event}");
        }
        let time: jiff::Timestamp = text(event, "time").parse().unwrap();
        assert_eq!(row["time"], time.as_millisecond());
    }
    let order = rows.iter().find(|row| row["type"] == "order.completed").unwrap();
    let whole: Value =
        serde_json::from_str(&live.get(&format!("/api/v1/events/{}", text(order, "event_id"))).await).unwrap();
    assert_eq!(text(order, "amount").parse::<f64>().unwrap(), whole["raw"]["amount"].as_f64().unwrap());
    assert!(inner(order, "entities")["customer"][0].is_string() && order["currency"] == "EUR", "{order}");
    assert_eq!(whole["cause"]["offset"], order["log_offset"]);
    let opened = |rows: &[Value]| -> BTreeSet<String> {
        rows.iter().filter(|row| row["type"] == "anomaly.opened").map(|row| text(row, "id").to_owned()).collect()
    };
    let shown: BTreeSet<String> =
        listed(live, "/api/v1/alerts").await.iter().map(|alert| text(alert, "alert_id").to_owned()).collect();
    assert_eq!(opened(&alerts), shown);
    let places: BTreeSet<u64> = alerts.iter().map(|row| row["log_offset"].as_u64().unwrap()).collect();
    assert_eq!(places.len(), alerts.len());
    rows.len()
}

fn export(live: &Live, to: &str) -> Value {
    let output = live.pulse(&["export", "--config", "pulse.toml", "--data", "data", "--to", to, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names and bytes below a folder; not what a killed process left half written.
fn tree(place: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![place.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(place).unwrap().display().to_string();
            match path.is_dir() {
                true => open.push(path),
                false if name.contains('#') => {}
                false => drop(found.insert(name, std::fs::read(&path).unwrap())),
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_reader_finds_what_the_api_says_and_killed_anywhere_it_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start(1, &[]);
    live.ready().await;
    live.send(&events(1, 0, 800)).await;
    live.settled().await;
    let first = export(&live, "bi/objects");
    let place = dir.path().join("bi/objects");
    assert_eq!((first["events"].as_u64(), first["lost"].as_u64()), (Some(800), Some(0)), "{first}");
    assert_eq!(same_as_the_api(&live, &place).await, 800);
    let before = tree(&place);
    live.send(&events(2, 0, 500)).await;
    live.settled().await;
    let second = export(&live, "bi/objects");
    assert_eq!(second["events"], 500, "{second}");
    assert_eq!(same_as_the_api(&live, &place).await, 1_300);
    assert_eq!(export(&live, "bi/objects")["files"], 0, "nothing new");
    let after = tree(&place);
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)), "what is written stays as it is");
    // other days need another place
    let other = live.pulse(&["export", "--data", "data", "--to", "bi/objects", "--from", "2026-01-01"]);
    assert_eq!(other.status.code(), Some(64), "{}", String::from_utf8_lossy(&other.stderr));
    let none = live.pulse(&["export", "--data", "data", "--to", "none", "--to-day", "2001-01-01", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&none.stdout).unwrap()["events"], 0);
    assert_eq!(live.terminate().0, Some(0));
    export(&live, "whole/objects");
    let (whole, mut killed) = (tree(&dir.path().join("whole/objects")), 0);
    for step in 1.. {
        let to = format!("killed-{step}/objects");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
        command.args(["export", "--config", "pulse.toml", "--data", "data", "--to", &to]).current_dir(dir.path());
        disk::in_front(&mut command, dir.path());
        let ended = command.env("PULSE_DISK_DIE", step.to_string()).output().unwrap();
        if ended.status.success() {
            break;
        }
        assert_eq!(ended.status.code(), None, "killed: {}", String::from_utf8_lossy(&ended.stderr));
        killed += 1;
        export(&live, &to);
        assert_eq!(tree(&dir.path().join(&to)), whole, "killed in front of step {step}");
    }
    assert!(killed >= 10, "killed {killed} times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_running_shop_to_s3_and_away_it_holds_nobody_up() {
    let mut server = Server::new(true).await;
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    let options: String = server.options().iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
    live.configure(&format!("[export]\nto = \"s3://shop/bi\"\nevery_s = 5\n[export.options]\n{options}"));
    live.start(1, &[]);
    live.ready().await;
    live.send(&events(1, 0, 600)).await;
    live.settled().await;
    let rows = "pulse_export_rows_total";
    until("it is exported", async || live.metric(rows, "events").await == 600.0).await;
    until("the alerts too", async || live.metric(rows, "alerts").await > 0.0).await;
    let (objects, copy) = (server.objects("bi"), dir.path().join("copy"));
    let fetch = || {
        for name in ["events", "alerts"].into_iter().flat_map(|folder| objects.list(folder).unwrap()) {
            let file = copy.join(&name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, objects.get(&name).unwrap().unwrap()).unwrap();
        }
    };
    fetch();
    assert_eq!(same_as_the_api(&live, &copy).await, 600);
    server.stop();
    live.send(&events(2, 0, 100)).await;
    live.settled().await;
    until("failures are counted", async || live.metric("pulse_export_failures_total", "").await > 0.0).await;
    assert_eq!(live.terminate().0, Some(0));
    let printed = live.pulse(&["config", "print", "--config", "pulse.toml"]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("s3://shop/bi") && !printed.contains("geheim"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_export_harms_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.configure("[objects]\nurl = \"checkpoints\"\n[export]\nto = \"bi/objects\"\nevery_s = 5\n");
    disk::disturb(dir.path(), "objects-full");
    live.start_disturbed(&[]);
    live.ready().await;
    live.send(&events(1, 0, 400)).await;
    until("failures are counted", async || live.metric("pulse_export_failures_total", "").await > 0.0).await;
    live.settled().await;
    assert_eq!(live.metric("pulse_export_rows_total", "events").await, 0.0);
    assert!(live.stderr().contains("No space left on device"), "{}", live.stderr());
    disk::heal(dir.path(), "objects-full");
    until("it is exported", async || live.metric("pulse_export_rows_total", "events").await == 400.0).await;
    until("the alerts too", async || live.metric("pulse_export_rows_total", "alerts").await > 0.0).await;
    assert_eq!(same_as_the_api(&live, &dir.path().join("bi/objects")).await, 400);
    assert_eq!(live.terminate().0, Some(0));
}
