//! Verdicts: checked, completed with the entities of their event, appended to `labels`. Persist brings them into the store.
//!
//! A verdict that is in force already, said again by the same author with the same words, is answered and not repeated.
//! Deliberately absent: what a verdict does (scoring and retraining read the topic).

use super::api::{Shared, Who};
use super::params::{Id, Sent, bad};
use super::{Answer, Inner, events, views};
use crate::http::Problem;
use crate::json::{Time, rfc3339};
use crate::persist::decode;
use crate::store::now_ms;
use crate::store::query::{self, Span, alerts, incidents};
use axum::extract::State;
use axum::http::StatusCode;
use pulse_dataflows::ports::{Meta, Records, Request, Topic, partition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The contract's verdicts.
const VERDICTS: [&str; 5] = ["true_positive", "false_positive", "expected", "duplicate", "withdrawn"];
/// Longest id, name and reason, characters.
const NAME: usize = 100;
const REASON: usize = 1_000;
/// How far in the future a verdict may be known: the same as for events.
const AHEAD_MS: i64 = 300_000;
/// Events of one order or payment that are looked at.
const EVENTS: usize = 20;
/// Dimensions of a window.
const DIMENSIONS: usize = 16;

/// A verdict as it is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelBody {
    time: Option<Time>,
    event_id: Option<String>,
    source: Option<String>,
    alert_id: Option<String>,
    incident_id: Option<String>,
    order_id: Option<String>,
    payment_id: Option<String>,
    from: Option<Time>,
    to: Option<Time>,
    metric: Option<String>,
    dimensions: Option<BTreeMap<String, String>>,
    verdict: Option<String>,
    origin: Option<String>,
    by: Option<String>,
    reason: Option<String>,
}

/// A verdict on what the address names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    verdict: Option<String>,
    reason: Option<String>,
    by: Option<String>,
}

/// A verdict as it stands in the topic: the contract's members and the entities of its event.
#[derive(Debug, Serialize)]
struct Label {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<BTreeMap<String, String>>,
    verdict: String,
    origin: String,
    by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    entities: Vec<String>,
}

/// A text of at most so many characters, not empty.
fn short(name: &str, value: Option<&String>, most: usize) -> Result<(), Problem> {
    match value {
        Some(text) if text.is_empty() || text.chars().count() > most => {
            Err(bad(name, format!("1 to {most} characters")))
        }
        _ => Ok(()),
    }
}

/// Who says it: the name given, else the key's prefix.
pub fn author(by: Option<String>, who: &Who) -> Result<String, Problem> {
    short("by", by.as_ref(), NAME)?;
    Ok(by.unwrap_or_else(|| who.prefix.as_deref().unwrap_or("anonymous").to_owned()))
}

impl LabelBody {
    /// Checks everything that can be checked without the store.
    fn check(self, origin: &str, by: String) -> Result<Label, Problem> {
        let named = [&self.event_id, &self.alert_id, &self.incident_id, &self.order_id, &self.payment_id];
        let window = self.from.is_some() || self.to.is_some() || self.metric.is_some() || self.dimensions.is_some();
        if named.iter().filter(|id| id.is_some()).count() + usize::from(window) != 1 {
            let message = "exactly one of event_id, alert_id, incident_id, order_id, payment_id or a window";
            return Err(Problem::bad_request("invalid_target", message));
        }
        if window && !self.from.zip(self.to).is_some_and(|(from, to)| from.0 < to.0 && !rfc3339(to.0).is_empty()) {
            return Err(bad("to", "a window has `from` and a later `to`"));
        }
        let names = ["event_id", "alert_id", "incident_id", "order_id", "payment_id"];
        for (name, id) in names.into_iter().zip(named).chain([("source", &self.source), ("metric", &self.metric)]) {
            short(name, id.as_ref(), NAME)?;
        }
        short("reason", self.reason.as_ref(), REASON)?;
        short("origin", self.origin.as_ref(), NAME)?;
        if self.dimensions.as_ref().is_some_and(|all| {
            all.len() > DIMENSIONS || all.iter().any(|(name, value)| name.len().max(value.len()) > NAME)
        }) {
            return Err(bad("dimensions", format!("at most {DIMENSIONS} of {NAME} bytes")));
        }
        let verdict = self.verdict.filter(|verdict| VERDICTS.contains(&verdict.as_str()));
        let verdict = verdict.ok_or_else(|| bad("verdict", format!("one of {}", VERDICTS.join(", "))))?;
        let now = now_ms();
        let time = self.time.map_or(now, |time| time.0);
        if time > now + AHEAD_MS || rfc3339(time).is_empty() {
            return Err(bad("time", "lies in the future"));
        }
        Ok(Label {
            time: rfc3339(time),
            event_id: self.event_id,
            source: self.source,
            alert_id: self.alert_id,
            incident_id: self.incident_id,
            order_id: self.order_id,
            payment_id: self.payment_id,
            from: self.from.map(|time| rfc3339(time.0)),
            to: self.to.map(|time| rfc3339(time.0)),
            metric: self.metric,
            dimensions: self.dimensions,
            verdict,
            origin: self.origin.unwrap_or_else(|| origin.to_owned()),
            by,
            reason: self.reason,
            entities: vec![],
        })
    }
}

