//! What the operators of one worker share: how far it is, who waits, and the checkpoints that were asked for.
//!
//! One thread only (`Rc`, `Cell`). Deliberately absent: anything between workers; that goes through streams.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use timely::scheduling::Activator;

/// Epochs that a source may be ahead of its worker's last operator. Live, the sequencer bounds them to 8 in flight.
pub const AHEAD: u64 = 64;
/// Records in them, beyond which no further epoch is opened: many small epochs go through together, large ones need not.
pub const RECORDS_AHEAD: usize = 32 * 1024;
/// Records of a container: large enough that the cost of a message is spread, small enough for the cache.
pub const CONTAINER: usize = 1024;

/// Progress of one worker.
#[derive(Default)]
pub struct Progress {
    finished: Cell<u64>,
    /// The source waits until this epoch is finished.
    resume_at: Cell<Option<u64>>,
    /// Epochs that are open, and how many records they have; the sum of these.
    open: RefCell<VecDeque<(u64, usize)>>,
    records: Cell<usize>,
    source: RefCell<Option<Activator>>,
}

impl Progress {
    /// A worker that starts after epoch `applied`.
    pub fn starting_after(applied: u64) -> Rc<Progress> {
        let progress = Rc::new(Progress::default());
        progress.finished.set(applied);
        progress
    }
    /// The last epoch that has left the worker's last operator.
    pub fn finished(&self) -> u64 {
        self.finished.get()
    }
    /// The last operator is done with an epoch; a source that waits goes on.
    pub fn finish(&self, epoch: u64) {
        self.finished.set(epoch);
        let mut open = self.open.borrow_mut();
        while let Some((_, records)) = open.pop_front_if(|(open, _)| *open <= epoch) {
            self.records.update(|all| all - records);
        }
        let go_on = self.resume_at.get().is_some_and(|at| epoch >= at);
        if go_on {
            self.resume_at.set(None);
        }
        if go_on && let Some(source) = self.source.borrow().as_ref() {
            source.activate();
        }
    }
    /// The source has opened an epoch of so many records.
    pub fn opened(&self, epoch: u64, records: usize) {
        self.open.borrow_mut().push_back((epoch, records));
        self.records.update(|all| all + records);
    }
    /// Must the source wait before it opens another epoch? Once it must, it waits until half of those that are open are
    /// finished: epochs that go through the operators together cost less than one by one.
    pub fn must_wait(&self) -> bool {
        let open = self.open.borrow();
        if self.resume_at.get().is_none() && (open.len() as u64 >= AHEAD || self.records.get() >= RECORDS_AHEAD) {
            self.resume_at.set(open.get(open.len().saturating_sub(1) / 2).map(|(epoch, _)| *epoch));
        }
        self.resume_at.get().is_some()
    }
    /// Who is to be woken.
    pub fn set_source(&self, source: Activator) {
        *self.source.borrow_mut() = Some(source);
    }
}

/// Checkpoints asked for and not yet begun, for one stateful operator: the epoch after which to copy.
pub type Due = Rc<RefCell<VecDeque<u64>>>;

/// Where a source announces checkpoints to the stateful operators of its worker.
#[derive(Clone, Default)]
pub struct Checkpoints {
    operators: Rc<RefCell<Vec<Due>>>,
}
impl Checkpoints {
    /// For one more stateful operator.
    pub fn subscribe(&self) -> Due {
        let due = Due::default();
        self.operators.borrow_mut().push(due.clone());
        due
    }
    /// Copy the state as it is after `epoch`.
    pub fn announce(&self, epoch: u64) {
        self.operators.borrow().iter().for_each(|due| due.borrow_mut().push_back(epoch));
    }
}

/// Keeps the state of an operator in checkpoints.
pub trait Snapshot {
    /// The state as it is now is the checkpoint's: mark it.
    fn begin(&mut self);
    /// Copies a part of what is marked; true when nothing is left.
    fn copy_some(&mut self) -> bool;
}
