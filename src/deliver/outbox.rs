//! The outbox: one row for each (message, endpoint), from raised to delivered, dead or suppressed. All its SQL.
//!
//! A row is `sending` while an attempt runs; after a crash such rows are `pending` again and the attempt is made once
//! more with the same id and the same bytes: at least once, and once only as far as the receiver goes by the id.
//! Deliberately absent: when and how to send.

use super::endpoint::Endpoint;
use super::filter::Severity;
use super::message::Message;
use super::schedule::{Next, Outcome};
use crate::store::dialect::Dialect;
use crate::store::positions::{self, Position};
use crate::store::prepare;
use crate::store::{Db, OptionalRow, Result as Stored, params};
use pulse_dataflows::ports::{Topic, partition};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most pending rows of one endpoint; what comes on top is dead at once (`queue_full`), counted, and can be replayed.
pub const MAX_PENDING: u64 = 100_000;
/// Most rows that one replay takes up.
pub const MAX_REPLAY: usize = 10_000;
/// The attempt log is cut after every so many attempts of an endpoint: not each time, for speed.
const CUT_EVERY: i64 = 64;

/// When a message came by (milliseconds since the epoch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Receipt of the event that caused it, if one did.
    pub received_ms: Option<i64>,
    /// Its place in the log: the clock of its epoch.
    pub appended_ms: i64,
    /// Read from the log.
    pub scored_ms: i64,
}

/// Our name among the readers of the log.
const READER: &str = "deliver";

/// Runs one statement of the store's dialect.
pub(super) fn execute(db: &Db, sql: &str, values: impl crate::store::db::Params) -> Stored<usize> {
    prepare(db, sql)?.execute(values)
}

/// How far the topic is read.
pub fn offset(db: &Db) -> Stored<u64> {
    Ok(positions::get(db, READER, partition(Topic::Alerts, 0))?.next)
}

/// Makes the reader's position, if there is none.
pub fn make_position(tx: &Db) -> Stored<()> {
    positions::load(tx, READER, partition(Topic::Alerts, 0)).map(|_| ())
}

/// Moves the reader, if it stands at `from`: two readers cannot both take a record up.
pub fn advance(tx: &Db, from: u64, to: u64) -> Stored<bool> {
    let at = |next| Position { next, cause: None };
    positions::advance(tx, READER, partition(Topic::Alerts, 0), at(from), at(to))
}

/// Keeps a message; `false` when it is there already.
pub fn insert_message(tx: &Db, m: &Message, log_offset: Option<u64>, times: Times, now_ms: i64) -> Stored<bool> {
    let mut insert = prepare(tx,
        "INSERT INTO webhook_messages(id, type, subject, log_offset, created_ms, received_ms, appended_ms, scored_ms, body, severity)
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) ON CONFLICT DO NOTHING",
    )?;
    let offset = log_offset.map(|o| o as i64);
    let (r, a, s) = (times.received_ms, times.appended_ms, times.scored_ms);
    Ok(insert.execute(params![
        m.id,
        m.kind,
        m.subject,
        offset,
        now_ms,
        r,
        a,
        s,
        m.body,
        m.severity.map(Severity::name)
    ])? == 1)
}

/// What a row begins as.
#[derive(Clone, Copy, Debug)]
pub struct Fate<'a> {
    /// State.
    pub state: &'static str,
    /// Why it is dead, suppressed, or waits.
    pub reason: Option<&'a str>,
    /// When it is due.
    pub next_ms: i64,
}
impl<'a> Fate<'a> {
    /// Due at once.
    pub fn due(now_ms: i64) -> Fate<'a> {
        Fate { state: "pending", reason: None, next_ms: now_ms }
    }
}

/// Adds a row.
pub fn insert_row(tx: &Db, message: &str, endpoint: &str, fate: Fate, now_ms: i64) -> Stored<()> {
    let mut insert = prepare(tx,
        "INSERT INTO webhook_outbox(message_id, endpoint_id, state, reason, attempts, next_ms, first_sent_ms, created_ms)
         VALUES ($1,$2,$3,$4,0,$5,NULL,$6) ON CONFLICT DO NOTHING",
    )?;
    insert.execute(params![message, endpoint, fate.state, fate.reason, fate.next_ms, now_ms])?;
    Ok(())
}

