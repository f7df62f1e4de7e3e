//! The dataflow `retrain`: which events of the history a new model learns from, kept up to date as labels arrive, change and are
//! withdrawn weeks later, and as history grows old.
//!
//! On timely and differential dataflow: everything is a collection, what changes is an update, and a round costs what has
//! changed. Left out are events that somebody confirmed to be trouble or said to be expected (contract 2), events that were
//! decided to be anomalies while nobody cleared them, and everything within a confirmed incident or labelled window. Keys only: numbers of
//! an event stay with who asks.
//! Deliberately absent: rows, sampling, fitting, and when a round is due (the root's `retrain`).

use differential_dataflow::VecCollection;
use differential_dataflow::input::{Input, InputSession};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::thread::Thread;
use timely::dataflow::ProbeHandle;
use timely::worker::Worker;

/// Labelled stretches of time are left out in cells of this length, ms.
pub const CELL_MS: i64 = 600_000;
/// Cells of one stretch at most: 30 days.
pub const MAX_CELLS: i64 = 4_320;
/// Stretches at most; those that come later are counted and say nothing.
pub const MAX_SPANS: usize = 1_000;
/// Labels at most; those that come later are counted and say nothing.
pub const MAX_LABELS: usize = 200_000;

/// What somebody said (contract 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Trouble.
    TruePositive,
    /// None.
    FalsePositive,
    /// Unusual but fine.
    Expected,
    /// Of something judged already.
    Duplicate,
    /// Undoes the earlier one of the same author.
    Withdrawn,
}

/// An event of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Example {
    /// Its key: `operators::confirmed::event_key`.
    pub key: u64,
    /// Event time, ms since the epoch.
    pub time_ms: i64,
    /// Was it decided to be an anomaly?
    pub anomaly: bool,
}

/// What a label is about: an event, or a stretch of time that has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum About {
    /// An event's key.
    Event(u64),
    /// An incident's key; its time comes by [`Retrain::span`].
    Span(u64),
}

/// By whom, when (its offset), what: the last of an author counts.
type Said = (u64, u64, Verdict);
/// Number of a round.
type Round = u64;
/// Keys that came and went since the last round, of confirmed trouble (`true`) and of what is learnt from.
type Changes = Rc<RefCell<Vec<((u64, bool), isize)>>>;

/// A running dataflow `retrain`, on the thread that made it.
pub struct Retrain {
    worker: Worker,
    examples: InputSession<Round, (u64, (i64, bool)), isize>,
    labels: InputSession<Round, (About, Said), isize>,
    spans: InputSession<Round, (u64, (i64, i64)), isize>,
    probe: ProbeHandle<Round>,
    changes: Changes,
    chosen: BTreeSet<u64>,
    confirmed: BTreeSet<u64>,
    round: Round,
    counted: (usize, usize),
    left_out: u64,
}

/// What the verdicts in force on one thing add up to.
fn judged(said: &[(&Said, isize)]) -> Option<Verdict> {
    // sorted by author, then offset: the last of each author is in force
    let last = said.chunk_by(|a, b| a.0.0 == b.0.0).filter_map(|of_author| of_author.last());
    let in_force: Vec<Verdict> = last.map(|(said, _)| said.2).collect();
    let strongest = [Verdict::TruePositive, Verdict::Expected, Verdict::FalsePositive];
    strongest.into_iter().find(|verdict| in_force.contains(verdict))
}

/// Keys to learn from (with `false`), and those of confirmed trouble (with `true`).
fn choose<'scope>(
    examples: VecCollection<'scope, Round, (u64, (i64, bool)), isize>,
    labels: VecCollection<'scope, Round, (About, Said), isize>,
    spans: VecCollection<'scope, Round, (u64, (i64, i64)), isize>,
) -> VecCollection<'scope, Round, (u64, bool), isize> {
    let in_force = labels.reduce(|_, said, output| output.extend(judged(said).map(|verdict| (verdict, 1))));
    let of_event = in_force.clone().flat_map(|(about, verdict)| match about {
        About::Event(key) => Some((key, verdict)),
        About::Span(_) => None,
    });
    let trouble = of_event.clone().filter(|(_, verdict)| *verdict == Verdict::TruePositive).map(|(key, _)| key);
    let cleared = of_event.clone().filter(|(_, verdict)| *verdict == Verdict::FalsePositive).map(|(key, _)| key);
    let left_out = of_event.filter(|(_, verdict)| *verdict != Verdict::FalsePositive).map(|(key, _)| key);
    let confirmed_spans = in_force.flat_map(|(about, verdict)| match about {
        About::Span(key) if verdict != Verdict::FalsePositive => Some(key),
        _ => None,
    });
    let cells = spans.semijoin(confirmed_spans).flat_map(|(_, (from, to))| from..=to).distinct();

    let ordinary = examples.clone().filter(|(_, (_, anomaly))| !*anomaly);
    let unusual = examples.clone().filter(|(_, (_, anomaly))| *anomaly).semijoin(cleared);
    let open = ordinary.concat(unusual).antijoin(left_out);
    let chosen = open.map(|(key, (time_ms, _))| (time_ms.div_euclid(CELL_MS), key)).antijoin(cells);
    let confirmed = examples.semijoin(trouble);
    chosen.map(|(_, key)| (key, false)).concat(confirmed.map(|(key, _)| (key, true)))
}

