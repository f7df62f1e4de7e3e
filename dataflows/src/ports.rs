//! The ports: what a dataflow asks of a log, with the promises that every implementation keeps.
//!
//! Order: records of one partition keep the order of their appends, offsets are dense and count from 0; where a broker left
//! an offset empty (the marks of a producer's transactions) stands a [`HOLE`].
//! Durability: an acknowledged request without `outputs` survives a loss of power; one with `outputs` survives a crash of
//! the process, and a loss of power once [`EventLog::sync`] has returned or a later request was acknowledged. On a broker
//! that is: every replica in sync has it.
//! Atomicity: of a request that was refused or cut off by a crash, each partition holds a prefix of its part. Embedded,
//! one prefix is all or nothing over all partitions; on a broker each partition has its own, the records of a part need
//! not lie side by side when others append too, and records of a request whose `expect` failed may be there. So nothing may
//! follow from one partition about another: whoever goes on after a crash looks at the end of each.
//! Repeats: an owner that was replaced may still append outputs of valid epochs. They are the same bytes with the same
//! cause, so readers go by the cause.
//! Deliberately absent: who decides the epochs (that is a [`Hook`]), retries, networking.

use std::sync::Arc;

/// Topics of the contract (section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Topic {
    /// Accepted events as JSON.
    Raw,
    /// Verdicts as JSON.
    Labels,
    /// Whatever switches scoring: configuration, models, tables.
    Control,
    /// The epoch log.
    Epochs,
    /// Scored events as JSON.
    Scored,
    /// What was not taken up, and why.
    Rejected,
    /// Alerts and incidents.
    Alerts,
    /// Enriched events, off by default.
    Enriched,
}
/// All topics in the order of their numbers.
pub const TOPICS: [Topic; 8] = [
    Topic::Raw,
    Topic::Labels,
    Topic::Control,
    Topic::Epochs,
    Topic::Scored,
    Topic::Rejected,
    Topic::Alerts,
    Topic::Enriched,
];
impl Topic {
    /// The name on Kafka and in messages.
    pub fn name(self) -> &'static str {
        [
            "events.raw",
            "labels",
            "pulse.control",
            "pulse.epochs",
            "events.scored",
            "events.rejected",
            "alerts",
            "events.enriched",
        ][self as usize]
    }
    /// Has it as many partitions as `events.raw`? Else one.
    pub fn partitioned(self) -> bool {
        matches!(self, Topic::Raw | Topic::Scored | Topic::Rejected | Topic::Enriched)
    }
}

/// One partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Partition {
    /// Topic.
    pub topic: Topic,
    /// Number of the partition.
    pub number: u16,
}
/// Short for a [`Partition`].
pub fn partition(topic: Topic, number: u16) -> Partition {
    Partition { topic, number }
}

/// What a record follows from: the input at (partition, offset), and which kind of output of it. Zero for inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Cause {
    /// Partition of `events.raw`.
    pub partition: u16,
    /// Offset there; of an alert that time alone caused: the epoch.
    pub offset: u64,
    /// Number of the output among those of one cause.
    pub kind: u32,
}

/// `kind` of records in `events.rejected` that the gateway wrote: they follow from nothing in the log.
pub const FROM_GATEWAY: u32 = u32::MAX;

/// `kind` of an offset without a record: readers pass over it.
pub const HOLE: u32 = u32::MAX - 1;

/// What stands beside a record's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Inputs: time of receipt; outputs: the clock of their epoch. Milliseconds since the epoch.
    pub time_ms: i64,
    /// Outputs: what they follow from.
    pub cause: Cause,
}
/// Bytes of an encoded [`Meta`].
const META: usize = 8 + 8 + 2 + 4;

