//! Keyed state in a fixed number of key-groups: eviction by group, and copies for checkpoints that never stop the operator
//! for long.
//!
//! Everything here is by group and in the order of application, so another number of workers keeps and evicts the same keys.
//! `begin` only marks groups. A marked group is copied when it is touched first, the others a few at a time. A section holds
//! the keys changed since the last checkpoint; every [`ROTATE`]-th time, in turn, the whole group, so that the last
//! [`ROTATE`] checkpoints hold everything.
//! Deliberately absent: encoding (a section is a copy; another thread turns it into bytes).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Key-groups, for ever: `key % KEY_GROUPS`.
pub const KEY_GROUPS: usize = 1024;
/// A whole group is written every so many checkpoints.
pub const ROTATE: u64 = 16;
/// How often an active key at the front of the queue is spared before one is evicted all the same.
const SECOND_CHANCES: usize = 8;

/// The group of a key.
pub fn group_of(key: u64) -> usize {
    (key % KEY_GROUPS as u64) as usize
}

/// The worker that owns a group: ranges, so that neighbours stay together.
pub fn owner_of(key: u64, peers: usize) -> u64 {
    (group_of(key) * peers / KEY_GROUPS) as u64
}

/// Keys are hashes already; but inside a group the low ten bits are all the same, so those must not choose the bucket.
#[derive(Default)]
pub struct Rotated(u64);
impl Hasher for Rotated {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }
    fn write_u64(&mut self, x: u64) {
        self.0 = x.rotate_right(20);
    }
}

/// What may be kept by key.
pub trait Keep: Clone {
    /// Whether it is still in use at `now_ms`, so that another should be evicted in its place.
    fn active(&self, now_ms: i64) -> bool;
}

/// A copy of a group: keys in the order of birth; `None` says that the key is gone.
#[derive(Clone, Debug)]
pub struct Section<S> {
    /// Key-group.
    pub group: u16,
    /// The whole group, or only what changed.
    pub full: bool,
    /// Key, birth number, state.
    pub rows: Vec<(u64, u64, Option<S>)>,
}

struct Slot<S> {
    state: S,
    born: u64,
    dirty: bool,
}

struct Group<S> {
    /// Boxed: half of a table's places are empty, and those of a small one cost little.
    slots: HashMap<u64, Box<Slot<S>>, BuildHasherDefault<Rotated>>,
    /// Keys by birth, for the eviction.
    queue: VecDeque<u64>,
    births: u64,
    dirty: Vec<u64>,
    marked: bool,
    full: bool,
    /// The first-born has not expired before this; a hint, found anew after a restart.
    fresh_until: i64,
}
impl<S> Default for Group<S> {
    fn default() -> Self {
        Group {
            slots: HashMap::default(),
            queue: VecDeque::new(),
            births: 0,
            dirty: Vec::new(),
            marked: false,
            full: false,
            fresh_until: i64::MIN,
        }
    }
}

impl<S: Keep> Group<S> {
    fn copy(&mut self, group: usize) -> Section<S> {
        self.marked = false;
        let mut rows = Vec::with_capacity(if self.full { self.queue.len() } else { self.dirty.len() });
        let row = |key: u64, slot: Option<&Slot<S>>| (key, slot.map_or(0, |s| s.born), slot.map(|s| s.state.clone()));
        if self.full {
            rows.extend(self.queue.iter().map(|key| row(*key, self.slots.get(key).map(Box::as_ref))));
        }
        for key in self.dirty.drain(..) {
            let slot = self.slots.get_mut(&key);
            if !self.full {
                rows.push(row(key, slot.as_deref().map(Box::as_ref)));
            }
            if let Some(slot) = slot {
                slot.dirty = false;
            }
        }
        Section { group: group as u16, full: self.full, rows }
    }

    fn forget(&mut self, key: u64) {
        if self.slots.remove(&key).is_some_and(|slot| !slot.dirty) {
            self.dirty.push(key);
        }
    }

