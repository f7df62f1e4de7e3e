//! Tools of others: promtool lints what a scrape gives, Python's HdrHistogram reads the latencies back. `tests/run.sh` installs
//! both; where they are not there, these tests fail and say so.

use crate::program::{Program, events};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(name);
    if path.exists() { path } else { Path::new(name).file_name().unwrap().into() }
}

/// Runs a tool on a text; its exit status and what it prints.
fn run(command: &mut Command, input: &str) -> (bool, String) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}; run tests/run.sh, which installs it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat())
}
fn promtool(page: &str) -> (bool, String) {
    run(Command::new(tool("promtool")).args(["check", "metrics"]), page)
}

const READ_BACK: &str = r#"
import json, math, sys, tempfile
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
with tempfile.NamedTemporaryFile("w", suffix=".hlog") as file:
    file.write(sys.stdin.read())
    file.flush()
    reader, found = HistogramLogReader(file.name, HdrHistogram(1, 3600000000, 3)), {}
    while (one := reader.get_next_interval_histogram()) is not None:
        n = one.get_total_count()
        # the value that so many are not above; this library rounds to the nearest rank, ours up
        at = lambda percent: one.get_value_at_percentile(100 * math.ceil(percent * n / 100 - 1e-9) / n) if n else 0
        found[one.get_tag()] = [n, at(50), at(95), at(99), at(99.9), one.get_max_value()]
    print(json.dumps(found))
"#;

#[test]
fn promtool_finds_fault_with_what_is_wrong() {
    let (fine, said) = promtool("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n");
    assert!(fine, "{said}");
    let (fine, said) = promtool("# TYPE a_ms counter\na_ms 1\n");
    assert!(!fine && said.contains("a_ms"), "{said}");
}

#[tokio::test]
async fn promtool_and_another_hdr_histogram_read_what_we_write() {
    let mut program = Program::start("").await;
    program.receive().await;
    for chunk in 0..20 {
        assert_eq!(program.batch(&events(chunk * 50, 50)).await["accepted"], 50);
    }
    program.settle(1_000).await;
    for address in [&program.gateway, &program.sidecar] {
        let page = program.get(&format!("http://{address}/metrics")).await;
        let (fine, said) = promtool(&page);
        assert!(fine, "{said}\n{page}");
        let open = program.http.get(format!("http://{address}/metrics"));
        let open = open.header("accept", "application/openmetrics-text; version=1.0.0").send().await.unwrap();
        assert!(open.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
        assert!(open.text().await.unwrap().ends_with("# EOF\n"));
    }
    program.stop().await;
}

/// Names of metrics in a query.
fn names(query: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    query.split(|c| !word(c)).filter(|name| name.starts_with("pulse_")).map(str::to_owned).collect()
}

/// Alerts and dashboard of `deploy` ask for what there is, promtool takes them, and each alert fires when it should.
#[tokio::test]
async fn alerts_and_dashboard_ask_for_what_there_is() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let prometheus = deploy.join("prometheus");
    for words in [["check", "rules", "pulse.rules.yml"], ["test", "rules", "pulse.rules.test.yml"]] {
        let (fine, said) = run(Command::new(tool("promtool")).args(words).current_dir(&prometheus), "");
        assert!(fine, "{said}");
    }
    let rules = std::fs::read_to_string(prometheus.join("pulse.rules.yml")).unwrap();
    let alerts = rules.matches("- alert:").count();
    let test = std::fs::read_to_string(prometheus.join("pulse.rules.test.yml")).unwrap();
    assert!(test.contains(&format!("exp_samples: [{{value: {alerts}}}]")), "an alert was added without its test");
    let board: Value = serde_json::from_slice(&std::fs::read(deploy.join("grafana/pulse.json")).unwrap()).unwrap();
    let targets = board["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 15);
    // promtool reads queries as rules
    let as_rules: Vec<Value> = queries
        .iter()
        .map(|query| serde_json::json!({"record": "one", "expr": query.replace("$__rate_interval", "5m"), "labels": {"query": query}}))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    let groups = serde_json::json!({"groups": [{"name": "board", "rules": as_rules}]});
    std::fs::write(file.path(), groups.to_string()).unwrap(); // JSON is YAML
    let (fine, said) = run(Command::new(tool("promtool")).args(["check", "rules"]).arg(file.path()), "");
    assert!(fine, "{said}");

    let mut program = Program::start("").await;
    program.receive().await;
    assert_eq!(program.batch(&events(0, 50)).await["accepted"], 50);
    assert_eq!(program.batch(&[serde_json::json!({"id": 1})]).await["accepted"], 0);
    program.settle(50).await;
    let mut there = String::new();
    for address in [&program.gateway, &program.sidecar] {
        there += &program.get(&format!("http://{address}/metrics")).await;
    }
    let mut asked: Vec<String> = queries.iter().flat_map(|query| names(query)).collect();
    asked.extend(rules.lines().filter(|line| line.contains("expr:")).flat_map(names));
    assert!(asked.len() > 30);
    let known =
        |name: &String| there.lines().any(|line| !line.starts_with('#') && line.split(['{', ' ']).next() == Some(name));
    // of a log on brokers only
    let missing: Vec<&String> =
        asked.iter().filter(|name| !known(name) && *name != "pulse_kafka_consumer_lag_records").collect();
    assert!(missing.is_empty(), "{missing:?}\n{there}");
    program.stop().await;
}

#[tokio::test]
async fn latencies_are_read_back_by_another_implementation() {
    let mut program = Program::start("").await;
    program.receive().await;
    for chunk in 0..20 {
        assert_eq!(program.batch(&events(chunk * 50, 50)).await["accepted"], 50);
    }
    program.settle(1_000).await;
    let path = |format: &str| format!("http://{}/metrics/latency?format={format}", program.sidecar);
    // stages go on by themselves (idle epochs): read until two answers in a row are of the same moment
    for attempt in 0.. {
        let before: Value = serde_json::from_str(&program.get(&path("json")).await).unwrap();
        let hlog = program.get(&path("hlog")).await;
        let after: Value = serde_json::from_str(&program.get(&path("json")).await).unwrap();
        if before["stages"] != after["stages"] && attempt < 50 {
            continue;
        }
        let (fine, said) = run(Command::new(tool("venv/bin/python")).args(["-c", READ_BACK]), &hlog);
        assert!(fine, "{said}; run tests/run.sh, which installs it");
        let read: BTreeMap<String, [u64; 6]> = serde_json::from_str(&said).unwrap();
        let stages = before["stages"].as_array().unwrap();
        assert_eq!(read.len(), stages.len(), "{said}");
        for stage in stages {
            let (name, total) = (stage["stage"].as_str().unwrap(), &stage["total"]);
            let us = |name: &str| (total[name].as_f64().unwrap() * 1e6).round() as u64;
            let ours =
                [total["count"].as_u64().unwrap(), us("p50_s"), us("p95_s"), us("p99_s"), us("p999_s"), us("max_s")];
            assert_eq!(read[name], ours, "{name}");
            assert!(ours[0] > 0, "{name} was never observed");
        }
        break;
    }
    program.stop().await;
}
