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
use std::collections::{BTreeMap, BTreeSet};

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

/// Rows of a key-group: key, birth number, state.
pub type Rows<S> = Vec<(u64, u64, S)>;

/// A key-group of one table, decoded.
pub enum Group {
    /// Ids seen.
    Ids(Rows<Seen>),
    /// Entities of a kind, by its place in [`TABLES`].
    Entities(usize, Rows<EntityState>),
    /// The user's own series.
    Samples(Rows<SampleState>),
}

/// The sections of each key-group, newest first, as far as they say something: what is to be decoded. Groups are apart from each
/// other, so that several threads can share them.
pub struct Plan<'a> {
    groups: Vec<(u8, u16, Vec<&'a [u8]>)>,
    blobs: BTreeMap<u16, Vec<u8>>,
}

/// Newest first: a key's first row says what it is.
fn rows<S: for<'b> bitcode::Decode<'b>>(sections: &[&[u8]]) -> Result<Rows<S>, CheckpointError> {
    let (mut out, mut known) = (Rows::new(), BTreeSet::new());
    for bytes in sections {
        let decoded: Vec<(u64, u64, Option<S>)> =
            bitcode::decode(bytes).map_err(|_| CheckpointError::Damaged("rows cannot be decoded"))?;
        out.reserve(decoded.len());
        for (key, born, state) in decoded {
            if sections.len() == 1 || known.insert(key) {
                out.extend(state.map(|state| (key, born, state)));
            }
        }
    }
    Ok(out)
}

impl<'a> Plan<'a> {
    /// Of the objects that a manifest names, newest first, decompressed.
    pub fn of(objects: &'a [Vec<u8>]) -> Result<Plan<'a>, CheckpointError> {
        let (mut groups, mut closed) = (BTreeMap::<(u8, u16), Vec<&[u8]>>::new(), BTreeSet::new());
        let mut blobs = BTreeMap::new();
        for object in objects {
            let (mut rest, mut whole) = (&object[..], Vec::new());
            while let Some((head, tail)) = rest.split_first_chunk::<8>() {
                let [table, full, a, b, len @ ..] = *head;
                let group = u16::from_le_bytes([a, b]);
                let body = tail.split_at_checked(u32::from_le_bytes(len) as usize);
                let (body, tail) = body.ok_or(CheckpointError::Damaged("frame is cut off"))?;
                rest = tail;
                match table {
                    BLOBS => drop(blobs.entry(group).or_insert_with(|| body.to_vec())),
                    kind if kind != IDS && kind != SAMPLES && usize::from(kind) >= TABLES.len() => {
                        return Err(CheckpointError::Damaged("unknown table"));
                    }
                    _ if usize::from(group) >= KEY_GROUPS => {
                        return Err(CheckpointError::Damaged("key-group out of range"));
                    }
                    _ if closed.contains(&(table, group)) => {}
                    _ => {
                        groups.entry((table, group)).or_default().push(body);
                        whole.extend((full == 1).then_some((table, group)));
                    }
                }
            }
            closed.extend(whole);
        }
        Ok(Plan { groups: groups.into_iter().map(|((table, group), all)| (table, group, all)).collect(), blobs })
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
    /// Decodes one of them.
    pub fn decode(&self, at: usize) -> Result<Group, CheckpointError> {
        let (table, _, sections) = self.groups.get(at).ok_or(CheckpointError::Damaged("no such group"))?;
        Ok(match *table {
            IDS => Group::Ids(rows(sections)?),
            SAMPLES => Group::Samples(rows(sections)?),
            kind => Group::Entities(usize::from(kind), rows(sections)?),
        })
    }
    /// All together; `decoded` has the place of each.
    pub fn finish(self, decoded: Vec<(usize, Group)>) -> State {
        fn empty<S>() -> Vec<Rows<S>> {
            (0..KEY_GROUPS).map(|_| Rows::new()).collect()
        }
        let entities = TABLES.iter().map(|_| empty()).collect();
        let mut state = State { ids: empty(), entities, samples: empty(), blobs: self.blobs };
        for (at, group) in decoded {
            let Some(number) = self.groups.get(at).map(|(_, number, _)| usize::from(*number)) else { continue };
            match group {
                Group::Ids(rows) => state.ids[number] = rows,
                Group::Samples(rows) => state.samples[number] = rows,
                Group::Entities(kind, rows) => state.entities[kind][number] = rows,
            }
        }
        state
    }
}

/// State as it was, by key-group.
#[derive(Default)]
pub struct State {
    /// Ids seen.
    pub ids: Vec<Rows<Seen>>,
    /// By kind, in the order of [`TABLES`].
    pub entities: Vec<Vec<Rows<EntityState>>>,
    /// The user's own series.
    pub samples: Vec<Rows<SampleState>>,
    /// Small state.
    pub blobs: BTreeMap<u16, Vec<u8>>,
}

impl State {
    /// Forgets the key-groups that are others'.
    pub fn keep(&mut self, own: impl Fn(usize) -> bool) {
        fn keep<S>(groups: &mut [Rows<S>], own: &impl Fn(usize) -> bool) {
            groups.iter_mut().enumerate().filter(|(group, _)| !own(*group)).for_each(|(_, rows)| *rows = Vec::new());
        }
        keep(&mut self.ids, &own);
        keep(&mut self.samples, &own);
        self.entities.iter_mut().for_each(|groups| keep(groups, &own));
    }
}
