//! Lays trees out as full binary trees of depth 8, so that walking needs no child pointers and no branch.
//!
//! Node 1 is the root, the children of node i are 2i and 2i + 1. Below an early leaf all cuts are +inf and all 256 ends
//! carry the leaf's value: every row takes exactly eight steps. Loading checks everything, so walking need not.
//! Deliberately absent: depth beyond 8 (refused).

use super::DEPTH;
use crate::matrix::MAX_COLUMNS;

/// Inner nodes of a full tree, number 0 unused.
pub(crate) const INNER: usize = 1 << DEPTH;
/// Leaf values stay below this, so that a thousand trees sum without overflow.
const MAX_LEAF: i32 = 1 << 20;
/// Trees at most: bounds memory (3 KiB each) and the sum.
const MAX_TREES: usize = 1000;

/// Why a forest was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForestError {
    /// The five arrays of a tree differ in length, or are empty.
    #[error("tree {0}: arrays are empty or differ in length")]
    Arrays(usize),
    /// A child that does not exist.
    #[error("tree {0}: node {1} has a child out of range")]
    Child(usize, usize),
    /// Deeper than eight steps, or a cycle.
    #[error("tree {0}: deeper than 8 steps, or a cycle")]
    Depth(usize),
    /// A column that rows do not have.
    #[error("tree {0}: node {1} names a column out of range")]
    Column(usize, usize),
    /// A cut that is not a finite number.
    #[error("tree {0}: node {1} has a threshold that is not finite")]
    Threshold(usize, usize),
    /// A leaf value that is negative or too large to sum.
    #[error("tree {0}: a leaf value is out of range")]
    Leaf(usize),
    /// No trees, more than a thousand, or arrays of unequal length in a stored forest.
    #[error("number of trees, nodes or columns out of range")]
    Size,
}

/// A tree as five parallel arrays over its nodes; node 0 is the root; `feature` -1 marks a leaf, where `value` counts.
/// Otherwise to `left` if `x[feature] <= threshold`, else to `right`.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
pub struct Tree {
    /// Column of the cut, -1 for a leaf.
    pub feature: Vec<i32>,
    /// Cut.
    pub threshold: Vec<f32>,
    /// Node for values up to the cut.
    pub left: Vec<i32>,
    /// Node for values above it.
    pub right: Vec<i32>,
    /// Leaf value: 1024 times the path length, rounded.
    pub value: Vec<i32>,
}

impl Tree {
    pub(crate) fn push_inner(&mut self, feature: i32, threshold: f32, left: i32, right: i32) {
        self.push(feature, threshold, left, right, 0);
    }

    pub(crate) fn push_leaf(&mut self, value: i32) {
        self.push(-1, 0.0, -1, -1, value);
    }

    fn push(&mut self, feature: i32, threshold: f32, left: i32, right: i32, value: i32) {
        self.feature.push(feature);
        self.threshold.push(threshold);
        self.left.push(left);
        self.right.push(right);
        self.value.push(value);
    }

    /// The leaf value of one row, walked node by node: the plain twin of the packed walk. For checked trees.
    pub fn path(&self, row: &[f32]) -> Option<i32> {
        let mut at = 0;
        for _ in 0..=DEPTH {
            let Ok(feature) = usize::try_from(*self.feature.get(at)?) else { return self.value.get(at).copied() };
            let side = if row.get(feature)? <= self.threshold.get(at)? { &self.left } else { &self.right };
            at = usize::try_from(*side.get(at)?).ok()?;
        }
        None
    }
}

/// One step of the walk.
#[derive(Clone, Copy, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
pub(crate) struct Node {
    pub(crate) threshold: f32,
    pub(crate) column: u32,
}

/// One full tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Full {
    pub(crate) nodes: [Node; INNER],
    pub(crate) leaves: [i32; INNER],
}

/// A forest ready for scoring.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    pub(crate) trees: Vec<Full>,
    pub(crate) columns: usize,
}

/// The form in a bundle: node and leaf arrays of all trees, one after the other.
#[derive(Clone, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
pub(crate) struct Stored {
    columns: u32,
    thresholds: Vec<f32>,
    features: Vec<u16>,
    leaves: Vec<i32>,
}

const EMPTY: Full = Full { nodes: [Node { threshold: f32::INFINITY, column: 0 }; INNER], leaves: [0; INNER] };

