//! What scoring costs on this machine: forest alone (ns a row and tree) and the ensemble (ns a row), best of many slices.
//!
//! `cargo run --release -p pulse-models --example speed`

use pulse_models::ensemble::{Ensemble, Scratch};
use pulse_models::forest::{Packed, grow::grow, score::Lanes};
use pulse_models::matrix;
use pulse_models::rng::Rng;
use std::error::Error;
use std::time::Instant;

/// Rows of a slice: as many as a batch of the dataflow has.
const ROWS: usize = 1024;
/// Slices measured; the tenth percentile is shown, so that a busy neighbour does not count.
const SLICES: usize = 400;

fn rows(count: usize, columns: usize) -> Vec<f32> {
    let mut rng = Rng::new(1, 2);
    (0..count * columns).map(|_| ((0..4).map(|_| rng.unit()).sum::<f64>() - 2.0) as f32).collect()
}

fn measure(mut slice: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..SLICES)
        .map(|_| {
            let start = Instant::now();
            slice();
            start.elapsed().as_secs_f64() * 1e9 / ROWS as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[SLICES / 10]
}

fn main() -> Result<(), Box<dyn Error>> {
    for (columns, trees) in [(12, 100), (40, 50)] {
        let values = rows(ROWS, columns);
        let matrix = matrix::view(&values, columns);
        let forest = Packed::new(&grow(matrix, trees, 1), columns)?;
        let (mut lanes, mut sums) = (Lanes::default(), vec![]);
        let cost = measure(|| {
            sums.clear();
            forest.path_sums(matrix, &mut lanes, &mut sums);
        });
        println!(
            "forest of {trees} trees, {columns} columns: {cost:.0} ns a row, {:.2} ns a row and tree",
            cost / trees as f64
        );
    }
    for columns in [12, 40] {
        let train = rows(5000, columns);
        let ensemble = Ensemble::fit(matrix::view(&train, columns), 1)?.ensemble;
        let values = rows(ROWS, columns);
        let (mut scratch, mut out) = (Scratch::default(), vec![]);
        let cost = measure(|| {
            out.clear();
            ensemble.score(matrix::view(&values, columns), &mut scratch, &mut out);
        });
        println!("ensemble, {columns} columns: {cost:.0} ns a row");
    }
    Ok(())
}
