//! Mahalanobis distance of the scaled rows, with a regularised covariance; its factor also gives conditional z-values.
//!
//! One matrix gives both a score and its reason: how far each value lies from what all other values let expect.
//! Deliberately absent: robust covariance by repeated trimming; asinh has already tamed the far values.

use crate::matrix::{self, Block, LANES, Matrix};

/// Covariances are shrunk towards the diagonal by this share, and more with few rows.
const SHRINK: f64 = 0.05;
/// Added to each variance as a share of the mean variance: keeps tied columns invertible.
const RIDGE: f64 = 1e-3;

/// Mean and inverse Cholesky factor of the covariance.
#[derive(Clone, Debug, Default, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct Mahalanobis {
    mean: Vec<f32>,
    /// Lower triangle by rows: row i has i + 1 numbers. W = L^-1 with covariance L L', so |W (x - mean)| is the distance.
    whitening: Vec<f32>,
}

/// Row `i` of a lower triangle stored by rows.
fn row<T>(triangle: &[T], i: usize) -> &[T] {
    triangle.get(i * (i + 1) / 2..(i + 1) * (i + 2) / 2).unwrap_or_default()
}

impl Mahalanobis {
    /// Learns from scaled rows.
    pub fn fit(rows: Matrix) -> Mahalanobis {
        let width = rows.ncols();
        let count = rows.nrows().max(1) as f64;
        let mut mean = vec![0.0f64; width];
        for r in 0..rows.nrows() {
            mean.iter_mut().zip(matrix::row(rows, r)).for_each(|(mean, value)| *mean += f64::from(*value));
        }
        mean.iter_mut().for_each(|mean| *mean /= count);
        let mut covariance = vec![0.0f64; width * (width + 1) / 2];
        let mut centred = vec![0.0f64; width];
        for r in 0..rows.nrows() {
            centred
                .iter_mut()
                .zip(matrix::row(rows, r))
                .zip(&mean)
                .for_each(|((c, value), mean)| *c = f64::from(*value) - mean);
            let mut rest = covariance.as_mut_slice();
            for (i, a) in centred.iter().enumerate() {
                let (line, tail) = rest.split_at_mut(i + 1);
                line.iter_mut().zip(&centred).for_each(|(cell, b)| *cell += a * b);
                rest = tail;
            }
        }
        covariance.iter_mut().for_each(|cell| *cell /= count);
        regularise(&mut covariance, width, count);
        let whitening = invert(&cholesky(&covariance, width), width);
        Mahalanobis { mean: mean.iter().map(|m| *m as f32).collect(), whitening }
    }

    /// Squared distance over the number of columns, for 16 rows. `centred` is working memory.
    pub fn score(&self, block: &Block, centred: &mut Block, out: &mut [f32; LANES]) {
        for ((centred, values), mean) in centred.iter_mut().zip(block).zip(&self.mean) {
            centred.iter_mut().zip(values).for_each(|(c, value)| *c = value - mean);
        }
        let mut sum = [0.0f32; LANES];
        for i in 0..self.mean.len() {
            let mut z = [0.0f32; LANES];
            for (weight, values) in row(&self.whitening, i).iter().zip(centred.iter()) {
                z.iter_mut().zip(values).for_each(|(z, value)| *z += weight * value);
            }
            sum.iter_mut().zip(z).for_each(|(sum, z)| *sum += z * z);
        }
        let share = 1.0 / self.mean.len().max(1) as f32;
        out.iter_mut().zip(sum).for_each(|(out, sum)| *out = sum * share);
    }

    /// Of each value of a scaled row: the value the others let expect, and the deviation round it, both scaled.
    pub fn conditional(&self, scaled: &[f32]) -> Vec<(f32, f32)> {
        let width = self.mean.len();
        let centred: Vec<f64> =
            self.mean.iter().zip(scaled).map(|(mean, value)| f64::from(*value) - f64::from(*mean)).collect();
        // With precision P = W'W: expected = x - (P (x - mean))_i / P_ii, variance = 1 / P_ii.
        let (mut product, mut diagonal) = (vec![0.0f64; width], vec![0.0f64; width]);
        for i in 0..width {
            let weights = row(&self.whitening, i);
            let z: f64 = weights.iter().zip(&centred).map(|(w, c)| f64::from(*w) * c).sum();
            for ((p, d), w) in product.iter_mut().zip(&mut diagonal).zip(weights) {
                *p += f64::from(*w) * z;
                *d += f64::from(*w) * f64::from(*w);
            }
        }
        let parts = scaled.iter().zip(product.iter().zip(&diagonal));
        parts.map(|(value, (p, d))| ((f64::from(*value) - p / d) as f32, (1.0 / d).sqrt() as f32)).collect()
    }

    /// Does it fit rows of `width` columns, all finite?
    pub(crate) fn is_sound(&self, width: usize) -> bool {
        let finite = self.mean.iter().chain(&self.whitening).all(|v| v.is_finite());
        self.mean.len() == width && self.whitening.len() == width * (width + 1) / 2 && finite
    }
}

