//! Alerts: anomalies of one entity and cause within an hour are one alert, amended; a day has a budget of notifications.
//!
//! The book is a function of the anomalies in the order of the log and of the watermark. Messages are those of contract 4.
//! Deliberately absent: who is told (that is delivery's), and scores (they are final when they come here).

use crate::record::scored::{Severity, rfc3339, text};
use crate::series::Segment;
use bitcode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// One alert an entity and cause for so long (contract 8).
pub const WINDOW_MS: i64 = 3_600_000;
/// An alert pages only while its event is younger (contract 8).
pub const PAGES_FOR_MS: i64 = 24 * 3_600_000;
/// Alerts of one cause within the hour that are told one by one; of a storm of more, the rest joins the latest of them: an
/// attack from a hundred devices must not use up the day's notifications.
pub const MAX_OF_CAUSE: usize = 5;
/// Open alerts kept; the oldest is resolved early beyond that.
pub const MAX_OPEN: usize = 10_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// An event that was decided to be an anomaly, on its way to the alerts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Anomaly {
    /// Input partition.
    pub partition: u16,
    /// Offset in it.
    pub offset: u64,
    /// Event time.
    pub time_ms: i64,
    /// Clock of its epoch.
    pub clock_ms: i64,
    /// `id` of the event.
    pub id: String,
    /// `source` of the event.
    pub source: String,
    /// Which entity it is about, as kind and id; the event itself when there is none.
    pub entity: (String, String),
    /// The strongest reason's code.
    pub cause: String,
    /// How bad.
    pub severity: Severity,
    /// Segments whose incident of failed payments would explain it; empty for all but failed payments.
    pub fails_in: Vec<Segment>,
    /// Notifications a day, from the configuration in force.
    pub budget: u32,
    /// The event is history that was only to be learnt from.
    pub quiet: bool,
    /// The scored event as JSON.
    pub scored: Vec<u8>,
}
impl Anomaly {
    /// The order in which a closed epoch is taken in.
    pub fn order(&self) -> u64 {
        u64::from(self.partition) << 48 | self.offset
    }
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
struct Open {
    alert_id: String,
    opened_ms: i64,
    count: u64,
    entity: (String, String),
    cause: String,
    suppressed: Option<String>,
}

/// A message for the topic `alerts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The event it follows from; `None` when only time passed.
    pub cause: Option<(u16, u64)>,
    /// The envelope as JSON.
    pub json: Vec<u8>,
}

/// Open alerts and the day's notifications.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct AlertBook {
    open: BTreeMap<u64, Open>,
    /// Day since the epoch and notifications in it.
    day: i64,
    notified: u32,
    suppressed: u64,
}

/// What an alert's id is made of.
pub fn alert_hash(source: &str, id: &str) -> u128 {
    xxh3_128([source, id, "anomaly"].join("\n").as_bytes())
}

/// The id of the alert that an event would open: made from its cause, so that the same log gives the same ids.
pub fn alert_id(source: &str, id: &str) -> String {
    format!("al_{:032x}", alert_hash(source, id))
}

fn envelope(out: &mut Vec<u8>, kind: &str, time_ms: i64) {
    out.extend_from_slice(b"{\"type\":");
    text(out, kind);
    out.extend_from_slice(b",\"timestamp\":");
    rfc3339(out, time_ms);
    out.extend_from_slice(b",\"data\":{");
}

impl Open {
    fn head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"alert_id\":");
        text(out, &self.alert_id);
        out.extend_from_slice(b",\"entity\":{\"kind\":");
        text(out, &self.entity.0);
        out.extend_from_slice(b",\"id\":");
        text(out, &self.entity.1);
        out.extend_from_slice(b"},\"cause\":");
        text(out, &self.cause);
        out.extend_from_slice(format!(",\"count\":{},\"suppressed\":", self.count).as_bytes());
        match &self.suppressed {
            Some(reason) => text(out, reason),
            None => out.extend_from_slice(b"null"),
        }
    }
    fn message(&self, kind: &str, time_ms: i64, anomaly: &Anomaly) -> Message {
        let mut json = Vec::with_capacity(anomaly.scored.len() + 512);
        envelope(&mut json, kind, time_ms);
        self.head(&mut json);
        json.extend_from_slice(b",\"severity\":");
        text(&mut json, anomaly.severity.name());
        json.extend_from_slice(b",\"event\":");
        json.extend_from_slice(&anomaly.scored);
        json.extend_from_slice(b",\"links\":{\"alert\":");
        text(&mut json, &format!("/api/v1/alerts/{}", self.alert_id));
        json.extend_from_slice(b"}}}");
        Message { cause: Some((anomaly.partition, anomaly.offset)), json }
    }
    fn resolved(&self, time_ms: i64) -> Message {
        let mut json = Vec::with_capacity(256);
        envelope(&mut json, "anomaly.resolved", time_ms);
        self.head(&mut json);
        json.extend_from_slice(b"}}");
        Message { cause: None, json }
    }
}

