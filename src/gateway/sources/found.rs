//! What a translator finds in a body: the native events, without `source` and `time`, which are known only when the whole
//! body is read, and what stood there, for people who look at what was refused.
//!
//! Deliberately absent: judging events. They go through the same check as native ones.

use super::Way;
use super::native::Native;
use pulse_operators::record::Reject;
use std::borrow::Cow;

/// Clocks that differ by less are taken to agree: what lies between is the network and queues, not the clock.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// Events of one body.
#[derive(Default)]
pub struct Found<'a> {
    /// The key that the body carries.
    pub key: Option<Cow<'a, str>>,
    /// Whose it is, where several share a route.
    pub way: Option<Way>,
    /// When the sender's clock says that it was sent, ms since the epoch.
    pub sent_ms: Option<i64>,
    /// Native events one behind the other, each without its head.
    tails: Vec<u8>,
    items: Vec<Item<'a>>,
}

/// One thing in a body.
pub struct Item<'a> {
    /// As it stood there.
    pub theirs: &'a str,
    /// What it is.
    pub what: What<'a>,
}

/// What a thing in a body is.
pub enum What<'a> {
    /// An event.
    Event(Event<'a>),
    /// A verdict, as it stands in the topic of verdicts.
    Verdict(Vec<u8>),
    /// Something that should have been an event.
    Refused(Reject),
    /// Nothing for us, and why.
    Ignored(&'static str, String),
}

/// An event whose tail is in [`Found`].
pub struct Event<'a> {
    tail: (usize, usize),
    /// By the sender's clock.
    pub time_ms: Option<i64>,
    /// The producer, where the body names one.
    pub source: Option<Cow<'a, str>>,
    /// Where a sender in a browser says nothing of them: the address and the program that it is.
    pub lacks: Lacks,
}

/// Members that only the request itself can give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// `ip`
    pub ip: bool,
    /// `user_agent`
    pub user_agent: bool,
}

impl Lacks {
    /// Both.
    pub const ALL: Lacks = Lacks { ip: true, user_agent: true };
}

impl<'a> Found<'a> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The items in order.
    pub fn items(&self) -> &[Item<'a>] {
        &self.items
    }
    /// Nothing yet, for another try.
    pub fn clear(&mut self) {
        *self = Found::default();
    }
    /// Starts an event.
    pub fn begin(&mut self) -> Native<'_> {
        Native::new(&mut self.tails)
    }
    /// Where the event that is written next begins.
    pub fn mark(&self) -> usize {
        self.tails.len()
    }
    /// The event written since `mark` is complete.
    pub fn event(
        &mut self,
        theirs: &'a str,
        mark: usize,
        time_ms: Option<i64>,
        source: Option<Cow<'a, str>>,
        lacks: Lacks,
    ) {
        let event = Event { tail: (mark, self.tails.len()), time_ms, source, lacks };
        self.items.push(Item { theirs, what: What::Event(event) });
    }
    /// A verdict.
    pub fn verdict(&mut self, theirs: &'a str, record: Vec<u8>) {
        self.items.push(Item { theirs, what: What::Verdict(record) });
    }
    /// Something that should have been an event.
    pub fn refused(&mut self, theirs: &'a str, reject: Reject) {
        self.items.push(Item { theirs, what: What::Refused(reject) });
    }
    /// The same; what was written since `mark` is taken back.
    pub fn refuse_from(&mut self, mark: usize, theirs: &'a str, reject: Reject) {
        self.tails.truncate(mark);
        self.refused(theirs, reject);
    }
    /// Nothing for us.
    pub fn ignored(&mut self, theirs: &'a str, code: &'static str, why: impl Into<String>) {
        self.items.push(Item { theirs, what: What::Ignored(code, why.into()) });
    }
    /// What follows the head of an event.
    pub fn tail(&self, event: &Event) -> &[u8] {
        self.tails.get(event.tail.0..event.tail.1).unwrap_or_default()
    }
    /// The time of an event by our clock: the sender's, corrected by as much as its clock was wrong when it sent.
    pub fn time(&self, event: &Event, received_ms: i64) -> Option<i64> {
        let wrong_by = self.sent_ms.map_or(0, |sent| received_ms.saturating_sub(sent));
        let correction = if wrong_by.abs() > CLOCK_TOLERANCE_MS { wrong_by } else { 0 };
        event.time_ms.map(|time| time.saturating_add(correction))
    }
}
