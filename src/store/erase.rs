//! Erasing an entity: what the store knows of a person goes, what is counted stays.
//!
//! Rows of the entity's events lose the native event, their reasons and features and every link to any entity; alerts, verdicts and
//! messages about them lose what they say. Numbers, times, scores and ids of events stay, so that sums and the audit agree.
//! A few events in each transaction: whoever is interrupted begins again, and finds the rest.
//! Deliberately absent: the log and the running state (`sidecar::erase` asks those), copies that were sent or backed up.

use super::{Db, Result, Store, prepare};
use crate::json::Members;

/// Events in one transaction: some milliseconds, so that persist hardly notices.
const CHUNK: i64 = 100;

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Erased {
    /// Events that lost what they said.
    pub events: u64,
    /// Alerts.
    pub alerts: u64,
    /// Verdicts.
    pub labels: u64,
    /// Messages to destinations.
    pub messages: u64,
    /// Refused events whose kept text held the id.
    pub rejects: u64,
}

/// An object without some members and with a mark; what is no object becomes the mark alone.
fn bare(json: &str, drop: &[&str], more: &str) -> String {
    let mut text = Members::parse(json).unwrap_or_default().without(&[drop, &["erased", "reasons"]].concat());
    text.truncate(text.len() - 1);
    if text.len() > 1 {
        text.push(',');
    }
    text + more + "\"erased\":true}"
}

/// A scored event without what it says of a person.
fn bare_event(json: &str) -> String {
    bare(json, &["features", "rules", "enrichment"], "\"reasons\":[],\"rules\":[],")
}

/// `data` of an alert.
fn bare_alert(json: &str) -> String {
    let event = Members::parse(json).ok().and_then(|data| data.get("event")).map(|event| bare_event(event.get()));
    let event = event.map_or(String::new(), |event| format!("\"event\":{event},"));
    bare(json, &["entity", "event", "links"], &event)
}

/// A message as it is sent.
fn bare_message(json: &str) -> String {
    let data = Members::parse(json).ok().and_then(|body| body.get("data")).map(|data| bare_alert(data.get()));
    bare(json, &["data"], &format!("\"data\":{},", data.as_deref().unwrap_or("{}")))
}

impl Store {
    /// Erases an entity as it is stored: `customer`, `c-42`.
    pub fn erase(&self, name: &str, id: &str) -> Result<Erased> {
        let mut all = Erased::default();
        loop {
            let before = all.events;
            self.write_durable(|tx| events(tx, name, id, &mut all))?;
            if all.events == before {
                break;
            }
        }
        self.write_durable(|tx| others(tx, name, id, &mut all))?;
        Ok(all)
    }
}

