//! The state of one `metric.sample` series of the user's own: constant memory, one robust z per sample.
//!
//! Deliberately absent: seasonality (a user's metric has no promised rhythm of arrival).

use bitcode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Samples before a z is given: below, the deviation is a guess.
const WARM_UP: u32 = 30;
/// Samples that the past reaches back, about.
const MEMORY: f64 = 240.0;
/// A sample further off than this many deviations teaches only as much as one at this distance.
const CLIP: f64 = 3.0;
/// That many samples in a row on one side beyond the clip: a new level, learnt at full size.
const NEW_LEVEL: u16 = 60;
/// Mean absolute deviation to standard deviation, normal case.
const MAD_TO_SD: f64 = 1.2533;
/// A gap this long starts the past anew: an hour-old mean says little a month later.
const FORGET_MS: i64 = 30 * 24 * 3600 * 1000;
/// Largest |z| given.
pub const MAX_Z: f64 = 1000.0;

/// A sample against the past of its series: all that its score rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Compared {
    /// Value less the mean of the past.
    pub off: f32,
    /// Standard deviation of the past; 0 while there is too little of it to judge.
    pub deviation: f32,
}
impl Compared {
    /// Deviations from the past, within [`MAX_Z`]; 0 where nothing is judged.
    pub fn z(&self) -> f64 {
        if self.deviation > 0.0 { (f64::from(self.off) / f64::from(self.deviation)).clamp(-MAX_Z, MAX_Z) } else { 0.0 }
    }
}

/// Past of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode, Serialize, Deserialize)]
pub struct SampleState {
    count: u32,
    mean: f64,
    deviation: f64,
    run: i16,
    last_ms: i64,
}
impl SampleState {
    /// Takes up a sample and compares it with those before it; nothing is said during warm-up. A value that is not finite is
    /// ordinary and not learned.
    pub fn update(&mut self, value: f64, time_ms: i64) -> Compared {
        if !value.is_finite() {
            return Compared::default();
        }
        if self.count > 0 && time_ms.saturating_sub(self.last_ms) > FORGET_MS {
            *self = SampleState::default();
        }
        self.last_ms = self.last_ms.max(time_ms);
        let sd = self.sd();
        let off = value - self.mean;
        let deviation = if self.count >= WARM_UP { (sd as f32).max(f32::MIN_POSITIVE) } else { 0.0 };
        let off_here = (off as f32).clamp(f32::MIN, f32::MAX);
        let compared = Compared { off: off_here, deviation: deviation.min(f32::MAX) };
        self.learn(off, compared.z(), sd);
        compared
    }
    /// Usual range of the next value: mean -+ 3 deviations; `None` during warm-up.
    pub fn expected(&self) -> Option<(f64, f64)> {
        (self.count >= WARM_UP).then(|| (self.mean - 3.0 * self.sd(), self.mean + 3.0 * self.sd()))
    }
    /// Standard deviation with a floor: a series that never moved is not infinitely surprised by its first step.
    fn sd(&self) -> f64 {
        (self.deviation * MAD_TO_SD).max(1e-3 * self.mean.abs()).max(1e-9)
    }
    fn learn(&mut self, off: f64, z: f64, sd: f64) {
        let side = if z > CLIP {
            1
        } else if z < -CLIP {
            -1
        } else {
            0
        };
        self.run = if side == 0 || (self.run != 0 && self.run.signum() != side) {
            side
        } else {
            self.run.saturating_add(side)
        };
        if self.run.unsigned_abs() >= NEW_LEVEL {
            *self = SampleState { count: 1, mean: self.mean + off, last_ms: self.last_ms, ..SampleState::default() };
            return;
        }
        self.count = self.count.saturating_add(1);
        let gain = 1.0 / f64::from(self.count).min(MEMORY);
        let step = if self.count > WARM_UP { off.clamp(-CLIP * sd, CLIP * sd) } else { off };
        self.mean += gain * step;
        self.deviation += gain * (step.abs() - self.deviation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_stands_out_and_teaches_little() {
        let mut state = SampleState::default();
        for i in 0..300i64 {
            assert!(state.update(10.0 + (i * 7 % 5) as f64, i * 60_000).z().abs() < 3.0);
        }
        assert!(state.update(40.0, 300 * 60_000).z() > 10.0);
        assert!(state.update(12.0, 301 * 60_000).z().abs() < 1.0);
        assert!(std::mem::size_of::<SampleState>() <= 64);
    }

    #[test]
    fn a_new_level_is_learnt_in_the_end() {
        let mut state = SampleState::default();
        (0..200).for_each(|i| assert!(state.update((i % 3) as f64, i).z().abs() < 3.0));
        let z: Vec<f64> = (0..200).map(|i| state.update(100.0 + (i % 3) as f64, 200 + i).z()).collect();
        assert!(z[0] > 20.0 && z[199].abs() < 3.0);
        assert_eq!(state.update(f64::NAN, 1000).z(), 0.0);
    }
}
