//! What waits for the writer: requests (bounded by bytes), trims, nudges.
//!
//! Inputs beyond the bound are refused at once, so that a caller can say "later" and not hang. Outputs never are: the
//! sequencer bounds them by the number of epochs in flight, and refusing them would stop what makes room.

use super::super::locked;
use pulse_dataflows::ports::{Ack, LogError, Request};
use std::collections::VecDeque;
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of requests in one transaction: a larger one would keep those behind it waiting, and would not fit the reserve.
const TRANSACTION_BYTES: usize = 12 << 20;

/// One small step of a trim.
pub(crate) struct TrimStep {
    pub place: usize,
    pub offset: u64,
    /// Told whether there is more to do.
    pub done: Sender<Result<bool, LogError>>,
}

/// What the writer does next.
pub(crate) enum Work {
    /// A transaction (maybe of nothing but what the hook adds), and a step of a trim.
    Do(Vec<Request>, Option<TrimStep>),
    /// Nothing came in the time given.
    Idle,
    /// Closed, and nothing is left.
    Closed,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    bytes: usize,
    trims: VecDeque<TrimStep>,
    nudged: bool,
    closed: Option<String>,
    refusing: Option<String>,
}
impl State {
    fn idle(&mut self) -> bool {
        self.requests.is_empty() && self.trims.is_empty() && !self.nudged && self.closed.is_none()
    }
}

pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    /// The hook waits for outputs: even an empty acknowledgement must wake the writer.
    stalled: AtomicBool,
    bytes_max: usize,
}
impl Queue {
    pub fn new(bytes_max: usize) -> Queue {
        Queue { state: Mutex::default(), filled: Condvar::new(), stalled: AtomicBool::new(false), bytes_max }
    }
    /// Adds a request, or gives back its acknowledgement with the reason why not.
    pub fn push(&self, request: Request) -> Result<(), (Option<Ack>, LogError)> {
        let bytes = size(&request);
        // An empty acknowledgement that nobody waits for wakes nobody.
        let wake = !request.parts.is_empty() || request.ack.is_some() || self.stalled.load(SeqCst);
        let mut state = locked(&self.state);
        let refusal = if state.closed.is_some() {
            state.closed.clone()
        } else if request.outputs.is_some() {
            None
        } else if state.refusing.is_some() {
            state.refusing.clone()
        } else {
            // A request larger than the bound is taken when it is alone: else it never could be.
            (state.bytes > 0 && state.bytes + bytes > self.bytes_max).then(|| "its queue is full".into())
        };
        if let Some(why) = refusal {
            return Err((request.ack, LogError::Unavailable(why)));
        }
        state.bytes += bytes;
        state.requests.push_back(request);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }
    /// Forgets records in small steps, between which the writer does other work. Waits until it is done.
    pub fn trim(&self, place: usize, offset: u64) -> Result<(), LogError> {
        loop {
            let (done, outcome) = channel();
            let mut state = locked(&self.state);
            if let Some(why) = &state.closed {
                return Err(LogError::Unavailable(why.clone()));
            }
            state.trims.push_back(TrimStep { place, offset, done });
            drop(state);
            self.filled.notify_one();
            let closed = || Err(LogError::Unavailable("the log is closed".into()));
            if !outcome.recv().unwrap_or_else(|_| closed())? {
                return Ok(());
            }
        }
    }
    pub fn nudge(&self) {
        locked(&self.state).nudged = true;
        self.filled.notify_one();
    }
    /// Waits for work; not longer than `patience` if there is one.
    pub fn take(&self, patience: Option<Duration>) -> Work {
        let mut state = self.wait(patience, State::idle);
        if state.idle() {
            return Work::Idle;
        }
        if state.closed.is_some() && state.requests.is_empty() {
            return Work::Closed;
        }
        let (mut requests, mut bytes) = (Vec::with_capacity(state.requests.len()), 0);
        while bytes < TRANSACTION_BYTES
            && let Some(request) = state.requests.pop_front()
        {
            bytes += size(&request);
            requests.push(request);
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        state.nudged = false;
        Work::Do(requests, state.trims.pop_front())
    }
    /// Waits a while, unless the log is closed: then false.
    pub fn pause(&self, time: Duration) -> bool {
        self.wait(Some(time), |state| state.closed.is_none()).closed.is_none()
    }
    fn wait(&self, patience: Option<Duration>, mut still: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        let state = locked(&self.state);
        match patience {
            None => self.filled.wait_while(state, still).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.filled.wait_timeout_while(state, time, &mut still);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
    /// From now on empty acknowledgements wake the writer, or not.
    pub fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, SeqCst);
    }
    /// From now on input is refused with this reason, or taken again.
    pub fn refuse(&self, why: Option<String>) {
        locked(&self.state).refusing = why;
    }
    pub fn refusing(&self) -> Option<String> {
        locked(&self.state).refusing.clone()
    }
    pub fn bytes(&self) -> usize {
        locked(&self.state).bytes
    }
    /// Takes nothing more; what waits is still done.
    pub fn close(&self, why: &str) {
        locked(&self.state).closed.get_or_insert_with(|| why.into());
        self.filled.notify_all();
    }
    /// Drops what waits after the writer has ended: who waits for an answer learns that there is none.
    pub fn clear(&self) {
        let mut state = locked(&self.state);
        let dropped = (take(&mut state.requests), take(&mut state.trims));
        drop(state);
        for ack in dropped.0.into_iter().filter_map(|request| request.ack) {
            ack(Err(LogError::Unavailable("the log is closed".into())));
        }
    }
}

fn size(request: &Request) -> usize {
    request.parts.iter().map(|(_, records)| records.bytes()).sum()
}
