//! What the operators of one worker share: how far it is, who waits, and the checkpoints that were asked for.
//!
//! One thread only (`Rc`, `Cell`). Deliberately absent: anything between workers; that goes through streams.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use timely::scheduling::Activator;

/// Epochs that a source may be ahead of its worker's last operator. Live, the sequencer bounds them to 8 in flight.
pub const AHEAD: u64 = 16;
/// Records of a container: large enough that the cost of a message is spread, small enough for the cache.
pub const CONTAINER: usize = 1024;

/// Progress of one worker.
#[derive(Default)]
pub struct Progress {
    finished: Cell<u64>,
    /// The source waits until this epoch is finished.
    resume_at: Cell<Option<u64>>,
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
        let go_on = self.resume_at.get().is_some_and(|at| epoch >= at);
        if go_on {
            self.resume_at.set(None);
        }
        if go_on && let Some(source) = self.source.borrow().as_ref() {
            source.activate();
        }
    }
    /// Must the source wait before it opens `epoch`? Once it must, it waits until half of [`AHEAD`] is finished: epochs that
    /// go through the operators together cost less than one by one.
    pub fn must_wait(&self, epoch: u64) -> bool {
        if self.resume_at.get().is_none() && epoch > self.finished.get() + AHEAD {
            self.resume_at.set(Some(epoch - AHEAD / 2));
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
