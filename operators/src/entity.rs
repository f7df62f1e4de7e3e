//! Entities: every event touches those it names; each answers what it knew before.
//!
//! Deliberately absent: what an entity keeps ([`crate::state::entity`]) and what is unusual about it (rules and model).

use crate::batch::Batch;
use crate::cause::working;
use crate::flow::Snapshot;
use crate::gather::{Homed, Waiting};
use crate::keyed::{Keyed, Stateful};
use crate::record::{Answer, Answers, EntityKind, Event, EventType, pair};
use crate::series::SampleState;
use crate::state::entity::{EntityState, Touch, cap_per_group, flag};
use crate::state::groups::{Keep, KeyGroups, Section};
use pulse_models::features::Group;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

impl Keyed for Touch {
    fn key(&self) -> u64 {
        self.key
    }
    fn order(&self) -> u64 {
        self.order
    }
}

/// An answer on its way home.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Placed {
    place: u32,
    home: u16,
    answer: Answer,
}
impl Homed for Placed {
    fn home(&self) -> u64 {
        u64::from(self.home)
    }
}
impl Waiting<Placed> for Box<Batch> {
    fn epoch(&self) -> u64 {
        self.epoch
    }
    fn missing(&self) -> usize {
        self.missing
    }
    fn take(&mut self, placed: Placed) {
        if let Some(answer) = self.answers.get_mut(placed.place as usize) {
            *answer = placed.answer;
        }
        self.missing -= 1;
    }
}

const SINGLE: [EntityKind; 6] = [
    EntityKind::Customer,
    EntityKind::Session,
    EntityKind::Device,
    EntityKind::Card,
    EntityKind::Ip,
    EntityKind::Email,
];

fn flags(event: &Event, batch: &Batch) -> u8 {
    let status = batch.arena.get(event.payment_status);
    let failed = matches!(event.event_type, EventType::PaymentFailed | EventType::AccountLoginFailed)
        || matches!(status, "failed" | "declined");
    // the same coupon goes along from the basket to the order: the order is the use
    let used = event.coupon.len > 0 && event.event_type == EventType::OrderCompleted;
    let coupon = used || event.event_type == EventType::CouponDenied;
    let refund = event.event_type.group() == Group::Return;
    let set = [(failed, flag::FAILURE), (refund, flag::REFUND), (coupon, flag::COUPON), (event.late, flag::LATE)];
    set.into_iter().fold(0, |flags, (is, flag)| if is { flags | flag } else { flags })
}

/// Country, device, card and customer as short hashes; 0 = none.
fn partners(event: &Event) -> [u32; 4] {
    let short = |kind: EntityKind| match event.keys[kind as usize] {
        0 => 0,
        key => (key as u32).max(1),
    };
    let country = if event.country.known() { u32::from(u16::from_le_bytes(event.country.0)) } else { 0 };
    [country, short(EntityKind::Device), short(EntityKind::Card), short(EntityKind::Customer)]
}

/// The partners that say something about a kind of entity.
fn partners_of(kind: EntityKind, mut all: [u32; 4]) -> [u32; 4] {
    let hidden: &[usize] = match kind {
        EntityKind::Customer => &[pair::CUSTOMER],
        EntityKind::Device => &[pair::DEVICE],
        EntityKind::Card => &[pair::CARD],
        EntityKind::Ip => &[pair::COUNTRY],
        _ => &[0, 1, 2, 3],
    };
    hidden.iter().for_each(|i| all[*i] = 0);
    all
}

/// The touches of a batch: every entity that is to be forgotten, then every entity of every event that is no duplicate and no
/// heartbeat. The order within an event is that in which [`answers_of`] reads.
pub fn touches(batch: &mut Batch, out: &mut Vec<Touch>) {
    let (mut places, work) = (Vec::with_capacity(batch.events.len() + 1), working("Touches"));
    // before all events of the epoch; their answers say nothing, and no event's places reach to them
    for (kind, key) in &batch.forget {
        let place = out.len() as u32;
        out.push(Touch { key: *key, place, home: batch.home, kind: *kind, flags: flag::FORGET, ..Touch::default() });
    }
    for slot in 0..batch.events.len() {
        places.push(out.len() as u32);
        if batch.is_scored(slot) {
            work.at(batch.events[slot].order());
            touches_of(batch, slot, out);
        }
    }
    places.push(out.len() as u32);
    batch.answers = vec![Answer::default(); out.len()];
    batch.missing = out.len();
    batch.places = places;
}

