//! The audit: compares sets of (source, id), not counters.
//!
//! `events.raw` = scored + duplicate + rejected + quarantined + heartbeats + in flight; what is scored in the log is in the
//! store as far as persist has read; every alert of the log is in the store. Ids are compared as 128-bit hashes, in passes
//! over a part of them at a time, so that memory stays bounded whatever the log holds.
//! Deliveries have their own sums, see [`crate::deliver::audit`]. Deliberately absent: repairing.

use crate::deliver::audit::{AuditError as DeliveryError, DeliverySums, compare_with_log, delivery_sums};
use crate::gateway::rejects::GATEWAY_KIND;
use crate::persist::READER;
use crate::store::positions;
use crate::store::{self, Store};
use pulse_dataflows::ports::{EventLog, LogError, LogReader, Meta, Partition, Topic};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_128;

/// Ids in memory in one pass: three sets of some 30 bytes an id, so about 400 MB at most.
const IDS_IN_PASS: u64 = 4_000_000;
/// Ids that are named in the report.
const NAMED: usize = 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log does not answer.
    #[error("log: {0}")]
    Log(#[from] LogError),
    /// The store does not answer.
    #[error("store: {0}")]
    Store(#[from] crate::store::Error),
}

/// The sums. Records and ids of the log as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct AuditReport {
    /// Records in `events.raw`.
    pub raw: u64,
    /// Different ids in it.
    pub raw_ids: u64,
    /// Ids that are scored.
    pub scored: u64,
    /// Records whose id came before.
    pub duplicate: u64,
    /// Ids that were rejected behind the gateway.
    pub rejected: u64,
    /// Ids that were quarantined.
    pub quarantined: u64,
    /// Ids of heartbeats.
    pub heartbeats: u64,
    /// Ids that have not come out yet.
    pub in_flight: u64,
    /// Ids that should have come out and have not.
    pub missing: u64,
    /// Ids that came out and never went in.
    pub invented: u64,
    /// Scored ids that persist has passed and the store does not have.
    pub missing_in_store: u64,
    /// Scored records that persist has not read yet.
    pub persist_lag: u64,
    /// Alerts in the log, as far as persist has read.
    pub alerts: u64,
    /// Records of `alerts` that persist has not read yet.
    pub alerts_lag: u64,
    /// Of them not in the store.
    pub alerts_missing_in_store: u64,
    /// Deliveries, over (message, destination).
    pub deliveries: DeliverySums,
    /// Pairs that follow from the log and are not in the outbox.
    pub deliveries_missing: u64,
    /// Pairs in the outbox that follow from nothing in the log.
    pub deliveries_invented: u64,
    /// Some of the ids that do not agree, `source/id`.
    pub examples: Vec<String>,
    /// Does everything agree?
    pub agrees: bool,
}

#[derive(Deserialize)]
struct Identity {
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
}
impl Identity {
    fn of(value: &[u8]) -> Option<(String, String, bool)> {
        let identity: Identity = serde_json::from_slice(value).ok()?;
        let source = identity.source.unwrap_or_else(|| "default".into());
        Some((source, identity.id?, identity.event_type.as_deref() == Some("heartbeat")))
    }
}

fn hash(source: &str, id: &str) -> u128 {
    xxh3_128(format!("{}:{source}{id}", source.len()).as_bytes())
}

/// What became of a raw record. The best of an id's records counts, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Heartbeat,
    Rejected,
    Quarantined,
    InFlight,
    Expected,
}

/// Told (partition, offset), meta and value of each record.
type EachRecord<'f> = dyn FnMut((u16, u64), Meta, &[u8]) + 'f;

/// Ends of the partitions that one audit looks at, and what came out otherwise than scored.
struct View<'a> {
    log: &'a dyn EventLog,
    ends: BTreeMap<Partition, u64>,
    /// (partition, offset) in `events.raw` of what was rejected; `true`: quarantined.
    refused: BTreeMap<(u16, u64), bool>,
    /// Behind the last cause that came out, by partition of `events.raw`.
    done: BTreeMap<u16, u64>,
}

