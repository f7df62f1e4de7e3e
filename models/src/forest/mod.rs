//! Isolation forest: [`grow`] builds trees, [`pack`] lays them out without pointers, [`score`] walks 16 rows at once.
//!
//! Leaves are whole numbers, 1024 times the path length, so the sum over the trees is the same in any order.
//! Deliberately absent: what a path length means (`calibrate` turns it into a p-value).

pub mod grow;
pub mod pack;
pub mod score;

pub use pack::{ForestError, Packed, Tree};

/// Trees of a forest by default: twice as many gain 0.1 points of AUROC and cost what the other members cost together.
pub const TREES: usize = 50;
/// Rows a tree is grown from.
pub const SAMPLE: usize = 256;
/// Steps from the root to a leaf at most: log2 of the sample.
pub const DEPTH: usize = 8;
/// Leaf value of a path of one step.
pub const LEAF_UNIT: f64 = 1024.0;
