//! A view of many rows of equal width, row after row, and blocks of 16 rows column by column for the hot path.
//!
//! Deliberately absent: arithmetic. The members read blocks: one column of 16 rows lies together, so that a plain loop
//! over the lanes becomes vector instructions and a tree is walked by 16 rows at once.

use ndarray::{ArrayView2, Axis, aview2, s};

/// Rows handled together.
pub const LANES: usize = 16;
/// Columns at most. A power of two: a column number masked with it needs no bounds check.
pub const MAX_COLUMNS: usize = 2048;
/// Blocks scored together, so that a tree is fetched once for all of them and the rows still stay in the nearest cache.
pub const BLOCKS: usize = 4;

/// 16 rows, column by column.
pub type Block = [[f32; LANES]; MAX_COLUMNS];

/// Rows of equal width, borrowed: row after row.
pub type Matrix<'a> = ArrayView2<'a, f32>;

/// A view of `values`, row after row; an incomplete last row is left out.
pub fn view(values: &[f32], columns: usize) -> Matrix<'_> {
    let rows = values.len().checked_div(columns).unwrap_or(0);
    let whole = values.get(..rows * columns).unwrap_or_default();
    ArrayView2::from_shape((rows, columns), whole).unwrap_or_else(|_| aview2::<f32, 0>(&[]))
}

/// One row; empty beyond the end.
pub fn row<'a>(matrix: Matrix<'a>, row: usize) -> &'a [f32] {
    if row < matrix.nrows() { matrix.index_axis_move(Axis(0), row).to_slice().unwrap_or_default() } else { &[] }
}

/// Rows `[from, to)`, cut to what there is.
pub fn part(matrix: Matrix<'_>, from: usize, to: usize) -> Matrix<'_> {
    let to = to.min(matrix.nrows());
    matrix.slice_move(s![from.min(to)..to, ..])
}

/// At most `most` rows, spread evenly, as a copy.
pub fn thinned(matrix: Matrix<'_>, most: usize) -> Vec<f32> {
    let rows = matrix.nrows();
    if rows <= most {
        return matrix.iter().copied().collect();
    }
    (0..most).flat_map(|i| row(matrix, (i as u128 * rows as u128 / most as u128) as usize)).copied().collect()
}

/// Zeroed blocks on the heap.
pub(crate) fn blocks() -> Vec<Box<Block>> {
    (0..BLOCKS).filter_map(|_| vec![[0.0; LANES]; MAX_COLUMNS].into_boxed_slice().try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_cut_to_whole_rows() {
        let m = view(&[1.0, 2.0, 3.0, 4.0, 5.0], 2);
        assert_eq!((m.nrows(), row(m, 1), row(m, 2)), (2, &[3.0, 4.0][..], &[][..]));
        assert_eq!(part(m, 1, 9).as_slice(), Some(&[3.0, 4.0][..]));
        assert_eq!((part(m, 5, 9).nrows(), view(&[1.0], 0).nrows(), view(&[], 3).nrows()), (0, 0, 0));
        assert_eq!(thinned(m, 1), [1.0, 2.0]);
        assert_eq!(blocks().len(), BLOCKS);
    }
}
