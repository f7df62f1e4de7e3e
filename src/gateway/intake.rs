//! Items in, results out: each item is checked, the good ones of a body are appended together, grouped by partition, and
//! answered when the log has acknowledged them.

use super::answer::{ItemResult, Status};
use super::config::GatewayConfig;
use super::metrics::{GatewayMetrics, Tally};
use super::recent::{Identity, Recent, Set};
use super::rejects::{Kepts, Rejects};
use super::sources::commerce::for_browsers;
use crate::access::Sender;
use crate::privacy::Privacy;
use crate::telemetry::shared::{Shared, Stage};
use pulse_dataflows::ports::{EventLog, LogError, Meta, Partition, Records, Request, Topic, partition};
use pulse_operators::record::{Admitted, EventType, Reject, admit, admit_line};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long after a refusal by the log `/readyz` says so.
const REFUSAL_SHOWN_MS: i64 = 2_000;

/// The way into the log.
pub struct Intake {
    log: Arc<dyn EventLog>,
    recent: Recent,
    rejects: Rejects,
    metrics: GatewayMetrics,
    shared: Shared,
    append_timeout: Duration,
    refused_ms: AtomicI64,
    privacy: Privacy,
}

/// A body on its way: results so far, and what is to be appended.
pub struct Draft {
    received_ms: i64,
    started: Instant,
    parts: Vec<Records>,
    /// Results in the order of the items; `Accepted` holds once the append is acknowledged.
    results: Vec<ItemResult>,
    fresh: Set,
    tally: Tally,
    masked: u64,
    duplicates: u64,
    kept: Kepts,
    trace: Option<Arc<str>>,
    sender: Sender,
    verdicts: Records,
}

impl Draft {
    /// What its sender may send.
    pub fn sent_by(mut self, sender: Sender) -> Draft {
        self.sender = sender;
        self
    }
    /// Time of receipt, ms since the epoch.
    pub fn received_ms(&self) -> i64 {
        self.received_ms
    }
    /// Number of items so far.
    pub fn len(&self) -> usize {
        self.results.len()
    }
    /// None yet?
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }
}

/// What can be told of an item that is no event.
#[derive(Default, Deserialize)]
struct Known<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    source: Option<Cow<'a, str>>,
}
/// Longest id or source that is repeated in an answer or a kept record.
const KNOWN_CHARS_MAX: usize = 100;

