//! Rows from records: the scored event of the contract joined with its native event, refusals, alerts and incidents, verdicts.
//!
//! Members that are not known are passed over: the record itself is kept in the row, byte for byte.
//! Deliberately absent: judging. What cannot be read is an error, which the caller turns into a refusal that people see.

use crate::json::{Members, Time, scalar};
use crate::store::rows::{AlertRow, HistoryRow, IncidentRow, LabelRow, RejectRow, ScoredRow, SeriesPoint};
use pulse_dataflows::ports::{Meta, Partition, Topic};
use pulse_operators::record::money;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Text(#[from] std::str::Utf8Error),
    /// Not the JSON that was expected.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}
type Decoded<T> = Result<T, DecodeError>;

/// Source of events that name none.
const DEFAULT_SOURCE: &str = "default";
/// Kept of a payload that cannot be read, bytes.
const KEPT_PAYLOAD: usize = 4_096;

#[derive(Deserialize)]
struct Scored {
    id: String,
    source: Option<String>,
    #[serde(rename = "type")]
    event_type: String,
    time: Time,
    #[serde(default)]
    group: String,
    score: f64,
    p_value: f64,
    decision: String,
    channel: Option<String>,
    severity: Option<String>,
    model: Option<String>,
    threshold: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw<'a> {
    #[serde(borrow)]
    customer_id: Option<&'a RawValue>,
    session_id: Option<&'a RawValue>,
    device_id: Option<&'a RawValue>,
    ip: Option<&'a RawValue>,
    email_hash: Option<&'a RawValue>,
    order_id: Option<&'a RawValue>,
    country: Option<String>,
    amount: Option<&'a RawValue>,
    currency: Option<String>,
    payment: Option<Payment<'a>>,
    items: Option<Vec<Item<'a>>>,
    entities: Option<Members<'a>>,
}
#[derive(Deserialize)]
struct Payment<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    card: Option<&'a RawValue>,
}
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    product_id: Option<&'a RawValue>,
    category: Option<String>,
}

/// Entities of a native event as (name, id), each once, in order. Names as in `entity=name:id`.
fn entities(raw: &Raw) -> Vec<(String, String)> {
    let single = [
        ("customer", raw.customer_id),
        ("session", raw.session_id),
        ("device", raw.device_id),
        ("card", raw.payment.as_ref().and_then(|payment| payment.card)),
        ("ip", raw.ip),
        ("email", raw.email_hash),
    ];
    let products = raw.items.iter().flatten().take(pulse_operators::record::MAX_ITEMS).map(|item| item.product_id);
    let extra = raw.entities.iter().flat_map(|all| &all.0).take(pulse_operators::record::MAX_EXTRA_ENTITIES);
    let mut all: Vec<(String, String)> = single
        .into_iter()
        .chain(products.map(|id| ("product", id)))
        .filter_map(|(name, id)| Some((name.to_owned(), scalar(id?)?)))
        .chain(extra.filter_map(|(name, id)| Some((name.to_string(), scalar(id)?))))
        .filter(|(_, id)| !id.is_empty())
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Order and payment: no entities that keep state, but people ask by them and verdicts name them.
fn references(raw: &Raw) -> Vec<(String, String)> {
    let all = [("order", raw.order_id), ("payment", raw.payment.as_ref().and_then(|payment| payment.id))];
    all.into_iter().filter_map(|(name, id)| Some((name.to_owned(), scalar(id?)?))).collect()
}

/// The entities of a native event as `name:id`; none when it cannot be read.
pub fn entity_names(raw: &str) -> Vec<String> {
    let raw: Raw = serde_json::from_str(raw).unwrap_or_default();
    entities(&raw).into_iter().map(|(name, id)| format!("{name}:{id}")).collect()
}

/// A scored event; `raw` is its native event, when it is still in the log.
pub fn scored(value: &[u8], meta: Meta, raw: Option<(Meta, &[u8])>, currency: &str) -> Decoded<ScoredRow> {
    let json = std::str::from_utf8(value)?;
    let scored: Scored = serde_json::from_str(json)?;
    let raw_text = raw.and_then(|(_, bytes)| std::str::from_utf8(bytes).ok());
    let native: Raw = raw_text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let code = native.currency.clone().unwrap_or_else(|| currency.to_owned());
    let amount_minor = native.amount.and_then(|amount| minor(amount.get(), &code));
    Ok(ScoredRow {
        event_id: scored.id,
        source: scored.source.unwrap_or_else(|| DEFAULT_SOURCE.into()),
        partition: meta.cause.partition,
        offset: meta.cause.offset,
        event_type: scored.event_type,
        group: scored.group,
        time_ms: scored.time.0,
        received_ms: raw.map_or(meta.time_ms, |(meta, _)| meta.time_ms),
        score: scored.score,
        p_value: scored.p_value,
        decision: scored.decision,
        channel: scored.channel.unwrap_or_default(),
        severity: scored.severity.unwrap_or_default(),
        model: scored.model.unwrap_or_default(),
        threshold: scored.threshold.unwrap_or_default(),
        amount_minor,
        currency: amount_minor.map(|_| code),
        country: native.country.clone(),
        category: native.items.iter().flatten().find_map(|item| item.category.clone()),
        json: json.to_owned(),
        raw: raw_text.map(str::to_owned),
        entities: entities(&native).into_iter().chain(references(&native)).collect(),
    })
}

/// Minor units of a decimal number in a currency.
fn minor(amount: &str, code: &str) -> Option<i64> {
    money::minor(amount, money::exponent(money::currency(code)?))
}

/// What a record of `alerts` says.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The state of an alert.
    Alert(AlertRow),
    /// The state of an incident or silence.
    Incident(IncidentRow),
    /// A closed bucket of the series: internal, sent to nobody.
    Series(Vec<SeriesPoint>),
    /// Kept as it is: promotions, drift, tests.
    Other,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: Option<Time>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct AlertData {
    alert_id: String,
    event: Option<AlertEvent>,
    count: Option<i64>,
    entity: Option<Entity>,
    suppressed: Option<String>,
}
#[derive(Deserialize)]
struct Entity {
    kind: String,
    id: String,
}
#[derive(Deserialize)]
struct AlertEvent {
    id: String,
    source: Option<String>,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    group: String,
    score: f64,
    severity: Option<String>,
}

#[derive(Deserialize)]
struct IncidentData<'a> {
    incident_id: String,
    metric: Option<String>,
    #[serde(borrow)]
    dimensions: Option<Members<'a>>,
    started_at: Option<Time>,
    resolved_at: Option<Time>,
    value: Option<f64>,
    expected: Option<(f64, f64)>,
    direction: Option<String>,
    severity: Option<String>,
}

