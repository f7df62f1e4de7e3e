//! Grows isolation trees: random column, random cut between its smallest and largest value, until a row is alone.
//!
//! Deliberately absent: anything that depends on the order of the rows beyond the seeded sample.

use super::pack::Tree;
use super::{DEPTH, LEAF_UNIT, SAMPLE};
use crate::matrix::{self, Matrix};
use crate::rng::Rng;

/// Euler's constant, in the average path length of an unsuccessful search.
const EULER: f64 = 0.577_215_664_901_532_9;

/// `trees` trees, each from its own sample of `rows`.
pub fn grow(rows: Matrix, trees: usize, seed: u64) -> Vec<Tree> {
    (0..trees).map(|tree| grow_tree(rows, &mut Rng::new(seed, tree as u64))).collect()
}

/// Average path length below a leaf that still holds `rows` rows.
pub fn average_path(rows: usize) -> f64 {
    match rows {
        0 | 1 => 0.0,
        2 => 1.0,
        n => {
            let n = n as f64;
            2.0 * (libm::log(n - 1.0) + EULER) - 2.0 * (n - 1.0) / n
        }
    }
}

fn grow_tree(rows: Matrix, rng: &mut Rng) -> Tree {
    let mut tree = Tree::default();
    // Breadth first: node, its rows, its depth; children are appended, so a tree is in the order of its levels.
    let mut queue = std::collections::VecDeque::from([(rng.sample(rows.nrows(), SAMPLE), 0)]);
    let mut nodes = 1;
    while let Some((members, depth)) = queue.pop_front() {
        match cut(rows, &members, rng).filter(|_| depth < DEPTH) {
            Some((column, threshold)) => {
                let value = |row: &usize| matrix::row(rows, *row).get(column).copied().unwrap_or(0.0);
                let (left, right): (Vec<usize>, Vec<usize>) = members.iter().partition(|row| value(row) <= threshold);
                tree.push_inner(column as i32, threshold, nodes, nodes + 1);
                nodes += 2;
                queue.extend([(left, depth + 1), (right, depth + 1)]);
            }
            None => {
                let path = (depth as f64 + average_path(members.len())) * LEAF_UNIT;
                tree.push_leaf(libm::round(path) as i32);
            }
        }
    }
    tree
}

/// A random column among those that differ, and a random cut inside its range; nothing where all rows are equal.
fn cut(rows: Matrix, members: &[usize], rng: &mut Rng) -> Option<(usize, f32)> {
    if members.len() < 2 {
        return None;
    }
    let mut untried: Vec<usize> = (0..rows.ncols()).collect();
    while !untried.is_empty() {
        let column = untried.swap_remove(rng.below(untried.len()));
        let values = members.iter().filter_map(|row| matrix::row(rows, *row).get(column).copied());
        let (low, high) = values.fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low < high {
            let threshold = (f64::from(low) + rng.unit() * (f64::from(high) - f64::from(low))) as f32;
            // Rounding may reach the largest value, and then the right side would be empty.
            return Some((column, if threshold >= high { low } else { threshold }));
        }
    }
    None
}
