//! How fast an endpoint is sent to: token bucket and breaker, pure state machines over milliseconds handed in.
//!
//! Deliberately absent: which message comes next (the outbox says), clocks.

/// A token bucket: `rate` tokens a second, at most `burst` saved.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate_per_ms: f64,
    burst: f64,
    tokens: f64,
    last_ms: i64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate_per_s: f64, burst: u32, now_ms: i64) -> Bucket {
        let burst = f64::from(burst.max(1));
        Bucket { rate_per_ms: rate_per_s.max(0.001) / 1000.0, burst, tokens: burst, last_ms: now_ms }
    }
    fn refill(&mut self, now_ms: i64) {
        let passed = (now_ms - self.last_ms).max(0);
        self.tokens = (self.tokens + passed as f64 * self.rate_per_ms).min(self.burst);
        self.last_ms = self.last_ms.max(now_ms);
    }
    /// Takes a token, or says when there will be one.
    pub fn take(&mut self, now_ms: i64) -> Result<(), i64> {
        self.refill(now_ms);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(now_ms + ((1.0 - self.tokens) / self.rate_per_ms).ceil().max(1.0) as i64)
    }
    /// Gives back a token that was not used.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }
}

/// Opens after so many failures in a row: fewer would stop a receiver for a hiccup.
pub const BREAKER_FAILURES: u32 = 5;
/// First and longest time the breaker stays open, in milliseconds: a receiver that came back waits a minute at most.
pub const BREAKER_OPEN_MS: (i64, i64) = (1_000, 60_000);

/// Stops an endpoint that fails again and again; then lets one probe through at a time.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    failures: u32,
    open_until_ms: i64,
    probing: bool,
}

impl Breaker {
    /// May an attempt start? If not, when to ask again (`None`: when the running probe has ended).
    pub fn admit(&mut self, now_ms: i64) -> Result<(), Option<i64>> {
        if now_ms < self.open_until_ms {
            return Err(Some(self.open_until_ms));
        }
        if self.failures < BREAKER_FAILURES {
            return Ok(());
        }
        if self.probing {
            return Err(None);
        }
        self.probing = true;
        Ok(())
    }
    /// The admitted attempt was not made after all.
    pub fn withdraw(&mut self) {
        self.probing = false;
    }
    /// An attempt ended. `pause_until_ms`: the receiver asked for quiet until then.
    pub fn ended(&mut self, receiver_is_down: bool, now_ms: i64, pause_until_ms: Option<i64>) {
        self.probing = false;
        if !receiver_is_down {
            *self = Breaker::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= BREAKER_FAILURES {
            let doublings = (self.failures - BREAKER_FAILURES).min(16);
            let open_ms = (BREAKER_OPEN_MS.0 << doublings).min(BREAKER_OPEN_MS.1);
            self.open_until_ms = self.open_until_ms.max(now_ms + open_ms);
        }
        if let Some(until) = pause_until_ms {
            self.open_until_ms = self.open_until_ms.max(until);
        }
    }
    /// Is nothing let through at the moment?
    pub fn is_open(&self, now_ms: i64) -> bool {
        now_ms < self.open_until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the moments of asking (clock steps back included): never more than burst + rate x time.
        #[test]
        fn the_bucket_keeps_its_rate(steps in proptest::collection::vec(-50i64..400, 1..300), rate in 1.0f64..50.0, burst in 1u32..20) {
            let mut bucket = Bucket::new(rate, burst, 0);
            let (mut now, mut latest, mut taken) = (0i64, 0i64, 0u32);
            for step in steps {
                now += step;
                latest = latest.max(now);
                match bucket.take(now) {
                    Ok(()) => taken += 1,
                    Err(at) => prop_assert!(at > now),
                }
                prop_assert!(f64::from(taken) <= f64::from(burst) + rate * latest as f64 / 1000.0 + 1e-6);
            }
        }
        /// An open breaker lets nothing through, a half-open one a single probe, and a success closes it.
        #[test]
        fn the_breaker_lets_one_probe_through(down in proptest::collection::vec(any::<bool>(), 1..60), wait in 0i64..90_000) {
            let mut breaker = Breaker::default();
            let (mut now, mut row) = (0i64, 0u32);
            for d in down {
                if breaker.admit(now).is_ok() {
                    if row >= BREAKER_FAILURES { prop_assert_eq!(breaker.admit(now), Err(None)); }
                    breaker.ended(d, now, None);
                    row = if d { row + 1 } else { 0 };
                    prop_assert_eq!(breaker.is_open(now), row >= BREAKER_FAILURES);
                } else {
                    prop_assert!(row >= BREAKER_FAILURES);
                }
                now += wait;
            }
            prop_assert!(breaker.admit(now + BREAKER_OPEN_MS.1).is_ok());
        }
    }

    #[test]
    fn a_wish_for_quiet_is_kept() {
        let mut breaker = Breaker::default();
        breaker.ended(true, 0, Some(7_000));
        assert_eq!(breaker.admit(6_999), Err(Some(7_000)));
        assert_eq!(breaker.admit(7_000), Ok(()));
    }
}