    /// Makes room: the first-born goes, but one still in use goes to the back of the queue instead, a few times.
    fn evict(&mut self, now_ms: i64) {
        for chance in 0..=SECOND_CHANCES {
            let Some(key) = self.queue.pop_front() else { return };
            let spare = chance < SECOND_CHANCES && self.slots.get(&key).is_some_and(|s| s.state.active(now_ms));
            if !spare {
                return self.forget(key);
            }
            self.births += 1;
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.born = self.births;
                if !std::mem::replace(&mut slot.dirty, true) {
                    self.dirty.push(key);
                }
            }
            self.queue.push_back(key);
        }
    }
}

/// State of type `S` by 64-bit key.
pub struct KeyGroups<S> {
    groups: Vec<Group<S>>,
    cap: usize,
    next: usize,
    copied: Vec<Section<S>>,
    evicted: u64,
    len: usize,
}

impl<S: Keep> KeyGroups<S> {
    /// `cap`: keys kept in a group.
    pub fn new(cap: usize) -> Self {
        KeyGroups {
            groups: (0..KEY_GROUPS).map(|_| Group::default()).collect(),
            cap,
            next: KEY_GROUPS,
            copied: Vec::new(),
            evicted: 0,
            len: 0,
        }
    }

    /// Puts back a group as it was copied: key, birth number, state.
    pub fn load(&mut self, group: usize, mut rows: Vec<(u64, u64, S)>) {
        rows.sort_unstable_by_key(|row| row.1);
        let Some(g) = self.groups.get_mut(group) else { return };
        self.len += rows.len();
        g.births = rows.last().map_or(0, |row| row.1);
        g.queue = rows.iter().map(|row| row.0).collect();
        g.slots =
            rows.into_iter().map(|(key, born, state)| (key, Box::new(Slot { state, born, dirty: false }))).collect();
    }

