//! Keyed state in a fixed number of key-groups: eviction by group, and copies for checkpoints that never stop the operator
//! for long.
//!
//! Everything here is by group and in the order of application, so another number of workers keeps and evicts the same keys.
//! `begin` only marks groups. A marked group is copied when it is touched first, the others a few at a time. A section holds
//! the keys changed since the last checkpoint; every [`ROTATE`]-th time, in turn, the whole group, so that the last
//! [`ROTATE`] checkpoints hold everything. Before the first checkpoint nothing is listed, and that one is whole.
//! Deliberately absent: encoding (a section is a copy; another thread turns it into bytes).

use hashbrown::HashTable;
use std::collections::VecDeque;

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
fn bucket_hash(key: u64) -> u64 {
    key.rotate_right(20)
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
    key: u64,
    state: S,
    /// Number of the birth in its group, of which four thousand million are more than will be.
    born: u32,
    /// Listed in [`Group::dirty`], which it stays when another key takes the slot.
    dirty: bool,
    /// Holds a key: one that is free keeps its last state until it is taken again.
    used: bool,
}

/// Slots of one allocation: none is ever moved, and few are empty.
const CHUNK: usize = 16;

/// A group's slots by number.
struct Slots<S> {
    chunks: Vec<Vec<Slot<S>>>,
    len: u32,
    free: Vec<u32>,
}
impl<S> Slots<S> {
    fn get(&self, at: u32) -> Option<&Slot<S>> {
        self.chunks.get(at as usize / CHUNK)?.get(at as usize % CHUNK)
    }
    fn get_mut(&mut self, at: u32) -> Option<&mut Slot<S>> {
        self.chunks.get_mut(at as usize / CHUNK)?.get_mut(at as usize % CHUNK)
    }
    fn has(&self, at: u32, key: u64) -> bool {
        self.get(at).is_some_and(|slot| slot.key == key)
    }
    fn hash(&self, at: u32) -> u64 {
        self.get(at).map_or(0, |slot| bucket_hash(slot.key))
    }
    /// Where the new state is.
    fn put(&mut self, key: u64, born: u32, state: S) -> u32 {
        if let Some(at) = self.free.pop() {
            if let Some(slot) = self.get_mut(at) {
                (slot.key, slot.state, slot.born, slot.used) = (key, state, born, true);
            }
            return at;
        }
        let at = self.len;
        // a small group's only chunk grows with it
        let first = self.chunks.is_empty();
        if at as usize == CHUNK * self.chunks.len() {
            self.chunks.push(if first { Vec::new() } else { Vec::with_capacity(CHUNK) });
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Slot { key, state, born, dirty: false, used: true });
        }
        self.len += 1;
        at
    }
}

struct Group<S> {
    /// Numbers of slots by key.
    table: HashTable<u32>,
    slots: Slots<S>,
    /// Slots by birth, for the eviction.
    queue: VecDeque<u32>,
    births: u32,
    /// Slots changed since the last checkpoint.
    dirty: Vec<u32>,
    /// Keys forgotten since the last checkpoint.
    gone: Vec<u64>,
    /// A checkpoint holds this group: from then on what changes is listed. Before, the whole group is what changed.
    kept: bool,
    marked: bool,
    full: bool,
    /// The first-born has not expired before this; a hint, found anew after a restart.
    fresh_until: i64,
}
impl<S> Default for Group<S> {
    fn default() -> Self {
        Group {
            table: HashTable::new(),
            slots: Slots { chunks: Vec::new(), len: 0, free: Vec::new() },
            queue: VecDeque::new(),
            births: 0,
            dirty: Vec::new(),
            gone: Vec::new(),
            kept: false,
            marked: false,
            full: false,
            fresh_until: i64::MIN,
        }
    }
}

