//! Key explosion: however many new entities come, memory stays at the bound, and what goes is counted.

use pulse_operators::entity::{Entities, TABLES};
use pulse_operators::keyed::Stateful;
use pulse_operators::record::EntityKind;
use pulse_operators::state::entity::{Touch, cap_per_group};
use pulse_operators::state::groups::KEY_GROUPS;
use std::cell::Cell;
use std::rc::Rc;

/// New keys of a kind.
const NEW: u64 = 100_000;
/// Key-groups that they fall into.
const GROUPS: u64 = 4;

#[test]
fn new_keys_without_end_are_bounded_and_what_goes_is_counted() {
    let sizes = Rc::new(Cell::new((0i64, 0u64)));
    let told = sizes.clone();
    let telling = move |_, more, evicted| told.set((told.get().0 + more, told.get().1 + evicted));
    let mut entities = Entities::new(0, Box::new(|_, _| {})).telling(Box::new(telling));
    let kinds = TABLES.into_iter().chain([EntityKind::Series]);
    let bound: usize = kinds.clone().map(|kind| GROUPS as usize * cap_per_group(kind)).sum();
    let mut touched = 0;
    for i in 0..NEW {
        for kind in kinds.clone() {
            let key = i % GROUPS + i / GROUPS * KEY_GROUPS as u64;
            entities.apply(&Touch { key, order: i, time_ms: i as i64, kind: kind as u8, ..Touch::default() });
            touched += 1;
        }
        entities.closed();
        let (kept, evicted) = sizes.get();
        assert!(
            kept <= bound as i64 && kept as u64 + evicted == touched,
            "{kept} of {touched} kept, {evicted} evicted"
        );
    }
    assert_eq!(sizes.get().0, bound as i64);
}