    /// The state of `key` for reading and writing, made by `new` when there is none. `now_ms` decides who is active.
    pub fn touch(&mut self, key: u64, now_ms: i64, new: impl FnOnce() -> S) -> &mut S {
        let at = group_of(key);
        let g = &mut self.groups[at];
        if g.marked {
            self.copied.push(g.copy(at));
        }
        // only a full group pays for a second look
        if g.queue.len() >= self.cap && !g.slots.contains_key(&key) {
            g.evict(now_ms);
            self.evicted += 1;
            self.len -= 1;
        }
        let slot = match g.slots.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                self.len += 1;
                g.births += 1;
                g.queue.push_back(key);
                place.insert(Box::new(Slot { state: new(), born: g.births, dirty: false }))
            }
        };
        if !std::mem::replace(&mut slot.dirty, true) {
            g.dirty.push(key);
        }
        &mut slot.state
    }

    /// Forgets the first-born of the key's group as long as they are from before `since_ms`; `time_of` says when one is from,
    /// and may only grow.
    pub fn expire(&mut self, key: u64, since_ms: i64, time_of: impl Fn(&S) -> i64) {
        let at = group_of(key);
        let g = &mut self.groups[at];
        // the first-born's slot is seldom in the cache: not looked at while it cannot have expired
        while let Some(front) = g.queue.front().copied().filter(|_| g.fresh_until < since_ms) {
            if let Some(time_ms) = g.slots.get(&front).map(|slot| time_of(&slot.state)).filter(|t| *t >= since_ms) {
                g.fresh_until = time_ms;
                return;
            }
            if g.marked {
                self.copied.push(g.copy(at));
            }
            g.queue.pop_front();
            g.forget(front);
            self.len -= 1;
        }
    }

    /// The state as it is now becomes checkpoint `number`.
    pub fn begin(&mut self, number: u64) {
        self.copy(KEY_GROUPS);
        for (i, g) in self.groups.iter_mut().enumerate() {
            g.full = i as u64 % ROTATE == number % ROTATE && !g.queue.is_empty();
            g.marked = g.full || !g.dirty.is_empty();
        }
        self.next = 0;
    }

    /// A copy is under way.
    pub fn copying(&self) -> bool {
        self.next < KEY_GROUPS
    }

    /// Copies up to `n` marked groups; true when none is left.
    pub fn copy(&mut self, mut n: usize) -> bool {
        while self.next < KEY_GROUPS && n > 0 {
            let g = &mut self.groups[self.next];
            if g.marked {
                self.copied.push(g.copy(self.next));
                n -= 1;
            }
            self.next += 1;
        }
        self.next == KEY_GROUPS
    }

    /// What was copied since the last call.
    pub fn take_copied(&mut self) -> Vec<Section<S>> {
        std::mem::take(&mut self.copied)
    }

    /// Keys kept now.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keys evicted because their group was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq)]
    struct Count(u32, i64);
    impl Keep for Count {
        fn active(&self, now_ms: i64) -> bool {
            now_ms - self.1 < 10
        }
    }

    fn apply(groups: &mut KeyGroups<Count>, key: u64, now: i64) -> u32 {
        let state = groups.touch(key, now, || Count(0, now));
        state.0 += 1;
        state.1 = now;
        state.0
    }

    /// Newest section first, a full one ends the search: what a restart does.
    fn rebuild(history: &[Vec<Section<Count>>]) -> Vec<Vec<(u64, u64, Count)>> {
        let mut known: Vec<BTreeMap<u64, Option<(u64, Count)>>> = vec![BTreeMap::new(); KEY_GROUPS];
        let mut whole = vec![false; KEY_GROUPS];
        for sections in history.iter().rev().take(ROTATE as usize) {
            let mut full = vec![];
            for s in sections.iter().filter(|s| !whole[s.group as usize]) {
                for (key, born, state) in &s.rows {
                    known[s.group as usize].entry(*key).or_insert(state.clone().map(|state| (*born, state)));
                }
                full.extend(s.full.then_some(s.group as usize));
            }
            full.into_iter().for_each(|g| whole[g] = true);
        }
        known.into_iter().map(|g| g.into_iter().filter_map(|(k, v)| v.map(|(b, s)| (k, b, s))).collect()).collect()
    }

    proptest! {
        /// After any history of touches and checkpoints, what the sections hold answers exactly as the original does.
        #[test]
        fn restored_state_answers_like_the_original(
            steps in proptest::collection::vec((0u64..60, 0u32..8), 1..600),
            cap in 1usize..6,
        ) {
            let mut groups = KeyGroups::new(cap);
            let mut history: Vec<Vec<Section<Count>>> = vec![];
            // three groups only, so that eviction happens
            let key = |k: u64| (k / 3) * KEY_GROUPS as u64 * 7 + k % 3;
            let mut now = 0;
            for (k, checkpoint) in &steps {
                now += 1;
                apply(&mut groups, key(*k), now);
                if *checkpoint == 0 {
                    groups.begin(history.len() as u64);
                    // the copy overlaps with further touches, as it does live; they must not show in it
                    apply(&mut groups, key(*k), now);
                    groups.copy(KEY_GROUPS);
                    history.push(groups.take_copied());
                    // undo is impossible, so compare against a twin that stops at the same place below
                }
            }
            groups.begin(history.len() as u64);
            groups.copy(KEY_GROUPS);
            history.push(groups.take_copied());
            let mut twin = KeyGroups::new(cap);
            for (g, rows) in rebuild(&history).into_iter().enumerate() {
                twin.load(g, rows);
            }
            prop_assert_eq!(twin.len(), groups.len());
            for k in 0..60 {
                now += 1;
                prop_assert_eq!(apply(&mut twin, key(k), now), apply(&mut groups, key(k), now));
            }
        }
    }

    #[test]
    fn a_key_in_use_outlives_an_idle_one() {
        let mut groups = KeyGroups::new(2);
        let key = |i: u64| i * KEY_GROUPS as u64;
        apply(&mut groups, key(1), 0);
        apply(&mut groups, key(2), 0);
        apply(&mut groups, key(1), 100);
        apply(&mut groups, key(3), 101);
        assert_eq!(groups.evicted(), 1);
        assert_eq!(apply(&mut groups, key(1), 102), 3, "1 was in use and stayed");
        assert_eq!(apply(&mut groups, key(2), 103), 1, "2 was idle and is forgotten");
    }
}
