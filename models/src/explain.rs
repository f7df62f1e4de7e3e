//! Says which columns make a row unusual: by each value's tail probability, and by how far it lies from what the other
//! values let expect. Both are calibrated on training rows, so they compare; a column counts with the stronger one.
//!
//! Deliberately absent: sentences; the caller has units and languages.

use crate::calibrate::{Calibrator, Prior};
use crate::features::COLUMNS;
use crate::mahalanobis::Mahalanobis;
use crate::matrix::{self, Matrix};
use crate::scaling::Scaling;

/// Reasons named at most.
pub const MAX_REASONS: usize = 5;
/// A value with a tail of -log10 p below this is ordinary by itself: what is expected is then said given the others.
const ORDINARY: f64 = 2.0;
/// Rows that conditional deviations are calibrated on, at most; each costs the square of the columns.
const MAX_CONDITIONAL_ROWS: usize = 10_000;
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
    /// Of the squared distance from what the others let expect, in conditional deviations.
    given_others: Calibrator,
    expected: [f32; 2],
}

/// Tails of all kept columns.
#[derive(Clone, Debug, Default, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct Explainer {
    columns: Vec<Tails>,
}

impl Explainer {
    /// Learns each kept column's tails from raw rows; values that are not available are left out.
    pub fn fit(rows: Matrix, scaling: &Scaling, whole: &Mahalanobis) -> Explainer {
        let mut squares = vec![vec![]; scaling.width()];
        let thinned = matrix::thinned(rows, MAX_CONDITIONAL_ROWS);
        for row in thinned.chunks(rows.ncols().max(1)) {
            let (raw, scaled) = kept(row, scaling);
            let conditional = whole.conditional(&scaled);
            let all = squares.iter_mut().zip(&raw).zip(conditional.iter().zip(&scaled));
            all.filter(|((_, raw), _)| !raw.is_nan())
                .for_each(|((column, _), (c, value))| column.push(square(*c, *value)));
        }
        let tails = |(index, column): (usize, &crate::scaling::Column)| {
            let values = rows.column(usize::from(column.source)).into_iter().copied().filter(|v| v.is_finite());
            let mut scaled: Vec<f64> = values.map(|v| f64::from(scaling.scale(index, v))).collect();
            let high = Calibrator::fit(&mut scaled, Prior::None);
            let at = |q: f64| scaled.get((scaled.len().saturating_sub(1) as f64 * q) as usize).copied().unwrap_or(0.0);
            let expected = [at(0.05), at(0.95)].map(|s| scaling.unscale(index, s as f32));
            let mut negated: Vec<f64> = scaled.iter().map(|s| -s).collect();
            let given_others = squares.get_mut(index).map(|s| Calibrator::fit(s, Prior::None)).unwrap_or_default();
            Tails { high, low: Calibrator::fit(&mut negated, Prior::None), given_others, expected }
        };
        Explainer { columns: scaling.kept.iter().enumerate().map(tails).collect() }
    }

    /// The reasons of one raw row, the strongest first; ties by column.
    pub fn explain(&self, row: &[f32], scaling: &Scaling, whole: &Mahalanobis, out: &mut Vec<Reason>) {
        out.clear();
        let (raw, scaled) = kept(row, scaling);
        let conditional = whole.conditional(&scaled);
        let all = self.columns.iter().enumerate().zip(raw.iter().zip(&scaled)).zip(&conditional);
        let available = all.filter(|((_, (raw, _)), _)| !raw.is_nan());
        let mut found: Vec<(f64, Reason)> = available
            .filter_map(|(((index, tails), (raw, scaled)), given)| {
                let column = usize::from(scaling.kept.get(index)?.source);
                Some(tails.judge(*scaled, *given, |s| scaling.unscale(index, s)).named(column, *raw))
            })
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.column.cmp(&b.1.column)));
        let sum: f64 = found.iter().map(|(log_p, _)| log_p).sum();
        for (rank, (log_p, reason)) in found.into_iter().enumerate().take(MAX_REASONS) {
            if log_p > 0.0 && (rank == 0 || log_p >= WORTH_NAMING) {
                out.push(Reason { contribution: log_p / sum, ..reason });
            }
        }
    }

    pub(crate) fn is_sound(&self, width: usize) -> bool {
        let ok = |t: &Tails| {
            t.high.is_sound()
                && t.low.is_sound()
                && t.given_others.is_sound()
                && t.expected.iter().all(|e| e.is_finite())
        };
        self.columns.len() == width && self.columns.iter().all(ok)
    }
}

/// What is found of one value.
struct Finding {
    log_p: f64,
    high: bool,
    expected: [f32; 2],
}

impl Tails {
    /// `given` is what the others let expect and the deviation round it, scaled like the value.
    fn judge(&self, scaled: f32, given: (f32, f32), unscale: impl Fn(f32) -> f32) -> Finding {
        let (high, low) = (self.high.log_p(f64::from(scaled)), self.low.log_p(-f64::from(scaled)));
        let tail = (high.max(low) - TWO_SIDED).max(0.0);
        let given_others = self.given_others.log_p(square(given, scaled));
        if tail >= ORDINARY || tail >= given_others {
            return Finding { log_p: tail.max(given_others), high: high >= low, expected: self.expected };
        }
        let expected = [given.0 - Z90 * given.1, given.0 + Z90 * given.1].map(unscale);
        Finding { log_p: given_others, high: scaled >= given.0, expected }
    }
}

impl Finding {
    fn named(self, column: usize, value: f32) -> (f64, Reason) {
        let direction = match self.high {
            true if value > 0.0 && counts_new(column) => Direction::New,
            true => Direction::High,
            false => Direction::Low,
        };
        (self.log_p, Reason { column, direction, value, expected: self.expected, contribution: 0.0 })
    }
}

/// Squared distance in conditional deviations.
fn square(given: (f32, f32), scaled: f32) -> f64 {
    let z = f64::from(scaled - given.0) / f64::from(given.1);
    if z.is_finite() { z * z } else { 0.0 }
}

/// The kept values of a raw row, and the same scaled.
fn kept(row: &[f32], scaling: &Scaling) -> (Vec<f32>, Vec<f32>) {
    let raw: Vec<f32> =
        scaling.kept.iter().map(|c| row.get(usize::from(c.source)).copied().unwrap_or(f32::NAN)).collect();
    let scaled = raw.iter().enumerate().map(|(i, v)| scaling.scale(i, *v)).collect();
    (raw, scaled)
}

/// Does the column count what was not seen before?
fn counts_new(column: usize) -> bool {
    COLUMNS.get(column).is_some_and(|(name, _)| name.starts_with("new") || name.ends_with("_new_pairs"))
}
