//! What is written already, kept at the destination itself: one small object for each part.
//!
//! A part is a range of offsets of one partition. Before its files are written its range is put down, by who is first; so whoever goes on
//! after a crash, or runs beside, writes the same range, and with it the same bytes under the same names. When its files are there, the
//! object is written again and says so. Deliberately absent: what is in the files.

use super::ExportError;
use crate::engine::objects::Objects;
use serde::{Deserialize, Serialize};

/// Folder of the ledger: readers of Parquet pass over names that begin so.
const FOLDER: &str = "_pulse";
/// Form of ledger and tables.
const FORMAT: u32 = 1;

/// A cause in a partition of scored events, behind which what follows is new.
pub type Last = Option<(u64, u32)>;

/// A part: planned, or done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// First offset.
    pub first: u64,
    /// Offset behind the last.
    pub end: u64,
    /// The last cause in front of it: repeats are left out.
    pub after: Last,
    /// Are all its files there?
    pub done: bool,
    /// The last cause in it.
    pub last: Last,
    /// Rows in its files.
    pub rows: u64,
    /// Its files.
    pub files: Vec<String>,
}

/// What the whole destination is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Form.
    pub format: u32,
    /// First day.
    pub from: Option<String>,
    /// Last day.
    pub to_day: Option<String>,
}

/// The ledger of one destination.
#[derive(Clone)]
pub struct Ledger {
    objects: Objects,
}

fn damaged(name: &str) -> impl Fn(serde_json::Error) -> ExportError {
    move |e| ExportError::Ledger(format!("{name}: {e}"))
}

impl Ledger {
    /// Of this destination, which must be for these days.
    pub fn open(objects: Objects, from: Option<String>, to_day: Option<String>) -> Result<Ledger, ExportError> {
        let (scope, name) = (Scope { format: FORMAT, from, to_day }, format!("{FOLDER}/export.json"));
        let text = serde_json::to_vec(&scope).map_err(damaged(&name))?;
        if !objects.put_new(&name, text)? {
            let there = objects.get(&name)?.unwrap_or_default();
            let there: Scope = serde_json::from_slice(&there).map_err(damaged(&name))?;
            if there != scope {
                return Err(ExportError::OtherScope(there));
            }
        }
        Ok(Ledger { objects })
    }
    fn folder(stream: &str, partition: u16) -> String {
        format!("{FOLDER}/{stream}/{partition:05}")
    }
    fn name(stream: &str, partition: u16, first: u64) -> String {
        format!("{}/{first:020}.json", Ledger::folder(stream, partition))
    }
    /// The last part of a partition.
    pub fn last(&self, stream: &str, partition: u16) -> Result<Option<Part>, ExportError> {
        let names = self.objects.list(&Ledger::folder(stream, partition))?;
        let Some(name) = names.into_iter().rfind(|name| name.ends_with(".json")) else { return Ok(None) };
        self.read(&name)
    }
    fn read(&self, name: &str) -> Result<Option<Part>, ExportError> {
        let bytes = self.objects.get(name)?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(damaged(name))).transpose()
    }
    /// Puts a part down, unless somebody has put another down at the same place: what holds.
    pub fn plan(&self, stream: &str, partition: u16, part: Part) -> Result<Part, ExportError> {
        let name = Ledger::name(stream, partition, part.first);
        if self.objects.put_new(&name, serde_json::to_vec(&part).map_err(damaged(&name))?)? {
            return Ok(part);
        }
        Ok(self.read(&name)?.unwrap_or(part))
    }
    /// All files of the part are there.
    pub fn done(&self, stream: &str, partition: u16, part: &Part) -> Result<(), ExportError> {
        let name = Ledger::name(stream, partition, part.first);
        Ok(self.objects.put(&name, serde_json::to_vec(part).map_err(damaged(&name))?)?)
    }
}
