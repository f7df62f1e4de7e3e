//! Says which columns make a row unusual: by each value's tail probability; where every tail is ordinary, by how far the
//! value lies from what the other values let expect.
//!
//! Deliberately absent: sentences; the caller has units and languages.

use crate::calibrate::{Calibrator, Prior};
use crate::features::COLUMNS;
use crate::mahalanobis::Mahalanobis;
use crate::matrix::Matrix;
use crate::scaling::Scaling;

/// Reasons named at most.
pub const MAX_REASONS: usize = 5;
/// A value with a tail of -log10 p below this is ordinary by itself.
const ORDINARY: f64 = 2.0;
/// Further reasons have at least this -log10 p; the first is always named.
const WORTH_NAMING: f64 = 1.0;
/// Both tails count: log10 of 2.
const TWO_SIDED: f64 = std::f64::consts::LOG10_2;
/// Half width of a 90 % interval in standard deviations.
const Z90: f32 = 1.645;

/// Which way a value is unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Larger than expected.
    High,
    /// Smaller than expected.
    Low,
    /// Not seen before with this entity.
    New,
    /// Not there, though it usually is.
    Missing,
}

/// One column's share in what makes a row unusual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reason {
    /// Column of the raw row; its code and text are in `features::COLUMNS`.
    pub column: usize,
    /// Which way.
    pub direction: Direction,
    /// The value, in the column's own units.
    pub value: f32,
    /// Where nine in ten lie, in the same units: of all rows, or of rows whose other values are like this one's.
    pub expected: [f32; 2],
    /// Share in [0, 1]; those of a row add to 1 at most.
    pub contribution: f64,
}

/// One kept column's tails.
#[derive(Clone, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
pub(crate) struct Tails {
    high: Calibrator,
    low: Calibrator,
    expected: [f32; 2],
}

/// Tails of all kept columns.
#[derive(Clone, Debug, Default, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct Explainer {
    columns: Vec<Tails>,
}

impl Explainer {
    /// Learns each kept column's tails from raw rows; values that are not available are left out.
    pub fn fit(rows: Matrix, scaling: &Scaling) -> Explainer {
        let tails = |(index, column): (usize, &crate::scaling::Column)| {
            let values = rows.column(usize::from(column.source)).filter(|v| v.is_finite());
            let mut scaled: Vec<f64> = values.map(|v| f64::from(scaling.scale(index, v))).collect();
            let high = Calibrator::fit(&mut scaled, Prior::None);
            let at = |q: f64| scaled.get((scaled.len().saturating_sub(1) as f64 * q) as usize).copied().unwrap_or(0.0);
            let expected = [at(0.05), at(0.95)].map(|s| scaling.unscale(index, s as f32));
            let mut negated: Vec<f64> = scaled.iter().map(|s| -s).collect();
            Tails { high, low: Calibrator::fit(&mut negated, Prior::None), expected }
        };
        Explainer { columns: scaling.kept.iter().enumerate().map(tails).collect() }
    }

    /// The reasons of one raw row, the strongest first; ties by column.
    pub fn explain(&self, row: &[f32], scaling: &Scaling, whole: &Mahalanobis, out: &mut Vec<Reason>) {
        out.clear();
        let raw: Vec<f32> =
            scaling.kept.iter().map(|c| row.get(usize::from(c.source)).copied().unwrap_or(f32::NAN)).collect();
        let scaled: Vec<f32> = raw.iter().enumerate().map(|(i, v)| scaling.scale(i, *v)).collect();
        let mut found = self.by_tail(&raw, &scaled, scaling);
        if found.iter().all(|(log_p, _)| *log_p < ORDINARY) {
            found = by_others(&raw, &scaled, scaling, whole);
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.column.cmp(&b.1.column)));
        let sum: f64 = found.iter().map(|(log_p, _)| log_p).sum();
        for (rank, (log_p, reason)) in found.into_iter().enumerate().take(MAX_REASONS) {
            if log_p > 0.0 && (rank == 0 || log_p >= WORTH_NAMING) {
                out.push(Reason { contribution: log_p / sum, ..reason });
            }
        }
    }

    fn by_tail(&self, raw: &[f32], scaled: &[f32], scaling: &Scaling) -> Vec<(f64, Reason)> {
        let all = self.columns.iter().zip(&scaling.kept).zip(raw.iter().zip(scaled));
        let available = all.filter(|(_, (raw, _))| !raw.is_nan());
        available
            .map(|((tails, column), (raw, scaled))| {
                let (high, low) = (tails.high.log_p(f64::from(*scaled)), tails.low.log_p(-f64::from(*scaled)));
                let log_p = (high.max(low) - TWO_SIDED).max(0.0);
                (log_p, reason(usize::from(column.source), high >= low, *raw, tails.expected))
            })
            .collect()
    }

    pub(crate) fn is_sound(&self, width: usize) -> bool {
        let ok = |t: &Tails| t.high.is_sound() && t.low.is_sound() && t.expected.iter().all(|e| e.is_finite());
        self.columns.len() == width && self.columns.iter().all(ok)
    }
}

fn by_others(raw: &[f32], scaled: &[f32], scaling: &Scaling, whole: &Mahalanobis) -> Vec<(f64, Reason)> {
    let conditional = whole.conditional(scaled);
    let mut found = vec![];
    for (index, (expected, deviation)) in conditional.into_iter().enumerate() {
        let (Some(raw), Some(scaled), Some(column)) = (raw.get(index), scaled.get(index), scaling.kept.get(index))
        else {
            continue;
        };
        let z = f64::from((scaled - expected) / deviation);
        if !raw.is_nan() && z.is_finite() {
            let ends = [expected - Z90 * deviation, expected + Z90 * deviation].map(|s| scaling.unscale(index, s));
            // -log10 of a normal tail, to within a constant that does not change the order.
            found.push((
                z * z / (2.0 * std::f64::consts::LN_10),
                reason(usize::from(column.source), z >= 0.0, *raw, ends),
            ));
        }
    }
    found
}

fn reason(column: usize, high: bool, value: f32, expected: [f32; 2]) -> Reason {
    let direction = match high {
        true if value > 0.0 && counts_new(column) => Direction::New,
        true => Direction::High,
        false => Direction::Low,
    };
    Reason { column, direction, value, expected, contribution: 0.0 }
}

/// Does the column count what was not seen before?
fn counts_new(column: usize) -> bool {
    COLUMNS.get(column).is_some_and(|(name, _)| name.starts_with("new") || name.ends_with("_new_pairs"))
}