impl Intake {
    /// Into `log`.
    pub fn new(log: Arc<dyn EventLog>, metrics: GatewayMetrics, shared: Shared, config: &GatewayConfig) -> Intake {
        Intake {
            log,
            recent: Recent::new(config.recent_ids),
            rejects: Rejects::new(config.rejects_per_s, &metrics),
            metrics,
            shared,
            append_timeout: Duration::from_millis(config.append_timeout_ms),
            refused_ms: AtomicI64::new(i64::MIN),
            privacy: Privacy::default(),
        }
    }
    /// From now on covers what is personal, before anything else sees it.
    pub fn covering(mut self, privacy: Privacy) -> Intake {
        self.privacy = privacy;
        self
    }
    /// Did the log refuse an append just now?
    pub fn log_state(&self) -> Result<(), String> {
        let ago_ms = now_ms().saturating_sub(self.refused_ms.load(Ordering::Relaxed));
        if ago_ms < REFUSAL_SHOWN_MS { Err("the log refused an append".into()) } else { Ok(()) }
    }
    /// An empty draft, received now, of a request with this `traceparent`.
    pub fn draft(&self, trace: Option<Arc<str>>) -> Draft {
        Draft {
            received_ms: now_ms(),
            started: Instant::now(),
            parts: vec![Records::default(); usize::from(self.log.partitions(Topic::Raw).max(1))],
            results: Vec::new(),
            fresh: Set::default(),
            tally: Tally::default(),
            masked: 0,
            duplicates: 0,
            kept: Kepts::default(),
            trace,
            sender: Sender::Shop,
            verdicts: Records::default(),
        }
    }
    /// Checks one item and adds its result.
    pub fn add(&self, draft: &mut Draft, json: &[u8]) {
        self.add_from(draft, json, json);
    }
    /// The same for one that was translated: `theirs` is what people see of it when it is refused.
    pub fn add_from(&self, draft: &mut Draft, json: &[u8], theirs: &[u8]) {
        let admitted = admit(&self.privacy.apply(json), draft.received_ms, &mut || uuid::Uuid::now_v7().to_string());
        self.settle(draft, admitted, theirs);
    }
    /// The same for a line of a file: without an id it gets one that follows from the line and `position`, without a time it is refused.
    pub fn add_line(&self, draft: &mut Draft, json: &[u8], position: u64) {
        let admitted = admit_line(&self.privacy.apply(json), position, draft.received_ms);
        self.settle(draft, admitted, json);
    }
    fn settle(&self, draft: &mut Draft, admitted: Result<Admitted, Reject>, theirs: &[u8]) {
        match admitted {
            Ok(event) if draft.sender == Sender::Browser && !for_browsers(&event.type_name) => {
                self.not_from_browsers(draft, &event.type_name, theirs);
            }
            Ok(event) => {
                draft.tally.received(&self.metrics, &event.source, &event.type_name);
                let identity: Identity = self.recent.identity(&event.source, &event.id);
                let duplicate = self.recent.contains(identity) || !draft.fresh.insert(identity);
                let status = if duplicate { Status::Duplicate } else { Status::Accepted };
                draft.results.push(ItemResult { id: Some(event.id), status, code: None, message: None });
                if duplicate {
                    draft.duplicates += 1;
                    return;
                }
                draft.masked += u64::from(event.masked);
                let number = (event.key % draft.parts.len() as u64) as usize;
                let meta = Meta { time_ms: draft.received_ms, ..Meta::default() };
                if let Some(records) = draft.parts.get_mut(number) {
                    records.push(meta, &event.body);
                }
            }
            Err(reject) => self.refuse(draft, theirs, reject),
        }
    }
    /// Pages tell a lot that is not scored, and that is no fault; an order from a page is one.
    fn not_from_browsers(&self, draft: &mut Draft, type_name: &str, theirs: &[u8]) {
        if EventType::parse(type_name) == EventType::Unknown {
            return self.ignore(draft, "not_for_browsers", "keys for browsers send browse and cart events".into());
        }
        let message = "a key for browsers may send browse and cart events only".into();
        self.refuse(draft, theirs, Reject { code: "not_for_browsers", message });
    }
    /// Adds the result of an item that is nothing for us.
    pub fn ignore(&self, draft: &mut Draft, code: &'static str, message: String) {
        draft.results.push(ItemResult { id: None, status: Status::Ignored, code: Some(code), message: Some(message) });
    }
    /// Adds a verdict that came with events: a chargeback that a payment provider tells of.
    pub fn add_verdict(&self, draft: &mut Draft, record: &[u8]) {
        draft.verdicts.push(Meta { time_ms: draft.received_ms, ..Meta::default() }, record);
        draft.results.push(ItemResult { id: None, status: Status::Accepted, code: None, message: None });
    }
    /// Where it counts.
    pub fn metrics(&self) -> &GatewayMetrics {
        &self.metrics
    }
    /// Adds the result of an item that is no event.
    pub fn refuse(&self, draft: &mut Draft, json: &[u8], reject: Reject) {
        let short = |text: &Cow<str>| text.chars().nth(KNOWN_CHARS_MAX).is_none();
        let known: Known = serde_json::from_slice(json).unwrap_or_default();
        let (id, source) = (known.id.filter(short), known.source.filter(short));
        // what was refused may be no event, and what is no event cannot be covered
        let shown: &[u8] = if self.privacy.on() { b"" } else { json };
        self.rejects.keep(&mut draft.kept, shown, (id.as_deref(), source.as_deref()), &reject, draft.received_ms);
        draft.tally.rejected(reject.code);
        draft.results.push(ItemResult {
            id: id.map(Cow::into_owned),
            status: Status::Rejected,
            code: Some(reject.code),
            message: Some(reject.message),
        });
    }
    /// Appends the good items and returns the results when the log has them. On an error nothing was taken, or, after a
    /// time-out, perhaps everything: the client sends it again either way, and the results say only what would have been.
    pub async fn commit(&self, draft: Draft) -> (Vec<ItemResult>, Result<(), LogError>) {
        self.shared.observe_stage(Stage::Accept, draft.started.elapsed());
        self.rejects.append(draft.kept, &self.log, draft.received_ms);
        let named = |(number, records)| (partition(Topic::Raw, number), records);
        let mut parts: Vec<_> = (0..).zip(draft.parts).filter(|(_, records)| !records.is_empty()).map(named).collect();
        if !draft.verdicts.is_empty() {
            parts.push((partition(Topic::Labels, 0), draft.verdicts));
        }
        if !parts.is_empty() {
            if let Err(error) = self.append(parts, draft.trace).await {
                return (draft.results, Err(error));
            }
            self.recent.insert(draft.fresh);
        }
        self.metrics.add(draft.tally, draft.received_ms);
        self.metrics.duplicate.inc_by(draft.duplicates);
        self.metrics.masked.inc_by(draft.masked);
        (draft.results, Ok(()))
    }
    async fn append(&self, parts: Vec<(Partition, Records)>, trace: Option<Arc<str>>) -> Result<(), LogError> {
        let started = Instant::now();
        let (tx, rx) = tokio::sync::oneshot::channel();
        let ack = Box::new(move |outcome| {
            let _ = tx.send(outcome); // nobody waits any more when the client has gone
        });
        self.log.append(Request { parts, trace, ack: Some(ack), ..Request::default() });
        let outcome = match tokio::time::timeout(self.append_timeout, rx).await {
            Ok(Ok(outcome)) => outcome.map(|_| ()),
            Ok(Err(_)) => Err(LogError::Unavailable("the log is closed".into())),
            Err(_) => Err(LogError::Unavailable("the log did not answer in time".into())),
        };
        self.shared.observe_stage(Stage::Append, started.elapsed());
        if let Err(error) = &outcome {
            self.refused_ms.store(now_ms(), Ordering::Relaxed);
            tracing::warn!(%error, "append refused");
        }
        outcome
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