impl AlertBook {
    /// The alert that an anomaly belongs to: that of its entity and cause, or in a storm the latest of its cause.
    fn key(&self, anomaly: &Anomaly) -> u64 {
        let own = xxh3_64([anomaly.entity.0.as_str(), &anomaly.entity.1, &anomaly.cause].join("\n").as_bytes());
        if self.open.contains_key(&own) {
            return own;
        }
        let lasts = |open: &Open| open.cause == anomaly.cause && anomaly.time_ms - open.opened_ms < WINDOW_MS;
        let mut storm: Vec<(i64, u64)> =
            self.open.iter().filter(|o| lasts(o.1)).map(|(k, o)| (o.opened_ms, *k)).collect();
        storm.sort_unstable();
        storm.last().filter(|_| storm.len() >= MAX_OF_CAUSE).map_or(own, |(_, key)| *key)
    }

    /// Takes one anomaly in; what is to be said. `explained`: an open incident tells of it already, so nobody is notified.
    pub fn take(&mut self, anomaly: &Anomaly, explained: bool, out: &mut Vec<Message>) {
        if anomaly.quiet {
            return;
        }
        let key = self.key(anomaly);
        if let Some(open) = self.open.get_mut(&key)
            && anomaly.time_ms - open.opened_ms < WINDOW_MS
        {
            open.count += 1;
            // at 2, 4, 8, ...: news, not a stream
            if open.count.is_power_of_two() {
                out.push(open.message("anomaly.amended", anomaly.time_ms, anomaly));
            }
            return;
        }
        if let Some(before) = self.open.remove(&key) {
            out.push(before.resolved(anomaly.time_ms));
        }
        if self.open.len() >= MAX_OPEN
            && let Some(oldest) = self.open.iter().min_by_key(|(key, o)| (o.opened_ms, **key)).map(|(key, _)| *key)
            && let Some(before) = self.open.remove(&oldest)
        {
            out.push(before.resolved(anomaly.time_ms));
        }
        let open = Open {
            alert_id: alert_id(&anomaly.source, &anomaly.id),
            opened_ms: anomaly.time_ms,
            count: 1,
            entity: anomaly.entity.clone(),
            cause: anomaly.cause.clone(),
            suppressed: self.suppress(anomaly, explained),
        };
        out.push(open.message("anomaly.opened", anomaly.time_ms, anomaly));
        self.open.insert(key, open);
    }

    /// Why nobody is notified, if so: the event is old, an incident tells of it, or the day's hard cap of twice the budget is
    /// used up.
    fn suppress(&mut self, anomaly: &Anomaly, explained: bool) -> Option<String> {
        if anomaly.clock_ms - anomaly.time_ms > PAGES_FOR_MS {
            return Some("old".into());
        }
        if explained {
            return Some("incident".into());
        }
        let day = anomaly.clock_ms.div_euclid(DAY_MS);
        if day != self.day {
            (self.day, self.notified) = (day, 0);
        }
        if self.notified >= anomaly.budget.saturating_mul(2) {
            self.suppressed += 1;
            return Some("budget".into());
        }
        self.notified += 1;
        None
    }

    /// Event time has come so far: resolves what has been quiet.
    pub fn advance(&mut self, watermark_ms: i64, out: &mut Vec<Message>) {
        let over: Vec<u64> =
            self.open.iter().filter(|(_, o)| watermark_ms - o.opened_ms >= WINDOW_MS).map(|(key, _)| *key).collect();
        for open in over.iter().filter_map(|key| self.open.remove(key)).collect::<Vec<_>>() {
            out.push(open.resolved(open.opened_ms + WINDOW_MS));
        }
    }

