//! Files in, files out.

use pulse::backtest::{Backtest, Scratch, Summary};
use pulse::simulate::{Shop, ShopConfig};
use std::io::Write;
use std::path::Path;

/// A seeded shop's events as NDJSON, every hundredth one twice, some lines broken.
pub fn events(path: &Path, seed: u64, count: usize) {
    let mut shop = Shop::new(ShopConfig { seed, ..ShopConfig::of_size(40.0) }).unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut json = String::new();
    for i in 0..count {
        json.clear();
        shop.next_event(&mut json);
        writeln!(file, "{json}").unwrap();
        if i % 100 == 7 {
            writeln!(file, "{json}").unwrap();
        }
        if i % 500 == 3 {
            writeln!(file, "{{\"type\":\"order.completed\",\"amount\":1e400").unwrap();
        }
    }
}

fn run(dir: &Path, input: &Path, workers: usize) -> (Summary, Vec<Vec<u8>>) {
    let scratch = Scratch::new();
    let out = |name: &str| Some(dir.join(format!("{name}.{workers}")));
    let backtest = Backtest {
        inputs: vec![input.into()],
        log: None,
        config: Default::default(),
        model: None,
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers,
        output: out("scored"),
        alerts: out("alerts"),
        rejected: out("rejected"),
        enriched: None,
    };
    let summary = backtest.run(scratch.path(), &mut |_| {}).unwrap();
    let read = |name| std::fs::read(dir.join(format!("{name}.{workers}"))).unwrap();
    (summary, ["scored", "alerts", "rejected"].map(read).into())
}

#[test]
fn the_number_of_workers_does_not_show() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("events.ndjson");
    events(&input, 7, 20_000);
    let (summary, one) = run(dir.path(), &input, 1);
    assert_eq!((summary.duplicates, summary.rejected), (200, 40), "{summary:?}");
    assert_eq!(summary.scored + summary.duplicates + summary.rejected, summary.events, "{summary:?}");
    assert_eq!(one[0].iter().filter(|b| **b == b'\n').count() as u64, summary.scored);
    for workers in [1, 2, 3, 4] {
        let (again, bytes) = run(dir.path(), &input, workers);
        assert_eq!(again, summary, "{workers} workers");
        assert!(bytes == one, "{workers} workers give other bytes");
    }
}

/// A backtest of these lines; scored events and alerts.
fn of_lines(lines: &[String], catalogue: Option<&str>) -> [Vec<serde_json::Value>; 2] {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), Scratch::new());
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("events"), lines.join("\n")).unwrap();
    let catalogue = catalogue.map(|text| {
        std::fs::write(path("products.csv"), text).unwrap();
        path("products.csv")
    });
    let backtest = Backtest {
        inputs: vec![path("events")],
        log: None,
        config: Default::default(),
        model: None,
        catalogue,
        retrain: None,
        privacy: Default::default(),
        workers: 1,
        output: Some(path("scored")),
        alerts: Some(path("alerts")),
        rejected: None,
        enriched: None,
    };
    backtest.run(scratch.path(), &mut |_| {}).unwrap();
    ["scored", "alerts"].map(|name| {
        let text = std::fs::read_to_string(path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    })
}

#[test]
fn what_cannot_be_read_is_an_error_and_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let damaged = dir.path().join("damaged.zst");
    std::fs::write(&damaged, [0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).unwrap();
    for input in [dir.path().join("nope.ndjson"), dir.path().to_path_buf(), damaged] {
        let scratch = Scratch::new();
        let backtest = Backtest {
            inputs: vec![input.clone()],
            log: None,
            config: Default::default(),
            model: None,
            catalogue: None,
            retrain: None,
            privacy: Default::default(),
            workers: 2,
            output: None,
            alerts: None,
            rejected: None,
            enriched: None,
        };
        let error = backtest.run(scratch.path(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains(input.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_price_is_held_against_the_catalogue() {
    let lines = [199.0, 19.90].map(|price: f64| {
        format!(
            r#"{{"id":"o-{price}","type":"order.completed","time":"2026-03-02T10:00:00Z","customer_id":"c","amount":{price},"currency":"EUR","items":[{{"product_id":"shoe","quantity":1,"price":{price}}}]}}"#
        )
    });
    let [scored, _] = of_lines(&lines, Some("product_id,category,price\nshoe,shoes,199.00\n"));
    let rules: Vec<bool> = scored.iter().map(|s| s["rules"].to_string().contains("price_vs_catalogue")).collect();
    assert_eq!(rules, [false, true], "{scored:?}");
    assert!(scored.iter().all(|s| s["enrichment"]["catalogue"] == "ok"));
    let [scored, _] = of_lines(&lines, None);
    assert!(scored.iter().all(|s| s["rules"] == serde_json::json!([])), "without a table nothing is compared");
}

#[test]
fn a_series_of_ones_own_is_one_of_its_dimensions() {
    let mut lines = Vec::new();
    for minute in 0..60 {
        for region in ["north", "south"] {
            let value = if minute == 59 { 500 } else { 10 + minute % 3 };
            lines.push(format!(
                r#"{{"id":"{region}-{minute}","type":"metric.sample","time":"2026-03-02T10:{minute:02}:00Z","metric":"errors","value":{value},"dimensions":{{"region":"{region}"}}}}"#
            ));
        }
    }
    let [_, alerts] = of_lines(&lines, None);
    let opened = alerts.iter().filter(|a| a["type"] == "anomaly.opened");
    let entities: Vec<&str> = opened.map(|a| a["data"]["entity"]["id"].as_str().unwrap()).collect();
    assert_eq!(entities, ["errors{region=north}", "errors{region=south}"]);
}