#[derive(Deserialize)]
struct SeriesData<'a> {
    bucket_ms: i64,
    #[serde(borrow)]
    segments: Vec<SegmentData<'a>>,
}
/// By metric the value, the least and the greatest that is usual.
#[derive(Deserialize)]
struct SegmentData<'a> {
    #[serde(borrow)]
    dimensions: Option<Members<'a>>,
    points: BTreeMap<String, (f64, Option<f64>, Option<f64>)>,
    #[serde(default)]
    anomalous: Vec<String>,
}

/// Canonical text of dimensions: `a=b,c=d` in the order of names.
pub fn dimensions(members: Option<&Members>) -> String {
    let mut pairs: Vec<String> = members
        .iter()
        .flat_map(|all| &all.0)
        .map(|(name, value)| format!("{name}={}", scalar(value).unwrap_or_default()))
        .collect();
    pairs.sort();
    pairs.join(",")
}

/// A record of `alerts`: the line of its history, and what it says.
pub fn notice(value: &[u8], offset: u64, meta: Meta) -> Decoded<(HistoryRow, Notice)> {
    let json = std::str::from_utf8(value)?;
    let envelope: Envelope = serde_json::from_str(json)?;
    let time_ms = envelope.timestamp.map_or(meta.time_ms, |time| time.0);
    let data = envelope.data.get();
    let status = if envelope.kind.ends_with(".resolved") { "resolved" } else { "open" };
    let (subject, notice) = match envelope.kind.split_once('.') {
        Some(("anomaly", _)) => {
            let row = alert(data, time_ms, status)?;
            (row.alert_id.clone(), Notice::Alert(row))
        }
        Some((kind @ ("incident" | "silence"), _)) => {
            let kind = if kind == "silence" { "silence" } else { "incident" };
            let row = incident(data, time_ms, kind, status)?;
            (row.incident_id.clone(), Notice::Incident(row))
        }
        Some(("series", "closed")) => (String::new(), Notice::Series(series(data)?)),
        _ => (String::new(), Notice::Other),
    };
    let cause = (meta.cause.partition, meta.cause.offset, meta.cause.kind);
    let history =
        HistoryRow { subject, cause, kind: envelope.kind, time_ms, log_offset: offset, json: json.to_owned() };
    Ok((history, notice))
}

fn alert(data: &str, time_ms: i64, status: &'static str) -> Decoded<AlertRow> {
    let parsed: AlertData = serde_json::from_str(data)?;
    let mut row = AlertRow {
        alert_id: parsed.alert_id,
        time_ms,
        status,
        entity: parsed.entity.map(|entity| format!("{}:{}", entity.kind, entity.id)),
        count: parsed.count.unwrap_or(1),
        json: data.to_owned(),
        suppressed: parsed.suppressed,
        severity: "info".into(),
        ..AlertRow::default()
    };
    if let Some(event) = parsed.event {
        row.event_id = event.id;
        row.source = event.source.unwrap_or_else(|| DEFAULT_SOURCE.into());
        row.event_type = event.event_type;
        row.group = event.group;
        row.score = event.score;
        row.severity = event.severity.unwrap_or(row.severity);
    }
    Ok(row)
}

