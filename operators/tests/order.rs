//! Why keyed state takes up closed epochs in order: the same records give the same answers with any number of workers. Applied
//! on arrival, which this file does on purpose, they do not, and the same comparison sees it.

use pulse_operators::flow::{Due, Progress, Snapshot};
use pulse_operators::keyed::{Keyed, Stateful, keyed};
use pulse_operators::source::{Pull, source};
use pulse_operators::split::{Sized1024, split};
use pulse_operators::state::groups::owner_of;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::ExchangeCore;
use timely::dataflow::operators::Inspect;
use timely::dataflow::operators::generic::Operator;
use xxhash_rust::xxh3::xxh3_64;

/// Partitions, each read by one worker.
const PARTITIONS: u64 = 4;
/// Epochs of a run, and records of a partition in each.
const SHAPE: (u64, u64) = (40, 50);
/// Few keys: every one gets records of all partitions in every epoch.
const KEYS: u64 = 7;
/// Runs on arrival before it is believed that the comparison sees nothing.
const TRIES: usize = 20;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Touch {
    key: u64,
    order: u64,
}
impl Keyed for Touch {
    fn key(&self) -> u64 {
        self.key
    }
    fn order(&self) -> u64 {
        self.order
    }
}

/// What a key has seen, in its order: one other order, other bits.
#[derive(Default)]
struct Chains(BTreeMap<u64, u64>);
impl Snapshot for Chains {
    fn begin(&mut self) {}
    fn copy_some(&mut self) -> bool {
        true
    }
}
impl Stateful<Touch, (u64, u64)> for Chains {
    fn apply(&mut self, touch: &Touch) -> (u64, u64) {
        let chain = self.0.entry(touch.key).or_default();
        *chain = xxh3_64(&[chain.to_le_bytes(), touch.order.to_le_bytes()].concat());
        (touch.order, *chain)
    }
}

/// Breaks the rule: every record is applied when it comes.
fn on_arrival<'s>(peers: usize, records: StreamVec<'s, u64, Touch>) -> StreamVec<'s, u64, (u64, u64)> {
    let by_group = ExchangeCore::<Sized1024<Touch>, _>::new_core(move |touch: &Touch| owner_of(touch.key, peers));
    records.unary::<Sized1024<(u64, u64)>, _, _, _>(by_group, "OnArrival", move |_, _| {
        let mut chains = Chains::default();
        move |input, output| {
            input.for_each(|cap, data| {
                output.session_with_builder(&cap).give_iterator(data.drain(..).map(|touch| chains.apply(&touch)));
            });
        }
    })
}

/// Answers by order.
fn run(workers: usize, arrival: bool) -> BTreeMap<u64, u64> {
    let answers = Arc::new(Mutex::new(BTreeMap::new()));
    let all = answers.clone();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let answers = answers.clone();
        worker.dataflow::<u64, _, _>(|scope| {
            let (me, peers) = (scope.index() as u64, scope.peers());
            let mine = move |epoch: u64| {
                let own = (0..PARTITIONS).filter(move |p| p % peers as u64 == me);
                let of = move |p| (0..SHAPE.1).map(move |i| (p, (epoch - 1) * SHAPE.1 + i));
                own.flat_map(of).map(|(p, at)| Touch { key: (at + p) % KEYS, order: p << 48 | at }).collect::<Vec<_>>()
            };
            let progress = Progress::starting_after(0);
            let finished = progress.clone();
            let batches = source(
                scope,
                progress,
                |_| {},
                move |epoch| {
                    finished.finish(epoch); // nothing behind it is waited for
                    if epoch > SHAPE.0 { Pull::End } else { Pull::Epoch(mine(epoch), 1) }
                },
            );
            let (touches, _) = split(scope, batches, "Touches", |batch: &mut Vec<Touch>, out| out.append(batch));
            let answered = match arrival {
                true => on_arrival(peers, touches),
                false => keyed(scope, touches, "Chains", Due::default(), Chains::default()),
            };
            answered.inspect(move |(order, chain)| _ = answers.lock().unwrap().insert(*order, *chain));
        });
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
    let answers = std::mem::take(&mut *all.lock().unwrap());
    assert_eq!(answers.len() as u64, PARTITIONS * SHAPE.0 * SHAPE.1);
    answers
}

#[test]
fn closed_epochs_in_order_give_the_same_answers_with_any_number_of_workers() {
    let one = run(1, false);
    for workers in [2, 4, 3, 2] {
        assert!(run(workers, false) == one, "{workers} workers");
    }
}

#[test]
fn applied_on_arrival_the_answers_differ_and_the_comparison_sees_it() {
    let one = run(1, false);
    let differs = (0..TRIES).any(|i| run([2, 4, 3][i % 3], true) != one);
    assert!(differs, "{TRIES} runs on arrival, and no difference");
}