impl Retrain {
    /// Without any history.
    pub fn new() -> Retrain {
        let mut worker = Worker::new(WorkerConfig::default(), Allocator::Thread(Thread::default()), None);
        let (probe, changes) = (ProbeHandle::new(), Changes::default());
        let (seen, noted) = (probe.clone(), changes.clone());
        let (examples, labels, spans) = worker.dataflow::<Round, _, _>(|scope| {
            let (examples_in, examples) = scope.new_collection();
            let (labels_in, labels) = scope.new_collection();
            let (spans_in, spans) = scope.new_collection();
            let chosen = choose(examples, labels, spans).consolidate();
            chosen.inspect(move |(key, _, diff)| noted.borrow_mut().push((*key, *diff))).probe_with(&seen);
            (examples_in, labels_in, spans_in)
        });
        Retrain {
            worker,
            examples,
            labels,
            spans,
            probe,
            changes,
            chosen: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            round: 0,
            counted: (0, 0),
            left_out: 0,
        }
    }

    /// An event of the history; each once.
    pub fn insert(&mut self, example: Example) {
        self.examples.insert((example.key, (example.time_ms, example.anomaly)));
    }
    /// An event that is history no longer, as it was inserted.
    pub fn remove(&mut self, example: Example) {
        self.examples.remove((example.key, (example.time_ms, example.anomaly)));
    }
    /// A label; `offset`: its place among all labels.
    pub fn label(&mut self, about: About, author: u64, offset: u64, verdict: Verdict) {
        if self.counted.0 >= MAX_LABELS {
            self.left_out += 1;
            return;
        }
        self.counted.0 += 1;
        self.labels.insert((about, (author, offset, verdict)));
    }
    /// The time of an incident or window, both ends taken in; cut at [`MAX_CELLS`].
    pub fn span(&mut self, key: u64, from_ms: i64, to_ms: i64) {
        if self.counted.1 >= MAX_SPANS {
            self.left_out += 1;
            return;
        }
        self.counted.1 += 1;
        let (from, to) = (from_ms.div_euclid(CELL_MS), to_ms.div_euclid(CELL_MS));
        self.spans.insert((key, (from, to.clamp(from, from + MAX_CELLS - 1))));
    }
    /// Labels and stretches that found no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Ends a round: the keys to learn from, by everything that was said so far.
    pub fn close(&mut self) -> &BTreeSet<u64> {
        self.round += 1;
        let round = self.round;
        self.examples.advance_to(round);
        self.labels.advance_to(round);
        self.spans.advance_to(round);
        self.examples.flush();
        self.labels.flush();
        self.spans.flush();
        while self.probe.less_than(&round) {
            self.worker.step();
        }
        let mut changes = self.changes.take();
        changes.sort_unstable_by_key(|(_, diff)| *diff); // what goes before what comes
        for ((key, trouble), diff) in changes {
            let set = if trouble { &mut self.confirmed } else { &mut self.chosen };
            if diff > 0 {
                set.insert(key);
            } else {
                set.remove(&key);
            }
        }
        &self.chosen
    }
    /// Keys of the history that are confirmed to be trouble, as of the last round.
    pub fn confirmed(&self) -> &BTreeSet<u64> {
        &self.confirmed
    }
}

impl Default for Retrain {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn example(key: u64, minute: i64, anomaly: bool) -> Example {
        Example { key, time_ms: minute * 60_000, anomaly }
    }
    fn chosen(retrain: &mut Retrain) -> Vec<u64> {
        retrain.close().iter().copied().collect()
    }