/// Rows that wait or are on their way.
pub fn pending(db: &Db, endpoint: &str) -> Stored<u64> {
    let mut count =
        prepare(db, "SELECT count(*) FROM webhook_outbox WHERE endpoint_id = $1 AND state IN ('pending', 'sending')")?;
    count.query_row([endpoint], |r| r.get::<i64>(0)).map(|n| n as u64)
}

/// After a start: attempts that a crash cut short are made again, at once. On PostgreSQL they may be those of another process: see
/// [`release_of`].
pub fn release(tx: &Db, now_ms: i64) -> Stored<usize> {
    if tx.dialect() == Dialect::Postgres {
        return Ok(0);
    }
    execute(tx, "UPDATE webhook_outbox SET state = 'pending', next_ms = $1 WHERE state = 'sending'", params![now_ms])
}

/// Owners of rows that are on their way, other than `own`, which nobody holds any more: their processes are gone.
pub fn owners_gone(db: &Db, own: i32) -> Stored<Vec<i32>> {
    let mut owners = prepare(
        db,
        "SELECT DISTINCT owner FROM webhook_outbox WHERE state = 'sending' AND owner <> 0 AND owner <> $1",
    )?;
    let owners: Vec<i32> = owners.query_map([own], |r| r.get(0))?.collect::<Stored<_>>()?;
    if owners.is_empty() { Ok(owners) } else { crate::store::owner::gone(db, &owners) }
}

/// What an owner that is gone had in hand is due at once. How many rows.
pub fn release_of(tx: &Db, owner: i32, now_ms: i64) -> Stored<usize> {
    execute(
        tx,
        "UPDATE webhook_outbox SET state = 'pending', next_ms = $1 WHERE state = 'sending' AND owner = $2",
        params![now_ms, owner],
    )
}

/// A row that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// Message.
    pub message_id: String,
    /// Type.
    pub kind: String,
    /// Attempts made in this schedule.
    pub attempts: u32,
    /// When it came by.
    pub times: Times,
    /// Start of the very first attempt.
    pub first_sent_ms: i64,
    /// Of e-mail: recipients that have it.
    pub told: Vec<String>,
    /// The alert or incident; may be empty.
    pub subject: String,
    /// How bad, if it is said.
    pub severity: Option<Severity>,
    /// So many others are left out for it.
    pub more: u64,
    /// The destination that it is sent here for.
    pub instead_of: Option<String>,
    /// Is this the very first attempt?
    pub first: bool,
    /// Body without latency.
    pub body: String,
}

/// What [`claim`] found.
#[derive(Debug)]
pub enum Claim {
    /// This row; it is `sending` now.
    Row(Box<Due>),
    /// Nothing is due before this time (`None`: nothing waits at all).
    Wait(Option<i64>),
}

/// How long a row that was taken is left to who took it, should nobody see that it is gone: it is frozen, its machine has vanished
/// without a word, or the answer to its commit was lost. Longer than an attempt may take by a minute at least.
const LEASE_MS: i64 = 120_000;

/// Takes the row that is due longest, for `owner`.
pub fn claim(tx: &Db, endpoint: &str, owner: i32, now_ms: i64) -> Stored<Claim> {
    match claim_in(tx, endpoint, "pending", owner, now_ms)? {
        Claim::Row(due) => Ok(Claim::Row(due)),
        Claim::Wait(pending) => match claim_in(tx, endpoint, "sending", owner, now_ms)? {
            Claim::Row(due) => Ok(Claim::Row(due)),
            Claim::Wait(leased) => Ok(Claim::Wait(pending.into_iter().chain(leased).min())),
        },
    }
}

