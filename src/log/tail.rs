//! The newest blocks of a partition in memory, for readers that keep up. Bounded by bytes: the oldest go first.

use pulse_dataflows::ports::Block;
use std::collections::VecDeque;
use std::sync::Arc;

/// Blocks without a gap, the last one being the partition's last.
#[derive(Default)]
pub(crate) struct Tail {
    bytes: usize,
    blocks: VecDeque<Arc<Block>>,
}
impl Tail {
    /// Adds the newest block; lets the oldest go while there are more than `bytes_max`. The newest always stays.
    pub fn push(&mut self, block: Arc<Block>, bytes_max: usize) {
        self.bytes += block.bytes().len();
        self.blocks.push_back(block);
        while self.bytes > bytes_max && self.blocks.len() > 1 {
            self.drop_first();
        }
    }
    /// The block that holds `offset`, if it is here.
    pub fn find(&self, offset: u64) -> Option<Arc<Block>> {
        let at = self.blocks.partition_point(|block| block.base <= offset).checked_sub(1)?;
        self.blocks.get(at).filter(|block| offset < block.end()).cloned()
    }
    /// Lets go what ends at or before `start`.
    pub fn trim(&mut self, start: u64) {
        while self.blocks.front().is_some_and(|block| block.end() <= start) {
            self.drop_first();
        }
    }
    fn drop_first(&mut self) {
        self.bytes -= self.blocks.pop_front().map_or(0, |block| block.bytes().len());
    }
}
