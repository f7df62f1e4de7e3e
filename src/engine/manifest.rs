//! The manifest of a checkpoint: which objects make it, and where it stands. Its put is the commit of the checkpoint.
//!
//! Text: the checksum of what follows in hexadecimal, a newline, JSON. Deliberately absent: state (that is in the objects).

use pulse_dataflows::checkpoint::{Position, STATE_SCHEMA};
use pulse_models::features::FEATURE_SCHEMA;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Folder of manifests and objects.
pub const FOLDER: &str = "checkpoints";

/// One checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Meaning of state and features: [`Manifest::schema_now`].
    pub schema: (u32, u32),
    /// Checkpoints so far.
    pub number: u64,
    /// Where it stands.
    pub position: Position,
    /// Names and checksums of its objects, oldest first.
    pub objects: Vec<(String, u64)>,
}

impl Manifest {
    /// What this program writes and reads.
    pub fn schema_now() -> (u32, u32) {
        (STATE_SCHEMA, FEATURE_SCHEMA)
    }
    /// Name of the manifest of an epoch, as a generation wrote it: a frozen one that wakes up must not replace its successor's.
    pub fn name(epoch: u64, generation: u64) -> String {
        format!("{FOLDER}/{epoch:012}.{generation:012x}.manifest")
    }
    /// Keeps the objects of the last `checkpoints`. Those of one begin with the same epoch and generation.
    pub fn forget(&mut self, checkpoints: usize) {
        let of = |name: &str| name.splitn(3, '.').take(2).map(str::to_owned).collect::<Vec<_>>();
        let mut kept = Vec::new();
        for (name, _) in self.objects.iter().rev() {
            let of = of(name);
            if !kept.contains(&of) {
                kept.push(of);
            }
        }
        kept.truncate(checkpoints);
        self.objects.retain(|(name, _)| kept.contains(&of(name)));
    }
    /// As it is stored.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = format!("{:016x}\n", xxh3_64(&json)).into_bytes();
        bytes.extend(json);
        Ok(bytes)
    }
    /// `None` when it is damaged.
    pub fn parse(bytes: &[u8]) -> Option<Manifest> {
        let (sum, json) = bytes.split_at_checked(17)?;
        let same = sum == format!("{:016x}\n", xxh3_64(json)).as_bytes();
        if same { serde_json::from_slice(json).ok() } else { None }
    }
}
