//! What a checkpoint holds: one object for a process and checkpoint, made of sections by operator and key-group, and what
//! goes into the manifest.
//!
//! Object: zstd of frames `table u8, full u8, group u16, length u32, rows (bitcode)`, little endian. The newest object that
//! names a key wins; a full section ends the search for its group. The last [`ROTATE`] objects hold everything.
//! Deliberately absent: files, and when a manifest may be written (the root's checkpointer does both).

use crate::control::Active;
use crate::epochs::Entry;
use pulse_operators::entity::{EntitySection, TABLES};
use pulse_operators::record::event::SINGLE_KINDS;
use pulse_operators::series::SampleState;
use pulse_operators::state::entity::EntityState;
use pulse_operators::state::groups::{KEY_GROUPS, Section};
use pulse_operators::state::seen::Seen;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use pulse_operators::state::groups::ROTATE;

/// Raised whenever the meaning of any state changes; a checkpoint of another number is refused.
pub const STATE_SCHEMA: u32 = 4;

const IDS: u8 = 250;
const SAMPLES: u8 = 251;
const BLOBS: u8 = 252;

/// Event time of one input partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionTime {
    /// Time of the first event; `None` = there was none.
    pub first_ms: Option<i64>,
    /// Running maximum of min(event time, append time).
    pub max_ms: i64,
    /// The same, moved on while the input is idle.
    pub clock_ms: i64,
    /// Time of the first event that named an entity of a kind: customer to e-mail.
    pub kinds_ms: [Option<i64>; SINGLE_KINDS],
}

/// Where a process is after an epoch: the manifest's heart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch.
    pub entry: Entry,
    /// Offset in `pulse.epochs` behind it.
    pub next: u64,
    /// Event time by partition.
    pub times: BTreeMap<u16, PartitionTime>,
    /// What is in force.
    pub active: Active,
}

/// Small state that is kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Blob {
    /// [`pulse_operators::threshold::Trackers`]
    Thresholds = 0,
    /// [`pulse_operators::report::Reports`]
    Reports = 1,
}

/// What the operators hand to the checkpointer.
pub enum Piece {
    /// From each worker's source: where it is.
    Position(Box<Position>),
    /// Copies of ids seen.
    Ids(Vec<Section<Seen>>),
    /// Copies of entities.
    Entities(Vec<EntitySection>),
    /// Small state, whole.
    Blob(Blob, Vec<u8>),
    /// One stateful operator of one worker has sent everything.
    Done,
}

/// How many [`Piece::Done`] make a process's part of a checkpoint: two operators on each worker, and two on worker 0, which
/// is in the `first` process.
pub fn pieces(workers: usize, first: bool) -> usize {
    2 * workers + if first { 2 } else { 0 }
}

fn frame(out: &mut Vec<u8>, table: u8, full: bool, group: u16, rows: &[u8]) {
    out.extend([table, u8::from(full)]);
    out.extend(group.to_le_bytes());
    out.extend((rows.len() as u32).to_le_bytes());
    out.extend(rows);
}

/// Adds a piece to the object of its checkpoint (before compression).
pub fn encode(piece: &Piece, object: &mut Vec<u8>) {
    match piece {
        Piece::Ids(sections) => {
            sections.iter().for_each(|s| frame(object, IDS, s.full, s.group, &bitcode::encode(&s.rows)));
        }
        Piece::Entities(sections) => sections.iter().for_each(|section| match section {
            EntitySection::Entities(kind, s) => frame(object, *kind as u8, s.full, s.group, &bitcode::encode(&s.rows)),
            EntitySection::Samples(s) => frame(object, SAMPLES, s.full, s.group, &bitcode::encode(&s.rows)),
        }),
        Piece::Blob(blob, bytes) => frame(object, BLOBS, true, *blob as u16, bytes),
        Piece::Position(_) | Piece::Done => {}
    }
}

/// Why an object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Cut off, or not ours.
    #[error("checkpoint object is damaged: {0}")]
    Damaged(&'static str),
}

type Rows<S> = BTreeMap<u64, Option<(u64, S)>>;

