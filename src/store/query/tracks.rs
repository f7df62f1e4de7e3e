//! Series by hour beside the same hours of earlier weeks: what insights are made from.

use crate::insights::{HOUR_MS, Track, WEEKS, Window};
use crate::store::{Db, Result, prepare};
use std::collections::BTreeMap;

/// Milliseconds of a week.
const WEEK_MS: i64 = 7 * 24 * HOUR_MS;

/// All series with a point in the window or the weeks before it. A week counts when the whole shop's series had begun.
pub fn read(db: &Db, window: &Window) -> Result<Vec<Track>> {
    let mut tracks = BTreeMap::<(String, String), (Vec<f64>, Vec<Vec<f64>>)>::new();
    let first: Option<i64> = prepare(db, "SELECT min(bucket_ms) FROM series_rollup WHERE dimensions = ''")?
        .query_row([], |row| row.get(0))?;
    let Some(first) = first else { return Ok(vec![]) };
    let began = |week: &usize| window.from_ms - *week as i64 * WEEK_MS >= first;
    let weeks = (1..=WEEKS).take_while(began).count();
    for week in 0..=weeks {
        let from_ms = window.from_ms - week as i64 * WEEK_MS;
        hours(db, from_ms, window.hours, &mut |key, hour, value| {
            let (now, before) =
                tracks.entry(key).or_insert_with(|| (vec![0.0; window.hours], vec![vec![0.0; window.hours]; weeks]));
            let of = if week == 0 { Some(now) } else { before.get_mut(week - 1) };
            if let Some(slot) = of.and_then(|of| of.get_mut(hour)) {
                *slot = value;
            }
        })?;
    }
    let track = |((metric, dimensions), (now, before))| Track { metric, dimensions, now, before };
    Ok(tracks.into_iter().map(track).collect())
}

/// Each series' sum of an hour. Databases sum in ways of their own, so the last bits may differ: what is made of it is rounded.
fn hours(db: &Db, from_ms: i64, hours: usize, tell: &mut dyn FnMut((String, String), usize, f64)) -> Result<()> {
    let mut statement = prepare(
        db,
        "SELECT metric, dimensions, (bucket_ms - $1) / $3 AS hour, sum(value) FROM series_rollup
         WHERE bucket_ms >= $1 AND bucket_ms < $2 GROUP BY metric, dimensions, hour",
    )?;
    statement.each([from_ms, from_ms + hours as i64 * HOUR_MS, HOUR_MS], |row| {
        let hour = usize::try_from(row.get::<i64>(2)?).unwrap_or(usize::MAX);
        tell((row.get(0)?, row.get(1)?), hour, row.get(3)?);
        Ok(())
    })
}
