//! Nearest references (LeSiNN): the mean, over 32 small random samples, of the distance to the nearest of 8 rows.
//!
//! Small samples make dense clusters of anomalies look as lonely as they are against the rest.
//! Deliberately absent: an index; 256 distances in vector registers are cheaper than any search.

use crate::matrix::{self, Block, LANES, Matrix};
use crate::rng::Rng;

/// Samples.
const SAMPLES: usize = 32;
/// Rows of a sample.
const NEAR: usize = 8;

/// The references, sample after sample, row after row.
#[derive(Clone, Debug, Default, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct References {
    columns: u32,
    values: Vec<f32>,
}

impl References {
    /// Draws the samples from scaled rows; with fewer rows than a sample needs, each sample holds all.
    pub fn fit(rows: Matrix, seed: u64) -> References {
        let mut values = vec![];
        for sample in 0..SAMPLES {
            let drawn = Rng::new(seed, sample as u64).sample(rows.nrows(), NEAR);
            // Short samples are filled up with their own rows: the layout stays even, the nearest row the same.
            drawn
                .iter()
                .cycle()
                .take(if drawn.is_empty() { 0 } else { NEAR })
                .for_each(|row| values.extend(matrix::row(rows, *row)));
        }
        References { columns: rows.ncols() as u32, values }
    }

    /// Mean distance to the nearest of each sample, for 16 rows.
    pub fn score(&self, block: &Block, out: &mut [f32; LANES]) {
        *out = [0.0; LANES];
        let width = self.columns as usize;
        if width == 0 || self.values.is_empty() {
            return;
        }
        for sample in self.values.chunks_exact(width * NEAR) {
            let mut nearest = [f32::MAX; LANES];
            for reference in sample.chunks_exact(width) {
                let mut squares = [0.0f32; LANES];
                for (values, reference) in block.iter().zip(reference) {
                    for (square, value) in squares.iter_mut().zip(values) {
                        let difference = value - reference;
                        *square += difference * difference;
                    }
                }
                nearest.iter_mut().zip(squares).for_each(|(nearest, square)| *nearest = nearest.min(square));
            }
            out.iter_mut().zip(nearest).for_each(|(out, nearest)| *out += nearest.sqrt());
        }
        out.iter_mut().for_each(|out| *out *= 1.0 / SAMPLES as f32);
    }

    /// Does it fit rows of `width` columns, all finite?
    pub(crate) fn is_sound(&self, width: usize) -> bool {
        let whole = self.values.is_empty() || self.values.len() == width * NEAR * SAMPLES;
        self.columns as usize == width && whole && self.values.iter().all(|v| v.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_plain_formula_and_far_is_farther() {
        let mut rng = Rng::new(5, 5);
        let rows: Vec<f32> = (0..300).map(|_| rng.unit() as f32).collect();
        let references = References::fit(matrix::view(&rows, 3), 8);
        let mut blocks = crate::matrix::blocks();
        let points = [[0.5, 0.5, 0.5], [3.0, 0.5, 0.5], [9.0, -9.0, 9.0]];
        for (lane, point) in points.iter().enumerate() {
            (0..3).for_each(|column| blocks[0][column][lane] = point[column]);
        }
        let mut out = [0.0; LANES];
        references.score(&blocks[0], &mut out);
        assert!(out[0] < out[1] && out[1] < out[2]);
        for (lane, point) in points.iter().enumerate() {
            let distance = |r: &[f32]| (0..3).map(|i| f64::from(r[i] - point[i]).powi(2)).sum::<f64>().sqrt();
            let nearest = |s: &[f32]| s.chunks(3).map(distance).fold(f64::MAX, f64::min);
            let mean = references.values.chunks(3 * NEAR).map(nearest).sum::<f64>() / SAMPLES as f64;
            assert!((mean - f64::from(out[lane])).abs() < 1e-5);
        }
    }

    #[test]
    fn few_or_no_rows_work() {
        let mut out = [1.0; LANES];
        References::fit(matrix::view(&[], 3), 8).score(&crate::matrix::blocks()[0], &mut out);
        assert_eq!(out, [0.0; LANES]);
        let two = References::fit(matrix::view(&[0.0, 1.0], 1), 8);
        assert!(two.is_sound(1) && !two.is_sound(2));
    }
}