fn regularise(covariance: &mut [f64], width: usize, count: f64) {
    let diagonal = |i: usize| i * (i + 3) / 2;
    let trace: f64 = (0..width).filter_map(|i| covariance.get(diagonal(i))).sum();
    let ridge = RIDGE * (trace / width.max(1) as f64).max(1e-6);
    let shrink = (SHRINK + width as f64 / (width as f64 + count)).min(1.0);
    for i in 0..width {
        for j in 0..=i {
            if let Some(cell) = covariance.get_mut(i * (i + 1) / 2 + j) {
                *cell = if i == j { *cell + ridge } else { *cell * (1.0 - shrink) };
            }
        }
    }
}

/// L with L L' = the matrix, both lower triangles by rows. Shrinking and ridge keep the pivots positive.
fn cholesky(matrix: &[f64], width: usize) -> Vec<f64> {
    let mut factor: Vec<f64> = Vec::with_capacity(matrix.len());
    for i in 0..width {
        let start = i * (i + 1) / 2;
        for j in 0..=i {
            // Row i is as long as j by now; row j is itself when both are the same.
            let line = factor.get(start..).unwrap_or_default();
            let other = if i == j { line } else { row(&factor, j) };
            let dot: f64 = line.iter().zip(other).map(|(a, b)| a * b).sum();
            let rest = matrix.get(start + j).copied().unwrap_or(0.0) - dot;
            let value = if i == j {
                rest.max(1e-12).sqrt()
            } else {
                rest / factor.get(j * (j + 3) / 2).copied().unwrap_or(1.0)
            };
            factor.push(value);
        }
    }
    factor
}

/// Inverse of a lower triangle by rows.
fn invert(factor: &[f64], width: usize) -> Vec<f32> {
    let mut inverse = vec![0.0f64; factor.len()];
    let mut line = vec![0.0f64; width];
    for i in 0..width {
        // Row i of L^-1 = (e_i - sum over k < i of L_ik row k of L^-1) / L_ii.
        line.iter_mut().for_each(|v| *v = 0.0);
        for (k, l) in row(factor, i).iter().take(i).enumerate() {
            line.iter_mut().zip(row(&inverse, k)).for_each(|(v, w)| *v -= l * w);
        }
        let pivot = row(factor, i).last().copied().unwrap_or(1.0);
        if let Some(v) = line.get_mut(i) {
            *v = 1.0;
        }
        let start = i * (i + 1) / 2;
        inverse.iter_mut().skip(start).zip(&line).take(i + 1).for_each(|(out, v)| *out = v / pivot);
    }
    inverse.iter().map(|v| *v as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn correlated(count: usize) -> Vec<f32> {
        let mut rng = Rng::new(3, 3);
        let mut normal = move || (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
        (0..count)
            .flat_map(|_| {
                let (a, b) = (normal(), normal());
                [a as f32, (0.95 * a + 0.3 * b) as f32, normal() as f32]
            })
            .collect()
    }

    #[test]
    fn a_broken_combination_is_far_and_its_columns_are_named() {
        let rows = correlated(2000);
        let model = Mahalanobis::fit(matrix::view(&rows, 3));
        let mut blocks = crate::matrix::blocks();
        for (lane, point) in [[1.5, 1.5, 0.0], [1.5, -1.5, 0.0]].iter().enumerate() {
            (0..3).for_each(|column| blocks[0][column][lane] = point[column]);
        }
        let (block, rest) = blocks.split_at_mut(1);
        let mut out = [0.0; LANES];
        model.score(&block[0], &mut rest[0], &mut out);
        assert!(out[1] > 4.0 * out[0], "{out:?}");
        let conditional = model.conditional(&[1.5, -1.5, 0.0]);
        let z = |i: usize, x: f32| ((x - conditional[i].0) / conditional[i].1).abs();
        assert!(z(0, 1.5) > 3.0 && z(1, -1.5) > 3.0 && z(2, 0.0) < 1.0, "{conditional:?}");
    }

    #[test]
    fn whitening_inverts_the_factor() {
        let rows = correlated(200);
        let width = 3;
        let matrix = [4.0, 1.0, 3.0, 0.5, -0.2, 2.0];
        let factor = cholesky(&matrix, width);
        let inverse = invert(&factor, width);
        for i in 0..width {
            for j in 0..=i {
                let product: f64 = row(&factor, i).iter().zip(row(&factor, j)).map(|(a, b)| a * b).sum();
                assert!((product - row(&matrix, i)[j]).abs() < 1e-9, "{i} {j} {product}");
                let sum: f64 = (j..=i).map(|k| row(&factor, i)[k] * f64::from(row(&inverse, k)[j])).sum();
                assert!((sum - f64::from(u8::from(i == j))).abs() < 1e-6, "{i} {j} {sum}");
            }
        }
        assert!(Mahalanobis::fit(matrix::view(&rows, 3)).is_sound(3));
        assert!(Mahalanobis::fit(matrix::view(&[], 3)).is_sound(3));
    }
}
