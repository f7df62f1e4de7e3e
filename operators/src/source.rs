//! The source: opens epochs one after another, as its `pull` hands them over, and never runs far ahead of its worker.
//!
//! Deliberately absent: where epochs come from. `pull` must not block; whoever has something new activates the operator.

use crate::flow::Progress;
use std::rc::Rc;
use timely::container::CapacityContainerBuilder as Builder;
use timely::dataflow::operators::generic::operator::source as timely_source;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::SyncActivator;

/// What a source finds when it looks.
pub enum Pull<B> {
    /// The next epoch, complete, and how many records it has. Epochs are dense: the first is the one after the start.
    Epoch(B, usize),
    /// Nothing yet.
    Wait,
    /// Nothing ever again.
    End,
}

/// Emits one batch an epoch; `register` gets what other threads wake it with. The first epoch is the one after what `progress` starts with.
pub fn source<'s, B: 'static>(
    scope: Scope<'s, u64>,
    progress: Rc<Progress>,
    register: impl FnOnce(SyncActivator),
    mut pull: impl FnMut(u64) -> Pull<B> + 'static,
) -> StreamVec<'s, u64, B> {
    timely_source::<_, Builder<Vec<B>>, _, _>(scope, "Source", move |mut capability, info| {
        register(scope.worker().sync_activator_for(info.address.to_vec()));
        progress.set_source(scope.activator_for(info.address));
        capability.downgrade(&(progress.finished() + 1));
        let mut capability = Some(capability);
        move |output| {
            while let Some(cap) = capability.as_mut() {
                let epoch = *cap.time();
                if progress.must_wait() {
                    return;
                }
                match pull(epoch) {
                    Pull::Epoch(batch, records) => {
                        progress.opened(epoch, records);
                        output.session(&*cap).give(batch);
                        cap.downgrade(&(epoch + 1));
                    }
                    Pull::Wait => return,
                    Pull::End => capability = None,
                }
            }
        }
    })
}
