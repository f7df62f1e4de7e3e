//! A view of many rows of equal width, row after row, and blocks of 16 rows column by column for the hot path.
//!
//! Deliberately absent: arithmetic. The members read blocks: one column of 16 rows lies together, so that a plain loop
//! over the lanes becomes vector instructions and a tree is walked by 16 rows at once.

/// Rows handled together.
pub const LANES: usize = 16;
/// Columns at most. A power of two: a column number masked with it needs no bounds check.
pub const MAX_COLUMNS: usize = 2048;
/// Blocks scored together, so that a tree is fetched once for all of them and the rows still stay in the nearest cache.
pub const BLOCKS: usize = 4;

/// 16 rows, column by column.
pub type Block = [[f32; LANES]; MAX_COLUMNS];

/// Rows of equal width, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    columns: usize,
}

impl<'a> Matrix<'a> {
    /// A view of `values`, row after row; an incomplete last row is left out.
    pub fn new(values: &'a [f32], columns: usize) -> Matrix<'a> {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        Matrix { values: values.get(..rows * columns).unwrap_or_default(), columns }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// All values, row after row.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// One row; empty beyond the end.
    pub fn row(&self, row: usize) -> &'a [f32] {
        self.values.get(row * self.columns..(row + 1) * self.columns).unwrap_or_default()
    }

    /// The values of a column, from top to bottom.
    pub fn column(&self, column: usize) -> impl Iterator<Item = f32> + 'a {
        self.values.iter().copied().skip(column).step_by(self.columns.max(1))
    }

    /// Rows `[from, to)`, cut to what there is.
    pub fn slice(&self, from: usize, to: usize) -> Matrix<'a> {
        let to = to.min(self.rows());
        let from = from.min(to);
        Matrix { values: self.values.get(from * self.columns..to * self.columns).unwrap_or_default(), ..*self }
    }

    /// At most `most` rows, spread evenly, as a copy.
    pub fn thinned(&self, most: usize) -> Vec<f32> {
        let rows = self.rows();
        if rows <= most {
            return self.values.to_vec();
        }
        (0..most).flat_map(|i| self.row((i as u128 * rows as u128 / most as u128) as usize)).copied().collect()
    }
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
        let m = Matrix::new(&[1.0, 2.0, 3.0, 4.0, 5.0], 2);
        assert_eq!((m.rows(), m.row(1), m.row(2)), (2, &[3.0, 4.0][..], &[][..]));
        assert_eq!(m.column(1).collect::<Vec<_>>(), [2.0, 4.0]);
        assert_eq!(m.slice(1, 9).values(), [3.0, 4.0]);
        assert_eq!(Matrix::new(&[1.0], 0).rows(), 0);
        assert_eq!(m.thinned(1), [1.0, 2.0]);
        assert_eq!(blocks().len(), BLOCKS);
    }
}
