//! Robust scaling of each column: asinh((x - median) / scale), so that one measure fits money, counts and seconds.
//!
//! asinh keeps the order, is linear round the median and logarithmic far out: a far value stays far without drowning all
//! others. `NAN` becomes 0, the median: not available is ordinary. A column with one value only says nothing and is left
//! out by all members. Deliberately absent: whitening (that is `mahalanobis`).

use crate::matrix::{self, Block, LANES, MAX_COLUMNS, Matrix};

/// Interquartile range of a normal distribution in standard deviations.
const IQR_OF_NORMAL: f64 = 1.349;
/// A scale below this share of the standard deviation comes from ties, not from spread (a count that is nearly always 1).
const LEAST_OF_DEVIATION: f64 = 0.05;
/// |(x - median) / scale| is cut here: its square stays finite.
const FAR: f32 = 1e15;

/// How one kept column is scaled.
#[derive(Clone, Copy, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct Column {
    /// Its place in the raw row.
    pub source: u16,
    /// Median of the training values.
    pub median: f32,
    /// Spread of the training values, above zero.
    pub scale: f32,
}

/// Scaling of all columns that are used.
#[derive(Clone, Debug, Default, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct Scaling {
    /// Width of a raw row.
    pub columns: u32,
    /// Kept columns in the order of the raw row.
    pub kept: Vec<Column>,
}

impl Scaling {
    /// Learns medians and spreads; constant columns are left out.
    pub fn fit(matrix: Matrix) -> Scaling {
        let mut values = Vec::with_capacity(matrix.nrows());
        let kept = (0..matrix.ncols().min(MAX_COLUMNS)).filter_map(|column| {
            values.clear();
            values.extend(matrix.column(column).into_iter().copied().filter(|v| v.is_finite()));
            values.sort_unstable_by(f32::total_cmp);
            let (median, scale) = centre(&values)?;
            Some(Column { source: column as u16, median, scale })
        });
        Scaling { columns: matrix.ncols() as u32, kept: kept.collect() }
    }

    /// Number of kept columns.
    pub fn width(&self) -> usize {
        self.kept.len()
    }

    /// Scales up to 16 rows into a block; lanes without a row become 0.
    pub fn fill(&self, rows: Matrix, block: &mut Block) {
        let mut lanes: [&[f32]; LANES] = [&[]; LANES];
        lanes.iter_mut().enumerate().for_each(|(i, lane)| *lane = matrix::row(rows, i));
        for (column, out) in self.kept.iter().zip(block.iter_mut()) {
            let source = usize::from(column.source);
            for (value, lane) in out.iter_mut().zip(&lanes) {
                *value = lane.get(source).copied().unwrap_or(f32::NAN);
            }
            let inverse = 1.0 / column.scale;
            for value in out.iter_mut() {
                let t = (*value - column.median) * inverse;
                *value = asinh(if t.is_nan() { 0.0 } else { t.clamp(-FAR, FAR) });
            }
        }
    }

    /// One scaled value of the kept column `index`.
    pub fn scale(&self, index: usize, value: f32) -> f32 {
        self.kept.get(index).map_or(0.0, |column| {
            let t = (value - column.median) * (1.0 / column.scale);
            asinh(if t.is_nan() { 0.0 } else { t.clamp(-FAR, FAR) })
        })
    }

    /// The raw value that scales to `scaled`.
    pub fn unscale(&self, index: usize, scaled: f32) -> f32 {
        self.kept.get(index).map_or(0.0, |column| {
            let raw = libm::sinh(f64::from(scaled)) * f64::from(column.scale) + f64::from(column.median);
            raw.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
        })
    }

    /// All rows scaled, row after row, kept columns only.
    pub fn matrix(&self, rows: Matrix) -> Vec<f32> {
        let width = self.width();
        let mut out = Vec::with_capacity(rows.nrows() * width);
        for row in 0..rows.nrows() {
            let raw = matrix::row(rows, row);
            out.extend((0..width).map(|i| {
                let source = self.kept.get(i).map_or(0, |c| usize::from(c.source));
                self.scale(i, raw.get(source).copied().unwrap_or(f32::NAN))
            }));
        }
        out
    }
}

