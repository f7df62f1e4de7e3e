//! Quiet hours: when a destination is left alone, in the shop's time zone, and until when.
//!
//! Pure. What is held back arrives when they end, and nothing is lost. Deliberately absent: calendars of holidays.

use super::filter::Severity;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

/// Spans of one destination.
const MAX_SPANS: usize = 8;
/// Names of weekdays.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// One span that comes back each day, or on some days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quiet {
    /// Begins, as `22:00`.
    pub from: String,
    /// Ends; the same as `from` or before it: on the next day.
    pub to: String,
    /// Weekdays on which it begins (`mon` to `sun`); empty: all.
    #[serde(default)]
    pub days: Vec<String>,
    /// What is at least so bad passes all the same; absent: nothing does.
    #[serde(default)]
    pub pass: Option<Severity>,
}

fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let plain = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(hour) || !plain(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// The first thing that cannot be.
pub fn check(spans: &[Quiet]) -> Result<(), String> {
    if spans.len() > MAX_SPANS {
        return Err(format!("quiet: at most {MAX_SPANS} spans"));
    }
    for span in spans {
        if clock(&span.from).is_none() || clock(&span.to).is_none() {
            return Err("quiet: from and to are times of day such as 22:00".into());
        }
        if let Some(day) = span.days.iter().find(|day| !DAYS.iter().any(|(name, _)| name == day)) {
            return Err(format!("quiet: `{day}` is none of mon, tue, wed, thu, fri, sat, sun"));
        }
    }
    Ok(())
}

impl Quiet {
    /// Begin and end of the span that begins on the day of `at`, if one does.
    fn on(&self, at: &Zoned) -> Option<(Timestamp, Timestamp)> {
        let named = |day: &String| DAYS.iter().any(|(name, weekday)| name == day && *weekday == at.weekday());
        if !self.days.is_empty() && !self.days.iter().any(named) {
            return None;
        }
        let (from, to) = (clock(&self.from)?, clock(&self.to)?);
        let (date, zone) = (at.date(), at.time_zone());
        let last = if to > from { date } else { date.checked_add(1.day()).ok()? };
        // an hour that a change of the clocks leaves out is the one behind it
        let moment =
            |day: jiff::civil::Date, time: Time| Some(day.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp());
        Some((moment(date, from)?, moment(last, to)?))
    }
    /// The end of the span that holds `at`.
    fn end(&self, at: &Zoned) -> Option<Timestamp> {
        // before the first day of all there is none
        let yesterday = at.checked_sub(1.day()).ok();
        let spans = yesterday.iter().chain(std::iter::once(at)).filter_map(|day| self.on(day));
        spans.filter(|(from, to)| *from <= at.timestamp() && at.timestamp() < *to).map(|(_, to)| to).max()
    }
}

/// When a message of this severity may go that is ready at `now_ms`; `None`: at once.
pub fn until(spans: &[Quiet], zone: &TimeZone, severity: Option<Severity>, now_ms: i64) -> Option<i64> {
    let holds = |span: &&Quiet| span.pass.is_none_or(|least| severity.is_none_or(|s| s < least));
    let mut at = Timestamp::from_millisecond(now_ms).ok()?;
    let mut quiet = false;
    // one span may end where another begins
    for _ in 0..2 * MAX_SPANS {
        let here = at.to_zoned(zone.clone());
        match spans.iter().filter(holds).filter_map(|span| span.end(&here)).max() {
            Some(end) => (at, quiet) = (end, true),
            None => break,
        }
    }
    quiet.then(|| at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }
    fn span(from: &str, to: &str, days: &[&str], pass: Option<Severity>) -> Quiet {
        Quiet { from: from.into(), to: to.into(), days: days.iter().map(|d| d.to_string()).collect(), pass }
    }

    #[test]
    fn nights_weekends_and_who_passes() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let spans = [
            span("22:00", "07:00", &[], Some(Severity::Critical)),
            span("00:00", "00:00", &["sat", "sun"], Some(Severity::Critical)),
        ];
        assert_eq!(check(&spans), Ok(()));
        let at = |severity, time: &str| until(&spans, &zone, severity, ms(time));
        // Wednesday, 21:59 and 22:00 in Berlin
        assert_eq!(at(None, "2026-03-04T20:59:59Z"), None);
        assert_eq!(at(None, "2026-03-04T21:00:00Z"), Some(ms("2026-03-05T06:00:00Z")));
        assert_eq!(at(Some(Severity::Warning), "2026-03-05T05:59:59Z"), Some(ms("2026-03-05T06:00:00Z")));
        assert_eq!(at(None, "2026-03-05T06:00:00Z"), None);
        assert_eq!(at(Some(Severity::Critical), "2026-03-05T01:00:00Z"), None);
        // from Friday night to Monday morning in one
        assert_eq!(at(None, "2026-03-06T23:00:00Z"), Some(ms("2026-03-09T06:00:00Z")));
        // the clocks go forward in the night of the 29th, and back in that of the 25th of October
        assert_eq!(at(None, "2026-03-29T22:00:00Z"), Some(ms("2026-03-30T05:00:00Z")));
        let night = [span("22:00", "07:00", &[], None)];
        assert_eq!(until(&night, &zone, None, ms("2026-03-28T22:00:00Z")), Some(ms("2026-03-29T05:00:00Z")));
        assert_eq!(until(&night, &zone, None, ms("2026-10-24T22:00:00Z")), Some(ms("2026-10-25T06:00:00Z")));
        let missing = [span("02:30", "04:00", &[], None)];
        assert_eq!(until(&missing, &zone, None, ms("2026-03-29T01:45:00Z")), Some(ms("2026-03-29T02:00:00Z")));
        assert_eq!(until(&[], &zone, None, 0), None);
        let always = [span("00:00", "12:00", &[], None), span("12:00", "00:00", &[], None)];
        assert!(until(&always, &zone, None, 0).is_some(), "it comes to an end");
    }

    #[test]
    fn what_cannot_be_is_said() {
        for bad in [
            span("22", "07:00", &[], None),
            span("22:00", "24:00", &[], None),
            span("2:00", "07:00", &[], None),
            span("22:00", "07:00", &["monday"], None),
        ] {
            assert!(check(&[bad]).is_err());
        }
        assert!(check(&vec![span("22:00", "07:00", &[], None); 9]).is_err());
    }
}