fn touches_of(batch: &Batch, slot: usize, out: &mut Vec<Touch>) {
    let event = &batch.events[slot];
    let all = partners(event);
    let mut touch = |kind: EntityKind, key: u64, amount: f32| {
        out.push(Touch {
            key,
            order: event.order(),
            time_ms: event.time_ms,
            partners: partners_of(kind, all),
            amount,
            place: out.len() as u32,
            home: batch.home,
            kind: kind as u8,
            flags: flags(event, batch),
        });
    };
    if event.event_type == EventType::MetricSample {
        let name = [batch.arena.get(event.metric), batch.arena.get(event.dimensions)].join("\n");
        return touch(
            EntityKind::Series,
            xxh3_64_with_seed(name.as_bytes(), EntityKind::Series as u64),
            event.value as f32,
        );
    }
    // a refund's amount says nothing about what the customer usually spends
    let amount = if event.event_type.group() == Group::Return { f32::NAN } else { event.amount as f32 };
    for kind in SINGLE.into_iter().filter(|k| event.keys[*k as usize] != 0) {
        touch(kind, event.keys[kind as usize], amount);
    }
    event.extra.iter().filter(|key| **key != 0).for_each(|key| touch(EntityKind::Extra, *key, amount));
    for item in batch.arena.items(event).iter().filter(|item| item.product != 0) {
        touch(EntityKind::Product, item.product, item.price as f32);
    }
}

/// Puts the answers of one event into `answers`, which is used again for every event.
pub fn answers_of(batch: &Batch, slot: usize, answers: &mut Answers) {
    answers.single = Default::default();
    answers.extra = Default::default();
    answers.products.clear();
    answers.series = None;
    let range = batch.places[slot] as usize..batch.places[slot + 1] as usize;
    let mut left = batch.answers[range].iter().copied();
    let event = &batch.events[slot];
    if event.event_type == EventType::MetricSample {
        answers.series = left.next();
        return;
    }
    for kind in SINGLE.into_iter().filter(|k| event.keys[*k as usize] != 0) {
        answers.single[kind as usize] = left.next();
    }
    for (place, _) in event.extra.iter().enumerate().filter(|(_, key)| **key != 0) {
        answers.extra[place] = left.next();
    }
    // one for each item that names a product, in the order of the items
    answers.products.extend(left);
}

/// A copied section of one of the tables.
#[derive(Clone, Debug)]
pub enum EntitySection {
    /// Of the entities of a kind.
    Entities(EntityKind, Section<EntityState>),
    /// Of the user's own series.
    Samples(Section<SampleState>),
}

impl Keep for SampleState {
    fn active(&self, _now_ms: i64) -> bool {
        false // the bound is the user's own series; first in, first out
    }
}

/// Kinds with a table of [`EntityState`]s.
pub const TABLES: [EntityKind; 8] = [
    EntityKind::Customer,
    EntityKind::Session,
    EntityKind::Device,
    EntityKind::Card,
    EntityKind::Ip,
    EntityKind::Email,
    EntityKind::Product,
    EntityKind::Extra,
];

/// Kinds of entities in all: those with a table, and the user's own series.
pub const KINDS: usize = TABLES.len() + 1;

/// Is told, for each kind by its number, how many more are kept (or fewer) and how many were evicted.
pub type Sizes = Box<dyn FnMut(usize, i64, u64)>;