impl<S: Keep> Group<S> {
    fn copy(&mut self, group: usize) -> Section<S> {
        self.marked = false;
        let from = if self.full { &*self.queue.make_contiguous() } else { &self.dirty[..] };
        let row = |slot: &Slot<S>| slot.used.then(|| (slot.key, u64::from(slot.born), Some(slot.state.clone())));
        let mut rows = Vec::with_capacity(from.len() + self.gone.len());
        rows.extend(from.iter().filter_map(|at| row(self.slots.get(*at)?)));
        for key in self.gone.drain(..) {
            // one that came back is among the others
            let back = self.table.find(bucket_hash(key), |at| self.slots.has(*at, key)).is_some();
            if !(self.full || back) {
                rows.push((key, 0, None));
            }
        }
        for at in self.dirty.drain(..) {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.dirty = false;
            }
        }
        Section { group: group as u16, full: self.full, rows }
    }

    fn find(&self, key: u64) -> Option<u32> {
        self.table.find(bucket_hash(key), |at| self.slots.has(*at, key)).copied()
    }

    fn add(&mut self, key: u64, born: u32, state: S) -> u32 {
        let at = self.slots.put(key, born, state);
        self.queue.push_back(at);
        let slots = &self.slots;
        self.table.insert_unique(bucket_hash(key), at, |at| slots.hash(*at));
        at
    }

    /// The slot changes.
    fn change(&mut self, at: u32) {
        if let (true, Some(slot)) = (self.kept, self.slots.get_mut(at))
            && !std::mem::replace(&mut slot.dirty, true)
        {
            self.dirty.push(at);
        }
    }

    /// The slot, which is out of the queue already, becomes free.
    fn forget(&mut self, at: u32) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.used = false;
        let key = slot.key;
        if self.kept {
            self.gone.push(key);
        }
        if let Ok(known) = self.table.find_entry(bucket_hash(key), |other| *other == at) {
            known.remove();
        }
        self.slots.free.push(at);
    }

    /// Makes room: the first-born goes, but one still in use goes to the back of the queue instead, a few times.
    fn evict(&mut self, now_ms: i64) {
        for chance in 0..=SECOND_CHANCES {
            let Some(at) = self.queue.pop_front() else { return };
            let Some(slot) = self.slots.get_mut(at) else { return };
            if chance == SECOND_CHANCES || !slot.state.active(now_ms) {
                return self.forget(at);
            }
            self.births = self.births.saturating_add(1);
            slot.born = self.births;
            self.change(at);
            self.queue.push_back(at);
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
        *g = Group { births: rows.last().map_or(0, |row| row.1 as u32), kept: true, ..Group::default() };
        for (key, born, state) in rows {
            g.add(key, born as u32, state);
        }
    }

    /// Looks at the state of `key` and at what it points to, if there is any. Where several are looked at before the first is
    /// touched, their memory is fetched at once.
    pub fn look(&self, key: u64, into: impl Fn(&S) -> u32) -> u32 {
        let Some(g) = self.groups.get(group_of(key)) else { return 0 };
        g.find(key).and_then(|at| g.slots.get(at)).map_or(0, |slot| into(&slot.state))
    }

    /// The same for the first-born of the key's group, which may be about to expire.
    pub fn look_at_first(&self, key: u64) -> u32 {
        let first = |g: &Group<S>| Some(g.slots.get(*g.queue.front()?)?.born);
        self.groups.get(group_of(key)).and_then(first).unwrap_or(0)
    }

    /// The state of `key` for reading and writing, made by `new` when there is none. `now_ms` decides who is active.
    pub fn touch(&mut self, key: u64, now_ms: i64, new: impl FnOnce() -> S) -> &mut S {
        let group = group_of(key);
        let g = &mut self.groups[group];
        if g.marked {
            self.copied.push(g.copy(group));
        }
        let at = match g.find(key) {
            Some(at) => at,
            None => {
                if g.queue.len() >= self.cap {
                    g.evict(now_ms);
                    self.evicted += 1;
                    self.len -= 1;
                }
                self.len += 1;
                g.births = g.births.saturating_add(1);
                g.add(key, g.births, new())
            }
        };
        g.change(at);
        &mut g.slots.chunks[at as usize / CHUNK][at as usize % CHUNK].state
    }

    /// Forgets a key at once; was it there?
    pub fn remove(&mut self, key: u64) -> bool {
        let group = group_of(key);
        let g = &mut self.groups[group];
        let Some(at) = g.find(key) else { return false };
        if g.marked {
            self.copied.push(g.copy(group));
        }
        g.queue.retain(|other| *other != at);
        g.forget(at);
        self.len -= 1;
        true
    }

    /// Forgets the first-born of the key's group as long as they are from before `since_ms`; `time_of` says when one is from,
    /// and may only grow.
    pub fn expire(&mut self, key: u64, since_ms: i64, time_of: impl Fn(&S) -> i64) {
        let group = group_of(key);
        let g = &mut self.groups[group];
        // the first-born's slot is seldom in the cache: not looked at while it cannot have expired
        while let Some(front) = g.queue.front().copied().filter(|_| g.fresh_until < since_ms) {
            if let Some(time_ms) = g.slots.get(front).map(|slot| time_of(&slot.state)).filter(|t| *t >= since_ms) {
                g.fresh_until = time_ms;
                return;
            }
            if g.marked {
                self.copied.push(g.copy(group));
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
            let turn = i as u64 % ROTATE == number % ROTATE;
            g.full = !g.queue.is_empty() && (turn || !g.kept);
            g.marked = g.full || !g.dirty.is_empty() || !g.gone.is_empty();
            g.kept = true;
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
    use std::collections::{BTreeMap, BTreeSet};

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
                if *checkpoint == 1 {
                    groups.remove(key(*k));
                }
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
    fn what_is_forgotten_is_gone_from_the_next_checkpoint_and_may_come_back() {
        let (mut groups, mut history) = (KeyGroups::new(10), vec![]);
        let key = |i: u64| i * KEY_GROUPS as u64;
        let mut checkpoint = |groups: &mut KeyGroups<Count>| {
            groups.begin(1 + history.len() as u64);
            groups.copy(KEY_GROUPS);
            history.push(groups.take_copied());
            let mut keys: Vec<u64> = rebuild(&history)[0].iter().map(|row| row.0 / KEY_GROUPS as u64).collect();
            keys.sort_unstable();
            keys
        };
        apply(&mut groups, key(1), 0);
        apply(&mut groups, key(2), 5);
        assert_eq!(checkpoint(&mut groups), [1, 2], "the first is whole though nothing was listed before");
        groups.expire(key(2), 3, |count| count.1);
        apply(&mut groups, key(3), 6);
        assert_eq!((groups.len(), checkpoint(&mut groups)), (2, vec![2, 3]), "3 has taken the place of 1");
        groups.expire(key(2), 6, |count| count.1);
        apply(&mut groups, key(2), 7);
        assert_eq!(apply(&mut groups, key(1), 8), 1, "it begins anew");
        assert_eq!(checkpoint(&mut groups), [1, 2, 3]);
    }

    #[test]
    fn a_key_that_is_removed_is_gone_from_the_next_checkpoint_and_begins_anew() {
        let mut groups = KeyGroups::new(3);
        let (key, mut history) = (|i: u64| i * KEY_GROUPS as u64, vec![]);
        let mut checkpoint = |groups: &mut KeyGroups<Count>| {
            groups.begin(history.len() as u64 + 1);
            groups.copy(KEY_GROUPS);
            history.push(groups.take_copied());
            let keys: BTreeSet<u64> = rebuild(&history)[0].iter().map(|row| row.0 / KEY_GROUPS as u64).collect();
            keys.into_iter().collect::<Vec<_>>()
        };
        (1..=3).for_each(|i| _ = apply(&mut groups, key(i), 5));
        assert_eq!(checkpoint(&mut groups), [1, 2, 3]);
        assert!(groups.remove(key(2)) && !groups.remove(key(2)) && !groups.remove(key(9)));
        assert_eq!((groups.len(), groups.evicted()), (2, 0));
        assert_eq!(checkpoint(&mut groups), [1, 3]);
        groups.begin(ROTATE);
        assert!(groups.remove(key(3)), "while it is marked: the copy comes first");
        assert_eq!(groups.take_copied().iter().filter(|s| s.group == 0).count(), 1);
        assert_eq!(apply(&mut groups, key(2), 8), 1, "it begins anew");
        assert_eq!(apply(&mut groups, key(4), 8), 1);
        assert_eq!((groups.len(), groups.evicted()), (3, 0), "there was room");
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