impl Packed {
    /// Checks and lays out trees over rows of `columns` columns.
    pub fn new(trees: &[Tree], columns: usize) -> Result<Packed, ForestError> {
        if trees.is_empty() || trees.len() > MAX_TREES || columns > MAX_COLUMNS {
            return Err(ForestError::Size);
        }
        let trees = trees.iter().enumerate().map(|(number, tree)| lay_out(number, tree, columns));
        Ok(Packed { trees: trees.collect::<Result<_, _>>()?, columns })
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Columns of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn store(&self) -> Stored {
        let nodes = || self.trees.iter().flat_map(|t| t.nodes.iter());
        Stored {
            columns: self.columns as u32,
            thresholds: nodes().map(|n| n.threshold).collect(),
            features: nodes().map(|n| n.column as u16).collect(),
            leaves: self.trees.iter().flat_map(|t| t.leaves).collect(),
        }
    }

    pub(crate) fn restore(stored: &Stored) -> Result<Packed, ForestError> {
        let columns = stored.columns as usize;
        let trees = stored.leaves.len() / INNER;
        let nodes = trees * INNER;
        let lengths = [stored.leaves.len(), stored.thresholds.len(), stored.features.len()];
        if trees == 0 || trees > MAX_TREES || columns > MAX_COLUMNS || lengths.iter().any(|l| *l != nodes) {
            return Err(ForestError::Size);
        }
        let parts = stored.leaves.chunks(INNER).zip(stored.thresholds.chunks(INNER)).zip(stored.features.chunks(INNER));
        let trees = parts.enumerate().map(|(number, ((leaves, thresholds), features))| {
            let mut full = EMPTY;
            full.leaves.copy_from_slice(leaves);
            for (i, (node, (t, f))) in full.nodes.iter_mut().zip(thresholds.iter().zip(features)).enumerate() {
                if t.is_nan() || *t == f32::NEG_INFINITY {
                    return Err(ForestError::Threshold(number, i));
                }
                if usize::from(*f) >= columns.max(1) {
                    return Err(ForestError::Column(number, i));
                }
                *node = Node { threshold: *t, column: u32::from(*f) };
            }
            if leaves.iter().any(|v| !(0..MAX_LEAF).contains(v)) {
                return Err(ForestError::Leaf(number));
            }
            Ok(full)
        });
        Ok(Packed { trees: trees.collect::<Result<_, _>>()?, columns })
    }
}

fn lay_out(number: usize, tree: &Tree, columns: usize) -> Result<Full, ForestError> {
    let count = tree.feature.len();
    let lengths = [tree.threshold.len(), tree.left.len(), tree.right.len(), tree.value.len()];
    if count == 0 || lengths.iter().any(|l| *l != count) {
        return Err(ForestError::Arrays(number));
    }
    let mut full = EMPTY;
    place(number, tree, columns, 0, 1, &mut full)?;
    Ok(full)
}

/// Puts node `from` and all below it at place `to`. The depth is bounded by `to`, so a cycle ends in an error.
fn place(
    number: usize,
    tree: &Tree,
    columns: usize,
    from: usize,
    to: usize,
    full: &mut Full,
) -> Result<(), ForestError> {
    let get = |array: &[i32]| array.get(from).copied().ok_or(ForestError::Arrays(number));
    let feature = get(&tree.feature)?;
    if feature < 0 {
        let value = get(&tree.value)?;
        if !(0..MAX_LEAF).contains(&value) {
            return Err(ForestError::Leaf(number));
        }
        // The ends below place `to` at depth d are 2^(8-d) neighbours.
        let below = DEPTH - to.ilog2() as usize;
        let first = (to << below) - INNER;
        full.leaves.iter_mut().skip(first).take(1 << below).for_each(|leaf| *leaf = value);
        return Ok(());
    }
    let node = full.nodes.get_mut(to).ok_or(ForestError::Depth(number))?;
    let threshold = tree.threshold.get(from).copied().unwrap_or(f32::NAN);
    if !threshold.is_finite() {
        return Err(ForestError::Threshold(number, from));
    }
    if feature as usize >= columns {
        return Err(ForestError::Column(number, from));
    }
    *node = Node { threshold, column: feature as u32 };
    for (child, side) in [(get(&tree.left)?, 0), (get(&tree.right)?, 1)] {
        let child = usize::try_from(child).ok().filter(|c| *c < tree.feature.len());
        place(number, tree, columns, child.ok_or(ForestError::Child(number, from))?, 2 * to + side, full)?;
    }
    Ok(())
}