impl<'a> View<'a> {
    /// Outputs first: what comes out meanwhile is not looked at, so that nothing seems invented.
    fn new(log: &'a dyn EventLog) -> Result<View<'a>, LogError> {
        let mut ends = BTreeMap::new();
        for topic in [Topic::Scored, Topic::Rejected, Topic::Alerts, Topic::Raw] {
            for number in 0..log.partitions(topic) {
                let partition = Partition { topic, number };
                ends.insert(partition, log.end(partition));
            }
        }
        let mut view = View { log, ends, refused: BTreeMap::new(), done: BTreeMap::new() };
        let (mut refused, mut done) = (BTreeMap::new(), BTreeMap::new());
        view.each(Topic::Rejected, &mut |_, meta, value| {
            if meta.cause.kind != GATEWAY_KIND {
                #[derive(Deserialize)]
                struct Code {
                    code: String,
                }
                let code = serde_json::from_slice(value).map_or(String::new(), |Code { code }| code);
                refused.insert((meta.cause.partition, meta.cause.offset), code == "quarantined");
                let end: &mut u64 = done.entry(meta.cause.partition).or_default();
                *end = (*end).max(meta.cause.offset + 1);
            }
        })?;
        view.each(Topic::Scored, &mut |_, meta, _| {
            let end = done.entry(meta.cause.partition).or_default();
            *end = (*end).max(meta.cause.offset + 1);
        })?;
        (view.refused, view.done) = (refused, done);
        Ok(view)
    }

    /// Every record of a topic as far as the view goes.
    fn each(&self, topic: Topic, f: &mut EachRecord) -> Result<(), LogError> {
        let mut reader: Box<dyn LogReader> = self.log.reader();
        for (partition, end) in self.ends.iter().filter(|(partition, _)| partition.topic == topic) {
            let mut from = self.log.start(*partition);
            while from < *end {
                let place = partition.number;
                let done =
                    reader.each(*partition, from, *end, &mut |offset, meta, value| f((place, offset), meta, value));
                match done {
                    Err(LogError::Trimmed(start)) if start > from => from = start, // trimmed while it was read
                    Err(error) => return Err(error),
                    Ok(at) if at == from => break,
                    Ok(at) => from = at,
                }
            }
        }
        Ok(())
    }

    /// Did what this record of `events.raw` led to come out before this look?
    fn came_out(&self, number: u16, offset: u64) -> bool {
        let begins = self.log.start(Partition { topic: Topic::Raw, number });
        offset < begins.max(self.done.get(&number).copied().unwrap_or(0))
    }

    fn fate(&self, place: (u16, u64), heartbeat: bool) -> Fate {
        match self.refused.get(&place) {
            _ if heartbeat => Fate::Heartbeat,
            Some(true) => Fate::Quarantined,
            Some(false) => Fate::Rejected,
            None if place.1 >= self.done.get(&place.0).copied().unwrap_or(0) => Fate::InFlight,
            None => Fate::Expected,
        }
    }
}

/// Compares log and store.
pub fn audit(log: &dyn EventLog, store: &Store) -> Result<AuditReport, AuditError> {
    let view = View::new(log)?;
    let mut report = AuditReport::default();
    let size = |topic| -> u64 {
        let of = view.ends.iter().filter(|(partition, _)| partition.topic == topic);
        of.map(|(partition, end)| end.saturating_sub(log.start(*partition))).sum()
    };
    let mut read = BTreeMap::new();
    for partition in view.ends.keys() {
        let next = store.read(|db| positions::get(db, READER, *partition))?.next;
        read.insert(*partition, next);
    }
    let passes = u128::from(size(Topic::Raw).max(size(Topic::Scored)) / IDS_IN_PASS + 1);
    for pass in 0..passes {
        let mine = |hash| hash % passes == pass;
        events(&Pass { view: &view, store, read: &read, mine: &mine }, &mut report)?;
    }
    alerts(&view, store, &read, &mut report)?;
    let behind = view.ends.iter().filter(|(p, _)| p.topic == Topic::Alerts);
    report.alerts_lag = behind.map(|(p, end)| end.saturating_sub(read.get(p).copied().unwrap_or(0))).sum();
    deliveries(log, store, &mut report)?;
    let events = report.missing + report.invented + report.missing_in_store + report.alerts_missing_in_store;
    let sent = report.deliveries_missing + report.deliveries_invented;
    report.agrees = events + sent == 0 && report.deliveries.agree();
    Ok(report)
}

fn name(report: &mut AuditReport, what: &str, of: (&str, &str)) {
    if report.examples.len() < NAMED {
        report.examples.push(format!("{what}: {}/{}", of.0, of.1));
    }
}

/// One pass: a part of the ids, by their hash.
struct Pass<'a> {
    view: &'a View<'a>,
    store: &'a Store,
    read: &'a BTreeMap<Partition, u64>,
    mine: &'a dyn Fn(u128) -> bool,
}