fn claim_in(tx: &Db, endpoint: &str, state: &str, owner: i32, now_ms: i64) -> Stored<Claim> {
    let mut query = prepare(tx,
        "SELECT o.message_id, o.next_ms, o.attempts, o.first_sent_ms, m.type, m.received_ms, m.appended_ms, m.scored_ms, m.body, o.told,
         m.subject, m.severity, o.more, o.instead_of
         FROM webhook_outbox o JOIN webhook_messages m ON m.id = o.message_id
         WHERE o.endpoint_id = $1 AND o.state = $2 ORDER BY o.next_ms LIMIT 1 {skip_locked}",
    )?;
    let found = query.query_row([endpoint, state], |r| {
        let first_sent_ms: Option<i64> = r.get(3)?;
        let times = Times { received_ms: r.get(5)?, appended_ms: r.get(6)?, scored_ms: r.get(7)? };
        let due = Due {
            message_id: r.get(0)?,
            kind: r.get(4)?,
            attempts: r.get(2)?,
            times,
            first_sent_ms: first_sent_ms.unwrap_or(now_ms),
            first: first_sent_ms.is_none(),
            body: r.get(8)?,
            told: told(r.get(9)?),
            subject: r.get(10)?,
            severity: r.get::<Option<String>>(11)?.as_deref().and_then(Severity::parse),
            more: r.get::<i64>(12)? as u64,
            instead_of: r.get(13)?,
        };
        Ok((r.get::<i64>(1)?, due))
    });
    match found.optional()? {
        None => Ok(Claim::Wait(None)),
        Some((next_ms, _)) if next_ms > now_ms => Ok(Claim::Wait(Some(next_ms))),
        Some((_, due)) => {
            let mut update = prepare(
                tx,
                "UPDATE webhook_outbox SET state = 'sending', first_sent_ms = $3, next_ms = $4, owner = $5 WHERE message_id = $1 AND endpoint_id = $2",
            )?;
            update.execute(params![due.message_id, endpoint, due.first_sent_ms, now_ms + LEASE_MS, owner])?;
            Ok(Claim::Row(Box::new(due)))
        }
    }
}

/// A list that cannot be read is none: everybody is told again, rather than nobody.
fn told(list: Option<String>) -> Vec<String> {
    list.and_then(|list| serde_json::from_str(&list).ok()).unwrap_or_default()
}

/// One line of the attempt log.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Number of the line; grows.
    pub id: i64,
    /// Endpoint.
    pub endpoint_id: String,
    /// Message.
    pub message_id: String,
    /// Which attempt of the schedule, from 1.
    pub number: u32,
    /// Start (milliseconds since the epoch).
    pub at_ms: i64,
    /// Length.
    pub duration_ms: i64,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What it came to.
    pub outcome: String,
    /// First KB of the answer, or the error.
    pub reply: String,
}

/// Notes recipients that are done with.
pub fn tell(tx: &Db, message: &str, endpoint: &str, told: &[String]) -> Stored<()> {
    let list = serde_json::Value::from(told.to_vec()).to_string();
    let update = "UPDATE webhook_outbox SET told = $3 WHERE message_id = $1 AND endpoint_id = $2";
    execute(tx, update, params![message, endpoint, list]).map(|_| ())
}

/// Writes an attempt down and moves its row. `alive`: the endpoint still takes retries.
pub fn record(tx: &Db, a: &Attempt, next: Next, alive: bool, kept: u32) -> Stored<&'static str> {
    let (state, reason, next_ms) = match next {
        Next::Done => ("delivered", None, a.at_ms),
        Next::Dead if a.outcome == Outcome::Permanent.name() => ("dead", Some("refused"), a.at_ms),
        Next::Dead => ("dead", Some("exhausted"), a.at_ms),
        Next::Disable => ("dead", Some("endpoint_disabled"), a.at_ms),
        Next::RetryAt(_) if !alive => ("dead", Some("endpoint_disabled"), a.at_ms),
        Next::RetryAt(at) => ("pending", None, at),
    };
    prepare(tx,
        "UPDATE webhook_outbox SET state = $3, reason = $4, attempts = $5, next_ms = $6 WHERE message_id = $1 AND endpoint_id = $2",
    )?
    .execute(params![a.message_id, a.endpoint_id, state, reason, a.number, next_ms])?;
    let line: i64 = prepare(tx,
        "INSERT INTO webhook_attempts(endpoint_id, message_id, number, at_ms, duration_ms, status, outcome, reply) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)
         RETURNING id",
    )?
    .query_row(params![a.endpoint_id, a.message_id, a.number, a.at_ms, a.duration_ms, a.status, a.outcome, a.reply], |r| r.get(0))?;
    if line % CUT_EVERY == 0 {
        execute(
            tx,
            "DELETE FROM webhook_attempts WHERE endpoint_id = $1 AND id <= (SELECT id FROM webhook_attempts
             WHERE endpoint_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
            params![a.endpoint_id, kept],
        )?;
    }
    Ok(state)
}

