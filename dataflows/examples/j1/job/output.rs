//! The forest over a block's rows, calibration, and the lines that go out.
//!
//! Deliberately absent: walking trees; that is [`pulse_models::forest`].

use super::input::{Block, FEATURES};
use pulse_models::forest::score::Lanes;
use pulse_models::forest::{Packed, Tree};
use pulse_models::matrix;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The forest and its calibration.
pub struct Forest {
    packed: Packed,
    /// Path sum and risk.
    knots: Vec<(i64, i64)>,
}

#[derive(serde::Deserialize)]
struct Json {
    trees: Vec<Tree>,
    knots: Vec<(i64, i64)>,
}

impl Forest {
    /// From `forest.json`.
    pub fn load(path: &Path) -> Result<Forest, String> {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let json: Json = serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        let packed = Packed::new(&json.trees, FEATURES).map_err(|e| e.to_string())?;
        Ok(Forest { packed, knots: json.knots })
    }

    /// Whole numbers, between the two knots around `path`.
    fn risk(&self, path: i64) -> i64 {
        let above = self.knots.partition_point(|(x, _)| *x <= path);
        let below = above.checked_sub(1).and_then(|at| self.knots.get(at));
        match (below, self.knots.get(above)) {
            (Some((x0, y0)), Some((x1, y1))) => y0 - ((y0 - y1) * (path - x0)).div_euclid(x1 - x0),
            (Some((_, risk)), None) | (None, Some((_, risk))) => *risk,
            (None, None) => 0,
        }
    }
}

/// A worker's file, and memory that is used again for every block.
pub struct Output {
    file: File,
    text: Vec<u8>,
    lanes: Lanes,
    sums: Vec<i32>,
}
impl Output {
    /// A new file.
    pub fn create(path: &str) -> Result<Output, String> {
        let file = File::create(path).map_err(|e| format!("{path}: {e}"))?;
        Ok(Output { file, text: Vec::new(), lanes: Lanes::default(), sums: Vec::new() })
    }

    /// Scores a block and writes its lines.
    pub fn write(&mut self, block: &Block, forest: &Forest) -> Result<(), String> {
        self.sums.clear();
        self.text.clear();
        let rows = matrix::view(block.features.as_flattened(), FEATURES);
        forest.packed.path_sums(rows, &mut self.lanes, &mut self.sums);
        for ((id, (c60, s600)), sum) in block.ids.iter().zip(&block.answers).zip(&self.sums) {
            let path = i64::from(*sum);
            line(&mut self.text, *id, [path, forest.risk(path), i64::from(*c60), *s600]);
        }
        self.file.write_all(&self.text).map_err(|e| e.to_string())
    }
}

fn line(out: &mut Vec<u8>, id: u64, values: [i64; 4]) {
    let mut digits = itoa::Buffer::new();
    let id = digits.format(id);
    out.extend_from_slice(b"{\"event_id\":\"e-");
    out.extend_from_slice(b"000000000000".get(id.len()..).unwrap_or_default());
    out.extend_from_slice(id.as_bytes());
    let names: [&[u8]; 4] = [b"\",\"path\":", b",\"risk\":", b",\"c60\":", b",\"s600\":"];
    for (name, value) in names.into_iter().zip(values) {
        out.extend_from_slice(name);
        out.extend_from_slice(digits.format(value).as_bytes());
    }
    out.extend_from_slice(b"}\n");
}