struct Table<S> {
    groups: Vec<(Rows<S>, bool)>,
}
impl<S: for<'a> bitcode::Decode<'a>> Table<S> {
    fn new() -> Self {
        Table { groups: (0..KEY_GROUPS).map(|_| (BTreeMap::new(), false)).collect() }
    }
    /// Newest first: what is there already wins. Groups that this section completes go to `whole`.
    fn take(&mut self, group: u16, full: bool, bytes: &[u8], whole: &mut Vec<usize>) -> Result<(), CheckpointError> {
        let Some((rows, complete)) = self.groups.get_mut(usize::from(group)) else {
            return Err(CheckpointError::Damaged("key-group out of range"));
        };
        if *complete {
            return Ok(());
        }
        let decoded: Vec<(u64, u64, Option<S>)> =
            bitcode::decode(bytes).map_err(|_| CheckpointError::Damaged("rows cannot be decoded"))?;
        for (key, born, state) in decoded {
            rows.entry(key).or_insert_with(|| state.map(|state| (born, state)));
        }
        if full {
            whole.push(usize::from(group));
        }
        Ok(())
    }
    fn finish(self) -> Vec<Vec<(u64, u64, S)>> {
        let of = |rows: Rows<S>| rows.into_iter().filter_map(|(k, v)| v.map(|(b, s)| (k, b, s))).collect();
        self.groups.into_iter().map(|(rows, _)| of(rows)).collect()
    }
}

/// State as it was, by key-group.
#[derive(Default)]
pub struct State {
    /// Ids seen.
    pub ids: Vec<Vec<(u64, u64, Seen)>>,
    /// By kind, in the order of [`TABLES`].
    pub entities: Vec<Vec<Vec<(u64, u64, EntityState)>>>,
    /// The user's own series.
    pub samples: Vec<Vec<(u64, u64, SampleState)>>,
    /// Small state.
    pub blobs: BTreeMap<u16, Vec<u8>>,
}

impl State {
    /// Forgets the key-groups that are others'.
    pub fn keep(&mut self, own: impl Fn(usize) -> bool) {
        fn keep<S>(groups: &mut [Vec<S>], own: &impl Fn(usize) -> bool) {
            groups.iter_mut().enumerate().filter(|(group, _)| !own(*group)).for_each(|(_, rows)| *rows = Vec::new());
        }
        keep(&mut self.ids, &own);
        keep(&mut self.samples, &own);
        self.entities.iter_mut().for_each(|groups| keep(groups, &own));
    }
    /// From the objects that a manifest names, newest first, decompressed.
    pub fn decode(objects: impl Iterator<Item = Vec<u8>>) -> Result<State, CheckpointError> {
        let mut ids = Table::<Seen>::new();
        let mut samples = Table::<SampleState>::new();
        let mut entities: Vec<Table<EntityState>> = TABLES.iter().map(|_| Table::new()).collect();
        let mut blobs = BTreeMap::new();
        for object in objects {
            let mut rest = &object[..];
            let mut whole: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            while let Some((head, tail)) = rest.split_first_chunk::<8>() {
                let [table, full, a, b, len @ ..] = *head;
                let (group, full) = (u16::from_le_bytes([a, b]), full == 1);
                let body = tail.split_at_checked(u32::from_le_bytes(len) as usize);
                let (body, tail) = body.ok_or(CheckpointError::Damaged("frame is cut off"))?;
                rest = tail;
                let done = whole.entry(table).or_default();
                match table {
                    IDS => ids.take(group, full, body, done)?,
                    SAMPLES => samples.take(group, full, body, done)?,
                    BLOBS => drop(blobs.entry(group).or_insert_with(|| body.to_vec())),
                    kind => match entities.get_mut(usize::from(kind)) {
                        Some(table) => table.take(group, full, body, done)?,
                        None => return Err(CheckpointError::Damaged("unknown table")),
                    },
                }
            }
            for (table, groups) in whole {
                for group in groups {
                    match table {
                        IDS => ids.groups[group].1 = true,
                        SAMPLES => samples.groups[group].1 = true,
                        kind => entities[usize::from(kind)].groups[group].1 = true,
                    }
                }
            }
        }
        let entities = entities.into_iter().map(Table::finish).collect();
        Ok(State { ids: ids.finish(), entities, samples: samples.finish(), blobs })
    }
}