/// Somebody has taken an alert on: who would be called for it need not be any more. Its end is told all the same.
pub fn acknowledge(tx: &Db, subject: &str) -> Stored<usize> {
    execute(
        tx,
        "UPDATE webhook_outbox SET state = 'suppressed', reason = 'acknowledged' WHERE state = 'pending' AND message_id IN
         (SELECT id FROM webhook_messages WHERE subject = $1 AND type NOT LIKE '%.resolved')
         AND endpoint_id IN (SELECT id FROM webhook_endpoints WHERE kind IN ('slack', 'pagerduty', 'email'))",
        [subject],
    )
}

/// Has somebody taken it on?
pub fn acknowledged(db: &Db, subject: &str) -> Stored<bool> {
    let mut query = prepare(
        db,
        "SELECT (SELECT count(*) FROM alerts WHERE alert_id = $1 AND acked_ms IS NOT NULL)
         + (SELECT count(*) FROM incidents WHERE incident_id = $1 AND acked_ms IS NOT NULL)",
    )?;
    Ok(query.query_row([subject], |r| r.get::<i64>(0))? > 0)
}

/// Does something about `subject` wait for the end of an endpoint's quiet hours?
pub fn held(tx: &Db, endpoint: &str, subject: &str) -> Stored<bool> {
    let mut query = prepare(
        tx,
        "SELECT count(*) FROM webhook_messages m JOIN webhook_outbox o ON o.message_id = m.id
         WHERE m.subject = $2 AND o.endpoint_id = $1 AND o.state = 'pending' AND o.reason = 'quiet_hours'",
    )?;
    Ok(query.query_row([endpoint, subject], |r| r.get::<i64>(0))? > 0)
}

/// Gives what waits for an endpoint to the one that stands in for it too: one message, or all that are due. How many.
pub fn hand_over(tx: &Db, from: &Endpoint, to: &str, message: Option<&str>, now_ms: i64) -> Stored<usize> {
    const ROWS: &str =
        "INSERT INTO webhook_outbox(message_id, endpoint_id, state, reason, attempts, next_ms, first_sent_ms,
         created_ms, instead_of) SELECT message_id, CAST($2 AS TEXT), 'pending', NULL, 0, CAST($3 AS BIGINT), NULL,
         CAST($3 AS BIGINT), CAST($4 AS TEXT) FROM webhook_outbox WHERE endpoint_id = $1 AND ";
    match message {
        Some(id) => execute(
            tx,
            &format!("{ROWS} message_id = $5 ON CONFLICT DO NOTHING"),
            params![from.id, to, now_ms, from.called(), id],
        ),
        None => execute(
            tx,
            &format!(
                "{ROWS} state IN ('pending', 'sending') AND (reason IS NULL OR reason <> 'quiet_hours') ON CONFLICT DO NOTHING"
            ),
            params![from.id, to, now_ms, from.called()],
        ),
    }
}

/// Ends all that waits for an endpoint. How many.
pub fn kill_pending(tx: &Db, endpoint: &str, reason: &str) -> Stored<usize> {
    execute(
        tx,
        "UPDATE webhook_outbox SET state = 'dead', reason = $2 WHERE endpoint_id = $1 AND state = 'pending'",
        params![endpoint, reason],
    )
}

/// What a replay takes up.
#[derive(Clone, Debug)]
pub enum Replay {
    /// One message, whatever became of it.
    Message(String),
    /// Messages raised in `[from_ms, to_ms)`: those in `states`.
    Range {
        /// From.
        from_ms: i64,
        /// Up to.
        to_ms: i64,
        /// `dead`, `suppressed`, `delivered`.
        states: Vec<String>,
    },
}