/// Records in order, as they are appended: record `i` stops at `ends[i]` of `data`, `data` holds meta and value.
#[derive(Clone, Debug, Default)]
pub struct Records {
    ends: Vec<u32>,
    data: Vec<u8>,
}
impl Records {
    /// None yet, with room for so many of so many bytes in all.
    pub fn with_room(records: usize, bytes: usize) -> Records {
        Records { ends: Vec::with_capacity(records), data: Vec::with_capacity(bytes) }
    }
    /// One record.
    pub fn of(meta: Meta, value: &[u8]) -> Records {
        let mut records = Records::default();
        records.push(meta, value);
        records
    }
    /// Adds a record.
    pub fn push(&mut self, meta: Meta, value: &[u8]) {
        let mut head = [0; META];
        head[..8].copy_from_slice(&meta.time_ms.to_le_bytes());
        head[8..16].copy_from_slice(&meta.cause.offset.to_le_bytes());
        head[16..20].copy_from_slice(&meta.cause.kind.to_le_bytes());
        head[20..].copy_from_slice(&meta.cause.partition.to_le_bytes());
        self.data.extend_from_slice(&head);
        self.data.extend_from_slice(value);
        self.ends.push(self.data.len() as u32);
    }
    /// Adds another's records.
    pub fn append(&mut self, other: Records) {
        if self.ends.is_empty() {
            *self = other;
            return;
        }
        let shift = self.data.len() as u32;
        self.data.extend_from_slice(&other.data);
        self.ends.extend(other.ends.iter().map(|e| e + shift));
    }
    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = (Meta, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| unpack(&self.data[from as usize..*to as usize]))
    }
    /// Number of records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }
    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
    /// Size in memory.
    pub fn bytes(&self) -> usize {
        self.data.len() + 4 * self.ends.len()
    }
    /// Records `[from, to)` as a stored block: count, ends, data, all little endian.
    pub fn block(&self, from: usize, to: usize) -> Vec<u8> {
        let start = if from == 0 { 0 } else { self.ends[from - 1] };
        let mut bytes = Vec::with_capacity(4 + 4 * (to - from) + (self.ends[to - 1] - start) as usize);
        bytes.extend(((to - from) as u32).to_le_bytes());
        self.ends[from..to].iter().for_each(|e| bytes.extend((e - start).to_le_bytes()));
        bytes.extend(&self.data[start as usize..self.ends[to - 1] as usize]);
        bytes
    }
}

/// Meta and value of one record's bytes, which hold at least a meta.
fn unpack(record: &[u8]) -> (Meta, &[u8]) {
    let u64_at = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap_or_default());
    let meta = Meta {
        time_ms: u64_at(0) as i64,
        cause: Cause {
            offset: u64_at(8),
            kind: u32::from_le_bytes(record[16..20].try_into().unwrap_or_default()),
            partition: u16::from_le_bytes(record[20..22].try_into().unwrap_or_default()),
        },
    };
    (meta, &record[META..])
}

/// A block as it is stored and read.
#[derive(Debug)]
pub struct Block {
    /// Offset of the first record.
    pub base: u64,
    bytes: Vec<u8>,
}
impl Block {
    /// Checks the frame: `None` when the bytes are no block.
    pub fn new(base: u64, bytes: Vec<u8>) -> Option<Block> {
        let block = Block { base, bytes };
        let n = block.word(0)?;
        let head = 4 * (n + 1);
        let mut before = 0;
        for i in 1..=n {
            let end = block.word(i)?;
            if end < before + META || head + end > block.bytes.len() {
                return None;
            }
            before = end;
        }
        (n > 0).then_some(block)
    }
    fn word(&self, i: usize) -> Option<usize> {
        let bytes = self.bytes.get(4 * i..4 * i + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    }
    /// Offset behind the last record.
    pub fn end(&self) -> u64 {
        self.base + self.word(0).unwrap_or(0) as u64
    }
    /// As it is stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// The record at `offset`, which must lie in the block.
    pub fn record(&self, offset: u64) -> (Meta, &[u8]) {
        let (n, i) = (self.word(0).unwrap_or(0), (offset - self.base) as usize);
        let head = 4 * (n + 1);
        let start = if i == 0 { 0 } else { self.word(i).unwrap_or(0) };
        let record = &self.bytes[head + start..head + self.word(i + 1).unwrap_or(0)];
        unpack(record)
    }
}

/// Why a request is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The partition did not end where the request expected.
    #[error("the partition does not end at the expected offset")]
    Unexpected,
    /// The queue in front of the log is full, or the disk is.
    #[error("the log cannot take more at the moment: {0}")]
    Unavailable(String),
    /// The records behind this offset are trimmed; the first that is there.
    #[error("records before {0} are trimmed")]
    Trimmed(u64),
    /// What is stored cannot be read.
    #[error("damaged: {0}")]
    Damaged(String),
}

/// Who appends outputs: a worker's place in [`Request::outputs`].
pub type Acker = usize;
/// What is called when a request is durable (first offset of each part), or refused.
pub type Ack = Box<dyn FnOnce(Result<Vec<u64>, LogError>) + Send>;

/// Records for several partitions, appended together.
#[derive(Default)]
pub struct Request {
    /// Records by partition.
    pub parts: Vec<(Partition, Records)>,
    /// Refuse unless this partition ends exactly here. On a broker the refusal may come after the append.
    pub expect: Option<(Partition, u64)>,
    /// These are the outputs of the acker for all epochs up to this one: not synced for themselves.
    pub outputs: Option<(Acker, u64)>,
    /// W3C `traceparent` of who sent inputs: stands beside them, and beside what follows from them, where a log has a place for it.
    pub trace: Option<Arc<str>>,
    /// Told the outcome, on the writer's thread: must be quick.
    pub ack: Option<Ack>,
}

