//! Which unusual events the thresholds have counted, so that a verdict can take them out again.
//!
//! Bounded: only what was near the threshold or above is remembered, for as long as its week counts, and never more than
//! [`MAX_REMEMBERED`] events; what finds no room is counted. Deliberately absent: the counts themselves.

use crate::alert::alert_hash;
use bitcode::{Decode, Encode};
use std::collections::BTreeMap;

/// Events remembered: at a budget of 20 alerts a day, and what is eight times as frequent below them, some weeks of many
/// events each; about 3 MB.
pub const MAX_REMEMBERED: usize = 50_000;

/// An event by source and id: the half of the id of the alert that it would open, so that a verdict may name either.
pub fn event_key(source: &str, id: &str) -> u64 {
    alert_hash(source, id) as u64
}

/// The same from the id of an alert; `None` when it is none.
pub fn key_of_alert(alert_id: &str) -> Option<u64> {
    u128::from_str_radix(alert_id.strip_prefix("al_")?, 16).ok().map(|hash| hash as u64)
}

/// Where an entity's hour was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
pub struct Place {
    /// Hour since the epoch.
    pub hour: i64,
    /// Group of event types.
    pub group: u8,
    /// Bin of its highest score.
    pub bin: u16,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
struct Counted {
    place: Place,
    /// Events that are confirmed to be trouble: the first takes it out, the last that is withdrawn puts it back.
    confirmed: Vec<u64>,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Confirmed {
    events: BTreeMap<u64, u64>,
    counted: BTreeMap<u64, Counted>,
    next: u64,
    left_out: u64,
}

impl Confirmed {
    /// An entity's hour was counted, for these events.
    pub fn remember(&mut self, place: Place, events: &[u64]) {
        if self.events.len() + events.len() > MAX_REMEMBERED {
            self.left_out += events.len() as u64;
            return;
        }
        self.events.extend(events.iter().map(|event| (*event, self.next)));
        self.counted.insert(self.next, Counted { place, confirmed: Vec::new() });
        self.next += 1;
    }
    /// A verdict about an event. Where counts change: taken out when it is confirmed, else put back.
    pub fn verdict(&mut self, event: u64, confirmed: bool) -> Option<Place> {
        let counted = self.counted.get_mut(self.events.get(&event)?)?;
        let before = counted.confirmed.len();
        counted.confirmed.retain(|known| *known != event);
        counted.confirmed.extend(confirmed.then_some(event));
        let changed = (before == 0) != counted.confirmed.is_empty();
        changed.then_some(counted.place)
    }
    /// Hours before this one count no longer.
    pub fn forget_before(&mut self, hour: i64) {
        self.counted.retain(|_, counted| counted.place.hour >= hour);
        let counted = &self.counted;
        self.events.retain(|_, place| counted.contains_key(place));
    }
    /// Events that found no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_taken_out_once_and_put_back_once() {
        let mut confirmed = Confirmed::default();
        let place = Place { hour: 5, group: 2, bin: 400 };
        confirmed.remember(place, &[1, 2]);
        assert_eq!(confirmed.verdict(1, false), None, "it is counted already");
        assert_eq!(confirmed.verdict(1, true), Some(place));
        assert_eq!(confirmed.verdict(1, true), None, "said twice");
        assert_eq!(confirmed.verdict(2, true), None, "the same hour of the same entity");
        assert_eq!(confirmed.verdict(1, false), None, "the other still stands");
        assert_eq!(confirmed.verdict(2, false), Some(place));
        assert_eq!(confirmed.verdict(3, true), None, "never seen");
        confirmed.forget_before(6);
        assert_eq!((confirmed.verdict(1, true), confirmed.events.len()), (None, 0));
    }

    #[test]
    fn an_alert_names_its_event() {
        let id = crate::alert::alert_id("web", "o-1");
        assert_eq!(key_of_alert(&id), Some(event_key("web", "o-1")));
        assert_eq!([key_of_alert("al_x"), key_of_alert("inc_0")], [None, None]);
    }

    #[test]
    fn no_more_than_the_bound_is_remembered() {
        let mut confirmed = Confirmed::default();
        (0..MAX_REMEMBERED as u64 + 10).for_each(|event| confirmed.remember(Place::default(), &[event]));
        assert_eq!((confirmed.events.len(), confirmed.left_out()), (MAX_REMEMBERED, 10));
    }
}