    /// Open alerts.
    pub fn open(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anomaly(offset: u64, time_ms: i64) -> Anomaly {
        Anomaly {
            partition: 0,
            offset,
            time_ms,
            clock_ms: time_ms,
            id: format!("e-{offset}"),
            source: "web".into(),
            entity: ("card".into(), "fp_\"1".into()),
            cause: "velocity_card_10m".into(),
            severity: Severity::Warning,
            fails_in: vec![],
            budget: 1,
            quiet: false,
            scored: b"{\"id\":\"e\"}".to_vec(),
        }
    }
    fn types(messages: &[Message]) -> Vec<String> {
        let parsed = messages.iter().map(|m| serde_json::from_slice::<serde_json::Value>(&m.json).unwrap());
        parsed.map(|m| m["type"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn an_attack_is_one_alert() {
        let (mut book, mut out) = (AlertBook::default(), vec![]);
        (0..1000).for_each(|i| book.take(&anomaly(i, i as i64), false, &mut out));
        assert_eq!(types(&out).iter().filter(|t| *t == "anomaly.opened").count(), 1);
        assert_eq!(out.len(), 10, "opened, then at 2, 4, ... 512");
        out.clear();
        book.advance(WINDOW_MS, &mut out);
        assert_eq!((types(&out), book.open()), (vec!["anomaly.resolved".to_owned()], 0));
    }

    #[test]
    fn a_storm_is_a_few_alerts() {
        let (mut book, mut out) = (AlertBook::default(), vec![]);
        let device = |i: u64| ("device".to_owned(), i.to_string());
        (0..1000).for_each(|i| book.take(&Anomaly { entity: device(i), ..anomaly(i, i as i64) }, false, &mut out));
        assert_eq!(types(&out).iter().filter(|t| *t == "anomaly.opened").count(), MAX_OF_CAUSE);
        // another cause is another matter, and the next hour is news again
        book.take(&Anomaly { cause: "new_device".into(), ..anomaly(2000, 1000) }, false, &mut out);
        book.advance(WINDOW_MS + 2000, &mut out);
        book.take(&Anomaly { entity: device(5000), ..anomaly(5000, WINDOW_MS + 3000) }, false, &mut out);
        assert_eq!(types(&out).iter().filter(|t| *t == "anomaly.opened").count(), MAX_OF_CAUSE + 2);
    }

    #[test]
    fn beyond_twice_the_budget_nobody_is_paged_but_the_alert_is_there() {
        let (mut book, mut out) = (AlertBook::default(), vec![]);
        for i in 0..4 {
            let entity = ("card".into(), i.to_string());
            book.take(&Anomaly { entity, ..anomaly(i, 5) }, false, &mut out);
        }
        let suppressed: Vec<_> = out
            .iter()
            .map(|m| serde_json::from_slice::<serde_json::Value>(&m.json).unwrap()["data"]["suppressed"].clone())
            .collect();
        assert_eq!(
            suppressed,
            ["null", "null", "\"budget\"", "\"budget\""].map(|s| serde_json::from_str::<serde_json::Value>(s).unwrap())
        );
    }

    #[test]
    fn what_an_incident_tells_pages_nobody_and_costs_no_budget() {
        let (mut book, mut out) = (AlertBook::default(), vec![]);
        (0..3).for_each(|i| book.take(&Anomaly { cause: i.to_string(), ..anomaly(i, 5) }, true, &mut out));
        book.take(&anomaly(3, 5), false, &mut out);
        let suppressed =
            |m: &Message| serde_json::from_slice::<serde_json::Value>(&m.json).unwrap()["data"]["suppressed"].clone();
        let said: Vec<_> = out.iter().map(suppressed).collect();
        assert_eq!(
            said,
            ["\"incident\"", "\"incident\"", "\"incident\"", "null"]
                .map(|s| serde_json::from_str::<serde_json::Value>(s).unwrap())
        );
    }

    #[test]
    fn history_that_is_only_learnt_from_raises_nothing() {
        let (mut book, mut out) = (AlertBook::default(), vec![]);
        book.take(&Anomaly { quiet: true, ..anomaly(1, 5) }, false, &mut out);
        assert_eq!((out.len(), &book), (0, &AlertBook::default()));
    }

    #[test]
    fn the_state_survives_its_bytes() {
        let (mut book, mut out) = (AlertBook::default(), vec![]);
        book.take(&anomaly(1, 5), false, &mut out);
        assert_eq!(bitcode::decode::<AlertBook>(&bitcode::encode(&book)).unwrap(), book);
    }
}
