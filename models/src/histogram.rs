//! Histogram density of each column (HBOS): how thin the training rows lie where each value lies.
//!
//! Deliberately absent: dependence between columns; that is what the other members are for.

use crate::matrix::{Block, LANES, Matrix};

/// Bins between the smallest and the largest training value.
const BINS: usize = 20;
/// With one more at each end for values never seen.
const SLOTS: usize = BINS + 2;
/// Added to each bin's count: an empty bin is rare, not impossible.
const PSEUDO_COUNT: f64 = 0.5;

/// One column's bins.
#[derive(Clone, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
struct Bins {
    low: f32,
    per_unit: f32,
    /// -ln of the density against the densest bin.
    cost: [f32; SLOTS],
}

/// Bins of all columns.
#[derive(Clone, Debug, Default, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct Histogram {
    columns: Vec<Bins>,
}

impl Histogram {
    /// Counts scaled rows.
    pub fn fit(rows: Matrix) -> Histogram {
        Histogram { columns: (0..rows.ncols()).map(|column| bins(rows, column)).collect() }
    }

    /// Mean cost over the columns of 16 rows: 0 where every value is the commonest.
    pub fn score(&self, block: &Block, out: &mut [f32; LANES]) {
        let mut sum = [0.0f32; LANES];
        for (bins, values) in self.columns.iter().zip(block) {
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum += bins.cost[slot(bins.low, bins.per_unit, *value)];
            }
        }
        let share = 1.0 / self.columns.len().max(1) as f32;
        out.iter_mut().zip(sum).for_each(|(out, sum)| *out = sum * share);
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    pub(crate) fn is_finite(&self) -> bool {
        let ok = |b: &Bins| b.low.is_finite() && b.per_unit.is_finite() && b.cost.iter().all(|c| c.is_finite());
        self.columns.iter().all(ok)
    }
}

#[inline]
fn slot(low: f32, per_unit: f32, value: f32) -> usize {
    // The conversion cuts at 0 and so is total.
    (((value - low) * per_unit + 1.0) as usize).min(SLOTS - 1)
}

fn bins(rows: Matrix, column: usize) -> Bins {
    let (low, high) =
        rows.column(column).into_iter().copied().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
    // A little wider, so that the largest value falls into the last bin.
    let per_unit = if high > low { BINS as f32 / ((high - low) * 1.0001) } else { 1.0 };
    let low = if high >= low { low } else { 0.0 };
    let mut counts = [0u32; SLOTS];
    for value in rows.column(column).into_iter().copied() {
        counts[slot(low, per_unit, value)] += 1;
    }
    let most = f64::from(counts.iter().copied().max().unwrap_or(0)) + PSEUDO_COUNT;
    let cost = counts.map(|count| libm::log(most / (f64::from(count) + PSEUDO_COUNT)) as f32);
    Bins { low, per_unit, cost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thin_places_cost_more() {
        let rows: Vec<f32> = (0..1000).map(|i| if i < 990 { (i % 10) as f32 } else { 15.0 }).collect();
        let histogram = Histogram::fit(crate::matrix::view(&rows, 1));
        let mut blocks = crate::matrix::blocks();
        for (lane, value) in [3.0, 15.0, 12.0, 40.0, -9.0, f32::MAX].into_iter().enumerate() {
            blocks[0][0][lane] = value;
        }
        let mut out = [0.0; LANES];
        histogram.score(&blocks[0], &mut out);
        assert!(out[0] < 1.0 && out[0] < out[1] && out[1] < out[2], "{out:?}");
        assert!(out[3] == out[2] && out[4] == out[2] && out[5] == out[2], "never seen is as thin as empty: {out:?}");
    }
}
