//! The limit by the hour: how much room an endpoint has, and what is left out when there is more than that.
//!
//! Counted from the rows themselves, so that a restart forgets nothing. The last message that has room says how many others there are;
//! those are `suppressed` (`rate_limit`) and can be replayed. Deliberately absent: attempts a second (`pace`).

use super::outbox::execute;
use crate::store::{Db, OptionalRow, Result as Stored, params, prepare};

/// The span that a limit is for, ms.
const HOUR_MS: i64 = 3_600_000;
/// While one is on its way, it is looked again whether it was taken.
const ON_ITS_WAY_MS: i64 = 1_000;

/// Room at this moment: nothing until then, or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Another message may go.
    Free,
    /// None before this time.
    Until(i64),
}

/// Looks for room; when there is room for one message and more are due, they become one.
pub fn room(tx: &Db, endpoint: &str, most: u32, now_ms: i64) -> Stored<Room> {
    let since = now_ms - HOUR_MS;
    let taken: i64 = prepare(
        tx,
        "SELECT count(*) FROM webhook_outbox WHERE endpoint_id = $1 AND state = 'delivered' AND next_ms > $2",
    )?
    .query_row(params![endpoint, since], |r| r.get(0))?;
    let going: i64 = prepare(
        tx,
        "SELECT count(*) FROM webhook_outbox WHERE endpoint_id = $1 AND state = 'sending' AND next_ms > $2",
    )?
    .query_row(params![endpoint, now_ms], |r| r.get(0))?;
    let left = i64::from(most) - taken - going;
    if left > 1 {
        return Ok(Room::Free);
    }
    if left == 1 {
        fold(tx, endpoint, now_ms)?;
        return Ok(Room::Free);
    }
    if taken < i64::from(most) {
        return Ok(Room::Until(now_ms + ON_ITS_WAY_MS));
    }
    let oldest: Option<i64> = prepare(
        tx,
        "SELECT next_ms FROM webhook_outbox WHERE endpoint_id = $1 AND state = 'delivered' ORDER BY next_ms DESC LIMIT 1 OFFSET $2",
    )?
    .query_row(params![endpoint, i64::from(most) - 1], |r| r.get(0))
    .optional()?;
    Ok(Room::Until(oldest.map_or(now_ms + ON_ITS_WAY_MS, |ms| ms + HOUR_MS)))
}

/// Makes one message of all that are due and were never tried: the worst of them, else the newest, says how many the others are.
fn fold(tx: &Db, endpoint: &str, now_ms: i64) -> Stored<()> {
    const DUE: &str = "FROM webhook_outbox o JOIN webhook_messages m ON m.id = o.message_id WHERE o.endpoint_id = $1
         AND o.state = 'pending' AND o.next_ms <= $2 AND o.first_sent_ms IS NULL AND m.log_offset IS NOT NULL";
    // one that was tried before goes first: it may be there already
    let tried: i64 = prepare(
        tx,
        "SELECT count(*) FROM webhook_outbox WHERE endpoint_id = $1 AND state = 'pending' AND next_ms <= $2 AND first_sent_ms IS NOT NULL",
    )?
    .query_row(params![endpoint, now_ms], |r| r.get(0))?;
    let due: i64 =
        prepare(tx, &format!("SELECT count(*) {DUE}"))?.query_row(params![endpoint, now_ms], |r| r.get(0))?;
    if tried > 0 || due < 2 {
        return Ok(());
    }
    let worst = "CASE m.severity WHEN 'critical' THEN 3 WHEN 'info' THEN 1 ELSE 2 END";
    let carrier: String = prepare(
        tx,
        &format!("SELECT o.message_id {DUE} ORDER BY {worst} DESC, o.created_ms DESC, o.message_id LIMIT 1"),
    )?
    .query_row(params![endpoint, now_ms], |r| r.get(0))?;
    execute(
        tx,
        &format!(
            "UPDATE webhook_outbox SET state = 'suppressed', reason = 'rate_limit' WHERE endpoint_id = $1 AND message_id <> $3
             AND state = 'pending' AND message_id IN (SELECT o.message_id {DUE})"
        ),
        params![endpoint, now_ms, carrier],
    )?;
    execute(
        tx,
        "UPDATE webhook_outbox SET more = more + $3 WHERE endpoint_id = $1 AND message_id = $2",
        params![endpoint, carrier, due - 1],
    )?;
    Ok(())
}
