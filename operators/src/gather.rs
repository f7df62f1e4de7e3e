//! Gathers answers at home: a batch waits until every record made from it is answered, by count, without a frontier, and goes
//! on in the order of epochs.
//!
//! Deliberately absent: what the answers mean.

use crate::split::Sized1024;
use std::collections::VecDeque;
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder as Builder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{ExchangeCore, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

/// A batch that waits for answers.
pub trait Waiting<A> {
    /// Its epoch.
    fn epoch(&self) -> u64;
    /// Answers that are still missing.
    fn missing(&self) -> usize;
    /// Takes one in.
    fn take(&mut self, answer: A);
}

/// An answer on its way home.
pub trait Homed {
    /// The worker that waits for it.
    fn home(&self) -> u64;
}

/// Passes on complete batches in the order of epochs. Each worker must send exactly one batch an epoch.
pub fn gather<'s, B, A>(
    batches: StreamVec<'s, u64, B>,
    answers: StreamVec<'s, u64, A>,
    name: &str,
) -> StreamVec<'s, u64, B>
where
    B: Waiting<A> + 'static,
    A: Homed + ExchangeData,
{
    let home = ExchangeCore::<Sized1024<A>, _>::new_core(|answer: &A| answer.home());
    batches.binary::<_, Builder<Vec<B>>, _, _, _, _>(answers, Pipeline, home, name, move |_, _| {
        let mut open = VecDeque::<(Capability<u64>, B)>::new();
        // an answer never overtakes its batch: the batch left this worker before the record that is answered
        move |batches, answers, output| {
            batches.for_each(|cap, data| {
                let Some(epoch) = cap.least().copied() else { return };
                open.extend(data.drain(..).map(|batch| (cap.delayed(&epoch, 0), batch)));
            });
            answers.for_each(|cap, data| {
                let (Some(epoch), Some(first)) = (cap.least(), open.front().map(|o| o.1.epoch())) else { return };
                if let Some((_, batch)) = epoch.checked_sub(first).and_then(|i| open.get_mut(i as usize)) {
                    data.drain(..).for_each(|answer| batch.take(answer));
                }
            });
            while let Some((cap, batch)) = open.pop_front_if(|(_, batch)| batch.missing() == 0) {
                output.session(&cap).give(batch);
            }
        }
    })
}
