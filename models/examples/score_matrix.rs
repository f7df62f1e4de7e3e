//! Bring your own features: fits the product's ensemble on a numeric matrix and scores another.
//!
//! `cargo run --release -p pulse-models --example score_matrix -- --train A.csv --test B.csv --out S.csv`
//! Both files have a header line with the same columns; a column `label` is not read; an empty or unreadable field counts
//! as not available. `S.csv` has the header `score` and one -log10 p a row: larger is more unusual.

use pulse_models::ensemble::{Ensemble, Scratch};
use pulse_models::matrix;
use std::error::Error;
use std::io::{BufWriter, Write};

/// Seed of the fit; fixed, so that the same files give the same scores.
const SEED: u64 = 0;

/// Header without `label`, and the values row after row.
fn read(path: &str) -> Result<(Vec<String>, Vec<f32>), Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header: Vec<&str> = lines.next().ok_or(format!("{path}: empty"))?.split(',').map(str::trim).collect();
    let kept = |name: &str| name.trim_matches('"') != "label";
    let mut values = vec![];
    for (number, line) in lines.enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        if fields.len() != header.len() {
            return Err(format!("{path}: row {} has {} fields, not {}", number + 1, fields.len(), header.len()).into());
        }
        let row = fields.iter().zip(&header).filter(|(_, name)| kept(name));
        values.extend(row.map(|(field, _)| field.trim().parse().unwrap_or(f32::NAN)));
    }
    Ok((header.into_iter().filter(|name| kept(name)).map(Into::into).collect(), values))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |name: &str| {
        let value = arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
        value.ok_or(format!("{name} FILE is missing; needed are --train A.csv --test B.csv --out S.csv"))
    };
    let (train_path, test_path, out) = (argument("--train")?, argument("--test")?, argument("--out")?);
    let (columns, train) = read(train_path)?;
    let (test_columns, test) = read(test_path)?;
    if columns != test_columns {
        return Err(format!("{train_path} and {test_path} differ in their columns").into());
    }
    let ensemble = Ensemble::fit(matrix::view(&train, columns.len()), SEED)?.ensemble;
    let mut scores = vec![];
    ensemble.score(matrix::view(&test, columns.len()), &mut Scratch::default(), &mut scores);
    let mut file = BufWriter::new(std::fs::File::create(out)?);
    writeln!(file, "score")?;
    for score in scores {
        writeln!(file, "{}", score.base)?;
    }
    Ok(file.flush()?)
}
