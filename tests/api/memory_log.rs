//! A log in memory that keeps the promises of the port: dense offsets, whole requests, wake-ups after the commit.

use pulse_dataflows::ports::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

type Parts = BTreeMap<Partition, (u64, Vec<Arc<Block>>)>;
type Wakers = Vec<(Vec<Topic>, Box<dyn Fn() + Send + Sync>)>;

#[derive(Default)]
pub struct MemoryLog {
    parts: Arc<Mutex<Parts>>,
    wakers: Mutex<Wakers>,
}

impl MemoryLog {
    pub fn new() -> Arc<MemoryLog> {
        Arc::new(MemoryLog::default())
    }
    /// Appends one record; its offset.
    pub fn put(&self, topic: Topic, meta: Meta, value: impl AsRef<[u8]>) -> u64 {
        let parts = vec![(partition(topic, 0), Records::of(meta, value.as_ref()))];
        self.append_wait(Request { parts, ..Request::default() }).unwrap()[0]
    }
    /// All records of a topic.
    pub fn all(&self, topic: Topic) -> Vec<Vec<u8>> {
        let mut values = vec![];
        let mut push = |_, _, value: &[u8]| values.push(value.to_vec());
        self.reader().each(partition(topic, 0), 0, u64::MAX, &mut push).unwrap();
        values
    }
}

impl EventLog for MemoryLog {
    fn partitions(&self, _: Topic) -> u16 {
        1
    }
    fn generation(&self) -> u64 {
        0
    }
    fn append(&self, request: Request) {
        let mut bases = vec![];
        let topics: Vec<Topic> = request.parts.iter().map(|(p, _)| p.topic).collect();
        for (p, records) in request.parts {
            let mut parts = self.parts.lock().unwrap();
            let (_, blocks) = parts.entry(p).or_default();
            let base = blocks.last().map_or(0, |block| block.end());
            bases.push(base);
            if !records.is_empty() {
                blocks.push(Arc::new(Block::new(base, records.block(0, records.len())).unwrap()));
            }
        }
        for (of, wake) in self.wakers.lock().unwrap().iter() {
            if of.iter().any(|topic| topics.contains(topic)) {
                wake();
            }
        }
        if let Some(ack) = request.ack {
            ack(Ok(bases));
        }
    }
    fn start(&self, partition: Partition) -> u64 {
        self.parts.lock().unwrap().get(&partition).map_or(0, |(start, _)| *start)
    }
    fn end(&self, partition: Partition) -> u64 {
        let parts = self.parts.lock().unwrap();
        parts.get(&partition).and_then(|(_, blocks)| blocks.last()).map_or(0, |block| block.end())
    }
    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(Reader(self.parts.clone()))
    }
    fn offset_for_time(&self, partition: Partition, _: i64) -> Result<u64, LogError> {
        Ok(self.start(partition))
    }
    fn subscribe(&self, topics: &[Topic], wake: Box<dyn Fn() + Send + Sync>) {
        self.wakers.lock().unwrap().push((topics.to_vec(), wake));
    }
    fn trim(&self, partition: Partition, offset: u64) -> Result<(), LogError> {
        self.parts.lock().unwrap().entry(partition).or_default().0 = offset;
        Ok(())
    }
    fn sync(&self) -> Result<(), LogError> {
        Ok(())
    }
    fn install(&self, _: Box<dyn Hook>) {}
    fn nudge(&self) {}
}

struct Reader(Arc<Mutex<Parts>>);
impl LogReader for Reader {
    fn block(&mut self, partition: Partition, offset: u64) -> Result<Option<Arc<Block>>, LogError> {
        let parts = self.0.lock().unwrap();
        let Some((start, blocks)) = parts.get(&partition) else { return Ok(None) };
        if offset < *start {
            return Err(LogError::Trimmed(*start));
        }
        Ok(blocks.iter().find(|block| block.base <= offset && offset < block.end()).cloned())
    }
}
