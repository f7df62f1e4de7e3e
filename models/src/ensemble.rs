//! The unsupervised ensemble over any numeric rows: scaling, four members, each as -log10 p, averaged, calibrated again.
//!
//! Deliberately absent: groups of event types and feature names (`train`, `bundle`), rules (`combine`).

use crate::calibrate::{Calibrator, Prior};
use crate::forest::{ForestError, Packed, TREES, grow::grow};
use crate::histogram::Histogram;
use crate::mahalanobis::Mahalanobis;
use crate::matrix::{self, BLOCKS, Block, LANES, MAX_COLUMNS, Matrix, blocks};
use crate::references::References;
use crate::scaling::Scaling;

/// Number of members.
pub const MEMBERS: usize = 4;
/// Their names, in the order of every array of members.
pub const MEMBER_NAMES: [&str; MEMBERS] = ["forest", "histogram", "references", "mahalanobis"];
/// Weight of each member, adding to 1. The references are the best single member, Mahalanobis the one that fails worst
/// where normal rows form several clusters; both halves of 20 public sets gain by this against even weights.
pub const WEIGHTS: [f64; MEMBERS] = [0.25, 0.25, 0.35, 0.15];
/// Members learn from at most so many rows, spread evenly: more changes no quantile that they use.
pub const MAX_FIT_ROWS: usize = 50_000;
/// Calibration uses at most so many rows: enough for p = 1e-5 without extrapolation.
pub const MAX_CALIBRATION_ROWS: usize = 200_000;
/// With fewer rows, members and calibration share them: a quarter of them could not hold a tail.
const MIN_ROWS_TO_SPLIT: usize = 400;

/// Why an ensemble could not be fitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// More columns than [`MAX_COLUMNS`].
    #[error("{0} columns are more than {MAX_COLUMNS}")]
    Columns(usize),
    /// The grown forest was refused; that would be a defect here.
    #[error("forest: {0}")]
    Forest(#[from] ForestError),
}

/// What the ensemble says of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelScore {
    /// -log10 of the share of normal rows expected to be at least this unusual.
    pub base: f64,
    /// The same by each member alone, in the order of [`MEMBER_NAMES`].
    pub members: [f32; MEMBERS],
}

/// A fitted ensemble.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    pub(crate) scaling: Scaling,
    /// Absent while there is no column to cut.
    pub(crate) forest: Option<Packed>,
    pub(crate) histogram: Histogram,
    pub(crate) references: References,
    pub(crate) mahalanobis: Mahalanobis,
    pub(crate) calibrators: [Calibrator; MEMBERS],
    pub(crate) weights: [f64; MEMBERS],
    pub(crate) base: Calibrator,
}

/// Working memory for scoring; one for each thread.
pub struct Scratch {
    blocks: Vec<Box<Block>>,
    centred: Vec<Box<Block>>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        let mut centred = blocks();
        centred.truncate(1);
        Scratch { blocks: blocks(), centred }
    }
}

/// A fitted ensemble and what it says of the rows it was calibrated on.
pub struct Fitted {
    /// The ensemble.
    pub ensemble: Ensemble,
    /// First row of the calibration slice; `calibration` holds at most [`MAX_CALIBRATION_ROWS`] of the rows from there.
    pub from: usize,
    /// -log10 p of the rows of the calibration slice.
    pub calibration: Vec<f64>,
}

impl Ensemble {
    /// Fits rows in the order of time. The last quarter is kept from the members, for calibration.
    pub fn fit(rows: Matrix, seed: u64) -> Result<Fitted, FitError> {
        if rows.ncols() > MAX_COLUMNS {
            return Err(FitError::Columns(rows.ncols()));
        }
        let split = rows.nrows() >= MIN_ROWS_TO_SPLIT;
        let from = if split { rows.nrows() - rows.nrows() / 4 } else { 0 };
        let to = if split { from } else { rows.nrows() };
        let learn = matrix::thinned(matrix::part(rows, 0, to), MAX_FIT_ROWS);
        let mut ensemble = members(matrix::view(&learn, rows.ncols()), seed)?;
        let held = matrix::thinned(matrix::part(rows, from, rows.nrows()), MAX_CALIBRATION_ROWS);
        let calibration = ensemble.calibrate(matrix::view(&held, rows.ncols()));
        Ok(Fitted { ensemble, from, calibration })
    }