/// Compares this pass's ids of `events.raw`, `events.scored` and the store.
fn events(pass: &Pass, report: &mut AuditReport) -> Result<(), AuditError> {
    let (records, raw) = pass.raw()?;
    let (kept, before) = pass.kept(&raw)?;
    let scored = pass.scored(&raw, &kept, report)?;
    report.raw += records;
    report.raw_ids += raw.len() as u64;
    report.duplicate += records - raw.len() as u64;
    let mut missing = BTreeSet::new();
    for (hash, fate) in &raw {
        match fate {
            _ if scored.contains(hash) => report.scored += 1,
            Fate::Heartbeat => report.heartbeats += 1,
            Fate::Rejected => report.rejected += 1,
            Fate::Quarantined => report.quarantined += 1,
            // Scored before the log that is kept begins: a repeat of that one, of which nothing will ever come out.
            Fate::InFlight if before.contains(hash) => report.duplicate += 1,
            Fate::InFlight => report.in_flight += 1,
            Fate::Expected if kept.contains(hash) => report.duplicate += 1,
            Fate::Expected => _ = missing.insert(*hash),
        }
    }
    report.missing += missing.len() as u64;
    if !missing.is_empty() {
        pass.view.each(Topic::Raw, &mut |_, _, value| {
            if let Some((source, id, _)) = Identity::of(value)
                && missing.contains(&hash(&source, &id))
            {
                name(report, "missing", (&source, &id));
            }
        })?;
    }
    Ok(())
}