fn events(tx: &Db, name: &str, id: &str, all: &mut Erased) -> Result<()> {
    let some: Vec<(i64, String, String)> = {
        let sql = "SELECT time_ms, event_id, source FROM event_entities WHERE name = $1 AND entity_id = $2 LIMIT $3";
        let mut of = prepare(tx, sql)?;
        of.query_map((name, id, CHUNK), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<Result<_>>()?
    };
    for (time_ms, event_id, source) in some {
        event(tx, time_ms, &event_id, &source)?;
        all.events += 1;
        let target = format!("event:{source}/{event_id}");
        all.labels += labels(tx, &target)?;
        let sql = "SELECT alert_id, json FROM alerts WHERE event_id = $1 AND source = $2";
        let found: Vec<(String, String)> = prepare(tx, sql)?
            .query_map((&event_id, &source), |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<Result<_>>()?;
        for (alert_id, json) in found {
            alert(tx, &alert_id, &json, all)?;
        }
    }
    Ok(())
}

fn event(tx: &Db, time_ms: i64, event_id: &str, source: &str) -> Result<()> {
    let key = (event_id, source, time_ms);
    let sql = "SELECT json FROM scored_events WHERE event_id = $1 AND source = $2 AND time_ms = $3";
    let found: Vec<String> = prepare(tx, sql)?.query_map(key, |r| r.get(0))?.collect::<Result<_>>()?;
    for json in found {
        let sql = "UPDATE scored_events SET json = $4, raw = NULL, country = NULL
                   WHERE event_id = $1 AND source = $2 AND time_ms = $3";
        prepare(tx, sql)?.execute((event_id, source, time_ms, bare_event(&json)))?;
    }
    let sql = "DELETE FROM event_entities WHERE event_id = $1 AND source = $2 AND time_ms = $3";
    prepare(tx, sql)?.execute(key)?;
    Ok(())
}

fn labels(tx: &Db, target: &str) -> Result<u64> {
    let sql = "SELECT log_partition, log_offset, json FROM labels WHERE target = $1";
    let found: Vec<(i64, i64, String)> =
        prepare(tx, sql)?.query_map([target], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<Result<_>>()?;
    for (partition, offset, json) in &found {
        let sql = "UPDATE labels SET reason = NULL, json = $3 WHERE log_partition = $1 AND log_offset = $2";
        prepare(tx, sql)?.execute((partition, offset, bare(json, &["entities", "reason"], "")))?;
    }
    Ok(found.len() as u64)
}

fn alert(tx: &Db, alert_id: &str, json: &str, all: &mut Erased) -> Result<()> {
    let sql = "UPDATE alerts SET entity = NULL, json = $2 WHERE alert_id = $1";
    all.alerts += prepare(tx, sql)?.execute((alert_id, bare_alert(json)))? as u64;
    let sql = "UPDATE alert_history SET json = '{\"erased\":true}' WHERE subject = $1";
    prepare(tx, sql)?.execute([alert_id])?;
    all.labels += labels(tx, &format!("alert:{alert_id}"))?;
    let sql = "SELECT id, body FROM webhook_messages WHERE subject = $1";
    let found: Vec<(String, String)> =
        prepare(tx, sql)?.query_map([alert_id], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_>>()?;
    for (id, body) in found {
        let sql = "UPDATE webhook_messages SET body = $2 WHERE id = $1";
        all.messages += prepare(tx, sql)?.execute((id, bare_message(&body)))? as u64;
    }
    Ok(())
}

/// What names the entity without being one of its events.
fn others(tx: &Db, name: &str, id: &str, all: &mut Erased) -> Result<()> {
    let entity = format!("{name}:{id}");
    let sql = "SELECT alert_id, json FROM alerts WHERE entity = $1";
    let found: Vec<(String, String)> =
        prepare(tx, sql)?.query_map([&entity], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_>>()?;
    for (alert_id, json) in found {
        alert(tx, &alert_id, &json, all)?;
    }
    let escaped = id.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let sql = "UPDATE rejects SET payload = NULL WHERE payload LIKE $1 ESCAPE '\\'";
    all.rejects += prepare(tx, sql)?.execute([format!("%{escaped}%")])? as u64;
    prepare(tx, "DELETE FROM access_log WHERE entity = $1")?.execute([entity])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_words_go() {
        let event =
            r#"{"id":"o-1","score":0.5260,"reasons":[{"text":"secret"}],"features":"AAAA","rules":["velocity"]}"#;
        assert_eq!(bare_event(event), r#"{"id":"o-1","score":0.5260,"reasons":[],"rules":[],"erased":true}"#);
        let alert =
            format!(r#"{{"alert_id":"a","entity":{{"kind":"customer","id":"secret"}},"count":2,"event":{event}}}"#);
        let message = bare_message(&format!(r#"{{"type":"anomaly.opened","data":{alert}}}"#));
        assert!(
            !message.contains("secret") && message.contains("\"count\":2") && message.contains("0.5260"),
            "{message}"
        );
        let value: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert_eq!(value["data"]["event"]["reasons"], serde_json::json!([]));
        assert_eq!(bare_event(&bare_event(event)), bare_event(event), "erased twice is erased");
        assert_eq!(bare_event("no object"), r#"{"reasons":[],"rules":[],"erased":true}"#);
    }
}
