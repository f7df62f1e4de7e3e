//! What a rule looks at, and how it says what it found.

use crate::record::{Answer, Answers, Arena, Direction, EntityKind, Event, Reason, RuleHit};
use pulse_models::features::Row;

/// One event with everything that is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The event.
    pub event: &'a Event,
    /// Its texts and items.
    pub arena: &'a Arena,
    /// What its entities knew before it.
    pub answers: &'a Answers,
    /// Its features.
    pub row: &'a Row,
    /// The shop's currency.
    pub currency: &'a str,
}

impl<'a> Case<'a> {
    /// What an entity knew; `None` when the event names none of that kind.
    pub fn answer(&self, kind: EntityKind) -> Option<&'a Answer> {
        self.answers.single.get(kind as usize).and_then(Option::as_ref)
    }
}

/// What a rule found: the numbers of its reason.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// -log10 of a p-value.
    pub surprise: f64,
    /// Which way.
    pub direction: Direction,
    /// What was seen.
    pub value: f64,
    /// What is usual.
    pub expected: [f64; 2],
    /// Whom it is about.
    pub entity: Option<EntityKind>,
}

impl Found {
    /// A count above its threshold: usual is anything below.
    pub fn count(value: f64, threshold: f64, at: f64, entity: EntityKind) -> Found {
        Found {
            surprise: super::estimate::excess(value, threshold, at),
            direction: Direction::High,
            value,
            expected: [0.0, threshold - 1.0],
            entity: Some(entity),
        }
    }
    /// The hit of the rule of that name. Its reason stands for the whole of the rule; who combines several reasons
    /// rescales `contribution`.
    pub fn hit(self, rule: &str, text: String) -> RuleHit {
        let reason = Reason {
            code: rule.to_owned(),
            text,
            direction: self.direction,
            value: self.value,
            expected: self.expected,
            contribution: 1.0,
        };
        RuleHit { rule: rule.to_owned(), surprise: self.surprise, reason, entity: self.entity }
    }
}

/// The noun for a kind of entity in sentences.
pub fn noun(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::Customer => "customer",
        EntityKind::Session => "session",
        EntityKind::Device => "device",
        EntityKind::Card => "card",
        EntityKind::Ip => "IP address",
        EntityKind::Email => "e-mail address",
        EntityKind::Product => "product",
        EntityKind::Extra => "entity",
        EntityKind::Series => "series",
    }
}
