//! Labels, reviews and the report of a backtest.

use pulse::backtest::judge::Evaluation;
use pulse::backtest::reviews::Reviews;
use pulse::backtest::{Backtest, Scratch};
use pulse::simulate::{Shop, ShopConfig};
use pulse_operators::context::{BudgetConfig, DetectConfig};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

const DAY_MS: i64 = 24 * 3_600_000;

/// A shop's events and the labels of what was planted in it.
fn shop(dir: &Path, seed: u64, count: usize) -> (PathBuf, Vec<Value>) {
    let mut config = ShopConfig { seed, ..ShopConfig::of_size(10.0) };
    config.trouble.mean_gap_ms = DAY_MS;
    let (mut shop, mut json, mut truth) = (Shop::new(config).unwrap(), String::new(), Vec::new());
    let path = dir.join("events.ndjson");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let mut label = |t: pulse::simulate::Truth| {
        let mut line = String::new();
        t.write(&mut line);
        truth.push(serde_json::from_str(&line).unwrap());
    };
    for _ in 0..count {
        json.clear();
        let event = shop.next_event(&mut json);
        writeln!(file, "{json}").unwrap();
        shop.take_windows().into_iter().chain(event.truth).for_each(&mut label);
    }
    shop.cut_windows().into_iter().for_each(&mut label);
    (path, truth)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Run {
    scored: Vec<Value>,
    alerts: Vec<Value>,
    report: Value,
}

/// A backtest with these labels.
fn run(dir: &Path, input: &Path, labels: &[Value], reviews: Option<Reviews>, workers: usize) -> Run {
    run_with(20, dir, input, labels, reviews, workers)
}

/// The same with another budget of alerts a day.
fn run_with(budget: u32, dir: &Path, input: &Path, labels: &[Value], reviews: Option<Reviews>, workers: usize) -> Run {
    let scratch = Scratch::new();
    let path = |name: &str| dir.join(name);
    let text: String = labels.iter().map(|label| format!("{label}\n")).collect();
    std::fs::write(path("labels"), text).unwrap();
    let backtest = Backtest {
        inputs: vec![input.into()],
        log: None,
        config: DetectConfig { budget: BudgetConfig { alerts_per_day: budget }, ..DetectConfig::default() },
        model: None,
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers,
        output: Some(path("scored")),
        alerts: Some(path("alerts")),
        rejected: None,
        enriched: None,
    };
    let evaluation = Evaluation { labels: Some(path("labels")), report: Some(path("report")), reviews };
    backtest.evaluate(scratch.path(), Some(&evaluation), &mut |_| {}).unwrap();
    let report = serde_json::from_slice(&std::fs::read(path("report")).unwrap()).unwrap();
    Run { scored: lines(&path("scored")), alerts: lines(&path("alerts")), report }
}

fn close(figure: &Value, value: f64, count: usize) {
    let found = figure["value"].as_f64().unwrap();
    assert!((found - value).abs() < 1e-5 && figure["count"] == count, "{figure} is not {value} of {count}");
}

#[test]
fn the_report_is_what_counting_by_hand_gives() {
    let dir = tempfile::tempdir().unwrap();
    let (input, truth) = shop(dir.path(), 31, 15_000);
    let Run { scored, alerts, report } = run(dir.path(), &input, &truth, None, 1);
    let verdict: BTreeMap<&str, bool> =
        truth.iter().filter_map(|l| Some((l["event_id"].as_str()?, l["verdict"] == "true_positive"))).collect();
    let time = |t: &Value| t.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    // failed payments of an outage are trouble, though its label is a window
    let outages: Vec<_> = truth
        .iter()
        .filter(|l| l["window"]["metric"] == "payments_failed")
        .map(|l| (time(&l["window"]["from"])..time(&l["window"]["to"]), l["window"]["dimensions"]["country"].clone()))
        .collect();
    let countries: BTreeMap<String, Value> =
        lines(&input).iter().map(|e| (e["id"].as_str().unwrap().to_owned(), e["country"].clone())).collect();
    let events: Vec<(f64, bool, bool)> = scored
        .iter()
        .map(|e| {
            let id = e["id"].as_str().unwrap();
            let at = time(&e["time"]);
            let out = |o: &(std::ops::Range<_>, Value)| o.0.contains(&at) && o.1 == countries[id];
            let outage = e["type"] == "payment.failed" && outages.iter().any(out);
            let positive = verdict.get(id).copied().unwrap_or(outage);
            (e["score"].as_f64().unwrap(), e["decision"] == "anomaly", positive)
        })
        .collect();
    let count = |f: &dyn Fn(&(f64, bool, bool)) -> bool| events.iter().filter(|e| f(e)).count();
    let (anomalies, positives, right) = (count(&|e| e.1), count(&|e| e.2), count(&|e| e.1 && e.2));
    assert!(right > 10 && positives > 50, "{right} of {positives}: too little trouble to count");
    close(&report["precision"], right as f64 / anomalies as f64, anomalies);
    close(&report["recall"], right as f64 / positives as f64, positives);
    let wins: f64 = events
        .iter()
        .filter(|e| e.2)
        .map(|p| {
            events
                .iter()
                .filter(|n| !n.2)
                .map(|n| {
                    if p.0 > n.0 {
                        1.0
                    } else if p.0 == n.0 {
                        0.5
                    } else {
                        0.0
                    }
                })
                .sum::<f64>()
        })
        .sum();
    close(&report["auroc"], wins / (positives * (events.len() - positives)) as f64, events.len());
    let opened = alerts.iter().filter(|a| a["type"] == "anomaly.opened");
    let suppressed = opened.clone().filter(|a| !a["data"]["suppressed"].is_null()).count();
    let incidents = alerts.iter().filter(|a| a["type"] == "incident.opened").count();
    assert_eq!((&report["alerts"], &report["suppressed"]), (&json!(opened.count()), &json!(suppressed)));
    assert_eq!(report["incidents"], incidents);
    let weeks = report["weeks"].as_array().unwrap();
    assert_eq!(weeks.iter().map(|w| w["events"].as_u64().unwrap()).sum::<u64>(), 15_000);
    for week in weeks {
        let [low, high] = [0, 1].map(|i| week["interval"][i].as_f64().unwrap());
        assert!((low..=high).contains(&week["realised_rate"].as_f64().unwrap()), "{week}");
    }
    // every kind that labels name is in it
    let kinds: BTreeSet<&str> = truth.iter().filter_map(|l| l["kind"].as_str()).collect();
    assert_eq!(report["by_kind"].as_object().unwrap().keys().map(String::as_str).collect::<BTreeSet<_>>(), kinds);
}

/// What was decided, as text, so that the last digit counts.
fn decided(run: &Run) -> Vec<(i64, String)> {
    let time = |e: &Value| e["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    run.scored.iter().map(|e| (time(e), format!("{} {} {}", e["decision"], e["threshold_value"], e["score"]))).collect()
}

#[test]
fn a_label_changes_nothing_before_its_time() {
    /// So many alerts that the threshold follows the counts closely.
    const MANY: u32 = 1000;
    let dir = tempfile::tempdir().unwrap();
    let (input, _) = shop(dir.path(), 32, 60_000);
    let plain = run_with(MANY, dir.path(), &input, &[], None, 1);
    let all = decided(&plain);
    let (first, last) = (all[0].0, all.last().unwrap().0);
    // everything unusual of the first half is confirmed to be trouble
    let middle = first + (last - first) / 2;
    let unusual =
        plain.scored.iter().zip(&all).filter(|(e, (time, _))| *time < middle && e["score"].as_f64() >= Some(0.2));
    let told = |time: i64| {
        let time = jiff::Timestamp::from_millisecond(time).unwrap().to_string();
        let label =
            |e: &Value| json!({"time": time, "event_id": e["id"], "source": e["source"], "verdict": "true_positive"});
        unusual.clone().map(|(e, _)| label(e)).collect::<Vec<_>>()
    };
    for known in [middle, middle + (last - middle) / 4] {
        let with = decided(&run_with(MANY, dir.path(), &input, &told(known), None, 2));
        let differ = all.iter().zip(&with).find(|(a, b)| a != b).map(|(a, _)| a.0);
        assert!(differ.is_some_and(|time| time >= known), "known at {known}, the first difference at {differ:?}");
        let scores =
            |all: &[(i64, String)]| all.iter().map(|e| e.1.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
        assert!(scores(&all) == scores(&with), "a verdict moves thresholds, never a score");
    }
    let never = decided(&run_with(MANY, dir.path(), &input, &told(last + DAY_MS), None, 1));
    assert!(never == all, "a label from after the end changes something");
}

#[test]
fn reviews_find_the_highest_and_some_by_chance() {
    let dir = tempfile::tempdir().unwrap();
    let (input, truth) = shop(dir.path(), 33, 30_000);
    let reviews = Reviews { per_day: 10, random: 3, delay_ms: 0 };
    let one = run(dir.path(), &input, &truth, Some(reviews), 1);
    let first = one.scored.first().unwrap()["time"].as_str().unwrap()[..10].to_owned();
    let days: BTreeSet<&str> =
        one.scored.iter().map(|e| &e["time"].as_str().unwrap()[..10]).filter(|d| *d != first).collect();
    assert!(!days.is_empty() && one.report["reviews"] == 13 * days.len(), "{} in {days:?}", one.report["reviews"]);
    let again = run(dir.path(), &input, &truth, Some(reviews), 3);
    assert!(again.report == one.report && decided(&again) == decided(&one), "the number of workers shows");
}

/// The first day of a shop is the noisiest: no history, and a model that has never seen it.
#[test]
fn the_first_day_is_bearable_and_every_alert_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    let config = ShopConfig { seed: 34, trouble: pulse::simulate::TroublePlan::none(), ..ShopConfig::of_size(20.0) };
    let (mut shop, mut json) = (Shop::new(config).unwrap(), String::new());
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    for _ in 0..25_000 {
        json.clear();
        shop.next_event(&mut json);
        writeln!(file, "{json}").unwrap();
    }
    drop(file);
    let Run { alerts, report, .. } = run(dir.path(), &path, &[], None, 1);
    let day = report["days"].as_f64().unwrap();
    let notifications = report["notifications"].as_f64().unwrap();
    assert!(
        notifications <= 20.0 * day.max(1.0) && report["incidents"] == 0,
        "{notifications} in {day} days: {report:#}"
    );
    let opened: Vec<&Value> = alerts.iter().filter(|a| a["type"] == "anomaly.opened").collect();
    for alert in opened {
        let reasons = alert["data"]["event"]["reasons"].as_array().unwrap();
        assert!(!reasons.is_empty() && alert["data"]["cause"] != "unusual", "{alert}");
        let text = reasons.iter().map(|r| r["text"].as_str().unwrap()).collect::<Vec<_>>().join("; ");
        assert!(!text.is_empty() && !text.contains("0 to 0") && !text.contains("NaN"), "{text}");
        assert!(reasons.iter().all(|r| r["direction"] != "new"), "on the first day everything is new: {text}");
    }
}
