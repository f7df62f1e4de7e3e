//! State of an account, in key-groups: what its events of the last ten minutes sum up to.
//!
//! Deliberately absent: features that need no history; the input makes those.

use pulse_operators::flow::Snapshot;
use pulse_operators::gather::Homed;
use pulse_operators::keyed::{Keyed, Stateful};
use pulse_operators::state::groups::{Keep, KeyGroups};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const SHORT_MS: i64 = 60_000;
const LONG_MS: i64 = 600_000;
const MAX_GAP_MS: i64 = 3_600_000;
/// Accounts kept in a key-group: ten times what the job has, so that none is ever evicted.
const ACCOUNTS_PER_GROUP: usize = 1024;

/// An event on its way to its account.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Touch {
    /// A hash that no other account has.
    pub key: u64,
    /// Event time, ms.
    pub ts: i64,
    /// Cents.
    pub amount: i64,
    /// Place in its block.
    pub slot: u32,
    /// Country of the address.
    pub country: u16,
    /// The worker that waits for the answer.
    pub home: u16,
}
impl Keyed for Touch {
    fn key(&self) -> u64 {
        self.key
    }
    fn order(&self) -> u64 {
        self.ts as u64
    }
}

/// What the account knew.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Sum of the last ten minutes, this event included, cents.
    pub s600: i64,
    /// Events of the last minute, this one included.
    pub c60: u32,
    /// Deviations from the last ten minutes.
    pub z: f32,
    /// Time since the event before, ms.
    pub gap: f32,
    /// Place in its block.
    pub slot: u32,
    /// The worker that waits.
    pub home: u16,
    /// Another country than before.
    pub new_country: bool,
}
impl Homed for Answer {
    fn home(&self) -> u64 {
        u64::from(self.home)
    }
}

/// One account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Time and amount of the events of the last ten minutes.
    recent: VecDeque<(i64, i64)>,
    /// The first of them that is in the last minute.
    short: usize,
    sum: i64,
    squares: i64,
    /// Time and country of the last event.
    last: Option<(i64, u16)>,
}
impl Keep for Account {
    fn active(&self, _now_ms: i64) -> bool {
        true // the bound is never reached
    }
}

impl Account {
    fn step(&mut self, t: &Touch) -> Answer {
        while let Some((_, amount)) = self.recent.pop_front_if(|(ts, _)| *ts < t.ts - LONG_MS) {
            self.sum -= amount;
            self.squares -= amount * amount;
            self.short = self.short.saturating_sub(1);
        }
        while self.recent.get(self.short).is_some_and(|(ts, _)| *ts < t.ts - SHORT_MS) {
            self.short += 1;
        }
        let n = self.recent.len() as i64;
        let spread = n * self.squares - self.sum * self.sum;
        let z = if n >= 3 && spread > 0 {
            ((n * t.amount - self.sum) as f64 / (spread as f64).sqrt()).clamp(-10.0, 10.0)
        } else {
            0.0
        };
        let (gap, new_country) =
            self.last.map_or((MAX_GAP_MS, false), |(ts, country)| ((t.ts - ts).min(MAX_GAP_MS), country != t.country));
        self.recent.push_back((t.ts, t.amount));
        self.sum += t.amount;
        self.squares += t.amount * t.amount;
        self.last = Some((t.ts, t.country));
        let c60 = (self.recent.len() - self.short) as u32;
        Answer { s600: self.sum, c60, z: z as f32, gap: gap as f32, slot: t.slot, home: t.home, new_country }
    }
}

/// The accounts of a worker.
pub struct Accounts(KeyGroups<Account>);
impl Default for Accounts {
    fn default() -> Self {
        Accounts(KeyGroups::new(ACCOUNTS_PER_GROUP))
    }
}
impl Snapshot for Accounts {
    fn begin(&mut self) {}
    fn copy_some(&mut self) -> bool {
        true
    }
}
impl Stateful<Touch, Answer> for Accounts {
    fn apply(&mut self, touch: &Touch) -> Answer {
        self.0.touch(touch.key, touch.ts, Account::default).step(touch)
    }
}