    fn calibrate(&mut self, held: Matrix) -> Vec<f64> {
        let mut scratch = Scratch::default();
        let mut raw = vec![];
        self.raw(held, &mut scratch, |scores| raw.push(scores));
        for (member, calibrator) in self.calibrators.iter_mut().enumerate() {
            let mut scores: Vec<f64> = raw.iter().filter_map(|r| r.get(member).copied()).collect();
            *calibrator = Calibrator::fit(&mut scores, Prior::None);
        }
        let sums: Vec<f64> = raw.iter().map(|r| self.average(r).1).collect();
        self.base = Calibrator::fit(&mut sums.clone(), Prior::None);
        sums.iter().map(|s| self.base.log_p(*s)).collect()
    }

    /// Scores rows of the width it was fitted on; adds one [`ModelScore`] for each row.
    ///
    /// A row's score never depends on the rows beside it.
    pub fn score(&self, rows: Matrix, scratch: &mut Scratch, out: &mut Vec<ModelScore>) {
        self.raw(rows, scratch, |raw| {
            let (members, sum) = self.average(&raw);
            out.push(ModelScore { base: self.base.log_p(sum), members });
        });
    }

    /// Columns of a raw row.
    pub fn columns(&self) -> usize {
        self.scaling.columns as usize
    }

    /// Each member's -log10 p and their weighted average.
    fn average(&self, raw: &[f64; MEMBERS]) -> ([f32; MEMBERS], f64) {
        let mut members = [0.0f32; MEMBERS];
        let mut sum = 0.0;
        let parts = self.calibrators.iter().zip(raw).zip(self.weights);
        for (member, ((calibrator, raw), weight)) in members.iter_mut().zip(parts) {
            let log_p = calibrator.log_p(*raw);
            *member = log_p as f32;
            sum += weight * log_p;
        }
        (members, sum)
    }

    /// Raw scores of the members, row after row.
    fn raw(&self, rows: Matrix, scratch: &mut Scratch, mut each: impl FnMut([f64; MEMBERS])) {
        let Some(centred) = scratch.centred.first_mut() else { return };
        let mut from = 0;
        while from < rows.nrows() {
            let chunk = matrix::part(rows, from, from + BLOCKS * LANES);
            let used = chunk.nrows().div_ceil(LANES);
            for (number, block) in scratch.blocks.iter_mut().take(used).enumerate() {
                self.scaling.fill(matrix::part(chunk, number * LANES, (number + 1) * LANES), block);
            }
            let blocks = scratch.blocks.get(..used).unwrap_or_default();
            let mut paths = [[0; LANES]; BLOCKS];
            if let Some(forest) = &self.forest {
                forest.sum_blocks(blocks, &mut paths);
            }
            let (mut thin, mut lonely, mut far) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
            for (number, (block, paths)) in blocks.iter().zip(&paths).enumerate() {
                self.histogram.score(block, &mut thin);
                self.references.score(block, &mut lonely);
                self.mahalanobis.score(block, centred, &mut far);
                let lanes = paths.iter().zip(&thin).zip(lonely.iter().zip(&far)).take(chunk.nrows() - number * LANES);
                for ((path, thin), (lonely, far)) in lanes {
                    let path = self.forest.as_ref().map_or(0.0, |f| f.raw(*path));
                    each([path, f64::from(*thin), f64::from(*lonely), f64::from(*far)]);
                }
            }
            from += BLOCKS * LANES;
        }
    }

