//! Explodes batches: every batch goes on, and small records made from it go out beside it.
//!
//! Deliberately absent: exchange. The small records' next operator names its own.

use crate::flow::CONTAINER;
use timely::container::{CapacityContainerBuilder as Builder, ContainerBuilder, PushInto};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{Scope, StreamVec};
use timely::progress::operate::FrontierInterest;

/// Records that a first container has room for: a quiet worker's epochs are small.
const FIRST: usize = 64;

/// Builds containers of [`CONTAINER`] records: the usual 8 KiB hold too few of ours.
pub struct Sized1024<T> {
    current: Vec<T>,
    /// Records of the last container: the next is likely to hold as many, and growing would copy them.
    last: usize,
    full: std::collections::VecDeque<Vec<T>>,
    given: Option<Vec<T>>,
}
impl<T> Default for Sized1024<T> {
    fn default() -> Self {
        Sized1024 { current: Vec::new(), last: FIRST, full: Default::default(), given: None }
    }
}
impl<T: 'static> ContainerBuilder for Sized1024<T> {
    type Container = Vec<T>;
    fn extract(&mut self) -> Option<&mut Vec<T>> {
        self.given = self.full.pop_front();
        self.given.as_mut()
    }
    fn finish(&mut self) -> Option<&mut Vec<T>> {
        if !self.current.is_empty() {
            self.last = self.current.len();
            self.full.push_back(std::mem::take(&mut self.current));
        }
        self.extract()
    }
}
impl<T> PushInto<T> for Sized1024<T> {
    fn push_into(&mut self, item: T) {
        if self.current.capacity() == 0 {
            self.current.reserve(self.last.clamp(FIRST, CONTAINER));
        }
        self.current.push(item);
        if self.current.len() == CONTAINER {
            self.last = CONTAINER;
            self.full.push_back(std::mem::take(&mut self.current));
        }
    }
}
impl<T> timely::container::LengthPreservingContainerBuilder for Sized1024<T> where Sized1024<T>: ContainerBuilder {}

/// `explode` may change the batch and adds the small records made from it.
pub fn split<'s, B: 'static, T: 'static>(
    scope: Scope<'s, u64>,
    batches: StreamVec<'s, u64, B>,
    name: &str,
    explode: impl FnMut(&mut B, &mut Vec<T>) + 'static,
) -> (StreamVec<'s, u64, T>, StreamVec<'s, u64, B>) {
    split_together(scope, batches, name, |_| {}, explode)
}

/// The same, but first `prepare` sees all batches that have come by now, of whatever epochs, together. What it makes of one
/// must not depend on the others: how many there are is chance.
pub fn split_together<'s, B: 'static, T: 'static>(
    scope: Scope<'s, u64>,
    batches: StreamVec<'s, u64, B>,
    name: &str,
    mut prepare: impl FnMut(&mut [&mut B]) + 'static,
    mut explode: impl FnMut(&mut B, &mut Vec<T>) + 'static,
) -> (StreamVec<'s, u64, T>, StreamVec<'s, u64, B>) {
    let mut builder = OperatorBuilder::new(name.into(), scope);
    let mut input = builder.new_input(batches, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (pieces, piece_stream) = builder.new_output::<Vec<T>>();
    let (wholes, whole_stream) = builder.new_output::<Vec<B>>();
    let mut pieces: OutputBuilder<u64, Sized1024<T>> = OutputBuilder::from(pieces);
    let mut wholes: OutputBuilder<u64, Builder<Vec<B>>> = OutputBuilder::from(wholes);
    let (mut buffer, mut held) = (Vec::new(), Vec::new());
    builder.build(move |capabilities| {
        drop(capabilities);
        move |_frontiers| {
            let (mut pieces, mut wholes) = (pieces.activate(), wholes.activate());
            input.for_each(|cap, data| held.push((cap, std::mem::take(data))));
            let mut all: Vec<&mut B> = held.iter_mut().flat_map(|(_, data)| data.iter_mut()).collect();
            prepare(&mut all);
            for (cap, mut data) in held.drain(..) {
                for batch in &mut data {
                    explode(batch, &mut buffer);
                }
                pieces.session_with_builder(&cap).give_iterator(buffer.drain(..));
                wholes.session(&cap).give_container(&mut data);
            }
        }
    });
    (piece_stream, whole_stream)
}