impl Pass<'_> {
    /// Number of records, and the ids with what became of them.
    fn raw(&self) -> Result<(u64, BTreeMap<u128, Fate>), AuditError> {
        let (mut records, mut raw) = (0, BTreeMap::new());
        self.view.each(Topic::Raw, &mut |place, _, value| {
            // What is no event has a fate, but no id to compare by: its place stands for it.
            let (hash, heartbeat) = match Identity::of(value) {
                Some((source, id, heartbeat)) => (hash(&source, &id), heartbeat),
                None => (hash("\0", &format!("{}/{}", place.0, place.1)), false),
            };
            if (self.mine)(hash) {
                records += 1;
                let fate = self.view.fate(place, heartbeat);
                raw.entry(hash).and_modify(|known: &mut Fate| *known = (*known).min(fate)).or_insert(fate);
            }
        })?;
        Ok((records, raw))
    }

    /// Ids in the store, and those of `raw` that are in flight though an earlier record of theirs came out.
    fn kept(&self, raw: &BTreeMap<u128, Fate>) -> Result<(BTreeSet<u128>, BTreeSet<u128>), AuditError> {
        const ROWS: &str = "SELECT source, event_id, log_partition, log_offset FROM scored_events";
        let (mut kept, mut before) = (BTreeSet::new(), BTreeSet::new());
        self.store.read_long(|db| {
            db.prepare(ROWS)?.each([], |row| {
                let (source, id): (String, String) = (row.get(0)?, row.get(1)?);
                let hash = hash(&source, &id);
                if (self.mine)(hash) {
                    kept.insert(hash);
                    if raw.get(&hash) == Some(&Fate::InFlight)
                        && self.view.came_out(row.get(2)?, row.get::<i64>(3)? as u64)
                    {
                        before.insert(hash);
                    }
                }
                Ok(())
            })
        })?;
        Ok((kept, before))
    }

    /// Ids in `events.scored`; those that never went in, and those that the store lacks, are reported.
    fn scored(
        &self,
        raw: &BTreeMap<u128, Fate>,
        kept: &BTreeSet<u128>,
        report: &mut AuditReport,
    ) -> Result<BTreeSet<u128>, AuditError> {
        let mut scored = BTreeSet::new();
        self.view.each(Topic::Scored, &mut |place, meta, value| {
            let Some((source, id, _)) = Identity::of(value) else { return };
            let hash = hash(&source, &id);
            if !(self.mine)(hash) {
                return;
            }
            let partition = Partition { topic: Topic::Scored, number: place.0 };
            if self.read.get(&partition).is_none_or(|next| place.1 >= *next) {
                report.persist_lag += 1;
            } else if !kept.contains(&hash) {
                report.missing_in_store += 1;
                name(report, "missing in the store", (&source, &id));
            }
            let start = self.view.log.start(Partition { topic: Topic::Raw, number: meta.cause.partition });
            if !raw.contains_key(&hash) && meta.cause.offset >= start {
                report.invented += 1;
                name(report, "invented", (&source, &id));
            }
            scored.insert(hash);
        })?;
        Ok(scored)
    }
}

/// Deliveries: their sums, and the pairs of message and destination against the log.
fn deliveries(log: &dyn EventLog, store: &Store, report: &mut AuditReport) -> Result<(), AuditError> {
    let found = compare_with_log(store, log).map_err(|error| match error {
        DeliveryError::Store(error) => AuditError::Store(error),
        DeliveryError::Log(error) => AuditError::Log(error),
    })?;
    report.deliveries = delivery_sums(store)?;
    (report.deliveries_missing, report.deliveries_invented) =
        (found.missing.len() as u64, found.unexpected.len() as u64);
    for (message, endpoint) in found.missing.iter().chain(&found.unexpected) {
        name(report, "delivery", (endpoint, message));
    }
    Ok(())
}

/// Alerts and incidents of the log, as far as persist has read, against the store.
fn alerts(
    view: &View,
    store: &Store,
    read: &BTreeMap<Partition, u64>,
    report: &mut AuditReport,
) -> Result<(), AuditError> {
    let mut ids: BTreeSet<(&str, String)> = BTreeSet::new();
    view.each(Topic::Alerts, &mut |place, _, value| {
        #[derive(Deserialize)]
        struct Envelope {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            alert_id: Option<String>,
            incident_id: Option<String>,
        }
        let partition = Partition { topic: Topic::Alerts, number: place.0 };
        let Ok(Envelope { data }) = serde_json::from_slice(value) else { return };
        if read.get(&partition).is_some_and(|next| place.1 < *next) {
            ids.extend(data.alert_id.map(|id| ("alerts", id)));
            ids.extend(data.incident_id.map(|id| ("incidents", id)));
        }
    })?;
    for (kind, id) in &ids {
        let known = store.read(|db| -> store::Result<bool> {
            Ok(match *kind {
                "alerts" => store::query::alerts::get(db, id)?.is_some(),
                _ => store::query::incidents::get(db, id)?.is_some(),
            })
        })?;
        report.alerts += 1;
        if !known {
            report.alerts_missing_in_store += 1;
            name(report, "missing in the store", (kind, id));
        }
    }
    Ok(())
}