    /// Do all parts fit together and hold finite numbers only?
    pub(crate) fn is_sound(&self) -> bool {
        let width = self.scaling.width();
        let scaled = |c: &crate::scaling::Column| {
            usize::from(c.source) < self.columns()
                && c.median.is_finite()
                && c.scale > 0.0
                && (1.0 / c.scale).is_finite()
        };
        width <= MAX_COLUMNS
            && self.scaling.kept.iter().all(scaled)
            && self.forest.as_ref().is_none_or(|f| f.columns() == width)
            && self.histogram.width() == width
            && self.histogram.is_finite()
            && self.references.is_sound(width)
            && self.mahalanobis.is_sound(width)
            && self.calibrators.iter().all(Calibrator::is_sound)
            && self.base.is_sound()
            && self.weights.iter().all(|w| w.is_finite() && *w >= 0.0)
    }
}

/// Fits the members; calibrators are still empty.
fn members(rows: Matrix, seed: u64) -> Result<Ensemble, FitError> {
    let scaling = Scaling::fit(rows);
    let values = scaling.matrix(rows);
    let scaled = matrix::view(&values, scaling.width());
    let forest =
        if scaled.nrows() == 0 { None } else { Some(Packed::new(&grow(scaled, TREES, seed), scaling.width())?) };
    Ok(Ensemble {
        forest,
        histogram: Histogram::fit(scaled),
        references: References::fit(scaled, seed ^ 1),
        mahalanobis: Mahalanobis::fit(scaled),
        calibrators: Default::default(),
        weights: WEIGHTS,
        base: Calibrator::default(),
        scaling,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn rows(count: usize, columns: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed, 0);
        (0..count * columns).map(|_| ((0..6).map(|_| rng.unit()).sum::<f64>() - 3.0) as f32).collect()
    }

    #[test]
    fn held_out_normals_have_even_p_and_outliers_small_ones() {
        let train = rows(20_000, 8, 1);
        let ensemble = Ensemble::fit(matrix::view(&train, 8), 7).unwrap().ensemble;
        let mut fresh = rows(20_000, 8, 2);
        fresh.extend([6.0; 8]);
        let mut scores = vec![];
        ensemble.score(matrix::view(&fresh, 8), &mut Scratch::default(), &mut scores);
        assert!(scores.pop().unwrap().base > 4.0);
        for level in [0.5, 1.0, 2.0, 3.0] {
            let share = scores.iter().filter(|s| s.base >= level).count() as f64 / 20_000.0;
            let ratio = share / libm::pow(10.0, -level);
            assert!((0.5..1.6).contains(&ratio), "level {level}: {ratio}");
        }
    }

    #[test]
    fn a_score_does_not_depend_on_the_neighbours() {
        let train = rows(700, 5, 3);
        let ensemble = Ensemble::fit(matrix::view(&train, 5), 7).unwrap().ensemble;
        let (mut scratch, mut together) = (Scratch::default(), vec![]);
        ensemble.score(matrix::view(&train, 5), &mut scratch, &mut together);
        for (row, want) in train.chunks(5).zip(&together) {
            let mut alone = vec![];
            ensemble.score(matrix::view(row, 5), &mut scratch, &mut alone);
            assert_eq!(alone, [*want]);
        }
    }

    #[test]
    fn few_rows_or_constant_columns_score_without_alarm() {
        for count in [0, 1, 2, 20] {
            let train = rows(count, 3, 4);
            let ensemble = Ensemble::fit(matrix::view(&train, 3), 7).unwrap().ensemble;
            assert!(ensemble.is_sound());
            let mut out = vec![];
            ensemble.score(matrix::view(&[0.1, f32::NAN, f32::INFINITY], 3), &mut Scratch::default(), &mut out);
            assert!(out[0].base.is_finite() && out[0].base < 5.0, "{count} {out:?}");
        }
    }
}