impl Label {
    /// Fills in event, source and entities; a problem when what it is about is not known.
    fn complete(&mut self, db: &crate::store::Db) -> crate::store::Result<Result<(), Problem>> {
        let unknown = |what: &str| Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"));
        if let Some(id) = &self.alert_id {
            let Some(alert) = alerts::get(db, id)? else { return Ok(Err(unknown("alert"))) };
            (self.event_id, self.source) = (Some(alert.event_id), Some(alert.source));
        } else if let Some(id) = &self.incident_id {
            return Ok(incidents::get(db, id)?.map(|_| ()).ok_or_else(|| unknown("incident")));
        }
        let rows = if let Some(id) = &self.event_id {
            let rows = query::events::by_id(db, id, self.source.as_deref())?;
            // The event of an alert may be behind it in coming, or gone before it.
            if rows.len() != 1 && self.alert_id.is_none() {
                return Ok(Err(events::ambiguous(&rows)));
            }
            rows
        } else if let Some((name, id)) = self.order_id.as_ref().map(|id| ("order", id)).or(self.payment()) {
            let filter =
                query::events::EventFilter { entity: Some((name.to_owned(), id.clone())), ..Default::default() };
            let page = query::events::list(db, &filter, &Span { limit: EVENTS, ..Span::default() })?;
            if page.items.is_empty() {
                return Ok(Err(unknown(name)));
            }
            let mut rows = vec![];
            for row in page.items {
                rows.extend(query::events::by_id(db, &row.event_id, Some(&row.source))?);
            }
            rows
        } else {
            vec![]
        };
        if let ([row], Some(_)) = (rows.as_slice(), &self.event_id) {
            self.source = Some(row.source.clone());
        }
        self.entities = rows.iter().filter_map(|row| row.raw.as_deref()).flat_map(decode::entity_names).collect();
        self.entities.sort();
        self.entities.dedup();
        Ok(Ok(()))
    }

    fn payment(&self) -> Option<(&'static str, &String)> {
        self.payment_id.as_ref().map(|id| ("payment", id))
    }

    /// Is the same in force already?
    fn in_force(&self, db: &crate::store::Db, record: &[u8]) -> crate::store::Result<bool> {
        let Ok(row) = decode::label(record, 0, Meta::default()) else { return Ok(false) };
        let verdicts = query::labels::in_force(db, &row.target)?;
        Ok(verdicts.iter().any(|known| {
            known.by == self.by
                && known.origin == self.origin
                && known.verdict == self.verdict
                && known.reason == self.reason
        }))
    }
}

