//! `[sources.tail]`.

use crate::import::mapping::Mapping;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Files to follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TailConfig {
    /// Files, and folders of files; none: nothing is followed.
    pub paths: Vec<PathBuf>,
    /// How CSV is read; empty: CSV files are not.
    pub mapping: PathBuf,
    /// How often files are looked at, ms.
    pub poll_ms: u64,
}
impl Default for TailConfig {
    fn default() -> Self {
        TailConfig { paths: Vec::new(), mapping: PathBuf::new(), poll_ms: 500 }
    }
}

impl TailConfig {
    /// What can be checked without files.
    pub fn check(&self) -> Result<(), String> {
        match self.poll_ms {
            10..=60_000 => Ok(()),
            _ => Err("sources.tail.poll_ms must be 10 to 60000".into()),
        }
    }
    /// The mapping, if one is named; what is wrong with it.
    pub fn mapping(&self) -> Result<Option<Mapping>, String> {
        if self.mapping == Path::new("") {
            return Ok(None);
        }
        let wrong = |why: String| format!("sources.tail.mapping: {}: {why}", self.mapping.display());
        let text = std::fs::read_to_string(&self.mapping).map_err(|e| wrong(e.to_string()))?;
        Mapping::parse(&text).map(Some).map_err(|e| wrong(e.to_string()))
    }
}