    #[test]
    fn labels_arrive_change_and_are_withdrawn() {
        let mut retrain = Retrain::new();
        (0..4).for_each(|key| retrain.insert(example(key, key as i64, key == 3)));
        assert_eq!(chosen(&mut retrain), [0, 1, 2], "an anomaly that nobody cleared is left out");
        retrain.label(About::Event(1), 7, 0, Verdict::TruePositive);
        retrain.label(About::Event(3), 7, 1, Verdict::FalsePositive);
        assert_eq!(chosen(&mut retrain), [0, 2, 3], "one confirmed, one cleared");
        assert!(retrain.confirmed().iter().eq([&1]));
        retrain.label(About::Event(2), 7, 2, Verdict::Expected);
        retrain.label(About::Event(1), 8, 3, Verdict::FalsePositive);
        assert_eq!(chosen(&mut retrain), [0, 3], "another author clears nothing that one confirmed");
        retrain.label(About::Event(1), 7, 4, Verdict::Withdrawn);
        retrain.label(About::Event(2), 7, 5, Verdict::Withdrawn);
        assert_eq!(chosen(&mut retrain), [0, 1, 2, 3]);
        retrain.remove(example(0, 0, false));
        assert_eq!(chosen(&mut retrain), [1, 2, 3], "too old");
    }

    #[test]
    fn a_confirmed_stretch_is_left_out_whole_and_comes_back() {
        let mut retrain = Retrain::new();
        (0..6).for_each(|key| retrain.insert(example(key, key as i64 * 10, false)));
        retrain.span(9, 10 * 60_000, 29 * 60_000);
        assert_eq!(chosen(&mut retrain).len(), 6, "nobody has confirmed it");
        retrain.label(About::Span(9), 1, 0, Verdict::TruePositive);
        assert_eq!(chosen(&mut retrain), [0, 3, 4, 5]);
        retrain.span(10, 20 * 60_000, 20 * 60_000);
        retrain.label(About::Span(10), 1, 1, Verdict::TruePositive);
        retrain.label(About::Span(9), 1, 2, Verdict::FalsePositive);
        assert_eq!(chosen(&mut retrain), [0, 1, 3, 4, 5], "another one holds a part of it still");
    }

    #[test]
    fn bounds_are_kept_and_counted() {
        let mut retrain = Retrain::new();
        (0..MAX_SPANS as u64 + 2).for_each(|key| retrain.span(key, 0, i64::MAX / 2));
        assert_eq!(retrain.left_out(), 2);
        retrain.insert(example(1, (MAX_CELLS - 1) * 10, false));
        retrain.insert(example(2, MAX_CELLS * 10, false));
        retrain.label(About::Span(0), 1, 0, Verdict::TruePositive);
        assert_eq!(chosen(&mut retrain), [2], "a stretch is cut at its longest");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, bool),
        Remove(u64),
        Label(u64, u64, Verdict),
        Close,
    }
    fn step() -> impl Strategy<Value = Step> {
        let verdict = prop_oneof![
            Just(Verdict::TruePositive),
            Just(Verdict::FalsePositive),
            Just(Verdict::Expected),
            Just(Verdict::Duplicate),
            Just(Verdict::Withdrawn)
        ];
        prop_oneof![
            (0..12u64, any::<bool>()).prop_map(|(key, anomaly)| Step::Insert(key, anomaly)),
            (0..12u64).prop_map(Step::Remove),
            (0..12u64, 0..3u64, verdict).prop_map(|(key, author, verdict)| Step::Label(key, author, verdict)),
            Just(Step::Close),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_round_is_what_a_fresh_look_at_everything_gives(steps in proptest::collection::vec(step(), 1..60)) {
            let mut retrain = Retrain::new();
            let (mut history, mut said) = (BTreeMap::new(), BTreeMap::<(u64, u64), Verdict>::new());
            for (offset, step) in steps.into_iter().chain([Step::Close]).enumerate() {
                match step {
                    Step::Insert(key, anomaly) => {
                        if let std::collections::btree_map::Entry::Vacant(free) = history.entry(key) {
                            free.insert(anomaly);
                            retrain.insert(example(key, key as i64, anomaly));
                        }
                    }
                    Step::Remove(key) => {
                        if let Some(anomaly) = history.remove(&key) {
                            retrain.remove(example(key, key as i64, anomaly));
                        }
                    }
                    Step::Label(key, author, verdict) => {
                        said.insert((key, author), verdict);
                        retrain.label(About::Event(key), author, offset as u64, verdict);
                    }
                    Step::Close => {
                        let says = |key: u64, which: &[Verdict]| said.range((key, 0)..(key + 1, 0)).any(|(_, v)| which.contains(v));
                        let fresh: Vec<u64> = history.iter().filter(|(key, anomaly)| {
                            let out = says(**key, &[Verdict::TruePositive, Verdict::Expected]);
                            !out && (!**anomaly || says(**key, &[Verdict::FalsePositive]))
                        }).map(|(key, _)| *key).collect();
                        prop_assert_eq!(chosen(&mut retrain), fresh);
                    }
                }
            }
        }
    }
}
