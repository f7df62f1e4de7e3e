//! Keyed state: records go to the worker that owns their key-group and are applied when their epoch is closed, in the order
//! of their input, never on arrival. So the same log gives the same answers with any number of workers.
//!
//! Deliberately absent: what the state is; see [`crate::state`].

use crate::cause::working;
use crate::flow::{Due, Snapshot};
use crate::split::Sized1024;
use crate::state::groups::owner_of;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use timely::ExchangeData;
use timely::dataflow::channels::pact::ExchangeCore;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Scope, StreamVec};

/// Records whose state is looked at before the first of them is applied: state is seldom in the cache, and so many reads of
/// memory go on at once.
const LOOK_AHEAD: usize = 16;

/// A record on its way to keyed state.
pub trait Keyed {
    /// Its key: `key % 1024` is the key-group.
    fn key(&self) -> u64;
    /// Its place in the order of a closed epoch: partition and offset. Equal orders keep the order of their sender.
    fn order(&self) -> u64;
}

/// State that answers records.
pub trait Stateful<T, A>: Snapshot {
    /// Answers one record and takes it in.
    fn apply(&mut self, record: &T) -> A;
    /// Looks at what a record will touch, see [`crate::state::groups::KeyGroups::look`]; what it returns says nothing.
    fn look(&self, _record: &T) -> u32 {
        0
    }
    /// All records of an epoch are applied.
    fn closed(&mut self) {}
}

/// Applies closed epochs in order and sends the answers on. `due` holds the checkpoints asked for.
pub fn keyed<'s, T, A, S>(
    scope: Scope<'s, u64>,
    records: StreamVec<'s, u64, T>,
    name: &'static str,
    due: Due,
    mut state: S,
) -> StreamVec<'s, u64, A>
where
    T: Keyed + ExchangeData,
    A: 'static,
    S: Stateful<T, A> + 'static,
{
    let peers = scope.peers();
    let by_group = ExchangeCore::<Sized1024<T>, _>::new_core(move |record: &T| owner_of(record.key(), peers));
    records.unary_frontier::<Sized1024<A>, _, _, _>(by_group, name, move |_capability, info| {
        let again = scope.activator_for(info.address);
        let mut open = BTreeMap::<u64, (Capability<u64>, Vec<T>)>::new();
        let mut copying = false;
        move |(input, frontier), output| {
            input.for_each(|cap, data| {
                let Some(epoch) = cap.least().copied() else { return };
                match open.entry(epoch) {
                    Entry::Vacant(first) => {
                        first.insert((cap.delayed(&epoch, 0), std::mem::take(data)));
                    }
                    Entry::Occupied(more) => more.into_mut().1.append(data),
                }
            });
            while let Some(entry) = open.first_entry().filter(|e| !frontier.less_equal(e.key())) {
                let (epoch, (cap, mut records)) = entry.remove_entry();
                copying |= begin_before(&due, &mut state, |c| c < epoch);
                records.sort_by_key(Keyed::order); // stable, and finds the runs that the senders made
                let work = working(name);
                let mut session = output.session_with_builder(&cap);
                for some in records.chunks(LOOK_AHEAD) {
                    std::hint::black_box(some.iter().fold(0u32, |all, record| all.wrapping_add(state.look(record))));
                    session.give_iterator(some.iter().map(|record| {
                        work.at(record.order());
                        state.apply(record)
                    }));
                }
                drop(session);
                state.closed();
            }
            copying |= begin_before(&due, &mut state, |c| !frontier.less_equal(&c)); // all closed epochs are applied
            if copying {
                copying = !state.copy_some();
                if copying {
                    again.activate();
                }
            }
        }
    })
}

/// Begins the next checkpoint that is due, if its epoch is one of `ready`.
pub fn begin_before(due: &Due, state: &mut impl Snapshot, ready: impl Fn(u64) -> bool) -> bool {
    let begun = due.borrow_mut().pop_front_if(|c| ready(*c)).is_some();
    if begun {
        state.begin();
    }
    begun
}
