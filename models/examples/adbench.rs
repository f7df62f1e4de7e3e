//! Area under the ROC curve and average precision of the ensemble, and of each member alone, on a folder of labelled sets.
//!
//! `cargo run --release -p pulse-models --example adbench -- DIR` reads every `NAME.train.csv` and `NAME.test.csv`, plain
//! or with `.zst`; column `label` is 1 for an anomaly. Means of five seeds. Labels are not used for fitting.

use pulse_models::ensemble::{Ensemble, MEMBER_NAMES, MEMBERS, Scratch};
use pulse_models::matrix;
use std::error::Error;
use std::path::Path;

/// Seeds averaged.
const SEEDS: u64 = 5;

struct Set {
    columns: usize,
    values: Vec<f32>,
    labels: Vec<bool>,
}

fn read(path: &Path) -> Result<Set, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let packed = path.extension().is_some_and(|e| e == "zst");
    let text = String::from_utf8(if packed { zstd::decode_all(bytes.as_slice())? } else { bytes })?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().ok_or("empty")?.split(',').collect();
    let label = header.iter().position(|name| *name == "label").ok_or("no column label")?;
    let mut set = Set { columns: header.len() - 1, values: vec![], labels: vec![] };
    for line in lines {
        for (column, field) in line.split(',').enumerate() {
            let value: f32 = field.parse()?;
            if column == label { set.labels.push(value == 1.0) } else { set.values.push(value) }
        }
    }
    Ok(set)
}

/// AUROC and average precision; ties count half, and as one step.
fn quality(scores: &[f64], labels: &[bool]) -> [f64; 2] {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let positives = labels.iter().filter(|l| **l).count() as f64;
    let negatives = labels.len() as f64 - positives;
    let (mut hits, mut misses, mut area, mut precision, mut i) = (0.0, 0.0, 0.0, 0.0, 0);
    while i < order.len() {
        let (mut tied_hits, mut tied_misses) = (0.0, 0.0);
        let score = scores[order[i]];
        while i < order.len() && scores[order[i]] == score {
            if labels[order[i]] {
                tied_hits += 1.0
            } else {
                tied_misses += 1.0
            }
            i += 1;
        }
        area += tied_misses * (hits + tied_hits / 2.0);
        hits += tied_hits;
        misses += tied_misses;
        precision += tied_hits * hits / (hits + misses);
    }
    [area / (positives * negatives), precision / positives]
}

fn evaluate(train: &Set, test: &Set) -> Result<Vec<[f64; 2]>, Box<dyn Error>> {
    let mut sums = vec![[0.0; 2]; MEMBERS + 1];
    for seed in 0..SEEDS {
        let ensemble = Ensemble::fit(matrix::view(&train.values, train.columns), seed)?.ensemble;
        let mut scores = vec![];
        ensemble.score(matrix::view(&test.values, test.columns), &mut Scratch::default(), &mut scores);
        for (part, sum) in sums.iter_mut().enumerate() {
            let own = |s: &pulse_models::ensemble::ModelScore| s.members.get(part).map_or(s.base, |m| f64::from(*m));
            let [area, precision] = quality(&scores.iter().map(own).collect::<Vec<_>>(), &test.labels);
            *sum = [sum[0] + area / SEEDS as f64, sum[1] + precision / SEEDS as f64];
        }
    }
    Ok(sums)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("needed: a folder with NAME.train.csv and NAME.test.csv")?;
    let mut names: Vec<String> = std::fs::read_dir(&folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains(".train.csv"))
        .collect();
    names.sort();
    let mut means = vec![[0.0; 2]; MEMBERS + 1];
    println!("{:18} {} ensemble (AUROC/AP, percent)", "set", MEMBER_NAMES.map(|n| format!("{n:>12}")).join(" "));
    let line = |name: &str, parts: &[[f64; 2]]| {
        let parts: Vec<String> = parts.iter().map(|[a, p]| format!("{:6.2}/{:5.2}", 100.0 * a, 100.0 * p)).collect();
        println!("{name:18} {}", parts.join(" "));
    };
    for name in &names {
        let train = read(&Path::new(&folder).join(name))?;
        let test = read(&Path::new(&folder).join(name.replace(".train.", ".test.")))?;
        let parts = evaluate(&train, &test)?;
        line(name.split(".train.").next().unwrap_or(name), &parts);
        for (mean, part) in means.iter_mut().zip(&parts) {
            *mean = [mean[0] + part[0] / names.len() as f64, mean[1] + part[1] / names.len() as f64];
        }
    }
    line("mean", &means);
    Ok(())
}
