//! The sums of delivery: raised = delivered + pending + dead + suppressed, over (message, endpoint).
//!
//! [`delivery_sums`] counts rows; [`compare_with_log`] makes the set of pairs again from the topic and the endpoints'
//! wishes and compares it with the rows, so that a row that was never written shows.

use super::endpoint;
use super::message::Message;
use crate::store::{Result, Row, Store, prepare};
use pulse_dataflows::ports::{EventLog, LogError, Topic, partition};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Counts over (message, endpoint).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeliverySums {
    /// All rows.
    pub raised: u64,
    /// Answered with 2xx.
    pub delivered: u64,
    /// Waiting or on their way.
    pub pending: u64,
    /// Given up.
    pub dead: u64,
    /// Not to be sent, by reason.
    pub suppressed: BTreeMap<String, u64>,
}

impl DeliverySums {
    /// Do the parts add up?
    pub fn agree(&self) -> bool {
        self.raised == self.delivered + self.pending + self.dead + self.suppressed.values().sum::<u64>()
    }
}

/// Counts the outbox.
pub fn delivery_sums(store: &Store) -> Result<DeliverySums> {
    // one question: all counts are of one moment
    const ROWS: &str = "SELECT state, coalesce(reason, ''), count(*) FROM webhook_outbox GROUP BY 1, 2";
    let rows: Vec<(String, String, i64)> =
        store.read_long(|db| prepare(db, ROWS)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect())?;
    let mut sums = DeliverySums::default();
    for (state, reason, count) in rows {
        let count = count as u64;
        sums.raised += count;
        match state.as_str() {
            "delivered" => sums.delivered += count,
            "pending" | "sending" => sums.pending += count,
            "dead" => sums.dead += count,
            "suppressed" => *sums.suppressed.entry(reason).or_default() += count,
            _ => {} // counted in `raised` alone: the sums then disagree, as they should
        }
    }
    Ok(sums)
}

/// Where rows and log differ, as (message, endpoint).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Pairs compared.
    pub compared: u64,
    /// In the log, not in the outbox.
    pub missing: BTreeSet<(String, String)>,
    /// In the outbox, not in the log.
    pub unexpected: BTreeSet<(String, String)>,
}

/// Why the comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Store.
    #[error("store: {0}")]
    Store(#[from] crate::store::Error),
    /// Log.
    #[error("log: {0}")]
    Log(#[from] LogError),
}

/// Compares the rows with the topic, as far as both reach: from the first alert that the log still has to the reader's
/// offset. Each endpoint from its own beginning to its own end. Rows that retention removed are not compared, nor those of a
/// destination that stands in for another.
pub fn compare_with_log(store: &Store, log: &dyn EventLog) -> std::result::Result<Differences, AuditError> {
    let alerts = partition(Topic::Alerts, 0);
    // The offset first: rows that come in meanwhile lie behind it.
    let (end, endpoints, oldest) = store.read_long(|db| {
        let oldest: Option<i64> = db.query_row("SELECT min(log_offset) FROM webhook_messages", [], |r| r.get(0))?;
        Ok((super::outbox::offset(db)?, endpoint::all(db)?, oldest))
    })?;
    let start = log.start(alerts).max(oldest.map_or(end, |o| o as u64));
    let (mut expected, mut seen) = (BTreeSet::new(), BTreeSet::new());
    log.reader().each(alerts, start, end, &mut |offset, meta, value| {
        let Ok(m) = Message::read(value, meta.cause) else { return };
        if !seen.insert(m.id.clone()) {
            return; // a repeat
        }
        for e in endpoints.iter().filter(|e| e.covers(offset) && e.filter.wants(&m.kind, m.severity, m.group)) {
            expected.insert((m.id.clone(), e.id.clone()));
        }
    })?;
    const ROWS: &str = "SELECT o.message_id, o.endpoint_id, m.log_offset
         FROM webhook_outbox o JOIN webhook_messages m ON m.id = o.message_id WHERE m.log_offset >= $1 AND m.log_offset < $2
         AND o.instead_of IS NULL";
    let rows: Vec<((String, String), u64)> = store.read_long(|db| {
        let row = |r: &Row| Ok(((r.get(0)?, r.get(1)?), r.get::<i64>(2)? as u64));
        prepare(db, ROWS)?.query_map([start as i64, end as i64], row)?.collect()
    })?;
    let covered = |pair: &(String, String), offset: u64| {
        endpoints.iter().find(|e| e.id == pair.1).is_some_and(|e| e.covers(offset))
    };
    let stored: BTreeSet<_> = rows.into_iter().filter(|(pair, o)| covered(pair, *o)).map(|(pair, _)| pair).collect();
    Ok(Differences {
        compared: expected.len() as u64,
        missing: expected.difference(&stored).cloned().collect(),
        unexpected: stored.difference(&expected).cloned().collect(),
    })
}
