//! When a message is tried again: a pure state machine over (attempts made, outcome, time).
//!
//! Deliberately absent: clocks, random numbers, I/O. The jitter is a number the caller hands in, made from the message's
//! name, so that a restart finds the same moment again.

/// Delays before the second and every later attempt, in seconds: one quick second try, then the list of Standard
/// Webhooks 1.0.0. Together 75.6 hours.
pub const SCHEDULE_S: [u64; 10] = [1, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Most that a receiver's `Retry-After` can put a delivery off: an hour. A larger wish is cut to it.
pub const RETRY_AFTER_MAX_MS: i64 = 3_600_000;

/// What one attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Delivered,
    /// 410: the receiver wants no more.
    Gone,
    /// 429, 502, 503, 504, with the `Retry-After` if there was one, in milliseconds.
    Throttled(Option<i64>),
    /// Any other answer below 500, redirects too: the message's failure rather than the receiver's.
    Refused,
    /// Refused for good: no other attempt would end otherwise.
    Permanent,
    /// Any other 5xx, no answer in time, no connection.
    Failed,
    /// The address is one that we do not send to.
    Blocked,
}

impl Outcome {
    /// The name in the attempt log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Gone => "gone",
            Outcome::Throttled(_) => "throttled",
            Outcome::Refused => "refused",
            Outcome::Permanent => "permanent",
            Outcome::Failed => "failed",
            Outcome::Blocked => "blocked",
        }
    }
    /// Says the outcome something against the whole receiver (and not against this message alone)?
    pub fn receiver_is_down(self) -> bool {
        matches!(self, Outcome::Throttled(_) | Outcome::Failed | Outcome::Blocked)
    }
}

/// What follows for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Delivered.
    Done,
    /// Again at this time (milliseconds since the epoch).
    RetryAt(i64),
    /// The schedule is used up.
    Dead,
    /// The endpoint is to be disabled; the message is dead with it.
    Disable,
}

/// What follows after attempt number `attempts` (from 1) ended with `outcome` at `now_ms`. `jitter` in [0, 1).
///
/// The delay is uniform over half to one and a half times the scheduled one: as wide as the step itself, so that
/// receivers that failed together do not come back together, yet never at once. `Retry-After` can only lengthen it.
pub fn next(schedule_ms: &[i64], attempts: u32, outcome: Outcome, now_ms: i64, jitter: f64) -> Next {
    let retry_after_ms = match outcome {
        Outcome::Delivered => return Next::Done,
        Outcome::Gone => return Next::Disable,
        Outcome::Permanent => return Next::Dead,
        Outcome::Throttled(wish) => wish.unwrap_or(0).clamp(0, RETRY_AFTER_MAX_MS),
        Outcome::Refused | Outcome::Failed | Outcome::Blocked => 0,
    };
    let step = (attempts.max(1) - 1) as usize;
    let Some(&base_ms) = schedule_ms.get(step) else { return Next::Dead };
    let base_ms = base_ms.max(0);
    let delay_ms = base_ms / 2 + (base_ms as f64 * jitter.clamp(0.0, 1.0)) as i64;
    Next::RetryAt(now_ms.saturating_add(delay_ms.max(retry_after_ms)))
}

/// The jitter of one attempt, in [0, 1): a hash, so that it is the same after a restart.
pub fn jitter(message: &str, endpoint: &str, attempts: u32) -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{message}/{endpoint}/{attempts}").as_bytes());
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule() -> Vec<i64> {
        SCHEDULE_S.iter().map(|s| *s as i64 * 1000).collect()
    }
    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Delivered),
            Just(Outcome::Gone),
            Just(Outcome::Refused),
            Just(Outcome::Failed),
            Just(Outcome::Blocked),
            proptest::option::of(-10i64..20_000_000).prop_map(Outcome::Throttled),
        ]
    }

    proptest! {
        /// However a receiver behaves: a message ends after at most eleven attempts, time only goes forward, each wait
        /// keeps to its bounds, and only a 2xx counts as delivered.
        #[test]
        fn a_message_ends_and_every_wait_is_bounded(outcomes in proptest::collection::vec(outcome(), 12), id in "[a-z]{1,8}") {
            let schedule = schedule();
            let (mut now, mut attempts) = (1_700_000_000_000i64, 0u32);
            let mut ended = false;
            for outcome in outcomes {
                attempts += 1;
                match next(&schedule, attempts, outcome, now, jitter(&id, "e", attempts)) {
                    Next::Done => { prop_assert_eq!(outcome, Outcome::Delivered); ended = true; }
                    Next::Disable => { prop_assert_eq!(outcome, Outcome::Gone); ended = true; }
                    Next::Dead => { prop_assert_eq!(attempts as usize, schedule.len() + 1); ended = true; }
                    Next::RetryAt(at) => {
                        let base = schedule[attempts as usize - 1];
                        let wish = match outcome { Outcome::Throttled(Some(w)) => w.clamp(0, RETRY_AFTER_MAX_MS), _ => 0 };
                        prop_assert!(at - now >= base / 2 && at - now >= wish);
                        prop_assert!(at - now <= (base * 3 / 2 + 1).max(wish));
                        now = at;
                    }
                }
                if ended { break; }
            }
            prop_assert!(ended);
        }
        /// The jitter is a function of the names alone and stays in its range.
        #[test]
        fn jitter_is_repeatable(m in ".{0,20}", e in ".{0,20}", n in 0u32..20) {
            let j = jitter(&m, &e, n);
            prop_assert!((0.0..1.0).contains(&j));
            prop_assert_eq!(j, jitter(&m, &e, n));
        }
    }

    #[test]
    fn jitter_spreads() {
        let mean = (0..1000).map(|i| jitter(&i.to_string(), "e", 1)).sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
