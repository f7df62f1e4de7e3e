//! Path sums of many rows: tree after tree, 16 rows in flight, no branch and no bounds check inside.
//!
//! 16 independent walks hide the latency of each load. Deliberately absent: vector intrinsics; on current CPUs they gain
//! little over this, and this is the same on all.

use super::pack::{Full, INNER, Packed};
use super::{DEPTH, LEAF_UNIT};
use crate::matrix::{self, BLOCKS, Block, LANES, MAX_COLUMNS, Matrix, blocks};

/// Working memory of [`Packed::path_sums`], reused between calls.
pub struct Lanes(Vec<Box<Block>>);

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes(blocks())
    }
}

impl Packed {
    /// Sum of the leaf values of every row; `rows` must have this forest's columns (missing ones read as 0).
    pub fn path_sums(&self, rows: Matrix, lanes: &mut Lanes, out: &mut Vec<i32>) {
        let mut from = 0;
        while from < rows.nrows() {
            let chunk = matrix::part(rows, from, from + BLOCKS * LANES);
            let used = chunk.nrows().div_ceil(LANES);
            for (number, block) in lanes.0.iter_mut().take(used).enumerate() {
                for lane in 0..LANES {
                    for (slot, value) in
                        block.iter_mut().zip(matrix::row(chunk, number * LANES + lane)).take(self.columns)
                    {
                        if let Some(slot) = slot.get_mut(lane) {
                            *slot = *value;
                        }
                    }
                }
            }
            let mut sums = [[0; LANES]; BLOCKS];
            self.sum_blocks(lanes.0.get(..used).unwrap_or_default(), &mut sums);
            out.extend(sums.as_flattened().iter().take(chunk.nrows()));
            from += BLOCKS * LANES;
        }
    }

    /// Adds up the leaves of filled blocks.
    pub(crate) fn sum_blocks(&self, blocks: &[Box<Block>], sums: &mut [[i32; LANES]; BLOCKS]) {
        for tree in &self.trees {
            for (block, sum) in blocks.iter().zip(sums.iter_mut()) {
                walk(tree, block, sum);
            }
        }
    }

    /// How easily a row is isolated, from its path sum: the mean path length, negated.
    pub fn raw(&self, sum: i32) -> f64 {
        -f64::from(sum) / (LEAF_UNIT * self.trees.len() as f64)
    }
}

/// The first three levels have seven nodes for all rows: comparing 16 rows with each costs less than looking nodes up.
#[inline]
fn first_levels(tree: &Full, block: &Block) -> [u32; LANES] {
    let mut above = [[0u32; LANES]; 8];
    for (node, above) in tree.nodes.iter().zip(&mut above) {
        let values = &block[node.column as usize & (MAX_COLUMNS - 1)];
        above.iter_mut().zip(values).for_each(|(above, value)| *above = 1 - u32::from(*value <= node.threshold));
    }
    let [_, root, low, high, ll, lh, hl, hh] = above;
    let mut at = [0u32; LANES];
    for (lane, at) in at.iter_mut().enumerate() {
        let first = root[lane];
        let second = low[lane] ^ ((low[lane] ^ high[lane]) & first);
        let (left, right) = (ll[lane] ^ ((ll[lane] ^ lh[lane]) & second), hl[lane] ^ ((hl[lane] ^ hh[lane]) & second));
        *at = 8 + 4 * first + 2 * second + (left ^ ((left ^ right) & first));
    }
    at
}

#[inline]
fn walk(tree: &Full, block: &Block, sum: &mut [i32; LANES]) {
    let mut at = first_levels(tree, block);
    for _ in 3..DEPTH {
        for (lane, at) in at.iter_mut().enumerate() {
            let node = tree.nodes[*at as usize & (INNER - 1)];
            let value = block[node.column as usize & (MAX_COLUMNS - 1)][lane];
            // Not `>`: a value that is no number goes right, as in the definition.
            *at = 2 * *at + 1 - u32::from(value <= node.threshold);
        }
    }
    for (sum, at) in sum.iter_mut().zip(at) {
        *sum += tree.leaves[at as usize & (INNER - 1)];
    }
}

#[cfg(test)]
mod tests {
    use super::super::grow::grow;
    use super::super::pack::{ForestError, Tree};
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    fn rows(count: usize, columns: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed, 9);
        // Few different values: thresholds are hit exactly.
        (0..count * columns).map(|_| rng.below(50) as f32 / 4.0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn packed_equals_the_plain_walk(seed: u64, count in 1usize..150, columns in 1usize..20) {
            let values = rows(count, columns, seed);
            let matrix = matrix::view(&values, columns);
            let trees = grow(matrix, 7, seed);
            let packed = Packed::new(&trees, columns).unwrap();
            let mut sums = vec![];
            packed.path_sums(matrix, &mut Lanes::default(), &mut sums);
            prop_assert_eq!(sums.len(), count);
            for (i, sum) in sums.iter().enumerate() {
                let plain: i32 = trees.iter().map(|t| t.path(matrix::row(matrix, i)).unwrap()).sum();
                prop_assert_eq!(*sum, plain);
            }
            prop_assert_eq!(Packed::restore(&packed.store()).unwrap(), packed);
        }
    }

    #[test]
    fn an_outlier_has_a_short_path() {
        let mut values = rows(500, 4, 1);
        values.extend([100.0; 4]);
        let matrix = matrix::view(&values, 4);
        let packed = Packed::new(&grow(matrix, 50, 3), 4).unwrap();
        let mut sums = vec![];
        packed.path_sums(matrix, &mut Lanes::default(), &mut sums);
        let least = sums.iter().min().unwrap();
        assert_eq!(sums.last().unwrap(), least);
    }

    #[test]
    fn broken_trees_are_refused() {
        let leaf = |value| Tree {
            feature: vec![-1],
            threshold: vec![0.0],
            left: vec![-1],
            right: vec![-1],
            value: vec![value],
        };
        assert!(Packed::new(&[leaf(5)], 1).is_ok());
        assert_eq!(Packed::new(&[], 1), Err(ForestError::Size));
        assert_eq!(Packed::new(&[leaf(-1)], 1), Err(ForestError::Leaf(0)));
        assert_eq!(Packed::new(&[Tree::default()], 1), Err(ForestError::Arrays(0)));
        let split = |feature, threshold, left, right| Tree {
            feature: vec![feature, -1],
            threshold: vec![threshold, 0.0],
            left: vec![left, -1],
            right: vec![right, -1],
            value: vec![0, 1],
        };
        assert!(Packed::new(&[split(0, 1.0, 1, 1)], 1).is_ok());
        assert_eq!(Packed::new(&[split(0, 1.0, 0, 1)], 1), Err(ForestError::Depth(0)), "a cycle");
        assert_eq!(Packed::new(&[split(0, 1.0, 1, 2)], 1), Err(ForestError::Child(0, 0)));
        assert_eq!(Packed::new(&[split(0, 1.0, -1, 1)], 1), Err(ForestError::Child(0, 0)));
        assert_eq!(Packed::new(&[split(1, 1.0, 1, 1)], 1), Err(ForestError::Column(0, 0)));
        assert_eq!(Packed::new(&[split(0, f32::NAN, 1, 1)], 1), Err(ForestError::Threshold(0, 0)));
    }
}