/// Adds records of its own to every transaction of the writer: the sequencer. Runs on the writer's thread.
pub trait Hook: Send {
    /// The transaction about to be written holds the outputs of `acker` up to `epoch`.
    fn outputs(&mut self, acker: Acker, epoch: u64);
    /// Entries for `pulse.epochs`, given the ends that the transaction reaches.
    fn cut(&mut self, ends: &dyn Fn(Partition) -> u64) -> Vec<Vec<u8>>;
    /// The transaction is committed.
    fn committed(&mut self);
    /// There is input that waits for outputs.
    fn waiting(&self) -> bool;
}

/// Counters of a log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions, or acknowledged requests.
    pub commits: u64,
    /// Of them those that promise durability by themselves.
    pub syncs: u64,
    /// Requests refused before they were written.
    pub refused: u64,
    /// Troubles that were tried again: brokers that did not answer, a full disk.
    pub retried: u64,
    /// Bytes that wait to be written now.
    pub waiting_bytes: u64,
    /// Pages in the write-ahead file now; 0 where there is none.
    pub wal_pages: u64,
}

/// A durable log of topics with partitions. See the module for its promises.
pub trait EventLog: Send + Sync {
    /// Partitions of a topic.
    fn partitions(&self, topic: Topic) -> u16;
    /// The generation: the offset of the fence that this opening appended to `pulse.epochs`; 0 for one opened to read.
    fn generation(&self) -> u64;
    /// Appends; returns at once. Outputs are never refused for a full queue, inputs are ([`LogError::Unavailable`]).
    fn append(&self, request: Request);
    /// First offset that is still there.
    fn start(&self, partition: Partition) -> u64;
    /// Offset behind the last committed record.
    fn end(&self, partition: Partition) -> u64;
    /// A reader of its own: one for each thread.
    fn reader(&self) -> Box<dyn LogReader>;
    /// First offset whose time is at or after `time_ms` (the end when there is none).
    fn offset_for_time(&self, partition: Partition, time_ms: i64) -> Result<u64, LogError>;
    /// Calls `wake` after each commit that touched one of the topics, on the writer's thread: must be quick.
    fn subscribe(&self, topics: &[Topic], wake: Box<dyn Fn() + Send + Sync>);
    /// Forgets records before `offset`, in small steps. Never called with more than the slowest reader has read.
    fn trim(&self, partition: Partition, offset: u64) -> Result<(), LogError>;
    /// Makes everything committed so far durable, outputs too.
    fn sync(&self) -> Result<(), LogError>;
    /// Installs the sequencer.
    fn install(&self, hook: Box<dyn Hook>);
    /// Of `events.raw` only these partitions are followed in this process; where the others end is heard from elsewhere. To be
    /// called before [`EventLog::install`]. Logs in one process follow everything.
    fn follow_only(&self, _partitions: &[u16]) {}
    /// Lets the writer look at the hook again though nothing was appended.
    fn nudge(&self);
    /// Takes nothing more and finishes what waits. Must not be called from an acknowledgement.
    fn close(&self) {}
    /// Are records that are gone passed over? Else a reader is told [`LogError::Trimmed`].
    fn skips_gaps(&self) -> bool {
        false
    }
    /// Records of each input partition that no epoch names yet; empty where nobody counts them.
    fn lags(&self) -> Vec<(Partition, u64)> {
        Vec::new()
    }
    /// What it has counted.
    fn counters(&self) -> Counters {
        Counters::default()
    }
    /// Appends and waits until it is durable; the first offset of each part.
    fn append_wait(&self, mut request: Request) -> Result<Vec<u64>, LogError> {
        let (tx, rx) = std::sync::mpsc::channel();
        request.ack = Some(Box::new(move |outcome| {
            let _ = tx.send(outcome); // the caller waits below, so it is there
        }));
        self.append(request);
        rx.recv().unwrap_or_else(|_| Err(LogError::Unavailable("the log is closed".into())))
    }
}

/// Reads blocks.
pub trait LogReader: Send {
    /// The block that holds `offset`; `None` when it is not written yet.
    fn block(&mut self, partition: Partition, offset: u64) -> Result<Option<Arc<Block>>, LogError>;
    /// Calls `f(offset, meta, value)` for the records `[from, to)` as far as they are there; where it stopped.
    fn each(
        &mut self,
        partition: Partition,
        mut from: u64,
        to: u64,
        f: &mut dyn FnMut(u64, Meta, &[u8]),
    ) -> Result<u64, LogError> {
        while from < to {
            let Some(block) = self.block(partition, from)? else { break };
            let end = block.end().min(to);
            for offset in from..end {
                let (meta, value) = block.record(offset);
                if meta.cause.kind != HOLE {
                    f(offset, meta, value);
                }
            }
            from = end;
        }
        Ok(from)
    }
}
