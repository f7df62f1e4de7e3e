//! Records as they come from a broker become blocks: dense from one offset on, bounded in records and bytes. Offsets that a
//! broker leaves out (marks of transactions) become holes.

use super::record;
use super::state::Place;
use crate::log::batch::{BLOCK_BYTES, BLOCK_RECORDS};
use pulse_dataflows::ports::{Block, Cause, HOLE, Meta, Records};
use rdkafka::message::{BorrowedMessage, Message};
use std::sync::Arc;

/// What a record takes in a block beside its value.
const BESIDE: usize = 32;

/// What stands at an offset without a record.
const EMPTY: Meta = Meta { time_ms: 0, cause: Cause { partition: 0, offset: 0, kind: HOLE } };

/// Gathers the records of one partition.
#[derive(Default)]
pub(super) struct Gather {
    base: u64,
    records: Records,
    sealed: Vec<Arc<Block>>,
}

impl Gather {
    /// Beginning at this offset.
    pub fn at(base: u64) -> Gather {
        Gather { base, ..Gather::default() }
    }
    /// The offset that comes next.
    pub fn next(&self) -> u64 {
        self.base + self.records.len() as u64
    }
    /// Takes a record; one that came before is left out.
    pub fn take(&mut self, place: &Place, message: &BorrowedMessage) {
        let meta = record::meta(place.partition.topic, message);
        self.take_at(place.ours(message.offset()), meta, message.payload().unwrap_or_default());
    }
    /// The same, for what was taken from a message.
    pub fn take_at(&mut self, offset: u64, meta: Meta, value: &[u8]) {
        if offset < self.next() {
            return;
        }
        self.skip_to(offset);
        self.push(meta, value);
    }
    /// There is nothing up to here.
    pub fn skip_to(&mut self, offset: u64) {
        while self.next() < offset {
            self.push(EMPTY, b"");
        }
    }
    fn push(&mut self, meta: Meta, value: &[u8]) {
        if self.records.len() >= BLOCK_RECORDS || self.records.bytes() + value.len() + BESIDE > BLOCK_BYTES {
            self.seal();
        }
        self.records.push(meta, value);
    }
    fn seal(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.records);
        let block = Block::new(self.base, records.block(0, records.len()));
        self.base += records.len() as u64;
        self.sealed.extend(block.map(Arc::new)); // records always make a block
    }
    /// The blocks so far, without a gap.
    pub fn finish(&mut self) -> Vec<Arc<Block>> {
        self.seal();
        std::mem::take(&mut self.sealed)
    }
    /// Bytes that are not yet in a block.
    pub fn open_bytes(&self) -> usize {
        self.records.bytes()
    }
    /// Is a block ready?
    pub fn has_block(&self) -> bool {
        !self.sealed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_stay_dense_over_holes_and_blocks_bounded() {
        let mut gather = Gather::at(5);
        gather.skip_to(7);
        (0..3000).for_each(|_| gather.push(Meta::default(), b"x"));
        gather.push(Meta::default(), &vec![0; BLOCK_BYTES]);
        gather.push(Meta::default(), b"y");
        let blocks = gather.finish();
        assert_eq!(blocks.iter().map(|b| b.base).collect::<Vec<_>>(), [5, 1029, 2053, 3007, 3008]);
        assert!(blocks.windows(2).all(|pair| pair[0].end() == pair[1].base));
        assert_eq!(blocks[0].record(6).0.cause.kind, HOLE);
        assert_eq!(blocks[0].record(7).0.cause.kind, 0);
        assert_eq!(gather.next(), 3009);
    }
}