/// What becomes of a verdict in a file.
pub enum FromFile {
    /// To be appended.
    Record(Vec<u8>),
    /// The same is in force.
    Unchanged,
    /// No verdict, or on nothing that is known: code and reason.
    Refused(&'static str, String),
}

/// A verdict from a file, checked and completed as one that is sent. It must say its time.
pub fn from_file(db: &crate::store::Db, json: &[u8]) -> crate::store::Result<FromFile> {
    let mut body: LabelBody = match serde_json::from_slice(json) {
        Ok(body) => body,
        Err(error) => return Ok(FromFile::Refused("invalid_json", error.to_string())),
    };
    if body.time.is_none() {
        return Ok(FromFile::Refused("missing_field", "time is missing".into()));
    }
    let by = body.by.take().unwrap_or_else(|| "import".into());
    let refused = |problem: Problem| Ok(FromFile::Refused(problem.code, problem.message));
    let mut label = match short("by", Some(&by), NAME).and_then(|()| body.check("import", by)) {
        Ok(label) => label,
        Err(problem) => return refused(problem),
    };
    if let Err(problem) = label.complete(db)? {
        return refused(problem);
    }
    let record = serde_json::to_vec(&label).unwrap_or_default(); // texts only: cannot fail
    Ok(if label.in_force(db, &record)? { FromFile::Unchanged } else { FromFile::Record(record) })
}

/// Completes, appends, answers.
async fn add(inner: Arc<Inner>, mut label: Label) -> Answer {
    let (label, record, known) = inner
        .ask(move |db| {
            if let Err(problem) = label.complete(db)? {
                return Ok(Err(problem));
            }
            let record = serde_json::to_vec(&label).unwrap_or_default(); // texts only: cannot fail
            let known = label.in_force(db, &record)?;
            Ok(Ok((label, record, known)))
        })
        .await??;
    if known {
        return Ok(views::json(&serde_json::json!({"status": "unchanged", "label": label})));
    }
    let log = Arc::clone(&inner.parts.log);
    let meta = Meta { time_ms: now_ms(), ..Meta::default() };
    let parts = vec![(partition(Topic::Labels, 0), Records::of(meta, &record))];
    let appended = inner.block(move || {
        log.append_wait(Request { parts, ..Request::default() }).map_err(|error| {
            tracing::warn!(%error, "a verdict could not be appended");
            Problem::unavailable("log_unavailable", "the log does not take it at the moment", super::RETRY)
        })
    });
    let offset = appended.await?.first().copied().unwrap_or_default();
    Ok(views::json(&serde_json::json!({"status": "recorded", "offset": offset, "label": label})))
}

/// What a verdict given on the dashboard is about.
#[derive(Clone, Debug)]
pub enum Subject {
    /// An alert, by its id.
    Alert(String),
    /// An incident, by its id.
    Incident(String),
}

/// How often, and at what pace, the store is asked for a verdict that was just said: persist needs some 20 ms.
const LOOKS: (u32, Duration) = (20, Duration::from_millis(50));

/// A verdict given on the dashboard; one of the same words by the same person as over the API.
pub async fn say(inner: &Arc<Inner>, of: Subject, verdict: &str, reason: &str, by: &str) -> Result<(), Problem> {
    let (verdict, reason) = (Some(verdict.to_owned()), (!reason.is_empty()).then(|| reason.to_owned()));
    let body = match of {
        Subject::Alert(id) => LabelBody { alert_id: Some(id), ..LabelBody::default() },
        Subject::Incident(id) => LabelBody { incident_id: Some(id), ..LabelBody::default() },
    };
    let label = LabelBody { verdict, reason, ..body }.check("feedback", by.to_owned())?;
    add(Arc::clone(inner), label).await.map(|_| ())
}

/// Waits a moment until the store shows what was said, so that the next page does too; a store that is behind shows it later.
pub async fn shown(inner: &Arc<Inner>, of: &Subject, verdict: &str, by: &str) {
    let target = match of {
        Subject::Alert(id) => format!("alert:{id}"),
        Subject::Incident(id) => format!("incident:{id}"),
    };
    for _ in 0..LOOKS.0 {
        let target = target.clone();
        let Ok(known) = inner.ask(move |db| query::labels::in_force(db, &target)).await else { return };
        let mine = known.iter().find(|one| one.by == by && one.origin == "feedback");
        if mine.map_or("withdrawn", |one| one.verdict.as_str()) == verdict {
            return;
        }
        tokio::time::sleep(LOOKS.1).await;
    }
}

/// `POST /labels`
pub async fn any(State(inner): Shared, who: Who, sent: Sent) -> Answer {
    let mut label: LabelBody = sent.json()?;
    let by = author(label.by.take(), &who)?;
    add(inner, label.check("api", by)?).await
}

/// A verdict on what the address names.
async fn on(inner: Arc<Inner>, target: LabelBody, who: Who, sent: Sent) -> Answer {
    let Feedback { verdict, reason, by } = sent.json()?;
    let by = author(by, &who)?;
    add(inner, LabelBody { verdict, reason, ..target }.check("feedback", by)?).await
}

/// `POST /alerts/{id}/feedback`
pub async fn on_alert(State(inner): Shared, Id(id): Id, who: Who, sent: Sent) -> Answer {
    on(inner, LabelBody { alert_id: Some(id), ..LabelBody::default() }, who, sent).await
}

/// `POST /incidents/{id}/feedback`
pub async fn on_incident(State(inner): Shared, Id(id): Id, who: Who, sent: Sent) -> Answer {
    on(inner, LabelBody { incident_id: Some(id), ..LabelBody::default() }, who, sent).await
}
