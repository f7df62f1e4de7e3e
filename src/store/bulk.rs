//! Many scored events at once. SQLite takes them row by row, which costs it nothing; PostgreSQL takes a batch as arrays, one
//! statement for each table.
//!
//! Deliberately absent: the few other rows of a batch (see [`super::rows`]).

use super::db::Db;
use super::error::Result;
use super::link::{Link, Text};
use super::rows::{self, ScoredRow};
use std::collections::BTreeMap;
use tokio_postgres::types::ToSql;

/// Writes scored events with their entities and counts by hour; how many were not there.
pub fn add_scored(db: &Db, batch: &[ScoredRow]) -> Result<u64> {
    if let Db::Postgres(link) = db
        && let Some(new) = at_once(db, link, batch)?
    {
        return Ok(new);
    }
    batch.iter().try_fold(0, |new, row| Ok(new + u64::from(rows::add_scored(db, row)?)))
}

const EVENTS: &str = "INSERT INTO scored_events SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[],
    $6::text[], $7::bigint[], $8::bigint[], $9::float8[], $10::float8[], $11::text[], $12::text[], $13::text[], $14::text[],
    $15::text[], $16::bigint[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[]) ON CONFLICT DO NOTHING";
const ENTITIES: &str =
    "INSERT INTO event_entities SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
    ON CONFLICT DO NOTHING";
const HOURS: &str =
    "INSERT INTO event_hours SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[])
    ON CONFLICT (hour_ms, event_group, decision, channel) DO UPDATE SET events = event_hours.events + excluded.events";

const SOURCES: &str =
    "INSERT INTO source_hours SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])
    ON CONFLICT (hour_ms, source) DO UPDATE SET events = source_hours.events + excluded.events,
    last_ms = GREATEST(source_hours.last_ms, excluded.last_ms)";

/// The whole batch at once; `None`: some of it was there already, nothing is written, and it has to go row by row.
fn at_once(db: &Db, link: &Link, batch: &[ScoredRow]) -> Result<Option<u64>> {
    if batch.is_empty() {
        return Ok(Some(0));
    }
    db.execute_batch("SAVEPOINT bulk")?;
    if events(link, batch)? < batch.len() {
        db.execute_batch("ROLLBACK TO SAVEPOINT bulk")?;
        return Ok(None);
    }
    let all = || batch.iter().flat_map(|row| row.entities.iter().map(move |entity| (row, entity)));
    let names: Vec<Text> = all().map(|(_, (name, _))| Text(name)).collect();
    let ids: Vec<Text> = all().map(|(_, (_, id))| Text(id)).collect();
    let times: Vec<i64> = all().map(|(row, _)| row.time_ms).collect();
    let events: Vec<Text> = all().map(|(row, _)| Text(&row.event_id)).collect();
    let sources: Vec<Text> = all().map(|(row, _)| Text(&row.source)).collect();
    run(link, ENTITIES, &[&names, &ids, &times, &events, &sources])?;
    hours(link, batch)?;
    source_hours(link, batch)?;
    Ok(Some(batch.len() as u64))
}

fn run(link: &Link, sql: &str, columns: &[&(dyn ToSql + Sync)]) -> Result<usize> {
    link.execute(&link.prepare(sql)?, columns)
}

fn events(link: &Link, batch: &[ScoredRow]) -> Result<usize> {
    let texts = |of: fn(&ScoredRow) -> &str| batch.iter().map(|row| Text(of(row))).collect::<Vec<_>>();
    let some = |of: fn(&ScoredRow) -> Option<&str>| batch.iter().map(|row| of(row).map(Text)).collect::<Vec<_>>();
    let whole = |of: fn(&ScoredRow) -> i64| batch.iter().map(of).collect::<Vec<_>>();
    let real = |of: fn(&ScoredRow) -> f64| batch.iter().map(of).collect::<Vec<_>>();
    let partitions: Vec<i32> = batch.iter().map(|row| row.partition.into()).collect();
    let amounts: Vec<Option<i64>> = batch.iter().map(|row| row.amount_minor).collect();
    run(
        link,
        EVENTS,
        &[
            &texts(|row| &row.event_id),
            &texts(|row| &row.source),
            &partitions,
            &whole(|row| row.offset as i64),
            &texts(|row| &row.event_type),
            &texts(|row| &row.group),
            &whole(|row| row.time_ms),
            &whole(|row| row.received_ms),
            &real(|row| row.score),
            &real(|row| row.p_value),
            &texts(|row| &row.decision),
            &texts(|row| &row.channel),
            &texts(|row| &row.severity),
            &texts(|row| &row.model),
            &texts(|row| &row.threshold),
            &amounts,
            &some(|row| row.currency.as_deref()),
            &some(|row| row.country.as_deref()),
            &some(|row| row.category.as_deref()),
            &texts(|row| &row.json),
            &some(|row| row.raw.as_deref()),
        ],
    )
}

fn hours(link: &Link, batch: &[ScoredRow]) -> Result<()> {
    let mut counts: BTreeMap<(i64, &str, &str, &str), i64> = BTreeMap::new();
    for row in batch {
        *counts.entry((row.hour_ms(), &row.group, &row.decision, &row.channel)).or_default() += 1;
    }
    let hours: Vec<i64> = counts.keys().map(|key| key.0).collect();
    let groups: Vec<Text> = counts.keys().map(|key| Text(key.1)).collect();
    let decisions: Vec<Text> = counts.keys().map(|key| Text(key.2)).collect();
    let channels: Vec<Text> = counts.keys().map(|key| Text(key.3)).collect();
    let events: Vec<i64> = counts.into_values().collect();
    run(link, HOURS, &[&hours, &groups, &decisions, &channels, &events])?;
    Ok(())
}

fn source_hours(link: &Link, batch: &[ScoredRow]) -> Result<()> {
    let mut counts: BTreeMap<(i64, &str), (i64, i64)> = BTreeMap::new();
    for row in batch {
        let (events, last_ms) = counts.entry((row.hour_ms(), &row.source)).or_insert((0, row.received_ms));
        (*events, *last_ms) = (*events + 1, (*last_ms).max(row.received_ms));
    }
    let hours: Vec<i64> = counts.keys().map(|key| key.0).collect();
    let sources: Vec<Text> = counts.keys().map(|key| Text(key.1)).collect();
    let events: Vec<i64> = counts.values().map(|(events, _)| *events).collect();
    let last: Vec<i64> = counts.values().map(|(_, last_ms)| *last_ms).collect();
    run(link, SOURCES, &[&hours, &sources, &events, &last])?;
    Ok(())
}