/// All entities of a worker, one table a kind, so that short-lived sessions never push out customers.
pub struct Entities {
    tables: Vec<KeyGroups<EntityState>>,
    samples: KeyGroups<SampleState>,
    checkpoints: u64,
    keep: Box<dyn FnMut(Vec<EntitySection>, bool)>,
    sizes: Option<Sizes>,
    /// What `sizes` was told: kept, evicted.
    told: [(usize, u64); KINDS],
}

/// Groups copied each time the operator runs, over all tables.
const COPIES: usize = 16;

impl Entities {
    /// Empty tables; `checkpoints`: how many were made before; `keep` gets copies of sections, and true with the last of a
    /// checkpoint.
    pub fn new(checkpoints: u64, keep: Box<dyn FnMut(Vec<EntitySection>, bool)>) -> Entities {
        Entities {
            tables: TABLES.iter().map(|kind| KeyGroups::new(cap_per_group(*kind))).collect(),
            samples: KeyGroups::new(cap_per_group(EntityKind::Series)),
            checkpoints,
            keep,
            sizes: None,
            told: [(0, 0); KINDS],
        }
    }
    /// From the next epoch on `sizes` is told what changes.
    pub fn telling(mut self, sizes: Sizes) -> Entities {
        self.sizes = Some(sizes);
        self
    }
    /// Puts back a group of a kind.
    pub fn load(&mut self, kind: EntityKind, group: usize, rows: Vec<(u64, u64, EntityState)>) {
        if let Some(table) = self.tables.get_mut(kind as usize) {
            table.load(group, rows);
        }
    }
    /// Puts back a group of the user's own series.
    pub fn load_samples(&mut self, group: usize, rows: Vec<(u64, u64, SampleState)>) {
        self.samples.load(group, rows);
    }
}

impl Snapshot for Entities {
    fn begin(&mut self) {
        self.tables.iter_mut().for_each(|table| table.begin(self.checkpoints));
        self.samples.begin(self.checkpoints);
        self.checkpoints += 1;
    }
    fn copy_some(&mut self) -> bool {
        let next = self.tables.iter_mut().find(|table| table.copying());
        match next {
            Some(table) => table.copy(COPIES),
            None => self.samples.copy(COPIES),
        };
        let mut sections = Vec::new();
        for (kind, table) in TABLES.iter().zip(&mut self.tables) {
            sections.extend(table.take_copied().into_iter().map(|s| EntitySection::Entities(*kind, s)));
        }
        sections.extend(self.samples.take_copied().into_iter().map(EntitySection::Samples));
        let all = !self.samples.copying() && !self.tables.iter().any(KeyGroups::copying);
        (self.keep)(sections, all);
        all
    }
}

impl Stateful<Touch, Placed> for Entities {
    fn look(&self, touch: &Touch) -> u32 {
        self.tables.get(usize::from(touch.kind)).map_or(0, |table| table.look(touch.key, EntityState::look))
    }
    fn apply(&mut self, touch: &Touch) -> Placed {
        let answer = match self.tables.get_mut(usize::from(touch.kind)) {
            Some(table) if touch.flags & flag::FORGET != 0 => {
                table.remove(touch.key);
                Answer::default()
            }
            Some(table) => table.touch(touch.key, touch.time_ms, || EntityState::new(touch.time_ms)).touch(touch),
            None => {
                let series = self.samples.touch(touch.key, touch.time_ms, SampleState::default);
                let past = series.update(f64::from(touch.amount), touch.time_ms);
                Answer { mean: past.off, deviation: past.deviation, ..Answer::default() }
            }
        };
        Placed { place: touch.place, home: touch.home, answer }
    }
    fn closed(&mut self) {
        let Some(sizes) = &mut self.sizes else { return };
        let tables = self.tables.iter().map(|t| (t.len(), t.evicted()));
        let all = tables.chain([(self.samples.len(), self.samples.evicted())]);
        for (kind, (now, told)) in all.zip(&mut self.told).enumerate().filter(|(_, (now, told))| now != *told) {
            sizes(kind, now.0 as i64 - told.0 as i64, now.1 - told.1);
            *told = now;
        }
    }
}