/// Makes rows pending again, with a new schedule and the same id and bytes. How many.
pub fn replay(tx: &Db, endpoint: &str, what: &Replay, now_ms: i64) -> Stored<usize> {
    const AGAIN: &str =
        "UPDATE webhook_outbox SET state = 'pending', reason = NULL, attempts = 0, next_ms = $2, told = NULL, more = 0
         WHERE endpoint_id = $1 AND state NOT IN ('pending', 'sending') AND ";
    match what {
        Replay::Message(id) => execute(tx, &format!("{AGAIN} message_id = $3"), params![endpoint, now_ms, id]),
        Replay::Range { from_ms, to_ms, states } => execute(
            tx,
            &format!(
                "{AGAIN} message_id IN (SELECT o.message_id FROM webhook_outbox o WHERE o.endpoint_id = $1 AND
                 o.created_ms >= $3 AND o.created_ms < $4 AND
                 ((o.state = 'dead' AND $5) OR (o.state = 'suppressed' AND $6) OR (o.state = 'delivered' AND $7))
                 ORDER BY o.created_ms LIMIT $8)"
            ),
            params![
                endpoint,
                now_ms,
                from_ms,
                to_ms,
                states.iter().any(|s| s == "dead"),
                states.iter().any(|s| s == "suppressed"),
                states.iter().any(|s| s == "delivered"),
                MAX_REPLAY as i64
            ],
        ),
    }
}

/// A page of the attempt log, the newest first: below line `before`, started in `[from_ms, to_ms)`.
pub fn attempts(
    db: &Db,
    endpoint: &str,
    before: i64,
    (from_ms, to_ms): (i64, i64),
    limit: usize,
) -> Stored<Vec<Attempt>> {
    let mut query = prepare(
        db,
        "SELECT id, endpoint_id, message_id, number, at_ms, duration_ms, status, outcome, reply FROM webhook_attempts
         WHERE endpoint_id = $1 AND id < $2 AND at_ms >= $3 AND at_ms < $4 ORDER BY id DESC LIMIT $5",
    )?;
    let rows = query.query_map(params![endpoint, before, from_ms, to_ms, limit as i64], |r| {
        Ok(Attempt {
            id: r.get(0)?,
            endpoint_id: r.get(1)?,
            message_id: r.get(2)?,
            number: r.get(3)?,
            at_ms: r.get(4)?,
            duration_ms: r.get(5)?,
            status: r.get(6)?,
            outcome: r.get(7)?,
            reply: r.get(8)?,
        })
    })?;
    rows.collect()
}

/// Forgets messages older than `before_ms` that nobody waits for, a few at a time. How many.
pub fn forget(tx: &Db, before_ms: i64, at_most: usize) -> Stored<usize> {
    let mut query = prepare(
        tx,
        "SELECT id FROM webhook_messages m WHERE created_ms < $1 AND NOT EXISTS (SELECT 1 FROM webhook_outbox o
         WHERE o.message_id = m.id AND o.state IN ('pending', 'sending')) ORDER BY created_ms LIMIT $2",
    )?;
    let ids: Vec<String> =
        query.query_map(params![before_ms, at_most as i64], |r| r.get(0))?.collect::<Result<_, _>>()?;
    for id in &ids {
        execute(tx, "DELETE FROM webhook_outbox WHERE message_id = $1", [id])?;
        execute(tx, "DELETE FROM webhook_messages WHERE id = $1", [id])?;
    }
    Ok(ids.len())
}

/// Rows by endpoint and state, for the lists.
pub fn counts(db: &Db) -> Stored<BTreeMap<(String, String), u64>> {
    let mut query = prepare(db, "SELECT endpoint_id, state, count(*) FROM webhook_outbox GROUP BY endpoint_id, state")?;
    let rows = query.query_map([], |r| Ok(((r.get(0)?, r.get(1)?), r.get::<i64>(2)? as u64)))?;
    rows.collect()
}

/// An attempt before it has a number.
pub fn attempt(endpoint: &str, due: &Due, at_ms: i64, duration_ms: i64, outcome: Outcome) -> Attempt {
    Attempt {
        id: 0,
        endpoint_id: endpoint.into(),
        message_id: due.message_id.clone(),
        number: due.attempts + 1,
        at_ms,
        duration_ms,
        status: None,
        outcome: outcome.name().into(),
        reply: String::new(),
    }
}
