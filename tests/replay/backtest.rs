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
        workers,
        output: out("scored"),
        alerts: out("alerts"),
        rejected: out("rejected"),
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
