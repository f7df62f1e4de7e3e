//! Rates: requests of an address, events of a key. Callers are counted in a fixed number of slots, chosen by a hash with a
//! secret of this process: memory is bounded whatever addresses attackers have, and nobody can aim at another's slot.
//!
//! Deliberately absent: rates across several gateways; each has its own.

use super::config::GatewayConfig;
use crate::http::{Problem, problem};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Slots: two active callers share one with a chance of 1 in 65,536; all of them take some 4 MiB.
const SLOTS: u64 = 65_536;

/// A caller's slot.
pub type Slot = u32;

/// The rates, which may be changed while they are in force.
pub struct Limits {
    rates: RwLock<Arc<Rates>>,
    hasher: RandomState,
    clock: DefaultClock,
}

struct Rates {
    requests: DefaultKeyedRateLimiter<Slot>,
    events: DefaultKeyedRateLimiter<Slot>,
    events_burst: NonZeroU32,
    events_per_s: u32,
    request_quota: problem::Quota,
}

impl Rates {
    fn new(config: &GatewayConfig) -> Rates {
        let quota = |rate, burst| Quota::per_second(rate).allow_burst(burst);
        Rates {
            requests: RateLimiter::keyed(quota(config.ip_requests_per_s, config.ip_requests_burst)),
            events: RateLimiter::keyed(quota(config.key_events_per_s, config.key_events_burst)),
            events_burst: config.key_events_burst,
            events_per_s: config.key_events_per_s.get(),
            request_quota: problem::Quota {
                name: "requests",
                burst: config.ip_requests_burst.get(),
                per_s: config.ip_requests_per_s.get(),
            },
        }
    }
}

impl Limits {
    /// As configured.
    pub fn new(config: &GatewayConfig) -> Limits {
        let rates = RwLock::new(Arc::new(Rates::new(config)));
        Limits { rates, hasher: RandomState::new(), clock: DefaultClock::default() }
    }
    /// Other rates from now on; every caller begins with a full burst.
    pub fn change(&self, config: &GatewayConfig) {
        *self.rates.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Rates::new(config));
    }
    fn rates(&self) -> Arc<Rates> {
        self.rates.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// The slot of a caller.
    pub fn slot(&self, caller: &impl Hash) -> Slot {
        (self.hasher.hash_one(caller) % SLOTS) as Slot
    }
    /// One request of an address, or 429.
    pub fn request(&self, slot: Slot) -> Result<(), Problem> {
        let rates = self.rates();
        rates.requests.check_key(&slot).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            Problem::rate_limited(rates.request_quota, "too many requests from this address", wait)
        })
    }
    /// The quota of events of a key.
    pub fn event_quota(&self) -> problem::Quota {
        let rates = self.rates();
        problem::Quota { name: "events", burst: rates.events_burst.get(), per_s: rates.events_per_s }
    }
    /// `n` events of a key, or how long to wait. More than a burst holds counts as a burst.
    pub fn events(&self, slot: Slot, n: usize) -> Result<(), Duration> {
        let Some(n) = NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)) else { return Ok(()) };
        let rates = self.rates();
        match rates.events.check_key_n(&slot, n.min(rates.events_burst)) {
            Ok(Ok(())) | Err(_) => Ok(()), // Err: n above the burst, excluded by the line above
            Ok(Err(until)) => Err(until.wait_time_from(self.clock.now())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_s: u32, burst: u32) -> Limits {
        let n = |n| NonZeroU32::new(n).unwrap();
        let config = GatewayConfig {
            key_events_per_s: n(per_s),
            key_events_burst: n(burst),
            ip_requests_per_s: n(per_s),
            ip_requests_burst: n(burst),
            ..GatewayConfig::default()
        };
        Limits::new(&config)
    }

    #[test]
    fn a_burst_passes_then_callers_wait_each_for_itself() {
        let limits = limits(1, 3);
        let (a, b) = (limits.slot(&"a"), limits.slot(&"b"));
        assert!(limits.events(a, 3).is_ok());
        assert!(limits.events(a, 1).is_err_and(|wait| wait <= Duration::from_secs(1)));
        assert!(a == b || limits.events(b, 3).is_ok());
        assert!(limits.events(a, 0).is_ok());
    }

    #[test]
    fn more_than_a_burst_holds_is_not_refused_for_ever() {
        assert!(limits(1, 3).events(7, 2_500).is_ok());
    }

    #[test]
    fn memory_is_bounded_by_the_slots() {
        let limits = limits(1, 1);
        for i in 0..200_000_u32 {
            let _ = limits.request(limits.slot(&i));
        }
        assert!(limits.rates().requests.len() as u64 <= SLOTS);
    }

    #[test]
    fn other_rates_hold_at_once() {
        let limits = limits(1, 1);
        assert!(limits.events(7, 1).is_ok() && limits.events(7, 1).is_err());
        let n = |n| NonZeroU32::new(n).unwrap();
        limits.change(&GatewayConfig { key_events_burst: n(5), ..GatewayConfig::default() });
        assert!(limits.events(7, 5).is_ok());
        assert_eq!(limits.event_quota().burst, 5);
    }
}
