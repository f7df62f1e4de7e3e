//! A worker's events of one epoch, from the source to the log. Text stays here; only ids and numbers travel.
//!
//! Each step fills its part: the source the events, removal of duplicates `duplicate`, entities `answers`, scoring `scores`,
//! deciding the outputs. Deliberately absent: what the steps do.

use crate::context::Context;
use crate::record::{Answer, Arena, Event, EventType, Reason, Reject, RuleHit};
use crate::series::Compared;
use pulse_models::features::Row;
use std::sync::Arc;

/// An event that is not taken up, with what is kept of it.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Input partition.
    pub partition: u16,
    /// Offset in it.
    pub offset: u64,
    /// When it was received, ms since the epoch.
    pub received_ms: i64,
    /// Why.
    pub reject: Reject,
    /// Hash of the whole input.
    pub payload_hash: u64,
    /// The beginning of the input.
    pub payload: String,
}

/// The score of one event.
#[derive(Clone, Debug)]
pub struct Score {
    /// -log10 of the calibrated p-value of all parts together.
    pub surprise: f64,
    /// The model's part, -log10 p; `None` where it had no say.
    pub base: Option<f64>,
    /// The rules' part, -log10 p; `None` where none fired.
    pub rules: Option<f64>,
    /// Rules that fired.
    pub hits: Vec<RuleHit>,
    /// Why, strongest first; empty for what is ordinary.
    pub reasons: Vec<Reason>,
    /// The features the model saw.
    pub row: Row,
    /// A `metric.sample` against the past of its series.
    pub past: Option<Compared>,
    /// The part that decided.
    pub channel: Channel,
    /// A kind of entity of this event has less than a week of history here.
    pub cold_start: bool,
}

/// Which part of the score a decision rests on (contract 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The ensemble.
    Model,
    /// Rules and guards.
    Rules,
    /// The detector of a `metric.sample`'s series.
    Series,
}
impl Channel {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Model => "model",
            Channel::Rules => "rules",
            Channel::Series => "series",
        }
    }
}

/// Events of one worker and epoch.
pub struct Batch {
    /// Number of the epoch.
    pub epoch: u64,
    /// Wall clock of its entry, ms since the epoch.
    pub clock_ms: i64,
    /// The worker it stays on.
    pub home: u16,
    /// Settings, rules, tables and model in force in this epoch.
    pub context: Arc<Context>,
    /// The context may be another than before.
    pub switched: bool,
    /// Text and items of the events.
    pub arena: Arena,
    /// In the order of (partition, offset).
    pub events: Vec<Event>,
    /// By event: where its JSON ends in `native_text`, one behind the other; empty unless `events.enriched` is written.
    pub native: Vec<usize>,
    /// The events as they came, end to end.
    pub native_text: Vec<u8>,
    /// What could not be decoded.
    pub rejected: Vec<Rejected>,
    /// Event time of this worker's partitions after the epoch: partition, ms.
    pub times: Vec<(u16, i64)>,
    /// Verdicts of the epoch, on one worker: event ([`crate::confirmed::event_key`]), and whether it is confirmed trouble.
    pub verdicts: Vec<(u64, bool)>,
    /// Entities to be forgotten before the events, on one worker: [`crate::record::EntityKind`] as a number, and key.
    pub forget: Vec<(u8, u64)>,
    /// By event: it came before.
    pub duplicate: Vec<bool>,
    /// By event: its first place in `answers`; one more at the end.
    pub places: Vec<u32>,
    /// Answers of all entities of all events.
    pub answers: Vec<Answer>,
    /// Answers that are still missing.
    pub missing: usize,
    /// By event; `None` for those that are not scored.
    pub scores: Vec<Option<Score>>,
}

impl Batch {
    /// An empty batch of an epoch.
    pub fn new(epoch: u64, clock_ms: i64, home: u16, context: Arc<Context>) -> Batch {
        Batch {
            epoch,
            clock_ms,
            home,
            context,
            switched: false,
            arena: Arena::default(),
            events: Vec::new(),
            native: Vec::new(),
            native_text: Vec::new(),
            rejected: Vec::new(),
            times: Vec::new(),
            verdicts: Vec::new(),
            forget: Vec::new(),
            duplicate: Vec::new(),
            places: Vec::new(),
            answers: Vec::new(),
            missing: 0,
            scores: Vec::new(),
        }
    }
    /// The event in a slot as it came, if that is kept.
    pub fn native(&self, slot: usize) -> Option<&[u8]> {
        let start = slot.checked_sub(1).map_or(Some(0), |before| self.native.get(before).copied())?;
        self.native_text.get(start..*self.native.get(slot)?)
    }
    /// Every event but duplicates and heartbeats is scored.
    pub fn is_scored(&self, slot: usize) -> bool {
        !self.duplicate.get(slot).copied().unwrap_or(false)
            && self.events.get(slot).is_some_and(|e| e.event_type != EventType::Heartbeat)
    }
}
