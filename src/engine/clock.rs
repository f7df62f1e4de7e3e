//! The time that epochs go by: the wall clock, but never back, and never at a standstill.
//!
//! A wall clock can be set back. Entries never go back, so they would all have one time until it has come there again, and
//! whatever goes by them (checkpoints, the time of silent partitions) would wait for so long. So while the wall clock is behind,
//! time goes on at half its speed, counted by a clock that cannot be set. Deliberately absent: event time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// By how much slower than the clock on the wall, until that has caught up.
const SLOWER: u32 = 2;

/// Never back, never at a standstill.
struct Steady {
    last_ms: i64,
    /// Behind since: what it said then, and how long the machine had been running.
    behind: Option<(i64, Duration)>,
}

impl Steady {
    /// The time, for what the wall clock says and how long the machine has been running.
    fn read(&mut self, wall_ms: i64, running: Duration) -> i64 {
        // also while nobody asked, time went on
        let gone_on = self.behind.map_or(self.last_ms, |(from_ms, since)| {
            let passed = running.saturating_sub(since) / SLOWER;
            from_ms.saturating_add(passed.as_millis() as i64)
        });
        if wall_ms >= gone_on {
            (self.last_ms, self.behind) = (wall_ms, None);
        } else {
            self.last_ms = self.last_ms.max(gone_on);
            self.behind.get_or_insert((self.last_ms, running));
        }
        self.last_ms
    }
}

/// For a sequencer whose newest entry has this time.
pub fn steady(last_ms: i64) -> Box<dyn Fn() -> i64 + Send> {
    let (steady, since) = (Mutex::new(Steady { last_ms, behind: None }), Instant::now());
    Box::new(move || steady.lock().unwrap_or_else(PoisonError::into_inner).read(super::now_ms(), since.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_at_half_speed_until_it_is_caught_up() {
        let mut steady = Steady { last_ms: 0, behind: None };
        let s = Duration::from_secs;
        assert_eq!(steady.read(1_000_000, s(0)), 1_000_000);
        assert_eq!(steady.read(1_001_000, s(1)), 1_001_000);
        // ten minutes back
        assert_eq!(steady.read(402_000, s(2)), 1_001_000);
        assert_eq!(steady.read(404_000, s(4)), 1_002_000);
        assert_eq!(steady.read(1_002_000, s(602)), 1_301_000);
        assert_eq!(steady.read(1_602_000, s(1_202)), 1_602_000, "caught up");
        assert_eq!(steady.read(1_603_000, s(1_203)), 1_603_000);
        // ten minutes on
        assert_eq!(steady.read(2_204_000, s(1_204)), 2_204_000);
    }

    proptest! {
        #[test]
        fn time_never_goes_back_and_never_stands_still(steps in proptest::collection::vec((-700_000i64..700_000, 2u64..5_000), 1..60)) {
            let (mut steady, mut wall, mut running, mut last) = (Steady { last_ms: 0, behind: None }, 1_000_000, 0, 0);
            for (jump, ms) in steps {
                // a jump, then a look, then a while later another
                for (jump, ms) in [(jump, 0), (0, ms)] {
                    wall += jump + ms as i64;
                    running += ms;
                    let now = steady.read(wall, Duration::from_millis(running));
                    prop_assert!(now >= last + (ms / 2) as i64 - 1 && now >= wall);
                    last = now;
                }
            }
        }
    }
}
