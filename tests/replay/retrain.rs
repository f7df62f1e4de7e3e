//! Weekly retraining within a backtest: when it happens, what it leaves out, and that it is repeatable.

use pulse::backtest::judge::Evaluation;
use pulse::backtest::{Backtest, Scratch};
use pulse::engine::objects::Objects;
use pulse::engine::registry::Registry;
use pulse::retrain::learn::{Outcome, Training};
use pulse::retrain::{Every, RetrainConfig};
use pulse::simulate::{Shop, ShopConfig};
use pulse_operators::context::DetectConfig;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

const DAY_MS: i64 = 24 * 3_600_000;

/// A shop's events over so many days, and their number.
fn shop(dir: &Path, seed: u64, days: i64) -> (PathBuf, usize) {
    let mut shop = Shop::new(ShopConfig { seed, ..ShopConfig::of_size(2.0) }).unwrap();
    let path = dir.join("events.ndjson");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let (mut json, mut first, mut count) = (String::new(), None, 0);
    loop {
        json.clear();
        let time_ms = shop.next_event(&mut json).time_ms;
        if time_ms - *first.get_or_insert(time_ms) > days * DAY_MS {
            return (path, count);
        }
        writeln!(file, "{json}").unwrap();
        count += 1;
    }
}

struct Run {
    scored: Vec<Value>,
    bytes: Vec<u8>,
    trainings: Vec<Training>,
}

fn run(dir: &Path, input: &Path, labels: &[Value], workers: usize) -> Run {
    let scratch = Scratch::new();
    let text: String = labels.iter().map(|label| format!("{label}\n")).collect();
    std::fs::write(dir.join("labels"), text).unwrap();
    let config = RetrainConfig { every: Every::Weekly, min_events: 500, ..RetrainConfig::default() };
    let backtest = Backtest {
        inputs: vec![input.into()],
        log: None,
        config: DetectConfig::default(),
        model: None,
        catalogue: None,
        retrain: Some((config, jiff::tz::TimeZone::UTC)),
        privacy: Default::default(),
        workers,
        output: Some(dir.join("scored")),
        alerts: None,
        rejected: None,
        enriched: None,
    };
    let evaluation = Evaluation { labels: Some(dir.join("labels")), ..Evaluation::default() };
    backtest.evaluate(scratch.path(), Some(&evaluation), &mut |_| {}).unwrap();
    let registry = Registry::new(Objects::folder(scratch.path()).unwrap());
    let trainings = registry.versions().unwrap().iter().filter_map(|v| registry.training(v).unwrap()).collect();
    let bytes = std::fs::read(dir.join("scored")).unwrap();
    let scored = String::from_utf8_lossy(&bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Run { scored, bytes, trainings }
}

fn time_ms(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[test]
fn a_model_is_learnt_when_a_week_is_over_and_scores_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let (input, _) = shop(dir.path(), 77, 16);
    let one = run(dir.path(), &input, &[], 1);
    assert!(one.trainings.len() >= 2, "{} weeks were over", one.trainings.len());
    for training in &one.trainings {
        // the first event behind Monday, three o'clock
        let after = (training.trained_ms - 4 * DAY_MS - 3 * 3_600_000).rem_euclid(7 * DAY_MS);
        assert!(after < 3 * 3_600_000, "{} ms behind the moment", after);
        assert!(training.rows > 500 && !training.comparison.groups.is_empty(), "{training:?}");
        // v0 knows other shops, this one knows this shop
        let better = training.comparison.better;
        assert_eq!(training.outcome, if better { Outcome::Retrained } else { Outcome::Recalibrated });
    }
    let mut begun = one.trainings.iter().map(|t| t.trained_ms).collect::<Vec<_>>();
    begun.sort_unstable();
    // who is a little late at the switch may have come before or behind it
    let apart = |s: &&Value| begun.iter().all(|at| (at - time_ms(&s["time"])).abs() > 300_000);
    for scored in one.scored.iter().filter(|s| s["late"] == false).filter(apart) {
        let version = begun.iter().filter(|at| **at <= time_ms(&scored["time"])).count();
        assert_eq!(scored["model"], format!("global_model@v{version}"), "{}", scored["time"]);
    }
    assert!(run(dir.path(), &input, &[], 3).bytes == one.bytes, "three workers write other bytes");
}

#[test]
fn what_people_confirmed_is_left_out_and_what_they_withdrew_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (input, _) = shop(dir.path(), 78, 9);
    let none = run(dir.path(), &input, &[], 1);
    let first = &none.trainings[0];
    assert_eq!(first.confirmed_left_out, 0);
    // twenty orders that nobody thought unusual, confirmed an hour later, half of them withdrawn after another hour
    let normal = none.scored.iter().filter(|s| s["decision"] == "normal" && s["features"].is_string());
    let before = normal.filter(|s| time_ms(&s["time"]) < first.trained_ms - 6 * 3_600_000);
    let told = before.step_by(17).take(20).enumerate().flat_map(|(i, scored)| {
        let label = |hours: i64, verdict: &str| {
            let time = jiff::Timestamp::from_millisecond(time_ms(&scored["time"]) + hours * 3_600_000).unwrap();
            json!({"time": time.to_string(), "event_id": scored["id"], "source": scored["source"], "verdict": verdict, "by": "anna", "origin": "review"})
        };
        let withdrawn = (i % 2 == 0).then(|| label(2, "withdrawn"));
        [Some(label(1, "true_positive")), withdrawn].into_iter().flatten().collect::<Vec<_>>()
    });
    let mut labels: Vec<Value> = told.collect();
    assert_eq!(labels.len(), 30);
    labels.sort_by_key(|label| time_ms(&label["time"]));
    let with = run(dir.path(), &input, &labels, 2);
    assert_eq!(with.trainings[0].confirmed_left_out, 10);
    assert_eq!(with.trainings[0].rows + 10 + with.trainings[0].others_left_out, first.rows + first.others_left_out);
}