/// Median and spread of sorted values; nothing where all are equal.
///
/// The spread is the interquartile range. Counts and flags often have most values tied, and then the quartiles say
/// nothing about the rest: the standard deviation takes over.
fn centre(sorted: &[f32]) -> Option<(f32, f32)> {
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    if first == last {
        return None;
    }
    let at = |q: f64| sorted.get(((sorted.len() - 1) as f64 * q) as usize).copied().unwrap_or(first);
    let quartiles = (f64::from(at(0.75)) - f64::from(at(0.25))) / IQR_OF_NORMAL;
    let mean = sorted.iter().map(|v| f64::from(*v)).sum::<f64>() / sorted.len() as f64;
    let squares = sorted.iter().map(|v| (f64::from(*v) - mean) * (f64::from(*v) - mean)).sum::<f64>();
    let deviation = (squares / sorted.len() as f64).sqrt();
    let scale = if quartiles > LEAST_OF_DEVIATION * deviation { quartiles } else { deviation };
    let scale = scale.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)) as f32;
    Some((at(0.5), scale)).filter(|(median, scale)| median.is_finite() && (1.0 / scale).is_finite())
}

/// asinh to about 1e-7 with `+ - * sqrt` and bits only: vectorised by the compiler, equal on every CPU.
#[inline]
fn asinh(x: f32) -> f32 {
    let a = x.abs();
    ln(a + (a * a + 1.0).sqrt()).copysign(x)
}

/// Natural logarithm of a finite number >= 1.
#[inline]
fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let exponent = (bits >> 23) as i32 - 127;
    let large = mantissa > std::f32::consts::SQRT_2;
    let f = if large { mantissa * 0.5 } else { mantissa } - 1.0;
    let e = (exponent + i32::from(large)) as f32;
    // ln(1 + f) by the series of atanh: s = f / (2 + f), ln(1 + f) = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.172.
    let s = f / (2.0 + f);
    let z = s * s;
    let series = 2.0 + z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * (2.0 / 9.0))));
    e * std::f32::consts::LN_2 + s * series
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn constant_columns_are_left_out_and_ties_are_not() {
        let rows: Vec<f32> = (0..100).flat_map(|i| [7.0, if i < 3 { 1.0 } else { 0.0 }, f32::NAN, i as f32]).collect();
        let scaling = Scaling::fit(matrix::view(&rows, 4));
        assert_eq!(scaling.kept.iter().map(|c| c.source).collect::<Vec<_>>(), [1, 3]);
        assert!(scaling.scale(0, 1.0) > 1.0, "a rare flag stands out");
        assert_eq!(scaling.scale(0, f32::NAN), 0.0);
        assert_eq!(scaling.scale(0, 0.0), 0.0);
    }

    #[test]
    fn block_and_single_value_agree_in_every_lane() {
        let rows: Vec<f32> = (0..60).map(|i| (i * i % 37) as f32 - 11.5).collect();
        let matrix = matrix::view(&rows, 3);
        let scaling = Scaling::fit(matrix);
        let mut blocks = crate::matrix::blocks();
        scaling.fill(matrix::part(matrix, 0, 16), &mut blocks[0]);
        let flat = scaling.matrix(matrix);
        for row in 0..16 {
            for column in 0..3 {
                assert_eq!(blocks[0][column][row].to_bits(), flat[row * 3 + column].to_bits());
            }
        }
    }

    proptest! {
        #[test]
        fn asinh_is_asinh(x in -1e15f32..1e15, small in -3f32..3.0) {
            for x in [x, small] {
                let want = libm::asinh(f64::from(x));
                prop_assert!((f64::from(asinh(x)) - want).abs() < 4e-7 * want.abs().max(1.0), "{x}: {} {want}", asinh(x));
            }
        }

        #[test]
        fn unscale_undoes_scale(x in -1e6f32..1e6) {
            let rows: Vec<f32> = (0..50).map(|i| i as f32 * 3.0).collect();
            let scaling = Scaling::fit(matrix::view(&rows, 1));
            let back = scaling.unscale(0, scaling.scale(0, x));
            prop_assert!((back - x).abs() <= 1e-5 * x.abs().max(100.0), "{x} {back}");
        }

        #[test]
        fn any_value_scales_to_a_finite_one(bits: u32) {
            let rows = [0.0, 1.0, 2.0, 5.0];
            let scaling = Scaling::fit(matrix::view(&rows, 1));
            prop_assert!(scaling.scale(0, f32::from_bits(bits)).is_finite());
        }
    }
}