fn incident(data: &str, time_ms: i64, kind: &'static str, status: &'static str) -> Decoded<IncidentRow> {
    let parsed: IncidentData = serde_json::from_str(data)?;
    let resolved = (status == "resolved").then_some(time_ms);
    Ok(IncidentRow {
        incident_id: parsed.incident_id,
        kind,
        time_ms,
        started_ms: parsed.started_at.map_or(time_ms, |time| time.0),
        resolved_ms: parsed.resolved_at.map(|time| time.0).or(resolved),
        status,
        severity: parsed.severity.unwrap_or_else(|| "warning".into()),
        metric: parsed.metric.unwrap_or_default(),
        dimensions: dimensions(parsed.dimensions.as_ref()),
        value: parsed.value,
        expected: parsed.expected,
        direction: parsed.direction.unwrap_or_default(),
        json: data.to_owned(),
    })
}

fn series(data: &str) -> Decoded<Vec<SeriesPoint>> {
    let parsed: SeriesData = serde_json::from_str(data)?;
    let mut all = Vec::new();
    for segment in parsed.segments {
        let named = dimensions(segment.dimensions.as_ref());
        all.extend(segment.points.into_iter().map(|(metric, (value, low, high))| SeriesPoint {
            anomalous: segment.anomalous.contains(&metric),
            metric,
            dimensions: named.clone(),
            bucket_ms: parsed.bucket_ms,
            value,
            expected: low.zip(high),
        }));
    }
    Ok(all)
}

#[derive(Deserialize)]
struct Label<'a> {
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
    #[serde(borrow)]
    dimensions: Option<Members<'a>>,
    verdict: String,
    origin: Option<String>,
    by: Option<String>,
    reason: Option<String>,
}

/// A verdict.
pub fn label(value: &[u8], offset: u64, meta: Meta) -> Decoded<LabelRow> {
    let json = std::str::from_utf8(value)?;
    let label: Label = serde_json::from_str(json)?;
    let source = label.source.clone().unwrap_or_else(|| DEFAULT_SOURCE.into());
    let target = match &label {
        Label { alert_id: Some(id), .. } => format!("alert:{id}"),
        Label { incident_id: Some(id), .. } => format!("incident:{id}"),
        Label { event_id: Some(id), .. } => format!("event:{source}/{id}"),
        Label { order_id: Some(id), .. } => format!("order:{id}"),
        Label { payment_id: Some(id), .. } => format!("payment:{id}"),
        _ => {
            let ms = |time: Option<Time>| time.map_or(0, |time| time.0);
            let (metric, dimensions) = (label.metric.as_deref().unwrap_or(""), dimensions(label.dimensions.as_ref()));
            format!("window:{metric}/{dimensions}/{}/{}", ms(label.from), ms(label.to))
        }
    };
    Ok(LabelRow {
        log_offset: offset,
        time_ms: label.time.map_or(meta.time_ms, |time| time.0),
        target,
        event: label.event_id.map(|id| (source, id)),
        verdict: label.verdict,
        origin: label.origin.unwrap_or_default(),
        author: label.by.unwrap_or_default(),
        reason: label.reason,
        json: json.to_owned(),
    })
}

#[derive(Deserialize)]
struct Rejected {
    time: Option<Time>,
    source: Option<String>,
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    payload_hash: String,
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    stage: String,
    partition: Option<u16>,
    offset: Option<u64>,
}

/// A refusal; `place` is where it stands in `events.rejected`.
pub fn reject(value: &[u8], place: (u16, u64), meta: Meta) -> Decoded<RejectRow> {
    let rejected: Rejected = serde_json::from_str(std::str::from_utf8(value)?)?;
    let payload = rejected.payload.filter(|payload| payload.get() != "null");
    Ok(RejectRow {
        log: place,
        time_ms: rejected.time.map_or(meta.time_ms, |time| time.0),
        source: rejected.source.unwrap_or_default(),
        code: rejected.code,
        message: rejected.message,
        payload_hash: rejected.payload_hash,
        payload: payload.map(|payload| scalar(&payload).unwrap_or_else(|| payload.get().to_owned())),
        stage: rejected.stage,
        event: rejected.partition.zip(rejected.offset),
    })
}

/// Records that persist itself cannot read are kept among the refusals, numbered by topic so that none hides another.
pub fn unreadable(from: Partition, place: (u16, u64), meta: Meta, value: &[u8], error: &DecodeError) -> RejectRow {
    let kept = value.get(..KEPT_PAYLOAD.min(value.len())).unwrap_or_default();
    // Real partitions of `events.rejected` are few: the upper numbers are free for the other topics.
    let partition = if from.topic == Topic::Rejected { place.0 } else { 0xF000 | ((from.topic as u16) << 8) | place.0 };
    RejectRow {
        log: (partition, place.1),
        time_ms: meta.time_ms,
        source: String::new(),
        code: "unreadable_record".into(),
        message: format!("{} {}/{}: {error}", from.topic.name(), place.0, place.1),
        payload_hash: format!("{:016x}", xxhash_rust::xxh3::xxh3_64(value)),
        payload: Some(String::from_utf8_lossy(kept).into_owned()),
        stage: "persist".into(),
        event: None,
    }
}
