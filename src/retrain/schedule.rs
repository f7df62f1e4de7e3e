//! When a week is over: a day and hour of the shop's own time, of events and not of the wall.
//!
//! Deliberately absent: waiting.

use super::RetrainConfig;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The first moment behind `after_ms` (ms since the epoch) that the configuration names.
pub fn next(config: &RetrainConfig, zone: &TimeZone, after_ms: i64) -> Option<i64> {
    let after = Timestamp::from_millisecond(after_ms).ok()?;
    let weekday = Weekday::from_monday_one_offset(config.weekday).ok()?;
    let mut day = after.to_zoned(zone.clone()).date();
    for _ in 0..9 {
        if day.weekday() == weekday {
            // an hour that a clock change leaves out is the one behind it
            let moment = day.at(config.hour, 0, 0, 0).to_zoned(zone.clone()).ok()?.timestamp();
            if moment > after {
                return Some(moment.as_millisecond());
            }
        }
        day = day.checked_add(1.day()).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }
    fn next_in(zone: &str, after: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let moment =
            next(&RetrainConfig { weekday: 7, hour: 2, ..RetrainConfig::default() }, &zone, at(after)).unwrap();
        Timestamp::from_millisecond(moment).unwrap().to_string()
    }

    #[test]
    fn a_week_is_over_at_its_hour_of_the_shop() {
        assert_eq!(next_in("UTC", "2026-11-23T10:00:00Z"), "2026-11-29T02:00:00Z");
        assert_eq!(next_in("UTC", "2026-11-29T01:59:59Z"), "2026-11-29T02:00:00Z");
        assert_eq!(next_in("UTC", "2026-11-29T02:00:00Z"), "2026-12-06T02:00:00Z");
        assert_eq!(next_in("Asia/Tokyo", "2026-11-28T16:59:00Z"), "2026-11-28T17:00:00Z");
        // 02:00 does not exist on that day in Berlin
        assert_eq!(next_in("Europe/Berlin", "2026-03-25T00:00:00Z"), "2026-03-29T01:00:00Z");
    }
}
